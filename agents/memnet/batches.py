"""Texts as lines of word numbers, and batches of them in which each distinct text stands once. Needs no ParlAI.

Shapes: B examples; T distinct texts of at most W words; S distinct persona sentences, at most N per example.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

CACHED_TEXTS = 200_000


class Line(NamedTuple):
    """A text as the network sees it. Lines with equal keys have equal words."""

    words: np.ndarray
    key: bytes

    @classmethod
    def of(cls, words: Sequence[int]) -> 'Line':
        array = np.array(words, np.int32)
        return cls(array, array.tobytes())

    def number(self) -> int:
        """Return a hash that is the same in every process, unlike Python's own. It is never 0 in practice."""
        return int.from_bytes(blake2b(self.key, digest_size=8).digest(), 'little', signed=True)


class Example(NamedTuple):
    """The parts of a message that the agent keeps."""

    context: Line
    persona: list[Line]
    label: str | None
    said: frozenset[str]  # all lines of the dialogue so far

    def words(self, persona: bool) -> np.ndarray:
        """Return the words of the context, with those of the persona or without."""
        return np.concatenate([line.words for line in (self.context, *(self.persona if persona else ()))])


class Texts(NamedTuple):
    """Distinct texts, sorted by length, and the text of each example."""

    words: Tensor  # (T, W), padded on the right
    lengths: Tensor  # (T,), always on the CPU
    place: Tensor  # (B,) row of each example's text

    def to(self, device: str | torch.device) -> 'Texts':
        return Texts(self.words.to(device), self.lengths, self.place.to(device))


class Memory(NamedTuple):
    """Distinct persona sentences end to end (sentence 0 has no words), and the sentences of each example."""

    words: Tensor  # (words of all sentences,)
    starts: Tensor  # (S,) where each sentence begins in `words`
    rows: Tensor  # (B, N) sentence numbers, padded with 0
    mask: Tensor  # (B, N) bool, false at padding

    def to(self, device: str | torch.device) -> 'Memory':
        return Memory(*(tensor.to(device) for tensor in self))


def cached_lines(
    look_up: Callable[[str], list[int]], limit: int | None, keep_end: bool = False
) -> Callable[[str], Line]:
    """Return a cached function from a text to its line of at most `limit` words: the last ones if `keep_end`."""

    @lru_cache(CACHED_TEXTS)
    def to_line(text: str) -> Line:
        words = look_up(text)
        if limit is not None and len(words) > limit:
            words = words[len(words) - limit :] if keep_end else words[:limit]
        return Line.of(words)

    return to_line


def pad_rows(rows: Sequence[np.ndarray], padding: int = 0) -> tuple[Tensor, Tensor]:
    """Return the padded rows (T, longest), and their lengths (T,)."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    table = np.full((len(rows), max(1, lengths.max(initial=0))), padding, np.int64)
    if len(rows):
        table[np.arange(table.shape[1]) < lengths[:, None]] = np.concatenate(rows)
    return torch.from_numpy(table), torch.from_numpy(lengths)


def batch_texts(lines: Sequence[Line]) -> Texts:
    """Batch the distinct lines, the shortest first."""
    distinct = sorted({line.key: line for line in lines}.values(), key=lambda line: len(line.words))
    place = {line.key: number for number, line in enumerate(distinct)}
    words, lengths = pad_rows([line.words for line in distinct])
    return Texts(words, lengths, torch.tensor([place[line.key] for line in lines], dtype=torch.long))


def batch_personas(personas: Iterable[Iterable[Line]]) -> Memory:
    """Batch personas without their empty and repeated sentences. A sentence of several personas is stored once."""
    empty = Line.of(())
    numbers, bags, rows = {empty.key: 0}, [empty.words], []
    for persona in personas:
        row: dict[int, None] = {}  # a set that keeps its order
        for sentence in persona:
            number = numbers.setdefault(sentence.key, len(bags))
            if number == len(bags):
                bags.append(sentence.words)
            row[number] = None
        row.pop(0, None)
        rows.append(np.fromiter(row, np.int64, len(row)))
    table, lengths = pad_rows(rows)
    starts = np.cumsum([0, *map(len, bags[:-1])])
    return Memory(
        torch.from_numpy(np.concatenate(bags).astype(np.int64)),
        torch.from_numpy(starts),
        table,
        torch.arange(table.shape[1]) < lengths[:, None],
    )
