"""Persona-Chat and ConvAI2 files -> `Dialogue` records. Pure: paths in, records out.

A line is `<number> <text>[<TAB><reply>[<TAB><reward>[<TAB><candidate|candidate|…>]]]`, numbered from 1 in each
dialogue; lines with a persona come first and have no reply.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path

from parlai_persona.dialogue import DataError, Dialogue, Turn
from parlai_persona.fields import PARTNERS_PERSONA, YOUR_PERSONA


@dataclass
class Draft:
    """A dialogue while its lines come in."""

    persona: list[str] = field(default_factory=list)
    partner_persona: list[str] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)  # messages waiting for a reply

    def add(self, columns: list[str], where: str) -> None:
        text, reply, _, candidates = (columns + [''] * 4)[:4]
        if not reply and text.startswith(YOUR_PERSONA):
            self.persona.append(text[len(YOUR_PERSONA):])
        elif not reply and text.startswith(PARTNERS_PERSONA):
            self.partner_persona.append(text[len(PARTNERS_PERSONA):])
        elif not reply:
            self.unanswered.append(text)
        else:
            choices = tuple(candidates.split('|')) if candidates else ()
            if choices and reply not in choices:
                raise DataError(f'{where}: the reply {reply!r} is not among its {len(choices)} candidates')
            self.turns.append(Turn('\n'.join([*self.unanswered, text]), reply, choices))
            self.unanswered = []

    def done(self, id: str) -> Dialogue:
        return Dialogue(id, tuple(self.turns), tuple(self.persona), tuple(self.partner_persona))


def read_dialogues(path: Path) -> Iterator[Dialogue]:
    """The dialogues of one file, one at a time; ids are `<split>-<number of the dialogue in the file>`."""
    split = path.name.split('_')[0]
    draft, last, count = Draft(), 0, 0
    with path.open(encoding='utf-8') as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f'{path}, line {number}'
            position, columns = split_line(line, where)
            if position == 1 and last:
                yield draft.done(f'{split}-{count}')
                draft, count = Draft(), count + 1
            elif position != last + 1:
                raise DataError(f'{where}: saw number {position} after number {last}, expected {last + 1} or 1')
            draft.add(columns, where)
            last = position
    if last:
        yield draft.done(f'{split}-{count}')


def split_line(line: str, where: str) -> tuple[int, list[str]]:
    """`'3 hello\\thi there'` -> `(3, ['hello', 'hi there'])`."""
    number, _, rest = line.strip().partition(' ')
    columns = [column.strip() for column in rest.split('\t')]
    if not number.isascii() or not number.isdecimal() or not columns[0] or len(columns) > 4:
        raise DataError(
            f'{where}: saw {shorten(line)!r}, '
            'expected "<number> <text>[<TAB><reply>[<TAB><reward>[<TAB><candidates>]]]"'
        )
    return int(number), columns


def read_views(paths: list[Path]) -> Iterator[Dialogue]:
    """One dialogue from several files of the same split: turns from the first, personas from whichever has them."""
    for views in zip_longest(*map(read_dialogues, paths)):
        yield merge(views, paths)


def merge(views: tuple[Dialogue | None, ...], paths: list[Path]) -> Dialogue:
    first = views[0]
    for view, path in zip(views[1:], paths[1:], strict=True):
        if view is None or first is None:
            short, long = (path, paths[0]) if view is None else (paths[0], path)
            raise DataError(f'{short} has fewer dialogues than {long}: they are not views of the same split')
        if not alike(first, view):
            raise DataError(f'dialogue {first.id!r} differs between {paths[0]} and {path}: not views of the same split')
        first = replace(
            first,
            persona=first.persona or view.persona,
            partner_persona=first.partner_persona or view.partner_persona,
        )
    assert first is not None
    return first


def alike(one: Dialogue, other: Dialogue) -> bool:
    """As many turns, and mostly the same words: in the releases "i'm" in one file can be "i am" in another."""
    words, others = ({w for t in d.turns for w in f'{t.text} {t.reply}'.split()} for d in (one, other))
    return len(one.turns) == len(other.turns) and 2 * len(words & others) > len(words | others)


def shorten(line: str, width: int = 60) -> str:
    line = line.rstrip('\n')
    return line if len(line) <= width else line[: width - 1] + '…'
