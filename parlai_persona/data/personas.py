"""Personas by name: 'random', 'none', a number in the data, a file, or sentences typed in."""

import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from parlai_persona.data.dialogue import Dialogue
from parlai_persona.errors import UserError
from parlai_persona.fields import PARTNERS_PERSONA, YOUR_PERSONA
from parlai_persona.files import read_text, typed_path

Persona = tuple[str, ...]
Item = TypeVar('Item')
DIGITS = 18  # of a number that is typed; Python reads no number of thousands of digits
WAYS = "'random', 'none', a number, a file with a sentence a line (*.txt), or sentences separated by |"


class PersonaError(UserError):
    """There is no such persona. The message is for the person who asked for it."""


class NoPersonas(PersonaError):
    """The data hold no personas at all."""


class PersonaBook:
    """The different personas of a data set, numbered from 1 in order of appearance and read when first needed."""

    def __init__(self, dialogues: Callable[[], Iterable[Dialogue]], rng: random.Random):
        self._dialogues = dialogues
        self._rng = rng
        self._personas: list[Persona] = []

    @property
    def personas(self) -> list[Persona]:
        if not self._personas:
            sides = ((d.persona, d.partner_persona) for d in self._dialogues())
            self._personas = [p for p in dict.fromkeys(p for pair in sides for p in pair) if p]
            if not self._personas:
                raise NoPersonas('the data hold no personas')
        return self._personas

    def find(self, asked: str) -> Persona:
        """Return the persona that was asked for in one of the `WAYS`."""
        asked = asked.strip()
        if asked == 'random':
            return self._rng.choice(self.personas)
        if asked == 'none':
            return ()
        if asked.isascii() and asked.isdecimal():
            return numbered(self.personas, int(asked[:DIGITS]), 'persona')
        if asked.endswith('.txt'):
            return read_file(typed_path(asked))
        return sentences(asked.split('|'), f'{asked!r}')

    def matching(self, words: str) -> list[tuple[int, Persona]]:
        """Return number and sentences of the personas with all of these words."""
        return [(n, persona) for n, persona in enumerate(self.personas, 1) if has_words(' '.join(persona), words)]


def numbered(items: Sequence[Item], number: int, what: str) -> Item:
    """Return an item of a list that is numbered from 1."""
    if not 1 <= number <= len(items):
        raise PersonaError(f'there is no {what} {number}: they are numbered from 1 to {len(items)}')
    return items[number - 1]


def has_words(text: str, words: str) -> bool:
    return all(word in text.lower() for word in words.lower().split())


def read_file(path: Path) -> Persona:
    return sentences(read_text(path).splitlines(), f'the file {path}')


def sentences(lines: Iterable[str], source: str) -> Persona:
    """Return the non-empty lines, without the marks that ParlAI's data put before them."""
    single = (line.strip() for text in lines for line in text.splitlines())
    found = (line.removeprefix(YOUR_PERSONA.strip()).removeprefix(PARTNERS_PERSONA.strip()) for line in single)
    persona = tuple(line.strip() for line in found if line.strip())
    if not persona:
        raise PersonaError(f'{source} holds no sentence; a persona is {WAYS}')
    return persona
