"""`parlai interactive` and `parlai self_chat` with `-t persona:congeneric`: those of the task that it is made of."""

from typing import Any

from parlai.core.loader import load_world_module
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser

from parlai_persona.tasks.congeneric.build import Congeneric


class OtherWorld:
    """Stands for a world of the other task: the call makes that one."""

    KIND: dict[str, bool]

    @classmethod
    def of(cls, opt: Opt | None) -> tuple[str, Any]:
        task = (opt or {}).get('congeneric_of') or Congeneric().of
        return task, load_world_module(task, num_agents=2, **cls.KIND)

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        return cls.of(partial_opt)[1].add_cmdline_args(parser, partial_opt)

    def __new__(cls, opt: Opt, agents: list, shared: dict[str, Any] | None = None) -> Any:
        task, world = cls.of(opt)
        return world(Opt({**opt, 'task': task}), agents, shared)


class InteractiveWorld(OtherWorld):
    KIND = {'interactive_task': True}


class SelfChatWorld(OtherWorld):
    KIND = {'selfchat_task': True}
