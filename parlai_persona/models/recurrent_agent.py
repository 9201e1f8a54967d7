"""The base of generators with a recurrent network."""

from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser

from parlai_persona.flags import add_flags, from_opt
from parlai_persona.models.generator import PersonaGenerator
from parlai_persona.models.history import ContextHistory
from parlai_persona.models.recurrent import RecurrentGenerator, Sizes


class RecurrentAgent(PersonaGenerator):
    """A `PersonaGenerator` with the flags of the network's sizes. It reads the partner's last message.

    Write `network`. Word vectors from a file come by ParlAI's `--embedding-type`.
    """

    NEEDS_TRAINING = True

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group(f'Network of {cls.__name__}'), cls.PREFIX, Sizes)
        parser.set_defaults(
            optimizer='adam',
            learningrate=5e-4,
            lr_scheduler='none',
            gradient_clip=5.0,
            history_size=1,
            text_truncate=50,
            label_truncate=50,
        )
        return parser

    @classmethod
    def history_class(cls):
        return ContextHistory

    def __init__(self, opt: Opt, shared=None):
        self.sizes = from_opt(Sizes, opt, self.PREFIX)
        super().__init__(opt, shared)

    def network(self, sizes: Sizes, words: int, start: int, end: int, pad: int) -> RecurrentGenerator:
        """Return the network; the numbers are those of the dictionary and of its special tokens."""
        raise NotImplementedError

    def build_model(self) -> RecurrentGenerator:
        net = self.network(self.sizes, len(self.dict), self.START_IDX, self.END_IDX, self.NULL_IDX)
        if self.opt['embedding_type'] != 'random':
            self._copy_embeddings(net.embeddings.weight, self.opt['embedding_type'])
        return net
