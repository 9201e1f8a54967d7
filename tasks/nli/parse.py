"""Reads files of sentences with (subject, relation, object) triples. Pure: paths in, records out."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from parlai_persona.data.dialogue import DataError

COLUMNS = ('ground_sentence', 'ground_head', 'ground_reln', 'ground_tail')
Record = TypeVar('Record')


class Fact(NamedTuple):
    text: str
    triple: tuple[str, str, str]


def read_sentences(path: Path) -> Iterator[Fact]:
    """Read persona sentences from CSV with the columns of `COLUMNS`."""
    with path.open(encoding='utf-8', newline='') as file:
        rows = csv.DictReader(file)
        missing = set(COLUMNS) - set(rows.fieldnames or ())
        if missing:
            raise DataError(f'{path}: the first line has no {", ".join(sorted(missing))}; saw {rows.fieldnames}')
        for number, row in enumerate(rows, 2):
            values = [row[column] for column in COLUMNS]
            if not all(values):
                raise DataError(f'{path}, line {number}: saw {values}; expected a sentence and its triple')
            text, head, relation, tail = (value.strip() for value in values)
            yield Fact(text, (head, relation, tail))


def read_utterances(path: Path) -> Iterator[Fact]:
    """Read utterances from JSON lines {"utterance": text, "triple": [subject, relation, object]}."""

    def fact(row: dict) -> Fact:
        head, relation, tail = (part.strip() for part in row['triple'])
        return Fact(row['utterance'].strip(), (head, relation, tail))

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
    """Read cases from JSON lines with a persona and candidates."""

    def case(row: dict) -> Case:
        (gold, *_), *others = (row['candidates'][name] for name in ('label', 'neg', 'similar', 'rand'))
        return Case(row['persona'], row.get('prefix', []), gold, *others)

    names = '"label": [...], "neg": [...], "similar": [...], "rand": [...]'
    yield from read_lines(path, case, f'{{"persona": [...], "candidates": {{{names}}}}}')


def read_lines(path: Path, record: Callable[[dict], Record], expected: str) -> Iterator[Record]:
    """Yield the record of each JSON line; `expected` describes a line in the error message."""
    with path.open(encoding='utf-8') as file:
        for number, line in enumerate(file, 1):
            try:
                yield record(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise DataError(f'{path}, line {number}: saw {line[:80]!r}; expected {expected}') from None
