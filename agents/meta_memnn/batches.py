"""Examples as arrays of word numbers. Any batch of them is put together without a Python loop.

Shapes: B examples, J memory lines (the most in the batch), V words.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from parlai_persona.agents.meta_memnn.stories import SYSTEM, Example, tokenize

MASKED = -1e9  # added to a score that takes no part in a softmax: exp(MASKED) is 0


@dataclass(frozen=True)
class Bags:
    """Bags of words as a sparse matrix of counts, (rows, columns): row i counts ids[offsets[i]:offsets[i + 1]]."""

    ids: Tensor
    offsets: Tensor
    columns: int
    cache: dict[str, 'Bags'] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, bags: Sequence[Sequence[int]], columns: int) -> 'Bags':
        offsets = np.concatenate([[0], np.cumsum([len(bag) for bag in bags])]).astype(np.int32)
        ids = np.fromiter((i for bag in bags for i in bag), np.int32, int(offsets[-1]))
        return cls(torch.from_numpy(ids), torch.from_numpy(offsets), columns)

    @property
    def transpose(self) -> 'Bags':
        """Return the transposed matrix, which gradients need. It is computed once."""
        if 'T' not in self.cache:
            ids, offsets = self.ids.cpu().numpy(), self.offsets.cpu().numpy()
            shape = (len(offsets) - 1, self.columns)
            turned = csr_matrix((np.ones(len(ids), np.bool_), ids, offsets), shape).tocsc()
            back = Bags(torch.from_numpy(turned.indices), torch.from_numpy(turned.indptr), shape[0])
            self.cache['T'] = back.to(self.ids.device)
            self.cache['T'].cache['T'] = self
        return self.cache['T']

    def to(self, device: torch.device | str) -> 'Bags':
        return Bags(self.ids.to(device), self.offsets.to(device), self.columns)


def word_numbers(tokens: Iterable[str], words: Mapping[str, int], size: int) -> list[int]:
    """Return the numbers below `size`. Unknown words add nothing to a bag."""
    return [number for token in tokens if (number := words.get(token, size)) < size]


class StoryTable:
    """The examples of one task as flat arrays."""

    def __init__(self, head: str, words: Mapping[str, int], size: int, places: Mapping[str, int], memory: int):
        """Start with no examples.

        `head` names the model's list of candidates, and `places` has the place of each reply in it. `words` are
        numbered; those from `size` on are left out. `memory` is the largest number of lines to keep of a story.
        """
        self.head, self.words, self.size, self.places, self.memory = head, words, size, places, memory
        self.rows: list[list[int]] = []  # word numbers of each different line, query or reply
        self.row_of: dict[tuple[str, ...], int] = {}
        self.stories: list[list[int]] = []  # rows of each example: memory, query, reply
        self.targets: list[int] = []
        self.profiles: list[int] = []
        self.flat: tuple[np.ndarray, ...] | None = None

    def __len__(self) -> int:
        return len(self.stories)

    def add(self, example: Example) -> None:
        profile, rest = example.memory[: example.profile], example.memory[example.profile :]
        lines = [*profile, *rest[max(0, len(example.memory) - self.memory) :]]  # the oldest go, the profile stays
        texts = [*lines, example.query, (*tokenize(example.reply), SYSTEM)]
        self.stories.append([self.row(tokens) for tokens in texts])
        self.profiles.append(example.profile)
        self.targets.append(self.places.get(example.reply, -1))
        self.flat = None

    def row(self, tokens: tuple[str, ...]) -> int:
        if tokens not in self.row_of:
            self.row_of[tokens] = len(self.rows)
            self.rows.append(word_numbers(tokens, self.words, self.size))
        return self.row_of[tokens]

    def arrays(self) -> tuple[np.ndarray, ...]:
        """Return words, starts and lengths of the rows; rows, starts and lengths of the examples; targets; profiles."""
        if self.flat is None:
            flat: list[np.ndarray] = []
            for ragged in (self.rows, self.stories):
                lengths = np.array([len(part) for part in ragged], np.int64)
                flat += [np.fromiter((i for part in ragged for i in part), np.int32, int(lengths.sum()))]
                flat += [np.cumsum(lengths) - lengths, lengths]
            self.flat = (*flat, np.array(self.targets, np.int64), np.array(self.profiles, np.int64))
        return self.flat

    def batch(self, index: np.ndarray, device: torch.device | str = 'cpu') -> 'Batch':
        """Return the examples at the places `index` (B,)."""
        return Batch(self, index, device)


class Batch:
    """Some examples of a table. Each of its arrays is computed only if a network asks for it."""

    def __init__(self, table: StoryTable, index: np.ndarray, device: torch.device | str):
        self.table, self.index, self.device = table, index, device

    @property
    def target(self) -> Tensor:
        """Return the reply's place in the list of candidates, or -1: (B,)."""
        return torch.from_numpy(self.table.arrays()[6][self.index]).to(self.device)

    @cached_property
    def length(self) -> np.ndarray:
        """Return the numbers of memory lines: (B,)."""
        return self.table.arrays()[5][self.index] - 2

    @property
    def width(self) -> int:
        """Return J, the largest number of memory lines in the batch."""
        return int(self.length.max(initial=0))

    def masks(self, split: bool) -> list[Tensor]:
        """Return, for each memory, 0 where a story has a line in it and MASKED elsewhere: (B, J).

        With `split`, the lines about the user are a memory of their own.
        """
        line, length = np.arange(self.width), self.length[:, None]
        profile = self.table.arrays()[7][self.index][:, None]
        memories = [line < profile, (profile <= line) & (line < length)] if split else [line < length]
        return [torch.from_numpy(np.where(has, np.float32(0), np.float32(MASKED))).to(self.device) for has in memories]

    @property
    def bags(self) -> Bags:
        """Return B * J memory lines (short stories have empty ones at the end), then B queries, then B replies."""
        words, word_start, word_count, rows, row_start, *_ = self.table.arrays()
        start, line = row_start[self.index], np.arange(self.width)
        memory = np.where(line < self.length[:, None], start[:, None] + line, -1)
        query = start + self.length  # the reply comes next
        place = np.concatenate([memory.reshape(-1), query, query + 1])
        row = rows[place]
        count = np.where(place >= 0, word_count[row], 0)
        end = np.cumsum(count)
        ids = words[np.arange(int(end[-1])) + np.repeat(word_start[row] - (end - count), count)]
        offsets = np.concatenate([[0], end]).astype(np.int32)
        return Bags(torch.from_numpy(ids), torch.from_numpy(offsets), self.table.size).to(self.device)
