"""Words and their numbers, in the place of a ParlAI dictionary."""

import os
from collections.abc import Iterable

from parlai.core.build_data import make_dir
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser


class Vocabulary:
    """Words -> numbers. The words of the related tasks come first: `related` of them.

    `<model>.dict` lists the words for people to read; a model's checkpoint has them as well.
    """

    null_token, start_token, end_token = '__null__', '__start__', '__end__'

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        return parser

    def __init__(self, opt: Opt | None = None):
        self.words: dict[str, int] = {}
        self.related = 0

    def add(self, words: Iterable[str]) -> None:
        for word in words:
            self.words.setdefault(word, len(self.words))

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, word: str) -> int:
        return self.words.get(word, 0)

    def is_prebuilt(self) -> bool:
        """Tell ParlAI not to read the task for it: the agent reads the related tasks as well."""
        return True

    def save(self, path: str, sort: bool = False) -> None:
        make_dir(os.path.dirname(path) or '.')
        with open(path, 'w', encoding='utf-8') as file:
            file.writelines(f'{word}\t1\n' for word in self.words)
