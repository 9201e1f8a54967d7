"""Pretrained encoders of texts: where they are found, and their tokenizers as ParlAI's dictionaries."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parlai_persona.errors import UserError
from parlai_persona.flags import from_opt
from parlai_persona.models.packages import MINILM, packaged
from parlai_persona.models.pretrained import Pretrained, load, load_tokenizer
from parlai_persona.models.tokenizer import PretrainedDictionary

Place = tuple[str, str | None]
WHAT = f"a name on Hugging Face's hub, a folder, or {MINILM}, a Python package with all-MiniLM-L6-v2"


def encoder_place(encoder: str, revision: str | None, flag: str) -> Place:
    """Return the name or folder of an encoder for transformers, and the revision; `flag` says which option names it."""
    if encoder == MINILM:
        return str(packaged(MINILM, flag).parent), revision
    path = Path(encoder).expanduser()
    return str(path) if path.exists() else encoder, revision


def load_encoder(place: Place, flag: str) -> Pretrained:
    """Load an encoder for the states of all its tokens: without the pooler, which reads the first one alone."""
    found = load('encoder', *place, flag)
    if getattr(found.model, 'pooler', None) is not None:
        found.model.pooler = None
    return found


class EncoderDictionary(PretrainedDictionary):
    """The tokenizer of an encoder, which puts marks around a text, such as [CLS] and [SEP]."""

    FLAG: str  # the option that names the encoder
    SOURCE: type[Any]  # the agent's dataclass of options with the encoder and its revision
    add_special_tokens = True
    skip_decode_special_tokens = True

    def __init__(self, opt, shared=None):
        self.positions: int = shared['positions'] if shared else 0  # of tokens that the encoder can read
        super().__init__(opt, shared)

    def share(self):
        return {**super().share(), 'positions': self.positions}

    @classmethod
    def place(cls, opt: Mapping[str, Any]) -> Place:
        """Return where transformers finds the encoder."""
        prefix, _, name = cls.FLAG.removeprefix('--').replace('-', '_').rpartition('_')
        source = from_opt(cls.SOURCE, opt, prefix)
        return encoder_place(getattr(source, name), source.revision, cls.FLAG)

    def source(self) -> str:
        return self.place(self.opt)[0]

    def get_tokenizer(self, opt) -> Any:
        tokenizer, config = load_tokenizer(*self.place(opt), self.FLAG, 'encoder')
        limits = getattr(config, 'max_position_embeddings', None), tokenizer.model_max_length
        self.positions = min(limit for limit in limits if limit)
        return tokenizer

    def override_special_tokens(self, opt) -> None:
        self.begin, self.end = self.marks()
        if not self.end or self.hf_tokenizer.pad_token is None:
            raise UserError(
                f'{self.FLAG} {self.place(opt)[0]}: its tokenizer marks no end of a text, or has no padding. Expected '
                'an encoder like BERT'
            )
        self.null_token = self.start_token = self.hf_tokenizer.pad_token
        self.end_token = self.ind2tok[self.end[0]]
        self.unk_token = self.hf_tokenizer.unk_token or self.null_token

    def marks(self) -> tuple[list[int], list[int]]:
        """Return the tokens before and after a text."""
        nothing, letter = (self.hf_tokenizer.encode(text) for text in ('', 'a'))
        before = next(
            (place for place, pair in enumerate(zip(nothing, letter, strict=False)) if pair[0] != pair[1]), len(nothing)
        )
        return nothing[:before], nothing[before:]

    def words(self, text: str) -> list[int]:
        """Return the tokens of a text without marks; what looks like a mark in it is words."""
        return self.hf_tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
