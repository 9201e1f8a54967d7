"""Reads files of sentences with (subject, relation, object) triples. Pure: paths in, records out."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from parlai_persona.data.dialogue import DataError
from parlai_persona.files import parse_json

COLUMNS = ('ground_sentence', 'ground_head', 'ground_reln', 'ground_tail')
Record = TypeVar('Record')


class Fact(NamedTuple):
    text: str
    triple: tuple[str, str, str]


def read_sentences(path: Path) -> Iterator[Fact]:
    """Read persona sentences from CSV with the columns of `COLUMNS`."""
    rows = read_rows(path)
    header = next((cells for _, cells in rows), [])
    missing = set(COLUMNS) - set(header)
    if missing:
        raise DataError(f'{path}: the first line has no {", ".join(sorted(missing))}; saw {header}')
    for number, cells in rows:
        if len(cells) != len(header):
            raise DataError(f'{path}, line {number}: saw {len(cells)} columns, expected {len(header)}; quote commas')
        row = dict(zip(header, cells, strict=True))
        values = [row[column].strip() for column in COLUMNS]
        if not all(values):
            raise DataError(f'{path}, line {number}: saw {values}; expected a sentence and its triple')
        text, head, relation, tail = values
        yield Fact(text, (head, relation, tail))


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and cells of each CSV line that is not empty. A row is one line: an open quote is an error."""
    for number, line in numbered(path):
        try:
            cells = next(csv.reader([line], strict=True))
        except csv.Error as error:
            raise DataError(
                f'{path}, line {number}: {error}; saw {line[:80]!r}; expected one row a line, '
                f'each quote closed, and at most {csv.field_size_limit():,} characters in a cell'
            ) from None
        if cells:
            yield number, cells


def read_utterances(path: Path) -> Iterator[Fact]:
    """Read utterances from JSON lines {"utterance": text, "triple": [subject, relation, object]}."""

    def fact(row: dict) -> Fact:
        text, head, relation, tail = (part.strip() for part in strings([row['utterance'], *strings(row['triple'])]))
        if not (text and head and relation and tail):
            raise ValueError
        return Fact(text, (head, relation, tail))

    yield from read_lines(path, fact, '{"utterance": text, "triple": [subject, relation, object]}')


class Case(NamedTuple):
    """An evaluation case of Dialogue NLI: a dialogue, its next utterance, and utterances that were not said."""

    persona: list[str]
    history: list[str]
    gold: str
    contradicting: list[str]
    similar: list[str]
    others: list[str]

    def candidates(self) -> list[str]:
        return [self.gold, *self.contradicting, *self.similar, *self.others]


def read_cases(path: Path) -> Iterator[Case]:
    """Read cases from JSON lines with a persona, the dialogue so far (or none) and candidates."""

    def case(row: dict) -> Case:
        (gold, *_), *others = (strings(row['candidates'][name]) for name in ('label', 'neg', 'similar', 'rand'))
        return Case(strings(row['persona']), strings(row.get('prefix', [])), gold, *others)

    names = '"label": [...], "neg": [...], "similar": [...], "rand": [...]'
    yield from read_lines(path, case, f'{{"persona": [...], "prefix": [...], "candidates": {{{names}}}}}')


def strings(value: list[str]) -> list[str]:
    """Return a list of texts as it is; raise a TypeError if it is anything else."""
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError
    return value


def read_lines(path: Path, record: Callable[[dict], Record], expected: str) -> Iterator[Record]:
    """Yield the record of each JSON line; `expected` describes a line in the error message."""
    for number, line in numbered(path):
        try:
            made = record(parse_json(line))
        except (ValueError, KeyError, TypeError):
            raise DataError(f'{path}, line {number}: saw {line[:80]!r}; expected {expected}') from None
        yield made


def numbered(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and text of each line of a UTF-8 file."""
    with path.open('rb') as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode('utf-8-sig' if number == 1 else 'utf-8')
            except UnicodeDecodeError as error:
                raise DataError(f'{path}, line {number}: {error}; expected UTF-8 text') from None
            yield number, text
