"""Persona-Chat blown up to any size: repeated, with other words here and there."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parlai.core.params import ParlaiParser

import parlai_persona  # noqa: F401  tells ParlAI about persona:
from parlai_persona import fields
from parlai_persona.data.other_task import episodes, teacher
from parlai_persona.files import draft
from parlai_persona.tasks.congeneric.examples import Split, examples

TASK = 'persona:personachat'
CHANGED = 0.15  # share of the words that a repetition replaces, by words of the corpus as often as they occur there


def dialogues(datapath: str) -> list[list[dict[str, Any]]]:
    """Return the episodes of the training and the valid split."""
    line = ['-t', TASK, '--datapath', datapath, '--persona-candidates', 'none', '--loglevel', 'error']
    opt = ParlaiParser(True, False).parse_args(line)
    return [episode for fold in ('train', 'valid') for episode in episodes(teacher(opt, TASK, fold, stream=True))]


def perturbed(datapath: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the dialogues as they are, and then changed ones without end."""
    plain, rng = dialogues(datapath), random.Random(0)
    common = [word for episode in plain for message in episode for word in message['text'].split('\n')[-1].split()]

    def changed(text: str) -> str:
        return ' '.join(rng.choice(common) if rng.random() < CHANGED else word for word in text.split(' '))

    yield from plain
    while True:
        for episode in plain:
            persona = [changed(sentence) for sentence in episode[0]['persona']]
            yield [
                {
                    'text': changed(message['text'].split('\n')[-1]),
                    'labels': [changed(reply) for reply in fields.labels_of(message)],
                    'persona': persona,
                    'partner_persona': message['partner_persona'],
                }
                for message in episode
            ]


def write_corpus(path: Path, count: int, datapath: str) -> Path:
    """Write so many examples, one a line, unless the file is there."""
    if not path.exists():
        with draft(path) as part, part.open('w', encoding='utf-8') as file:
            for number, example in enumerate(examples(Split(TASK, perturbed(datapath)), 1)):
                if number == count:
                    break
                file.write(json.dumps(example) + '\n')
    return path


def read_corpus(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding='utf-8') as file:
        yield from map(json.loads, file)
