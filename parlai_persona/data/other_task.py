"""What a task reads that is made of another task."""

import copy
from collections.abc import Iterator
from typing import Any

from parlai.core.opt import Opt
from parlai.core.teachers import FixedDialogTeacher, create_task_agent_from_taskname


def teacher(opt: Opt, task: str, fold: str) -> FixedDialogTeacher:
    """The teacher of the task below, which passes over a split once, in its order."""
    plain = copy.deepcopy(opt)
    plain.update(task=task, datatype='train:evalmode' if fold == 'train' else fold, batchsize=1, mutators=None)
    for name in ('model', 'model_file'):  # it is not to load the agent's options
        plain.pop(name, None)
    return create_task_agent_from_taskname(plain)[0]


def episodes(below: FixedDialogTeacher) -> Iterator[list[dict[str, Any]]]:
    """Episodes as lists of Messages; whatever ParlAI hands out."""
    turns: list[dict[str, Any]] = []
    while not below.epoch_done():
        message = below.act()
        if message.is_padding():
            break
        turns.append(message)
        if message['episode_done']:
            yield turns
            turns = []


def turn(message: dict[str, Any]) -> dict[str, Any]:
    labels = message.get('labels', message.get('eval_labels')) or ()
    found = {'text': message.get('text', ''), 'labels': list(labels[:1])}
    if message.get('label_candidates'):
        found['label_candidates'] = list(message['label_candidates'])
    return found
