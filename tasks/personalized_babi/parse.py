"""Files of the (personalised) bAbI dialog tasks -> records. Pure: paths in, records out.

Dialogues are in the format of `data.text_format`. Those of the personalised tasks begin with a line about the user
(`male elderly`, in tasks 3 and 5 also `veg risotto`). Facts about restaurants (`resto_x R_phone resto_x_phone`) are
lines without a reply.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from parlai_persona.data.dialogue import DataError, Dialogue
from parlai_persona.data.text_format import Line, read_episodes, shorten, turns

API_CALL = 'api_call'
KINDS = ('option', API_CALL, 'info', 'other')  # of replies
SILENCE = '<SILENCE>'  # the user's message where the bot speaks twice in a row
SPLITS = {'trn': 'train', 'dev': 'valid', 'tst': 'test', 'tst-OOV': 'test-OOV'}  # in file names: in ids
NAME = re.compile(r'\bresto_\S+?stars(_\d+)?(?P<property>_\S+)?(?!\S)')  # of a restaurant, or of a property of it

Facts = dict[str, dict[str, str]]  # restaurant -> relation -> value


def read_dialogues(path: Path, personalized: bool) -> Iterator[Dialogue]:
    """The dialogues of one file, one at a time; ids are `<split>-<number of the dialogue in the file>`."""
    found = re.search(r'-(trn|dev|tst(-OOV)?)$', path.stem)
    split = SPLITS[found[1]] if found else path.stem
    for number, lines in enumerate(read_episodes(path)):
        profile = (read_profile(lines.pop(0)),) if personalized else ()
        answered = tuple(replace(turn, kind=kind(turn.reply)) for turn in turns(lines))
        yield Dialogue(f'{split}-{number}', answered, partner_persona=profile)


def read_profile(line: Line) -> str:
    if line.reply or fact(line.text):
        seen = f'{line.text}\t{line.reply}' if line.reply else line.text
        raise DataError(
            f'{line.where}: saw {shorten(seen)!r}, expected the profile of the user, as "1 male elderly", as the first '
            'line of a dialogue; the plain bAbI tasks (--babi-personalized false) have none'
        )
    return line.text


def kind(reply: str) -> str:
    """What a reply is about: a call, a restaurant it proposes, a property of one, or something else."""
    if reply.startswith(f'{API_CALL} '):
        return API_CALL
    name = NAME.search(reply)
    return 'other' if name is None else 'info' if name['property'] else 'option'


def fact(text: str) -> tuple[str, str, str] | None:
    """`'resto_x R_phone resto_x_phone'` -> restaurant, relation and value; None where a line is no fact."""
    words = text.split()
    return (words[0], words[1], words[2]) if len(words) == 3 and words[1].startswith('R_') else None


def write_facts(restaurant: str, facts: dict[str, str]) -> list[str]:
    """The lines of a dialogue that tell these facts."""
    return [f'{restaurant} {relation} {value}' for relation, value in facts.items()]


def read_kb(path: Path) -> Facts:
    """The knowledge base: restaurant -> relation -> value, in the order of the file."""
    facts: Facts = {}
    with path.open(encoding='utf-8') as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            known = fact(line.strip().partition(' ')[2])
            if known is None:
                raise DataError(
                    f'{path}, line {number}: saw {shorten(line)!r}, '
                    'expected "<number> <restaurant> R_<relation> <value>"'
                )
            restaurant, relation, value = known
            facts.setdefault(restaurant, {})[relation] = value
    return facts


def read_candidates(path: Path) -> list[str]:
    """The replies to choose from, without repeats, in the order of the file."""
    found: dict[str, None] = {}
    with path.open(encoding='utf-8') as lines:
        for number, line in enumerate(lines, 1):
            position, _, reply = line.strip().partition(' ')
            if line.strip() and not (position.isdecimal() and reply):
                raise DataError(f'{path}, line {number}: saw {shorten(line)!r}, expected "<number> <reply>"')
            if reply:
                found[reply.strip()] = None
    return list(found)
