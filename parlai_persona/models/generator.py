"""The base of every generator with personas."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.torch_agent import Batch
from parlai.core.torch_generator_agent import TorchGeneratorAgent

from parlai_persona import fields
from parlai_persona.flags import add_flags, from_opt
from parlai_persona.models.agent import PersonaAgent
from parlai_persona.models.precision import FullPrecision, Precision, autocast, report_gain

WHOLE = 'whole'  # marks an observation of whole dialogues


class PersonaGenerator(PersonaAgent, TorchGeneratorAgent):
    """A `TorchGeneratorAgent` with personas (see `PersonaAgent`) and mixed precision.

    Set `PREFIX`, the method's name in its flags, and write `build_model` and `_model_input`; CONTRIBUTING.md has a
    complete example. It can also stand in front of one of ParlAI's generators.
    """

    PREFIX: str
    listener: Callable[[str], None] | None = None  # is told the text so far after each word of a reply; not with a beam

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group(f'Precision of {cls.__name__}'), cls.PREFIX, Precision)
        return parser

    def __init__(self, opt: Opt, shared=None):
        self.amp = from_opt(Precision, opt, self.PREFIX).amp
        super().__init__(opt, shared)
        if self.amp and not shared:
            report_gain(self.net, f'--{self.PREFIX}-amp')

    def build_criterion(self):
        criterion = super().build_criterion()
        return FullPrecision(criterion) if self.amp else criterion

    def compute_loss(self, batch: Batch, return_output: bool = False):
        with autocast(self.net, self.amp):
            return super().compute_loss(batch, return_output)

    def _generate(self, *args, **kwargs):
        with autocast(self.net, self.amp):
            return super()._generate(*args, **kwargs)

    def _treesearch_factory(self, device, verbose=False):
        search = super()._treesearch_factory(device, verbose)
        listener, advance = self.listener, search.advance
        if listener is not None and search.beam_size == 1:

            def advance_and_tell(*args, **kwargs):
                advance(*args, **kwargs)
                listener(self._v2t(torch.cat(search.outputs)))

            search.advance = advance_and_tell
        return search

    def observe_whole(self, **content: Any) -> Message:
        """Observe dialogues as a whole. They are no turn of a conversation: nothing of them is remembered."""
        self.observation = Message({'episode_done': True, WHOLE: True, **content})
        return self.observation

    def self_observe(self, self_message: Message) -> None:
        if self.observation is not None and WHOLE in self.observation:
            self.reset()
        else:
            super().self_observe(self_message)

    def turns_of(self, told: Iterable[dict[str, Any]], persona: Iterable[str] | None = None) -> list[Message]:
        """Return the turns of a whole dialogue, vectorised as if they had come one by one."""
        history, turns = self.build_history(), []
        for turn in told:
            message = Message({**turn, 'eval_labels': turn['labels'], 'episode_done': False})
            del message['labels']
            if persona is not None:
                message[fields.PERSONA] = list(persona)
            history.update_history(message, temp_history=self.get_temp_history(message))
            turns.append(
                self.vectorize(message, history, text_truncate=self.text_truncate, label_truncate=self.label_truncate)
            )
            history.add_reply(turn['labels'][0])
        return turns
