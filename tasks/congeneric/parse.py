"""Reads the processed files that PEDNet's authors released. Pure: paths in, records out.

A split is two files with a line for each example. `demo.dev1` has the context with `<KEY>` for each specific word, the
reply and the chosen sentence. `demo.dev2` has the context, the reply, `None` and the persona (joined by `**`), the
place of the chosen one among these, and the places of the specific words in the context, with blanks between. A context
without specific words has a 0 there, which stands for no place.
"""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from parlai_persona.data.dialogue import DataError
from parlai_persona.data.text_format import shorten
from parlai_persona.fields import MASK
from parlai_persona.files import open_text

NOBODY = 'None'  # the first of the sentences, which stands for no sentence


class Released(NamedTuple):
    context: str
    masked: str
    reply: str
    persona: tuple[str, ...]
    label: int  # -1: none
    specific: tuple[str, ...]


def read_released(masked: Path, marked: Path) -> Iterator[Released]:
    """Yield the examples of a split from its two files, `demo.…1` and `demo.…2`."""
    with open_text(masked) as ones, open_text(marked) as others:
        for number, (one, other) in enumerate(zip_longest(ones, others), 1):
            where = f'{masked.name} and {marked.name}, line {number}'
            if one is None or other is None:
                short, long = (masked, marked) if one is None else (marked, masked)
                raise DataError(f'{short} ends before line {number}, and {long} does not: they are not a pair')
            yield example(columns(one, 3, where), columns(other, 5, where), where)


def example(one: list[str], other: list[str], where: str) -> Released:
    hidden, reply, chosen = one
    context, same_reply, sentences, label, _ = other
    persona = sentences.split('**')
    words, shown = context.split(), hidden.split()
    if reply != same_reply or len(words) != len(shown) or persona[0] != NOBODY:
        raise DataError(f'{where}: expected the same reply and as many words in both, and a persona after {NOBODY}**')
    if not label.isdecimal() or int(label) >= len(persona) or persona[int(label)] != chosen:
        raise DataError(f'{where}: saw label {label!r} and the sentence {shorten(chosen)!r} of {len(persona)}')
    specific = dict.fromkeys(word for word, other in zip(words, shown, strict=True) if other == MASK)
    return Released(context, hidden, reply, tuple(persona[1:]), int(label) - 1, tuple(specific))


def columns(line: str, count: int, where: str) -> list[str]:
    found = line.rstrip('\r\n').split('\t')
    if len(found) != count:
        raise DataError(f'{where}: saw {len(found)} columns in {shorten(line)!r}, expected {count} with tabs between')
    return found
