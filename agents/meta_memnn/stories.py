"""Dialogues as word counts: what a memory network reads, stored once and batched without a Python loop.

The text form is that of Bordes et al. (2017) and Joshi et al. (2017): a memory line is the bag of its words, a
speaker token ($u the user, $r the system and the facts it was given) and a time token (#n, the line's number in the
dialogue, or #-n, how many lines ago it was); the query is the user's last line, without tokens.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

USER, SYSTEM = '$u', '$r'
ARTICLES = frozenset(('a', 'an', 'the'))
FAR = -1e9  # added to a score that is to have no part in a softmax; exp(FAR) is 0
TOKEN = re.compile(r'<silence>|\w+|[^\w\s]+')


def tokenize(text: str) -> list[str]:
    """Lower case, no articles, no final punctuation, words apart from punctuation (as Joshi et al. have it)."""
    words = [word for word in TOKEN.findall(text.lower()) if word not in ARTICLES]
    return words[:-1] if words and words[-1] in ('.', '?', '!') else words


@dataclass(frozen=True, slots=True)
class Example:
    """What there is to learn from one reply."""

    memory: tuple[tuple[str, ...], ...]  # tokens of each line so far, oldest first; speaker and time included
    query: tuple[str, ...]
    reply: str
    profile: int = 0  # how many of the first lines describe the user


@dataclass
class Story:
    """A dialogue while it goes on. `hear` what the other side said, `query` it, `say` the reply."""

    back: bool = False  # count time from the query back, not from the start of the dialogue
    lines: list[tuple[tuple[str, ...], int]] = field(default_factory=list)  # words and speaker; number
    number: int = 0
    heard: tuple[str, ...] = ()
    profile: int = 0

    def hear(self, text: str, profile: int = 0) -> None:
        """Facts, one a line, and the utterance as the last line: ParlAI's form. `profile` facts are about the user."""
        *facts, utterance = text.split('\n')
        if not self.lines:
            self.profile = min(profile, len(facts))
        for fact in facts:
            self.number += 1
            self.lines.append(((*tokenize(fact), SYSTEM), self.number))
        self.number += 1
        self.heard = tuple(tokenize(utterance))

    def example(self, reply: str) -> Example:
        memory = tuple((*words, self.time(number)) for words, number in self.lines)
        return Example(memory, self.heard, reply, self.profile)

    def time(self, number: int) -> str:
        return f'#-{self.number - number}' if self.back else f'#{number}'

    def say(self, reply: str) -> None:
        self.lines += [((*self.heard, USER), self.number), ((*tokenize(reply), SYSTEM), self.number)]
        self.heard = ()


@dataclass
class Vocabulary:
    """Words -> numbers. The words of the related tasks come first: `related` of them."""

    words: dict[str, int] = field(default_factory=dict)
    related: int = 0

    def add(self, words: Iterable[str]) -> None:
        for word in words:
            self.words.setdefault(word, len(self.words))

    def ids(self, words: Iterable[str]) -> list[int]:
        """Words that nobody knows add nothing to a bag."""
        return [self.words[word] for word in words if word in self.words]

    def __len__(self) -> int:
        return len(self.words)


@dataclass(frozen=True)
class Bags:
    """A sparse matrix of word counts, `rows` x `columns`: row i is the bag ids[offsets[i]:offsets[i + 1]].

    `transpose` is needed for gradients only, and then once.
    """

    ids: Tensor
    offsets: Tensor
    columns: int
    cache: dict[str, 'Bags'] = field(default_factory=dict, repr=False, compare=False)

    @property
    def rows(self) -> int:
        return len(self.offsets) - 1

    @property
    def transpose(self) -> 'Bags':
        if 'T' not in self.cache:
            counts = np.ones(len(self.ids), np.bool_)
            turned = csr_matrix(
                (counts, self.ids.cpu().numpy(), self.offsets.cpu().numpy()), (self.rows, self.columns)
            ).tocsc()
            ids, offsets = (torch.from_numpy(a).to(self.ids.device) for a in (turned.indices, turned.indptr))
            back = Bags(ids, offsets, self.rows)
            back.cache['T'] = self
            self.cache['T'] = back
        return self.cache['T']

    @classmethod
    def of(cls, bags: Sequence[Sequence[int]], columns: int) -> 'Bags':
        offsets = np.concatenate([[0], np.cumsum([len(bag) for bag in bags])]).astype(np.int32)
        ids = np.fromiter((i for bag in bags for i in bag), np.int32, int(offsets[-1]))
        return cls(torch.from_numpy(ids), torch.from_numpy(offsets), columns)

    def to(self, device: torch.device | str) -> 'Bags':
        return Bags(self.ids.to(device), self.offsets.to(device), self.columns)


