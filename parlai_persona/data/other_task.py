"""Reads another ParlAI task, for a task or an agent that makes its data from it."""

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch
from parlai.core.loader import load_teacher_module
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.teachers import FixedDialogTeacher, create_task_agent_from_taskname
from parlai.utils.data import DatatypeHelper
from parlai.utils.distributed import is_distributed, num_workers

from parlai_persona import fields
from parlai_persona.data.dialogue import NoSplit
from parlai_persona.data.epochs import SeededEpochs
from parlai_persona.errors import UserError
from parlai_persona.flags import add_flags, from_opt
from parlai_persona.metrics.teacher import PersonaMetrics

HALVES = {'both': slice(None), 'first': slice(0, None, 2), 'second': slice(1, None, 2)}  # of the people of a split


def add_task_flags(parser: ParlaiParser, partial_opt: Opt | None, task: str) -> None:
    """Add the other task's own flags."""
    load_teacher_module(task).add_cmdline_args(parser, partial_opt)


def teacher(opt: Opt, task: str, fold: str, stream: bool = False) -> FixedDialogTeacher:
    """Return a teacher of the other task that goes through a split once, in order."""
    return teachers({**opt, 'mutators': None}, task, fold, stream=stream)[0]


def teachers(
    opt: Mapping[str, Any], task: str, fold: str, own_options: bool = True, stream: bool = False
) -> list[FixedDialogTeacher]:
    """Return the teachers of tasks joined by commas; each goes through a split once, in order.

    Without `own_options`, the options of a task have their defaults unless its name sets them. A `stream` keeps no
    dialogues in memory; our own tasks can do that.
    """
    plain = Opt(copy.deepcopy(dict(opt)))
    datatype = ('train:evalmode' if fold == 'train' else fold) + stream * ':stream'
    plain.update(task=task, datatype=datatype, batchsize=1)
    for name in ('model', 'model_file'):  # so that it does not load the agent's options
        plain.pop(name, None)
    for name in () if own_options else task.split(','):
        plain.update(default_options(plain, name))
    return create_task_agent_from_taskname(plain)


def default_options(opt: Opt, task: str) -> dict[str, Any]:
    """Return the options that a task's teacher adds, with their default values."""
    parser = ParlaiParser(False, False)
    add_task_flags(parser, opt, task)
    return {action.dest: action.default for action in parser._actions if action.dest != 'help'}


def episodes(other: FixedDialogTeacher) -> Iterator[list[dict[str, Any]]]:
    """Yield the episodes of any ParlAI teacher as lists of Messages."""
    turns: list[dict[str, Any]] = []
    while not other.epoch_done():
        message = other.act()
        if message.is_padding():
            break
        turns.append(message)
        if message['episode_done']:
            yield turns
            turns = []


def from_all_workers(dialogues: list) -> list:
    """Gather what was divided between workers one by one, in its order. ParlAI divides all but a shuffled training."""
    if not is_distributed():
        return dialogues
    shares: list = [None] * num_workers()
    torch.distributed.all_gather_object(shares, dialogues)
    return [dialogue for row in zip_longest(*shares) for dialogue in row if dialogue is not None]


def whole_dialogue(messages: list[dict[str, Any]], number: int) -> dict[str, Any]:
    """Return an episode in the form of `fields.DIALOGUES`, without turns that nobody replies to."""
    first = messages[0]
    lines = first.get('text', '').split('\n')
    return {
        fields.DIALOGUE_ID: str(first.get(fields.DIALOGUE_ID, number)),
        fields.PERSONA: fields.stated_persona(first, fields.PERSONA, lines),
        fields.PARTNER_PERSONA: fields.stated_persona(first, fields.PARTNER_PERSONA, lines),
        fields.MESSAGES: [plain for plain in map(turn, messages) if plain['labels']],
    }


def turn(message: dict[str, Any]) -> dict[str, Any]:
    """Return the text of a Message, its first label in a list (empty if it has none), and its candidates if any."""
    plain = {'text': message.get('text', ''), 'labels': fields.labels_of(message)[:1]}
    if message.get('label_candidates'):
        plain['label_candidates'] = list(message['label_candidates'])
    return plain


def check_end(kind: type, opt: Mapping[str, Any]) -> None:
    """Refuse a task that is made of itself, perhaps by way of others."""
    seen: list[type] = []
    while issubclass(kind, OtherTaskTeacher):
        task = kind.other(opt)
        if kind in seen:
            raise UserError(
                f'--{kind.PREFIX.replace("_", "-")}-of {task}: it is made of itself; name a task with dialogues'
            )
        seen.append(kind)
        kind = load_teacher_module(task)


class OtherTaskTeacher(SeededEpochs, PersonaMetrics, FixedDialogTeacher):
    """The base of a task that is made of another one, which its option `of` names."""

    PREFIX: str  # of its flags, and its name
    OPTIONS: type  # a dataclass of flags; its docstring heads them in --help

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        check_end(cls, partial_opt or {})
        add_flags(parser.add_argument_group(cls.OPTIONS.__doc__), cls.PREFIX, cls.OPTIONS)
        add_task_flags(parser, partial_opt, cls.other(partial_opt or {}))
        return parser

    @classmethod
    def other(cls, opt: Mapping[str, Any]) -> str:
        """Return the task that this one is made of."""
        return opt.get(f'{cls.PREFIX}_of') or cls.OPTIONS().of

    def __init__(self, opt: Opt, shared=None):
        opt = copy.deepcopy(opt)
        check_end(type(self), opt)
        self.options: Any = from_opt(self.OPTIONS, opt, self.PREFIX)
        self.fold = opt['datafile'] = DatatypeHelper.fold(opt['datatype'])
        super().__init__(opt, shared)
        self.id = f'persona:{self.PREFIX}'

    def other_options(self) -> dict[str, Any]:
        return {**self.opt, 'persona_metrics': False}

    def other_teacher(self, fold: str) -> FixedDialogTeacher:
        return teacher(Opt(self.other_options()), self.options.of, fold)

    def personas(self) -> Iterable[Sequence[str]]:
        other = self.other_teacher(self.fold)
        if not isinstance(other, PersonaMetrics):
            raise UserError(f'{self.options.of} has no personas(), which --persona-receiver needs: see docs/metrics.md')
        return other.personas()

    def training_texts(self) -> Iterator[str]:
        with contextlib.suppress(NoSplit):
            other = self.other_teacher('train')
            if isinstance(other, PersonaMetrics):
                yield from other.training_texts()
                return
            for messages in episodes(other):
                for plain in map(turn, messages):
                    yield from (plain['text'], *plain['labels'])
