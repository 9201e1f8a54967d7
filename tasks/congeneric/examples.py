"""Any ParlAI task with personas -> one example for each reply: a context X, a persona P and the reply Y."""

import json
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import groupby
from typing import Any, NamedTuple

from parlai_persona import fields
from parlai_persona.data.dialogue import DataError
from parlai_persona.data.messages import MARKS

KEPT = ('label_candidates', fields.KIND, fields.SPEAKER)  # of a Message, if it has them
CONTEXT, EPISODE = 'context', 'episode'  # fields of an example: X, and the number of its episode in the other task
RECOGNISED = 3  # utterances from the first on that tell which dialogue a side belongs to


class Split(NamedTuple):
    """Where the examples of a split come from."""

    name: str  # of the task, for errors
    episodes: Iterable[list[dict[str, Any]]]
    marks: Sequence[str] = MARKS  # how persona lines in a text begin
    candidates: bool = True  # whether they are kept


def examples(split: Split, turns: int) -> Iterator[dict[str, Any]]:
    """Yield the examples of a split in its order, as fields of a Message; `turns` is the number of context messages.

    `text` is X below the persona lines that the other task shows.
    """
    seen = personas = 0
    for number, messages in enumerate(split.episodes):
        for example in episode_examples(messages, number, turns, tuple(split.marks)):
            seen += 1
            personas += bool(example[fields.PERSONA])
            if not split.candidates:
                example.pop('label_candidates', None)
            yield example
    if seen and not personas:
        raise DataError(
            f'{split.name}: none of {seen} examples has a persona (the field {fields.PERSONA!r} of its messages, or '
            f'lines {fields.YOUR_PERSONA!r} in their text): give --congeneric-of another task'
        )


def episode_examples(messages: list[dict], number: int, turns: int, marks: tuple[str, ...]) -> Iterator[dict]:
    first = messages[0]
    shown, _ = split_lines(first.get('text') or '', marks)
    persona, partners = (marked(shown, mark) for mark in marks[:2])
    history: list[str] = []
    for turn, message in enumerate(messages):
        history.append(split_lines(message.get('text') or '', marks)[1])
        labels = fields.labels_of(message)
        if not labels:
            continue
        context = '\n'.join(history[-turns:])
        example = {
            'text': '\n'.join([*shown, context]),
            CONTEXT: context,
            'labels': labels,
            fields.PERSONA: list(message.get(fields.PERSONA) or persona),
            fields.PARTNER_PERSONA: list(message.get(fields.PARTNER_PERSONA) or partners),
            fields.DIALOGUE_ID: str(message.get(fields.DIALOGUE_ID, number)),
            fields.TURN: turn,
            fields.TURNS: len(messages),
            EPISODE: number,
        }
        yield {**example, **{name: message[name] for name in KEPT if message.get(name)}}
        history.append(labels[0])


def split_lines(text: str, marks: tuple[str, ...]) -> tuple[list[str], str]:
    """Split a text into the persona lines at its beginning and the rest."""
    lines = text.split('\n')
    count = next((place for place, line in enumerate(lines) if not line.startswith(marks)), len(lines))
    return lines[:count], '\n'.join(lines[count:])


def marked(lines: Iterable[str], mark: str) -> list[str]:
    return [line.removeprefix(mark) for line in lines if line.startswith(mark)]


def dialogue_key(episode: Sequence[dict[str, Any]]) -> int:
    """Return a number of the dialogue that these examples are from; it is the same for both sides of the dialogue.

    The sides have ids of their own, but their first utterances in common. They are told apart by a silence.
    """
    said = [text for example in episode[:RECOGNISED] for text in (latest(example), example['labels'][0])]
    utterances = [text for text in said if text != fields.SILENCE][:RECOGNISED]
    return int.from_bytes(blake2b('\n'.join(utterances).encode(), digest_size=8).digest(), 'big', signed=True) or 1


def latest(example: dict[str, Any]) -> str:
    return example[CONTEXT].rsplit('\n', 1)[-1]


def by_episode(lines: Iterable[str]) -> Iterator[list[dict[str, Any]]]:
    """Yield the examples of each episode, from lines of JSON."""
    for _, group in groupby(map(json.loads, lines), key=lambda example: example[EPISODE]):
        yield list(group)
