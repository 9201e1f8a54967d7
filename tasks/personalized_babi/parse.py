"""Reads files of the bAbI dialog tasks, plain and personalised. Pure: paths in, records out.

Dialogues are in the format of `data.text_format`. A personalised one begins with a line about the user (`male elderly`,
in tasks 3 and 5 also `veg risotto`). Facts about restaurants (`resto_x R_phone resto_x_phone`) are lines without a
reply.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from parlai_persona.data.dialogue import DataError, Dialogue, Turn
from parlai_persona.data.text_format import Line, read_episodes, shorten, turns
from parlai_persona.files import open_text
from parlai_persona.tasks.personalized_babi.options import SPLITS

API_CALL = 'api_call'
KINDS = ('option', API_CALL, 'info', 'other')  # of replies
SILENCE = '<SILENCE>'  # the user's message when the bot speaks twice in a row
NAME = re.compile(r'\bresto_\S+?stars(_\d+)?(?P<property>_\S+)?(?!\S)')  # of a restaurant, or of a property of it

Facts = dict[str, dict[str, str]]  # restaurant -> relation -> value


def read_dialogues(path: Path, personalized: bool) -> Iterator[Dialogue]:
    """Yield the dialogues of one file; ids are `<split>-<number of the dialogue in the file>`."""
    ending = re.search(r'-(trn|dev|tst(-OOV)?)$', path.stem)
    split = SPLITS[ending[1]] if ending else path.stem
    for number, lines in enumerate(read_episodes(path)):
        profile = (read_profile(lines.pop(0)),) if personalized else ()
        yield Dialogue(f'{split}-{number}', with_kinds(turns(lines)), partner_persona=profile)


def read_profile(line: Line) -> str:
    if line.reply or fact(line.text):
        seen = f'{line.text}\t{line.reply}' if line.reply else line.text
        raise DataError(
            f'{line.where}: saw {shorten(seen)!r}, expected the profile of the user, such as "1 male elderly", as the '
            'first line of a dialogue; the plain bAbI tasks (--babi-personalized false) have none'
        )
    return line.text


def kind(reply: str) -> str:
    """Return what a reply is about: a call, a suggested restaurant, a property of one, or something else."""
    if reply.startswith(f'{API_CALL} '):
        return API_CALL
    name = NAME.search(reply)
    return 'other' if name is None else 'info' if name['property'] else 'option'


def with_kinds(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    return tuple(replace(turn, kind=kind(turn.reply)) for turn in turns)


def put_before(lines: list[str], turn: Turn) -> Turn:
    """Return the turn with more lines before its text."""
    return replace(turn, text='\n'.join([*lines, turn.text]))


def fact(text: str) -> tuple[str, str, str] | None:
    """Split `'resto_x R_phone resto_x_phone'` into restaurant, relation and value; return None if it is no fact."""
    words = text.split()
    return (words[0], words[1], words[2]) if len(words) == 3 and words[1].startswith('R_') else None


def restaurants_told(dialogue: Dialogue) -> list[str]:
    """Return the restaurants with facts in the dialogue, in order."""
    facts = (fact(line) for turn in dialogue.turns for line in turn.text.split('\n'))
    return list(dict.fromkeys(known[0] for known in facts if known))


def write_facts(restaurant: str, facts: dict[str, str]) -> list[str]:
    """Return the lines of a dialogue with these facts."""
    return [f'{restaurant} {relation} {value}' for relation, value in facts.items()]


def read_kb(path: Path) -> Facts:
    """Read the knowledge base, in the order of the file."""
    facts: Facts = {}
    with open_text(path) as lines:
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
    """Read the replies to choose from, without repeats, in the order of the file."""
    replies: dict[str, None] = {}
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            position, _, reply = line.strip().partition(' ')
            if line.strip() and not (position.isdecimal() and reply):
                raise DataError(f'{path}, line {number}: saw {shorten(line)!r}, expected "<number> <reply>"')
            if reply:
                replies[reply.strip()] = None
    return list(replies)
