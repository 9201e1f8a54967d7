"""`parlai interactive` and `self_chat` in a task that is made of another one: the worlds of that other task."""

from typing import Any

from parlai.core.loader import load_world_module
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser

from parlai_persona.chat.context import spoken


class OtherWorld:
    """Stands for a world of the other task: the call makes that one."""

    KIND: dict[str, bool]

    @classmethod
    def of(cls, opt: Opt) -> tuple[Opt, Any]:
        opt = spoken(opt)
        return opt, load_world_module(opt['task'], num_agents=2, **cls.KIND)

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt) -> ParlaiParser:
        opt, world = cls.of(partial_opt)
        return world.add_cmdline_args(parser, opt)

    def __new__(cls, opt: Opt, agents: list, shared: dict[str, Any] | None = None) -> Any:
        opt, world = cls.of(opt)
        return world(opt, agents, shared)


class InteractiveWorld(OtherWorld):
    KIND = {'interactive_task': True}


class SelfChatWorld(OtherWorld):
    KIND = {'selfchat_task': True}
