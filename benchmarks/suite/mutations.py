"""Damage to files: bits that flip, cuts, lines in another order, and bytes that parsers stumble over."""

import json
import random
from collections.abc import Callable
from typing import Any

LONG, DEEP = 150_000, 20_000  # characters: more than a cell of CSV may have; brackets: more than Python nests
STRANGE = [
    b'\xff',
    b'\xc3(',  # not UTF-8
    b'\xed\xa0\x80',  # half of a character
    '\ufeff'.encode(),  # byte order mark
    '\u2028\x85'.encode(),  # ends of lines for Python alone
    '²٣'.encode(),  # digits, but not those of a number
    b'\x00',
    b'\x1b[31m',
    b'\r',
    b'\r\n',
    b'\n',
    b'\n\n',
    b' ',
    b'\t',
    b'"',
    b"'",
    b',',
    b'|',
    b':',
    b'{',
    b'}',
    b'[]',
    b'\\',
    b'\\ud800',
    b'null',
    b'true',
    b'NaN',
    b'-1',
    b'0',
    b'1 ',
    b'1e999',
    b'9' * 400,
    b'9' * 5000,
    b'x' * LONG,
    b'[' * DEEP,
    b'{"a":' * DEEP,
]
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    10**400,
    1e308 * 10,
    float('nan'),
    '',
    '\ud800',
    '\0',
    [],
    {},
    [[]],
    {'a': []},
    [''],
]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Return the content after one to three changes."""
    for _ in range(rng.randint(1, 3)):
        content = rng.choice(CHANGES)(content, rng)
    return content


def flip_bits(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def insert(content: bytes, rng: random.Random) -> bytes:
    place = rng.randint(0, len(content))
    return content[:place] + rng.choice(STRANGE) + content[place:]


def overwrite(content: bytes, rng: random.Random) -> bytes:
    start, end = span(content, rng)
    return content[:start] + rng.choice(STRANGE) + content[end:]


def cut(content: bytes, rng: random.Random) -> bytes:
    """Remove the end, the beginning or a piece between."""
    start, end = span(content, rng)
    return rng.choice([content[:start], content[end:], content[:start] + content[end:]])


def copy(content: bytes, rng: random.Random) -> bytes:
    start, end = span(content, rng)
    place = rng.randint(0, len(content))
    return content[:place] + content[start:end] + content[place:]


def swap_lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True) or [b'']
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b''.join(lines)


def repeat_line(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True) or [b'']
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    return b''.join(lines)


def change_value(content: bytes, rng: random.Random) -> bytes:
    """Put something else in the place of a value of JSON, or of a line of JSON; cut other content."""
    lines = content.splitlines(keepends=True)
    for place in [None, rng.randrange(len(lines))] if lines else []:
        try:
            value = json.loads(content if place is None else lines[place])
        except (ValueError, RecursionError):
            continue
        changed = json.dumps(with_another(value, rng)).encode()
        return changed if place is None else b''.join([*lines[:place], changed, b'\n', *lines[place + 1 :]])
    return cut(content, rng)


def with_another(value: Any, rng: random.Random) -> Any:
    """Return the value with one of the values in it replaced."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.2:
        return rng.choice(VALUES)
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = rng.choice(keys)
    changed = value.copy()
    changed[key] = with_another(value[key], rng)
    return changed


def span(content: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randint(0, len(content))
    return start, min(len(content), start + rng.choice([1, 4, 20, 200]))


Change = Callable[[bytes, random.Random], bytes]
CHANGES: list[Change] = [flip_bits, insert, overwrite, cut, copy, swap_lines, repeat_line, change_value]
