"""The tokenizers of pretrained models as ParlAI's dictionaries."""

from pathlib import Path
from typing import Any

from parlai.agents.hugging_face.dict import HuggingFaceDictionaryAgent

from parlai_persona.errors import UserError
from parlai_persona.files import draft
from parlai_persona.models.base import base_of, load_base_tokenizer
from parlai_persona.models.layout import LAYOUTS, Layout, Tokens

REMEMBERED = 100_000  # texts


class PretrainedDictionary(HuggingFaceDictionaryAgent):
    """Remembers the tokens of texts, which come again at every turn. Its file only names the model it belongs to."""

    def __init__(self, opt, shared=None):
        self.remembered: dict[str, Tokens] = shared['remembered'] if shared else {}
        super().__init__(opt, shared)

    def share(self):
        return {**super().share(), 'remembered': self.remembered}

    def source(self) -> str:
        """Return what the model is called."""
        raise NotImplementedError

    def tokens(self, text: str) -> Tokens:
        """Return the tokens of a text."""
        raise NotImplementedError

    def txt2vec(self, text, vec_type=list):
        if text not in self.remembered:
            if len(self.remembered) >= REMEMBERED:
                self.remembered.clear()
            self.remembered[text] = self.tokens(text)
        return vec_type(self.remembered[text])

    def save(self, filename=None, append=False, sort=True) -> None:
        """Write where the tokenizer comes from; ParlAI expects a file."""
        with draft(Path(filename or self.opt['dict_file'])) as part:
            part.write_text(f'the tokenizer of {self.source()}\n', encoding='utf-8')


class TokenizerDictionary(PretrainedDictionary):
    """That of a language model, with the new tokens of a layout behind its own.

    A reply ends with the layout's end of a turn. ParlAI's start and padding are a special token that no text has.
    """

    add_special_tokens = False
    skip_decode_special_tokens = False

    def __init__(self, opt, shared=None):
        self.known: int = shared['known'] if shared else 0
        super().__init__(opt, shared)

    def share(self):
        return {**super().share(), 'known': self.known}

    def source(self) -> str:
        return base_of(self.opt).model

    @staticmethod
    def tokens_of(opt) -> str:
        """Return a name for what the tokens are, for metrics."""
        return Path(base_of(opt).model).stem.lower()

    def get_tokenizer(self, opt) -> Any:
        tokenizer, config = load_base_tokenizer(opt)
        self.known = max(len(tokenizer), config.vocab_size)
        return tokenizer

    def override_special_tokens(self, opt) -> None:
        marks = LAYOUTS[base_of(opt).layout]
        self.fresh = marks if base_of(opt).layout == 'tokens' else ()
        for number, token in enumerate(self.fresh):
            self.tok2ind[token], self.ind2tok[self.known + number] = self.known + number, token
        self.space = '' if self.hf_tokenizer.tokenize('a')[0].startswith('▁') else ' '  # before a word in a sentence
        begin = self.hf_tokenizer.encode('a')[:1]
        begin = begin if begin == [self.hf_tokenizer.bos_token_id] else []
        persona, partner, own, last = (self.mark(mark) for mark in marks)
        if not last:
            raise UserError(
                f'--lm-model {base_of(opt).model}: its tokenizer has no token for {marks[-1]!r}, which ends a reply in '
                f'--lm-layout {base_of(opt).layout}; choose a language model with a tokenizer of its own'
            )
        end = last[-1]
        self.layout = Layout(self.txt2vec, begin, persona, partner, own, end)
        special = [*self.hf_tokenizer.all_special_ids, *(self.tok2ind[token] for token in self.fresh)]
        self.unsaid = [one for one in special if one != end]  # never in a reply
        unused = [one for one in self.hf_tokenizer.all_special_ids if one not in (end, *begin)]
        if not unused:
            raise UserError(f'--lm-model {base_of(opt).model}: its tokenizer has no special token left for padding')
        self.null_token = self.start_token = self.ind2tok[unused[-1]]
        self.end_token, self.unk_token = self.ind2tok[end], self.hf_tokenizer.unk_token or self.null_token
        self._unk_token_idx = self.tok2ind[self.unk_token]

    def mark(self, mark: str) -> Tokens:
        return [self.tok2ind[mark]] if mark in self.fresh else self.encode(mark)

    def encode(self, text: str) -> Tokens:
        """Return the tokens of a text; what looks like a special token in it is words."""
        return self.hf_tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def tokens(self, text: str) -> Tokens:
        """Return the tokens of a sentence, or of several, within a line."""
        words = ' '.join(text.split())
        return self.encode(self.space + words) if words else []

    def vec2txt(self, vec, **kwargs):
        return self.hf_tokenizer.decode([int(token) for token in vec if int(token) < self.known]).strip()
