"""`-m persona:seq2seq`: a recurrent generator with attention, without the persona. PEDNet's first baseline."""

from parlai.core.torch_agent import Batch
from torch import Tensor

from parlai_persona.agents.seq2seq.model import Seq2Seq
from parlai_persona.models.recurrent import Sizes
from parlai_persona.models.recurrent_agent import RecurrentAgent


class Seq2seqAgent(RecurrentAgent):
    PREFIX = 'seq2seq'

    def network(self, sizes: Sizes, words: int, start: int, end: int, pad: int) -> Seq2Seq:
        return Seq2Seq(sizes, words, start, end, pad)

    def _model_input(self, batch: Batch) -> tuple[Tensor]:
        return (batch.text_vec,)
