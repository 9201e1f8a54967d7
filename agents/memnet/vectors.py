"""Rows of a word-embedding matrix from elsewhere: a file of vectors, or a checkpoint with other words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from parlai_persona.files import open_text


def read(path: Path, words: Mapping[str, int], size: int) -> dict[str, Tensor]:
    """The vectors that a text file (GloVe's or fastText's form, perhaps .gz) has of these words, the first of each."""
    found: dict[str, Tensor] = {}
    with opened(path) as file:
        for number, text in enumerate(file, 1):
            text = text.rstrip(' \r\n')
            seen = text.count(' ')
            if number == 1:
                header = seen == 1 and text.replace(' ', '').isdecimal()  # fastText: how many words, how many numbers
                check_size(path, int(text.split(' ')[1]) if header else seen, size)
                if header:
                    continue
            word, _, rest = text.partition(' ')
            if seen != size:
                check_blanks(text, size, f'{path}:{number}')
            elif word in words and word not in found:
                found[word] = numbers(rest, f'{path}:{number}', size)
    return found


def opened(path: Path) -> IO[str]:
    if not path.is_file():
        raise FileNotFoundError(f'--memnet-vectors {path}: there is no such file; expected a text file of word vectors')
    return open_text(path)


def check_size(path: Path, seen: int, expected: int) -> None:
    if seen != expected:
        raise ValueError(
            f'{path}: its vectors have {seen} dimensions, --memnet-embedding-size is {expected}: '
            f'set it to {seen}, or take another file'
        )


def check_blanks(text: str, size: int, place: str) -> None:
    """GloVe 840B has a few words with blanks in them, which no tokenizer makes; any other line is broken."""
    fields = text.split(' ')
    last = ' '.join(fields[1 : len(fields) - size])
    if len(fields) <= size or not last or is_number(fields[len(fields) - size - 1]):
        raise ValueError(f'{place}: saw {len(fields) - 1} fields after a word, expected {size} numbers: mend the line')
    numbers(' '.join(fields[-size:]), place, size)


def is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def numbers(text: str, place: str, size: int) -> Tensor:
    fields = text.split(' ')
    bad = [field for field in fields if not is_number(field)]
    if bad:
        raise ValueError(f'{place}: saw {bad[0][:40]!r} after a word, expected {size} numbers: mend the line')
    return torch.tensor([float(field) for field in fields])


def put(rows: Tensor, vectors: Mapping[str, Tensor], words: Mapping[str, int]) -> None:
    """Write vectors into the rows of their words."""
    with torch.no_grad():
        for word, vector in vectors.items():
            rows[words[word]] = vector.to(rows)


def carry_over(old: Tensor, known: Sequence[str], rows: Tensor, words: Sequence[str]) -> list[str]:
    """Write the rows that `known` words have in `old` into those of `words` in `rows`; the words that are new."""
    place = {word: number for number, word in enumerate(known)}
    pairs = [(number, place[word]) for number, word in enumerate(words) if word in place]
    here, there = torch.tensor(pairs, dtype=torch.long).view(-1, 2).T
    with torch.no_grad():
        rows[here] = old[there].to(rows)
    return [word for word in words if word not in place]
