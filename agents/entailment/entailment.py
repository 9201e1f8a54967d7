"""`-m persona:entailment`: does an utterance entail a persona sentence, contradict it, or neither?

A classifier on a pretrained encoder. Trained on `persona:nli`, it is a judge for `--persona-nli`. This is the ParlAI
side: flags, and pairs of texts as tokens. The network is in `model.py`.
"""

from dataclasses import dataclass

from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.torch_agent import Batch
from parlai.core.torch_classifier_agent import TorchClassifierAgent
from torch import Tensor

from parlai_persona.agents.entailment.model import CrossEncoder
from parlai_persona.flags import add_flags, flag, from_opt
from parlai_persona.metrics.nli import HYPOTHESIS, LONGEST, PREMISE
from parlai_persona.models.encoder import WHAT, EncoderDictionary, load_encoder
from parlai_persona.models.packages import MINILM
from parlai_persona.models.trained import Learning, SavesTrained, prepare
from parlai_persona.tasks.nli.pairs import LABELS

PREFIX = 'entailment'
FLAG = '--entailment-encoder'


@dataclass(frozen=True)
class Source(Learning):
    encoder: str = flag(MINILM, f'what the classifier starts from: {WHAT}', metavar='WHAT')
    revision: str | None = flag(None, 'commit, branch or tag of a name on the hub')


class PairDictionary(EncoderDictionary):
    """The vector of a text is the tokens of its two lines, with the encoder's marks around and between them."""

    FLAG, SOURCE = FLAG, Source

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a pair; ParlAI's tasks write "Premise:" and "Hypothesis:" in front of its lines."""
        premise, _, hypothesis = text.partition('\n')
        return self.hf_tokenizer.encode(
            premise.removeprefix(PREMISE),
            hypothesis.removeprefix(HYPOTHESIS),
            truncation=True,
            max_length=min(LONGEST, self.positions),
            split_special_tokens=True,
        )


class EntailmentAgent(SavesTrained, TorchClassifierAgent):
    """Reads the utterance and the sentence together. Its checkpoints hold only what was trained."""

    BASE_FLAG = FLAG

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('Entailment'), PREFIX, Source)
        parser.set_defaults(classes=list(LABELS), optimizer='adamw', learningrate=5e-4, gradient_clip=1.0)
        return parser

    @staticmethod
    def dictionary_class():
        return PairDictionary

    def build_model(self) -> CrossEncoder:
        found = load_encoder(PairDictionary.place(self.opt), FLAG)
        self.stand_on(found)
        prepare(found.model, from_opt(Source, self.opt, PREFIX), PREFIX)
        (end,) = self.dict.end
        return CrossEncoder(found.model, len(self.class_list), self.NULL_IDX, end)

    def vectorize(self, *args, **kwargs):
        return super().vectorize(*args, **{**kwargs, 'add_start': False, 'add_end': False})

    def score(self, batch: Batch) -> Tensor:
        """Return the scores of the classes: (B, C)."""
        return self.model(batch.text_vec)
