"""The things that all conversations of a task share: its teacher, its personas and the random draws."""

import copy
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from parlai.core.loader import load_teacher_module, load_world_module
from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.teachers import create_task_agent_from_taskname
from parlai.utils.data import DatatypeHelper

from parlai_persona import fields
from parlai_persona.data.dialogue import Dialogue
from parlai_persona.data.other_task import OtherTaskTeacher
from parlai_persona.data.personas import WAYS, NoPersonas, Persona, PersonaBook, PersonaError
from parlai_persona.errors import UserError
from parlai_persona.flags import flag, from_opt
from parlai_persona.metrics.perception import Perception, from_options


@dataclass(frozen=True)
class PersonaOptions:
    persona: str = flag('random', f"the model's persona: {WAYS}")
    partner_persona: str | None = flag(
        None, "its partner's persona, in the same ways; default: random if --persona-side or a self-chat needs one"
    )
    persona_seed: int | None = flag(None, 'seed of the random personas; default: different ones each time')


def spoken(opt: Mapping[str, Any]) -> Opt:
    """Return the options with the task that people talk in.

    A task that is made of another one leaves conversations to it, unless it has a kind of its own.
    """
    task = opt['task']
    if ',' in task:
        return Opt(opt)
    world = load_world_module(task, interactive_task=True, num_agents=2)
    if not is_made_of_another(task) or hasattr(world, 'CONVERSATION'):
        return Opt(opt)
    teacher, named = load_teacher_module(task), with_named(opt)
    return Opt({**named, 'task': from_opt(teacher.OPTIONS, named, teacher.PREFIX).of})


def is_made_of_another(task: str) -> bool:
    return issubclass(load_teacher_module(task), OtherTaskTeacher)


def with_named(opt: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options, with those in the name of the task (`persona:own:own_file=mine.txt`)."""
    return {**opt, **dict(part.split('=', 1) for part in opt['task'].split(':') if '=' in part)}


class TaskContext:
    """The task that `opt` names. Its data are read when a conversation first needs them."""

    def __init__(self, opt: Opt):
        self.opt = spoken(opt)
        self.rng = random.Random(opt.get('persona_seed'))
        self.book = PersonaBook(self.dialogues, self.rng)

    @cached_property
    def teacher(self) -> Any:
        """The task's teacher, with the options in the name of the task. It has read nothing yet."""
        fold = DatatypeHelper.fold(self.opt['datatype'])
        plain = copy.deepcopy(self.opt)
        plain.update(datatype=f'{fold}:stream' if fold != 'train' else 'train:evalmode:stream', interactive_task=False)
        return create_task_agent_from_taskname(plain)[0]

    @cached_property
    def perception(self) -> Perception | None:
        """The judge that --persona-receiver asks for."""
        return from_options(with_named(self.opt), lambda: self.teacher.personas())

    def dialogues(self) -> Iterable[Dialogue]:
        """Yield the dialogues of the task and split that the options name."""
        return self.teacher.dialogues(DatatypeHelper.fold(self.opt['datatype']))

    def pick(self, option: str, default: str | None) -> Persona:
        """Return the persona that an option asks for. A random one is empty if the data have no personas."""
        named = with_named(self.opt).get(option)
        asked = default if named is None else named
        try:
            return () if asked is None else self.book.find(asked)
        except NoPersonas:
            if asked == 'random':
                return ()
            raise
        except UserError as error:
            if asked == 'random':
                raise
            raise PersonaError(f'--{option.replace("_", "-")} {asked!r}: {error}') from None

    def observation(self, act: Mapping[str, Any], own: Persona, partners: Persona, turn: int) -> Message:
        """Return the partner's message as a speaker with the persona `own` receives it."""
        dialogue = Dialogue('conversation', (), own, partners)
        seen = Message({**act, 'text': self.teacher.text(dialogue, turn, act.get('text', ''))})
        seen.force_set(fields.PERSONA, list(own))
        seen.force_set(fields.PARTNER_PERSONA, list(partners))
        seen.force_set(fields.TURN, turn)
        return seen
