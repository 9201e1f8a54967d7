"""`-m persona:memnet/pretrained`: the memory of `persona:memnet` on a pretrained encoder of transformers.

It differs from the paper's agent in its network, its dictionary (the encoder's tokenizer) and its checkpoints, which
hold only what was trained.
"""

from dataclasses import dataclass
from typing import Any

from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from torch import nn

from parlai_persona.agents.memnet.encoders import MemoryShape
from parlai_persona.agents.memnet.memnet import MemnetAgent
from parlai_persona.agents.memnet.model import PretrainedMemNet
from parlai_persona.agents.memnet.options import Reading
from parlai_persona.flags import add_flags, flag, from_opt
from parlai_persona.models.encoder import WHAT, EncoderDictionary, load_encoder
from parlai_persona.models.packages import MINILM
from parlai_persona.models.precision import Precision, report_gain, store_frozen
from parlai_persona.models.trained import Learning, SavesTrained, merge_adapters, prepare

PREFIX = 'memnet_pretrained'
FLAG = '--memnet-pretrained-model'


@dataclass(frozen=True)
class Source(Learning, Precision):
    model: str = flag(MINILM, f'the encoder to start from: {WHAT}', metavar='WHAT')
    revision: str | None = flag(None, 'commit, branch or tag of a name on the hub')


class WordPieces(EncoderDictionary):
    """The vector of a text is its tokens, without the marks that the encoder puts around a text."""

    FLAG, SOURCE = FLAG, Source

    def tokens(self, text: str) -> list[int]:
        return self.words(text)


class PretrainedAgent(SavesTrained, MemnetAgent):
    """Encodes contexts, persona sentences and responses by one pretrained encoder."""

    NEEDS_TRAINING = False
    BASE_FLAG, HEAD = FLAG, 'lexical.'
    NAME, SAVED = 'persona:memnet/pretrained', ('model', 'shape', 'base')
    OPTIONS = (MemoryShape, Reading)

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('Pretrained encoder'), PREFIX, Source)
        parser.set_defaults(optimizer='adam', learningrate=5e-5)
        return parser

    @staticmethod
    def dictionary_class():
        return WordPieces

    def __init__(self, opt: Opt, shared=None):
        self.source = from_opt(Source, opt, PREFIX)
        super().__init__(opt, shared)

    def prepare_network(self) -> None:
        """Make the encoder fast before it encodes candidates: in an evaluation, merge adapters into its weights."""
        if not self._should_initialize_optimizer():
            merge_adapters(self.net)
        if self.source.amp:
            report_gain(self.net, '--memnet-pretrained-amp')
            store_frozen(self.net.encoder)

    def most_words(self, truncate: int | None) -> int | None:
        room = self.dict.positions - len(self.dict.begin) - len(self.dict.end)
        return room if truncate is None else min(truncate, room)

    def build_model(self) -> PretrainedMemNet:
        found = load_encoder(WordPieces.place(self.opt), FLAG)
        self.stand_on(found)
        for module in found.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = self.shape.dropout
        prepare(found.model, self.source, PREFIX.replace('_', '-'))
        words, marks = (len(self.dict), self.unknown_word()), (self.dict.begin, self.dict.end)
        return PretrainedMemNet(self.shape, found.model, *words, marks, self.source.amp)

    def load_weights(self, path: str, states: dict[str, Any]) -> None:
        """Load what was trained. The words are the encoder's own."""
        self.load_state_dict(states['model'])