class Batch:
    """B examples of a task for each of R runs: `index` (R, B) says which."""

    def __init__(self, table: 'StoryTable', index: np.ndarray, device: torch.device | str = 'cpu'):
        self.table, self.index, self.device = table, index, device

    @cached_property
    def target(self) -> Tensor:
        """(R, B): the reply's place in the list, or -1."""
        return torch.from_numpy(self.table.arrays()[6][self.index]).to(self.device)

    @cached_property
    def length(self) -> np.ndarray:
        """(R, B): memory lines."""
        return self.table.arrays()[5][self.index] - 2

    @cached_property
    def width(self) -> int:
        """J, the most of them."""
        return int(self.length.max(initial=0))

    @property
    def mask(self) -> Tensor:
        """(R, B, J): 0 where there is a line, FAR where there is none."""
        there = np.arange(self.width) < self.length[..., None]
        return torch.from_numpy(np.where(there, np.float32(0), np.float32(FAR))).to(self.device)

    @property
    def profile(self) -> Tensor:
        """(R, B, 1): the first so many lines are about the user."""
        return torch.from_numpy(self.table.arrays()[7][self.index][..., None]).to(self.device)

    @cached_property
    def bags(self) -> Bags:
        """Rows: the J memory lines of each example (short stories have empty rows at the end), after those of all
        examples the queries, then the replies. Columns: words, those of run r at r * V."""
        words, word_start, word_count, rows, row_start, *_ = self.table.arrays()
        runs, each = self.index.shape
        length, start = self.length.reshape(-1), row_start[self.index.reshape(-1)]
        line = np.arange(self.width)
        place = np.where(line < length[:, None], start[:, None] + line, -1)
        last = start + length  # of each example: the query; its reply comes next
        place = np.concatenate([place.reshape(-1), last, last + 1])
        row = rows[place]
        count = np.where(place >= 0, word_count[row], 0)
        end = np.cumsum(count)
        ids = words[np.arange(int(end[-1])) + np.repeat(word_start[row] - (end - count), count)]
        if runs > 1:
            run = (np.arange(runs * each) // each * self.table.size).astype(np.int32)
            ids = ids + np.repeat(np.concatenate([np.repeat(run, self.width), run, run]), count)
        offsets = np.concatenate([[0], end]).astype(np.int32)
        return Bags(torch.from_numpy(ids), torch.from_numpy(offsets), runs * self.table.size).to(self.device)


class StoryTable:
    """Examples of one task as flat arrays, from which any batch is put together by array operations."""

    def __init__(self, head: str, vocabulary: Vocabulary, size: int, candidates: dict[str, int], memory: int):
        """`head` is the model's for this task, with `candidates`; `size` is how many of the first words of the
        vocabulary may occur; `memory` the most lines to keep."""
        self.head, self.vocabulary, self.size, self.candidates, self.memory = head, vocabulary, size, candidates, memory
        self.rows: list[list[int]] = []  # word ids of each line, query and reply
        self.known: dict[tuple[str, ...], int] = {}  # the row of a line: the same line is stored once
        self.story: list[list[int]] = []  # rows of each example: memory, query, reply
        self.targets: list[int] = []
        self.profiles: list[int] = []
        self.flat: tuple[np.ndarray, ...] | None = None

    def row(self, tokens: tuple[str, ...]) -> int:
        if tokens not in self.known:
            self.known[tokens] = len(self.rows)
            self.rows.append([i for i in self.vocabulary.ids(tokens) if i < self.size])
        return self.known[tokens]

    def add(self, example: Example) -> None:
        profile, rest = example.memory[: example.profile], example.memory[example.profile :]
        kept = [*profile, *rest[max(0, len(example.memory) - self.memory) :]]  # the oldest go, the profile stays
        lines = [self.row(line) for line in kept]
        self.story.append([*lines, self.row(example.query), self.row((*tokenize(example.reply), SYSTEM))])
        self.profiles.append(example.profile)
        self.targets.append(self.candidates.get(example.reply, -1))
        self.flat = None

    def __len__(self) -> int:
        return len(self.story)

    def arrays(self) -> tuple[np.ndarray, ...]:
        """words, starts and lengths of the rows; rows, starts and lengths of the examples; targets; profiles."""
        if self.flat is None:
            flat: list[np.ndarray] = []
            for ragged in (self.rows, self.story):
                lengths = np.array([len(part) for part in ragged], np.int64)
                flat += [np.fromiter((i for part in ragged for i in part), np.int32, int(lengths.sum()))]
                flat += [np.cumsum(lengths) - lengths, lengths]
            self.flat = (*flat, np.array(self.targets, np.int64), np.array(self.profiles, np.int64))
        return self.flat

    def batch(self, index: np.ndarray, device: torch.device | str = 'cpu') -> Batch:
        """The examples of `index` (R, B)."""
        return Batch(self, index, device)
