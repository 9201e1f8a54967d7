"""Word vectors from text files in the format of GloVe or fastText: one word and its numbers a line, perhaps gzipped."""

import math
from collections.abc import Container
from pathlib import Path

import torch
from torch import Tensor

from parlai_persona.errors import UserError
from parlai_persona.files import open_text

LONG = 20  # digits; numbers of words and dimensions are shorter


def vector_size(path: Path) -> int:
    """Return how many numbers the file has for each word."""
    with open_text(path) as file:
        first = fields_of(next(file, ''))
    size = int(first[1]) if is_header(first) else len(first) - 1
    if not size:
        raise UserError(f'{path}:1: saw {" ".join(first)[:40]!r}, expected a word and its numbers')
    return size


def read_vectors(path: Path, words: Container[str]) -> dict[str, Tensor]:
    """Return the vectors of those words that the file has; of two vectors of a word, the first."""
    size = vector_size(path)
    vectors: dict[str, Tensor] = {}
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            count = line.rstrip(' \r\n').count(' ')
            word = line.partition(' ')[0]
            if count == size and (word not in words or word in vectors):
                continue  # most lines: not worth splitting
            fields = fields_of(line)
            if number == 1 and is_header(fields):
                continue
            check_line(fields, size, f'{path}:{number}')
            if count == size:
                vectors[word] = torch.tensor([float(field) for field in fields[1:]])
    return vectors


def fields_of(line: str) -> list[str]:
    return line.rstrip(' \r\n').split(' ')


def is_header(fields: list[str]) -> bool:
    """Tell whether these fields are fastText's first line: how many words, how many numbers a word."""
    return len(fields) == 2 and all(field.isdecimal() and len(field) < LONG for field in fields)


def check_line(fields: list[str], size: int, place: str) -> None:
    """Refuse a line that is not a word and `size` numbers.

    Several words are fine if the last is no number: GloVe 840B has entries such as `. . .`, which nobody looks up.
    """
    words, numbers = fields[:-size], fields[-size:]
    bad = [field for field in numbers if not is_number(field)]
    if words and not bad and (len(words) == 1 or (words[-1] and not is_number(words[-1]))):
        return
    seen = ' '.join(bad if len(words) == 1 else fields[1:])[:40]
    raise UserError(f'{place}: saw {seen!r} after a word, expected {size} numbers: mend the line')


def is_number(field: str) -> bool:
    try:
        return math.isfinite(float(field))
    except ValueError:
        return False
