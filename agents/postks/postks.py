"""`-m persona:postks`: learns from replies which sentence of the persona to reply with (Lian et al. 2019).

This is the ParlAI side: flags, messages, metrics. The network is in `model.py`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from parlai.core.metrics import AverageMetric
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.torch_agent import Batch
from torch import Tensor

from parlai_persona.agents.postks.model import Chosen, PostKs, agreement, bow_loss, divergence
from parlai_persona.errors import UserError
from parlai_persona.flags import add_flags, flag, from_opt
from parlai_persona.models.choice import ChoosingAgent, record_choice
from parlai_persona.models.recurrent import Sizes, idle


@dataclass(frozen=True)
class Learning:
    tau: float = flag(0.8, 'temperature of the Gumbel softmax that draws a sentence in training')
    warmup: float = flag(5.0, 'epochs at the start that train the choice only, by the bag of words', least=0)

    def __post_init__(self) -> None:
        if self.tau <= 0:
            raise UserError(f'--postks-tau is {self.tau}; it has to be above 0')


class PostksAgent(ChoosingAgent):
    """Learns with a sentence that is drawn from the posterior; speaks with the one that the prior prefers."""

    PREFIX = 'postks'
    epochs_done: Callable[[], float] = staticmethod(lambda: math.inf)  # ParlAI's training puts in its own (`compat`)

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('PostKS'), cls.PREFIX, Learning)
        parser.set_defaults(postks_gated=True)  # as in the paper
        return parser

    def __init__(self, opt: Opt, shared=None):
        self.learning = from_opt(Learning, opt, self.PREFIX)
        super().__init__(opt, shared)

    def network(self, sizes: Sizes, words: int, start: int, end: int, pad: int) -> PostKs:
        return PostKs(sizes, self.learning.tau, words, start, end, pad)

    def batchify(self, obs_batch, sort: bool = False) -> Batch:
        batch = super().batchify(obs_batch, sort=sort)
        if batch.label_vec is not None:
            batch['reply_vec'] = batch.label_vec.masked_fill(batch.label_vec == self.END_IDX, self.NULL_IDX)
        return batch

    def _model_input(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        return batch.text_vec, batch.persona_vec, batch.persona_mask, batch.get('reply_vec')

    def compute_loss(self, batch: Batch, return_output: bool = False):
        """Return NLL + KL + BOW, all means over a reply's words or over the batch; in the warm-up BOW alone."""
        nll, output = super().compute_loss(batch, return_output=True)
        chosen = output[2]
        kl, bow = self.measure(chosen, batch)
        loss = bow + idle(self.net) if self.is_warm_up() else nll + kl + bow
        self.weights = chosen.probabilities
        return (loss, output) if return_output else loss

    def is_warm_up(self) -> bool:
        return self.epochs_done() < self.learning.warmup

    def measure(self, chosen: Chosen, batch: Batch) -> tuple[Tensor, Tensor]:
        """Record the losses of the choice, and how often it is right; return the mean losses."""
        kl, bow = divergence(chosen), bow_loss(chosen, batch.reply_vec, self.NULL_IDX)
        has_persona = batch.persona_mask.any(1)
        agrees = (agreement(chosen) & has_persona).float()
        self.record_local_metric('kl', AverageMetric.many(kl.tolist()))
        self.record_local_metric('bow', AverageMetric.many(bow.tolist()))
        if has_persona.any():
            self.record_local_metric('prior_agrees', AverageMetric.many(agrees.tolist(), has_persona.int().tolist()))
        record_choice(self, chosen.prior, batch.sentence_place, batch.persona_mask)
        return kl.mean(), bow.mean()
