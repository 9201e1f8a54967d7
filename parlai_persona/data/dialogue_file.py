"""Reads dialogues that people write by hand. Pure: a path in, records out.

    your persona: i own two cats.
    them: hi , how are you ?
    me: great , my cats just woke me up .

The replies of `me` are learned. Persona lines come first and are optional: `your persona` describes `me`,
and `partner's persona` describes `them`. Several lines of one speaker in a row are one message. An empty line ends the
dialogue.
"""

import re
from itertools import groupby
from pathlib import Path

from parlai_persona.data.dialogue import DataError, Dialogue, Turn
from parlai_persona.fields import PARTNERS_PERSONA, SILENCE, YOUR_PERSONA
from parlai_persona.files import read_text

OWN, PARTNERS = (mark.strip(' :') for mark in (YOUR_PERSONA, PARTNERS_PERSONA))
LINE = re.compile(rf'({OWN}|{PARTNERS}|me|them)\s*:\s*(.*)', re.IGNORECASE)
FORM = (
    'expected lines "them: ..." (what others said) and "me: ..." (the replies), before them perhaps "your persona: '
    '...", and an empty line between dialogues'
)
Block = list[tuple[str, str]]  # marks and texts of the lines of a dialogue


def read_dialogues(path: Path) -> list[Dialogue]:
    """Read the dialogues that have a reply; ids are `<file name>/<number>`."""
    answered = [block for block in read_blocks(path) if 'me' in dict(block)]
    if not answered:
        raise DataError(f'the file {path} holds no answer; {FORM}')
    return [
        Dialogue(f'{path.name}/{number}', turns(block), texts(block, OWN), texts(block, PARTNERS))
        for number, block in enumerate(answered)
    ]


def read_blocks(path: Path) -> list[Block]:
    blocks: list[Block] = [[]]
    for number, line in enumerate(read_text(path).splitlines(), 1):
        where = f'{path}, line {number}'
        if not line.strip():
            if blocks[-1] and not has_messages(blocks[-1]):
                raise DataError(f'{where}: saw an empty line after a persona, expected its dialogue without one')
            blocks.append([])
            continue
        match = LINE.match(line.strip())
        if not match:
            raise DataError(f'{where}: saw {line.strip()[:60]!r}; {FORM}')
        mark, text = match[1].lower(), match[2]
        if mark in (OWN, PARTNERS) and has_messages(blocks[-1]):
            raise DataError(
                f'{where}: saw a persona line after a message, expected an empty line before a new dialogue'
            )
        blocks[-1].append((mark, text))
    return blocks


def has_messages(block: Block) -> bool:
    return any(mark in ('me', 'them') for mark, _ in block)


def texts(block: Block, wanted: str) -> tuple[str, ...]:
    return tuple(text for mark, text in block if mark == wanted)


def turns(block: Block) -> tuple[Turn, ...]:
    """Return each message of `me` with the message of `them` before it."""
    answers, heard = [], ''
    for mark, lines in groupby(block, key=lambda line: line[0]):
        message = ' '.join(text for _, text in lines)
        if mark == 'me':
            answers.append(Turn(heard or SILENCE, message))
        heard = message if mark == 'them' else ''
    return tuple(answers)
