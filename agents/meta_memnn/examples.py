"""Any ParlAI task as the examples a memory network learns from."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from parlai.core.loader import load_teacher_module
from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.teachers import Teacher, create_task_agent_from_taskname

from parlai_persona import fields
from parlai_persona.agents.meta_memnn.stories import Example, Story


@dataclass(frozen=True)
class Met:
    """An example and where it was met."""

    example: Example
    task: str
    dialogue: str
    turn: int
    candidates: list[str] | None = None  # that came with it


def profile_lines(message: Message) -> int:
    """How many lines at the start of the text are about a speaker: those that the persona fields hold."""
    persona = {*message.get(fields.PERSONA, ()), *message.get(fields.PARTNER_PERSONA, ())}
    marks = ('', fields.YOUR_PERSONA, fields.PARTNERS_PERSONA)
    lines = message.get('text', '').split('\n')
    count = 0
    while count < len(lines) and any(line_of(lines[count], mark) in persona for mark in marks):
        count += 1
    return count


def line_of(line: str, mark: str) -> str:
    return line[len(mark) :] if line.startswith(mark) else line


def task_examples(opt: Opt, task: str, own: bool = False, back: bool = False, fold: str = 'train') -> Iterator[Met]:
    """Every example of a split of the task once, in order.

    The options of the task are those of its string alone (`task:option=value`), unless it is the run's `own` task,
    to which the command line speaks.
    """
    opt = Opt(copy.deepcopy(dict(opt)))
    opt.update({'datatype': 'train:evalmode' if fold == 'train' else fold, 'task': task, 'batchsize': 1})
    for name in () if own else task.split(','):
        opt.update(defaults(name, opt))
    for teacher in create_task_agent_from_taskname(opt):
        yield from examples(teacher, back)


def defaults(task: str, opt: Opt) -> dict:
    """The options that the task's teacher adds, with the values they have when nobody gives any."""
    parser = ParlaiParser(False, False)
    load_teacher_module(task).add_cmdline_args(parser, opt)
    return {action.dest: action.default for action in parser._actions if action.dest != 'help'}


def examples(teacher: Teacher, back: bool) -> Iterator[Met]:
    story, number, turn = Story(back), 0, 0
    while not teacher.epoch_done():
        message = teacher.act()
        if 'text' not in message:
            continue  # the end of the data
        labels = message.get('labels') or message.get('eval_labels')
        story.hear(message['text'], profile_lines(message))
        if labels:
            dialogue = str(message.get(fields.DIALOGUE_ID, number))
            candidates = message.get('label_candidates')
            listed = candidates if isinstance(candidates, list) else list(candidates or ())
            yield Met(story.example(labels[0]), teacher.getID(), dialogue, turn, listed or None)
            story.say(labels[0])
        turn += 1
        if message.get('episode_done'):
            story, number, turn = Story(back), number + 1, 0


def distinct_candidates(met: Iterable[Met], inline: bool) -> list[str]:
    """The replies, and if `inline` all candidates that came with them, in the order of their first appearance."""
    found: dict[str, None] = {}
    seen: set[int] = set()  # many tasks have one list for all examples
    for one in met:
        found[one.example.reply] = None
        if inline and one.candidates and id(one.candidates) not in seen:
            seen.add(id(one.candidates))
            found.update(dict.fromkeys(one.candidates))
    return list(found)
