"""Reads Persona-Chat and ConvAI2 files (`data.text_format`) into `Dialogue` records. Pure: paths in, records out.

The persona lines come first in a dialogue and have no reply.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from parlai_persona.data.dialogue import DataError, Dialogue
from parlai_persona.data.text_format import Line, read_episodes, turns
from parlai_persona.fields import PARTNERS_PERSONA, YOUR_PERSONA


def read_dialogues(path: Path) -> Iterator[Dialogue]:
    """Yield the dialogues of one file; ids are `<split>-<number of the dialogue in the file>`."""
    split = path.name.split('_')[0]
    for number, lines in enumerate(read_episodes(path)):
        own, lines = split_persona(lines, YOUR_PERSONA)
        partners, lines = split_persona(lines, PARTNERS_PERSONA)
        yield Dialogue(f'{split}-{number}', tuple(turns(lines)), own, partners)


def split_persona(lines: list[Line], mark: str) -> tuple[tuple[str, ...], list[Line]]:
    """Split off the persona lines that begin with `mark`; return their sentences and the other lines."""
    marked = [line for line in lines if not line.reply and line.text.startswith(mark)]
    return tuple(line.text.removeprefix(mark) for line in marked), [line for line in lines if line not in marked]


def read_views(paths: list[Path]) -> Iterator[Dialogue]:
    """Yield each dialogue, read from several files of the same split: turns from the first, personas from any."""
    for views in zip_longest(*map(read_dialogues, paths)):
        yield merge(views, paths)


def merge(views: tuple[Dialogue | None, ...], paths: list[Path]) -> Dialogue:
    first = views[0]
    for view, path in zip(views[1:], paths[1:], strict=True):
        if view is None or first is None:
            short, long = (path, paths[0]) if view is None else (paths[0], path)
            raise DataError(f'{short} has fewer dialogues than {long}: they are not views of the same split')
        if not same_dialogue(first, view):
            raise DataError(f'dialogue {first.id!r} differs between {paths[0]} and {path}: not views of the same split')
        first = replace(
            first, persona=first.persona or view.persona, partner_persona=first.partner_persona or view.partner_persona
        )
    assert first is not None
    return first


def same_dialogue(one: Dialogue, other: Dialogue) -> bool:
    """Tell whether both have as many turns and mostly the same words ("i'm" in one file can be "i am" in another)."""
    words, others = ({w for t in d.turns for w in f'{t.text} {t.reply}'.split()} for d in (one, other))
    return len(one.turns) == len(other.turns) and 2 * len(words & others) > len(words | others)
