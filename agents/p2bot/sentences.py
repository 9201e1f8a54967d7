"""The tokenizer of the receiver's encoders as ParlAI's dictionary: a text is lines, and each line is a sentence."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from parlai_persona.agents.p2bot.perception import Tokens
from parlai_persona.flags import flag
from parlai_persona.metrics.stopwords import STOP_WORDS
from parlai_persona.models.encoder import WHAT, EncoderDictionary

PREFIX = 'p2bot_receiver'
FLAG = '--p2bot-receiver-encoder'
LONGEST = 128  # tokens of a sentence


@dataclass(frozen=True)
class Source:
    encoder: str = flag('google-bert/bert-base-uncased', f'what both encoders start from: {WHAT}', metavar='WHAT')
    revision: str | None = flag(None, 'commit, branch or tag of a name on the hub')


class SentenceDictionary(EncoderDictionary):
    """The vector of a text is the tokens of its lines, each between the marks of the encoder ([CLS] and [SEP])."""

    FLAG, SOURCE = FLAG, Source

    @cached_property
    def stop_tokens(self) -> set[int]:
        """The tokens of stop words and marks, and those that no text has."""
        marks = {number for token, number in self.tok2ind.items() if not any(map(str.isalnum, token))}
        words = {token for word in STOP_WORDS for token in self.line(word)}
        return marks | words | set(self.hf_tokenizer.all_special_ids)

    def line(self, text: str) -> list[int]:
        """Return the tokens of a line; what looks like a special token in it is words."""
        longest = min(LONGEST, self.positions)
        return self.hf_tokenizer.encode(text, truncation=True, max_length=longest, split_special_tokens=True)

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
