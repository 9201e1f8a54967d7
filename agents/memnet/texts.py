"""Texts -> numbers of words, each text once; batches of them as the model takes them. numpy and torch only."""

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from parlai_persona.agents.memnet.model import Memory, Texts

KNOWN = 200_000  # texts to remember


class Line(NamedTuple):
    """A text as the model sees it; equal keys, equal words."""

    words: np.ndarray
    key: bytes

    def number(self) -> int:
        """The same in every process, as Python's own hash is not."""
        return int.from_bytes(blake2b(self.key, digest_size=8).digest(), 'little', signed=True)


def line(words: Sequence[int]) -> Line:
    array = np.array(words, np.int32)
    return Line(array, array.tobytes())


EMPTY = line(())


class Lines:
    """Looks texts up; the last `KNOWN` are remembered."""

    def __init__(self, look_up: Callable[[str], list[int]], limit: int | None, newest: bool = False):
        self.look_up, self.limit, self.newest = look_up, limit, newest
        self.known: dict[str, Line] = {}

    def __call__(self, text: str) -> Line:
        found = self.known.get(text)
        if found is None:
            words = self.look_up(text)
            if self.limit is not None and len(words) > self.limit:
                words = words[len(words) - self.limit :] if self.newest else words[: self.limit]
            found = line(words)
            if len(self.known) >= KNOWN:
                del self.known[next(iter(self.known))]  # the oldest
            self.known[text] = found
        return found


def padded(rows: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """(T, longest) filled up with 0, and the lengths (T,)."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    table = np.zeros((len(rows), max(1, lengths.max(initial=0))), np.int64)
    if len(rows):
        table[np.arange(table.shape[1]) < lengths[:, None]] = np.concatenate(rows)
    return torch.from_numpy(table), torch.from_numpy(lengths)


def texts(lines: Sequence[Line]) -> Texts:
    """Distinct lines, the shortest first."""
    distinct = sorted({line.key: line for line in lines}.values(), key=lambda line: len(line.words))
    place = {line.key: number for number, line in enumerate(distinct)}
    words, lengths = padded([line.words for line in distinct])
    return Texts(words, lengths, torch.tensor([place[line.key] for line in lines], dtype=torch.long))


def memory(personas: Iterable[Iterable[Line]]) -> Memory:
    """Personas without empty and repeated sentences; equal sentences of several personas stand there once."""
    place, bags, rows = {EMPTY.key: 0}, [EMPTY.words], []
    for persona in personas:
        row: dict[int, None] = {}
        for sentence in persona:
            number = place.get(sentence.key)
            if number is None:
                number = place[sentence.key] = len(bags)
                bags.append(sentence.words)
            row[number] = None
        row.pop(0, None)
        rows.append(np.fromiter(row, np.int64, len(row)))
    table, lengths = padded(rows)
    starts = np.cumsum([0, *map(len, bags[:-1])])
    return Memory(
        torch.from_numpy(np.concatenate(bags).astype(np.int64)),
        torch.from_numpy(starts),
        table,
        torch.arange(table.shape[1]) < lengths[:, None],
    )
