"""The tokenizer of the receiver's encoders as ParlAI's dictionary: a text is lines, and each line is a sentence."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from parlai_persona.agents.p2bot.perception import Tokens
from parlai_persona.errors import UserError
from parlai_persona.flags import flag, from_opt
from parlai_persona.metrics.stopwords import STOP_WORDS
from parlai_persona.models.packages import MINILM, packaged
from parlai_persona.models.pretrained import load_tokenizer
from parlai_persona.models.tokenizer import PretrainedDictionary

PREFIX = 'p2bot_receiver'
FLAG = '--p2bot-receiver-encoder'
LONGEST = 128  # tokens of a sentence


@dataclass(frozen=True)
class Source:
    encoder: str = flag(
        'google-bert/bert-base-uncased',
        f"what both encoders start from: a name on Hugging Face's hub, a folder, or {MINILM}, a Python package with "
        'all-MiniLM-L6-v2',
        metavar='WHAT',
    )
    revision: str | None = flag(None, 'commit, branch or tag of a name on the hub')


def encoder_place(opt: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the name or folder of the encoder for transformers, and the revision."""
    source = from_opt(Source, opt, PREFIX)
    if source.encoder == MINILM:
        return str(packaged(MINILM, FLAG).parent), source.revision
    path = Path(source.encoder).expanduser()
    return str(path) if path.exists() else source.encoder, source.revision


class SentenceDictionary(PretrainedDictionary):
    """The vector of a text is the tokens of its lines, each between the marks of the encoder ([CLS] and [SEP])."""

    add_special_tokens = True
    skip_decode_special_tokens = True

    def __init__(self, opt, shared=None):
        self.longest: int = shared['longest'] if shared else LONGEST
        super().__init__(opt, shared)

    def share(self):
        return {**super().share(), 'longest': self.longest}

    def source(self) -> str:
        return encoder_place(self.opt)[0]

    def get_tokenizer(self, opt) -> Any:
        tokenizer, config = load_tokenizer(*encoder_place(opt), FLAG, 'encoder')
        self.longest = min(LONGEST, getattr(config, 'max_position_embeddings', LONGEST))
        return tokenizer

    def override_special_tokens(self, opt) -> None:
        self.end = self.line('')[-1:]
        if not self.end or self.hf_tokenizer.pad_token is None:
            raise UserError(
                f'{FLAG} {opt.get(f"{PREFIX}_encoder")}: its tokenizer marks no end of a text, or has no padding. '
                'Expected an encoder like BERT'
            )
        self.null_token = self.start_token = self.hf_tokenizer.pad_token
        self.end_token = self.ind2tok[self.end[0]]
        self.unk_token = self.hf_tokenizer.unk_token or self.null_token

    @cached_property
    def stop_tokens(self) -> set[int]:
        """The tokens of stop words and marks, and those that no text has."""
        marks = {number for token, number in self.tok2ind.items() if not any(map(str.isalnum, token))}
        words = {token for word in STOP_WORDS for token in self.line(word)}
        return marks | words | set(self.hf_tokenizer.all_special_ids)

    def line(self, text: str) -> list[int]:
        """Return the tokens of a line; what looks like a special token in it is words."""
        return self.hf_tokenizer.encode(text, truncation=True, max_length=self.longest, split_special_tokens=True)

    def tokens(self, text: str) -> list[int]:
        lines = (line for line in text.split('\n') if line.strip())
        return [token for line in lines for token in self.line(line)]

    def vec2txt(self, vec, **kwargs):
        return '\n'.join(self.hf_tokenizer.decode(list(one), skip_special_tokens=True) for one in self.sentences(vec))

    def sentences(self, vec: Iterable[int]) -> list[Tokens]:
        """Return the tokens of each sentence of a vector, without padding."""
        pad, (end,) = self[self.null_token], self.end
        found: list[Tokens] = []
        tokens: list[int] = []
        for token in vec:
            if token != pad:
                tokens.append(int(token))
            if token == end:
                found.append(tuple(tokens))
                tokens = []
        return [*found, tuple(tokens)] if tokens else found  # the last may be cut off
