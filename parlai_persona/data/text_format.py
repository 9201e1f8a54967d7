"""The text format of Persona-Chat and of the bAbI dialog tasks (ParlAI's "fbdialog"). Pure: paths in, records out.

A line is `<number> <text>[<TAB><reply>[<TAB><reward>[<TAB><candidate|candidate|…>]]]`. Numbers start at 1 in each
dialogue. A text without a reply is joined to the next message that has one.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from parlai_persona.data.dialogue import DataError, Turn
from parlai_persona.files import open_text

DIGITS = 9  # of the number of a line in its dialogue


class Line(NamedTuple):
    where: str  # file and line number, for error messages
    text: str
    reply: str = ''
    candidates: tuple[str, ...] = ()


def read_episodes(path: Path) -> Iterator[list[Line]]:
    """Yield the lines of each dialogue, one dialogue at a time."""
    lines: list[Line] = []
    with open_text(path) as file:
        for number, raw in enumerate(file, 1):
            if not raw.strip():
                continue
            where = f'{path}, line {number}'
            position, line = split_line(raw, where)
            if position == 1 and lines:
                yield lines
                lines = []
            elif position != len(lines) + 1:
                expected = f'{len(lines) + 1} or 1' if lines else '1'
                raise DataError(f'{where}: saw number {position} after number {len(lines)}, expected {expected}')
            lines.append(line)
    if not lines:
        raise DataError(f'{path}: saw no dialogue in it, expected lines "<number> <text><TAB><reply>"')
    yield lines


def split_line(raw: str, where: str) -> tuple[int, Line]:
    """Split `'3 hello\\thi there'` into number 3, text 'hello' and reply 'hi there'."""
    number, _, rest = raw.strip().partition(' ')
    columns = [column.strip() for column in rest.split('\t')]
    if not number.isascii() or not number.isdecimal() or len(number) > DIGITS or not columns[0] or len(columns) > 4:
        raise DataError(
            f'{where}: saw {shorten(raw)!r}, expected "<number> <text>[<TAB><reply>[<TAB><reward>[<TAB><candidates>]]]"'
        )
    text, reply, _, candidates = (columns + [''] * 4)[:4]
    return int(number), Line(where, text, reply, tuple(candidates.split('|')) if candidates else ())


def turns(lines: Iterable[Line]) -> Iterator[Turn]:
    """Yield the messages that have a reply, each joined with the messages before it that have none."""
    waiting: list[str] = []
    for line in lines:
        waiting.append(line.text)
        if not line.reply:
            continue
        if line.candidates and line.reply not in line.candidates:
            raise DataError(
                f'{line.where}: the reply {line.reply!r} is not among its {len(line.candidates)} candidates'
            )
        yield Turn('\n'.join(waiting), line.reply, line.candidates)
        waiting = []


def shorten(line: str, width: int = 60) -> str:
    line = line.rstrip('\n')
    return line if len(line) <= width else line[: width - 1] + '…'
