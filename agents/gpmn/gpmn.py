"""`-m persona:gpmn`: a recurrent generator that attends to its persona, sentence by sentence (Zhang et al. 2018).

This is the ParlAI side: flags, messages. The network is in `model.py`.
"""

from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.torch_agent import Batch, Output
from torch import Tensor

from parlai_persona import fields
from parlai_persona.agents.gpmn.model import Gpmn, start_weights
from parlai_persona.models.recurrent import Sizes
from parlai_persona.models.recurrent_agent import RecurrentAgent


class GpmnAgent(RecurrentAgent):
    PREFIX = 'gpmn'

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        parser.set_defaults(gpmn_tied=True)  # as in the paper
        return parser

    def network(self, sizes: Sizes, words: int, start: int, end: int, pad: int) -> Gpmn:
        own, unknown = self.dict, self.dict.unk_token
        special = {own.null_token, own.start_token, own.end_token, unknown, *self._get_special_tokens()}
        alpha = start_weights(self.words(), own.freq, special, unknown)
        return Gpmn(sizes, alpha, words, start, end, pad)

    def _model_input(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        return batch.text_vec, batch.persona_vec, batch.persona_mask

    def _generate(self, batch: Batch, *args, **kwargs):
        """Also note how much each sentence of the persona weighs in the best replies."""
        best, beams = super()._generate(batch, *args, **kwargs)
        read, _ = self._pad_tensor([tokens[:-1] for tokens, *_ in best])  # what the decoder has read
        encoded = self.net.encoder(*self._model_input(batch))
        self.weights = self.net.mean_attention(encoded, read.to(batch.text_vec.device))
        return best, beams

    def eval_step(self, batch: Batch) -> Output | None:
        """Reply, and say how much each sentence of the persona weighs in the reply."""
        output = super().eval_step(batch)
        if output is not None and not self.skip_generation:
            output[fields.PERSONA_WEIGHTS] = self.by_sentence(self.weights, batch)
        return output
