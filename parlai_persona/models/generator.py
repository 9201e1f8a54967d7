"""The base of every generator with personas."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.torch_agent import Batch
from parlai.core.torch_generator_agent import TorchGeneratorAgent
from torch import Tensor

from parlai_persona import fields
from parlai_persona.errors import UserError
from parlai_persona.flags import add_flags, flag, from_opt
from parlai_persona.metrics import perception
from parlai_persona.models.agent import PersonaAgent
from parlai_persona.models.precision import FullPrecision, Precision, autocast, report_gain

WHOLE = 'whole'  # marks an observation of whole dialogues
Found = list[list[tuple]]  # the replies of each beam, best first: their tokens, score and whatever else


@dataclass(frozen=True)
class Hearing:
    """Who hears the replies of a beam, and has a say in which of them is given."""

    receiver: str | None = flag(
        None,
        'evaluation and chat: model file of a persona:p2bot/receiver, which has a say in the choice among the replies '
        'of a beam',
        metavar='MODEL',
    )
    receiver_weight: float = flag(1.0, "of the receiver's score of a reply, beside the reply's own", least=0)


class PersonaGenerator(PersonaAgent, TorchGeneratorAgent):
    """A `TorchGeneratorAgent` with personas (see `PersonaAgent`) and mixed precision.

    Set `PREFIX`, the method's name in its flags, and write `build_model` and `_model_input`; CONTRIBUTING.md has a
    complete example. It can also stand in front of one of ParlAI's generators.
    """

    PREFIX: str
    listener: Callable[[str], None] | None = None  # is told the text so far after each word; of a beam, the best one

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group(f'Precision of {cls.__name__}'), cls.PREFIX, Precision)
        add_flags(parser.add_argument_group(f'Choice among replies of {cls.__name__}'), cls.PREFIX, Hearing)
        return parser

    def __init__(self, opt: Opt, shared=None):
        self.amp = from_opt(Precision, opt, self.PREFIX).amp
        self.hearing = from_opt(Hearing, opt, self.PREFIX)
        super().__init__(opt, shared)
        if self.hearing.receiver and self.beam_size == 1:
            raise UserError(
                f'--{self.PREFIX}-receiver chooses among the replies of a beam: give --inference beam and --beam-size '
                f'2 or more (saw {self.beam_size})'
            )
        self.receiver = self.hearing.receiver and perception.load(
            self.hearing.receiver, opt.get('datapath'), f'--{self.PREFIX}-receiver'
        )
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

    def _rerank_beams(self, batch: Batch, found: Found) -> Found:
        """Sort the replies of each beam by `reply_scores` and what the receiver says of them."""
        if all(len(replies) == 1 for replies in found):  # nothing to choose
            return found
        sizes = [len(replies) for replies in found]
        scores = self.reply_scores(batch, found) + self.heard(batch, found)
        return [
            sorted(
                ((tokens, score, *rest) for (tokens, _, *rest), score in zip(replies, some, strict=True)),
                key=lambda reply: -reply[1].item(),
            )
            for replies, some in zip(found, scores.split(sizes), strict=True)
        ]

    def reply_scores(self, batch: Batch, found: Found) -> Tensor:
        """Return the score of each reply of each beam."""
        return torch.stack([score for replies in found for _, score, *_ in replies])

    def heard(self, batch: Batch, found: Found) -> Tensor:
        """Return the receiver's weighted score of each reply (P²Bot, eq. 15)."""
        if not self.receiver:
            return torch.zeros(())
        pairs = [
            (self._v2t(tokens), persona)
            for persona, replies in zip(batch.personas, found, strict=True)
            for tokens, *_ in replies
        ]
        scores = self.receiver.perception(*zip(*pairs, strict=True))
        return self.hearing.receiver_weight * torch.tensor(scores, device=found[0][0][0].device)

    def _treesearch_factory(self, device, verbose=False):
        search = super()._treesearch_factory(device, verbose)
        listener, advance = self.listener, search.advance
        if listener is not None:

            def advance_and_tell(*args, **kwargs):
                advance(*args, **kwargs)
                listener(self._v2t(search.partial_hyps[search.scores.argmax()]))

            search.advance = advance_and_tell
        return search

    def observe_whole(self, **content: Any) -> Message:
        """Observe dialogues as a whole. They are no turn of a conversation: nothing of them is remembered."""
        self.observation = Message({'episode_done': True, WHOLE: True, **content})
        return self.observation

    @staticmethod
    def refuse_mixture(obs_batch: Iterable[Message]) -> None:
        """Refuse single turns beside whole dialogues, from which they cannot be learned."""
        if any('text_vec' in obs for obs in obs_batch):
            raise UserError(
                'a batch has whole dialogues and single turns, from several tasks after -t: train on one kind at a time'
            )

    def self_observe(self, self_message: Message) -> None:
        if self.observation is not None and WHOLE in self.observation:
            self.reset()
        else:
            super().self_observe(self_message)

    def turns_of(self, messages: Iterable[dict[str, Any]], persona: Iterable[str] | None = None) -> list[Message]:
        """Return the turns of a whole dialogue, vectorised as if they had come one by one."""
        history, turns = self.build_history(), []
        for turn in messages:
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
