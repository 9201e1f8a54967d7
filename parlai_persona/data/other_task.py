"""What a task reads that is made of another task."""

import copy
from collections.abc import Iterator
from typing import Any

from parlai.core.loader import load_teacher_module
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.teachers import FixedDialogTeacher, Teacher, create_task_agent_from_taskname


def teacher(opt: Opt, task: str, fold: str) -> FixedDialogTeacher:
    """The teacher of the task below, which passes over a split once, in its order."""
    return teachers({**opt, 'mutators': None}, task, fold)[0]


def teachers(opt: dict[str, Any], task: str, fold: str, own_options: bool = True) -> list[Teacher]:
    """Return the teachers of tasks joined by commas. Each passes over a split once, in its order.

    Without `own_options` a task has the defaults of its options, but for those in its name.
    """
    plain = Opt(copy.deepcopy(dict(opt)))
    plain.update(task=task, datatype='train:evalmode' if fold == 'train' else fold, batchsize=1)
    for name in ('model', 'model_file'):  # it is not to load the agent's options
        plain.pop(name, None)
    for name in () if own_options else task.split(','):
        plain.update(default_options(plain, name))
    return create_task_agent_from_taskname(plain)


def default_options(opt: Opt, task: str) -> dict[str, Any]:
    """Return the options that a task's teacher adds, with their default values."""
    parser = ParlaiParser(False, False)
    load_teacher_module(task).add_cmdline_args(parser, opt)
    return {action.dest: action.default for action in parser._actions if action.dest != 'help'}


def episodes(below: Teacher) -> Iterator[list[dict[str, Any]]]:
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
