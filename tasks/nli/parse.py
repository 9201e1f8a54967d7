"""Files of sentences with (subject, relation, object) triples -> records. Pure: paths in, records out."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from parlai_persona.data.dialogue import DataError

COLUMNS = ('ground_sentence', 'ground_head', 'ground_reln', 'ground_tail')


class Fact(NamedTuple):
    text: str
    triple: tuple[str, str, str]


def read_sentences(path: Path) -> Iterator[Fact]:
    """Persona sentences: CSV with the columns of `COLUMNS`."""
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
    """Utterances: JSON lines {"utterance": text, "triple": [subject, relation, object]}."""
    with path.open(encoding='utf-8') as file:
        for number, line in enumerate(file, 1):
            try:
                found = json.loads(line)
                text, (head, relation, tail) = found['utterance'], found['triple']
                yield Fact(text.strip(), (head.strip(), relation.strip(), tail.strip()))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise DataError(
                    f'{path}, line {number}: saw {line[:80]!r}; expected {{"utterance": text, "triple": [subject, '
                    'relation, object]}'
                ) from None


class Case(NamedTuple):
    """An evaluation case of Dialogue NLI: a persona, what was said, what was not."""

    persona: list[str]
    gold: str
    contradicting: list[str]
    similar: list[str]
    others: list[str]

    def candidates(self) -> list[str]:
        return [self.gold, *self.contradicting, *self.similar, *self.others]


def read_cases(path: Path) -> Iterator[Case]:
    """JSON lines with persona and candidates: label, neg, similar, rand."""
    with path.open(encoding='utf-8') as file:
        for number, line in enumerate(file, 1):
            try:
                found = json.loads(line)
                lists = [found['candidates'][name] for name in ('label', 'neg', 'similar', 'rand')]
                yield Case(found['persona'], lists[0][0], *lists[1:])
            except (ValueError, KeyError, TypeError, IndexError):
                raise DataError(
                    f'{path}, line {number}: saw {line[:80]!r}; expected {{"persona": [...], "candidates": {{"label": '
                    '[...], "neg": [...], "similar": [...], "rand": [...]}}}}'
                ) from None
