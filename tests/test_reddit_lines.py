"""The quick reader of JSON lines is right about every line that it takes, and leaves the rest to the parser."""

import json
import random

import msgspec
import numpy as np
import pytest

from parlai_persona.tasks.reddit import lines
from parlai_persona.tasks.reddit.stage import UNREADABLE, Comment, Job, Stage

DECODE = msgspec.json.Decoder(Comment).decode
GOOD = '{"author":"Ann","body":"B","id":"1","link_id":"t3_2","parent_id":"t1_3","score":-12,"x":null,"y":true}'


def fields(line: bytes) -> list[str] | None:
    """What the quick way reads; None if it does not take the line."""
    data, starts, ends, slow, _ = lines.read(np.frombuffer(line, np.uint8))
    assert len(starts) + len(slow) == 1
    return [data[s:e].tobytes().decode() for s, e in zip(starts[0], ends[0], strict=True)] if len(starts) else None


@pytest.mark.parametrize(
    'body',
    [
        '',
        'plain',
        'q\\"q',
        '\\\\ \\/ \\b\\f\\n\\r\\t',
        'é€😀\x7f',
        '{a: 1}',
        '\\u00e9\\u20ac\\u0041\\u0000',
        '\\ud83d\\ude00',
    ],
)
def test_strings(body):
    line = GOOD.replace('"B"', f'"{body}"').encode()
    assert fields(line) == ['Ann', '1', 't3_2', 't1_3', json.loads(line)['body']]


@pytest.mark.parametrize(
    'line',
    [
        '[1]',
        '"a"',
        'null',
        '{',
        '{}',
        GOOD[:-1],
        GOOD + 'x',
        GOOD + '}',
        GOOD.replace('-12', '1.5'),
        GOOD.replace('-12', '012'),
        GOOD.replace('-12', '-'),
        GOOD.replace('null', 'nul'),
        GOOD.replace('true', '[1]'),
        GOOD.replace('"Ann"', 'null'),
        GOOD.replace('"Ann"', '"A\\u006e"'),
        GOOD.replace('"id"', '"author"'),
        GOOD.replace('"B"', '"\\ud83d"'),
        GOOD.replace('"B"', '"\\x"'),
        GOOD.replace('"B"', '"\t"'),
        GOOD.replace('"score":', '"score" '),
        GOOD.replace(',"x"', ', ,"x"'),
        GOOD.replace('"x"', 'x'),
    ],
)
def test_what_is_left_to_the_parser(line):
    assert fields(line.encode()) is None


def test_no_sound_line_is_read_otherwise_than_by_the_parser():
    """A hundred thousand lines with bytes changed, added and taken away."""
    rng = random.Random(1)
    seeds = [GOOD.replace('"B"', f'"{body}"').encode() for body in ('x\\u00e9\\n', 'é€😀', '\\"', 'plain words')]
    alphabet = b'{}[]":,\\/u0123456789abcdefntrl \t\r-.\x00\x1f\x80\xc2\xed\xf0\xff'
    taken = 0
    for _ in range(100_000):
        line = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(4)):
            place = rng.randrange(len(line))
            line[place : place + rng.randrange(3)] = bytes(rng.choices(alphabet, k=rng.randrange(3)))
        found = fields(bytes(line)) if line.strip() else None
        if found is not None:
            comment = DECODE(bytes(line))  # or it raises
            assert found == [comment.author, comment.id, comment.link_id, comment.parent_id, comment.body]
            taken += 1
    assert taken > 30_000


def test_slow_and_quick_lines_of_a_block_are_alike():
    """Spaces and fractions in a line change nothing but the way in which it is read."""
    quick = [GOOD.replace('"id":"1"', f'"id":"{n}"') for n in range(50)]
    slow = [line.replace('-12', '1.5') for line in quick]
    raws = []
    for text in (quick, slow, [one for pair in zip(quick[::2], slow[1::2], strict=True) for one in pair]):
        stage = Stage(Job(b'k', 1))
        raw = stage.raw(np.frombuffer('\n'.join(text).encode(), np.uint8))
        raws.append({tuple(raw.text(name, row) for name in lines.FIELDS) for row in range(len(raw.starts))})
        assert stage.counts == {'lines': 50, 'broken': 0}
    assert raws[0] == raws[1] == raws[2] and len(raws[0]) == 50


def test_unreadable_is_all_that_the_parser_raises():
    for line in (b'{"author": "\xff"}', b'[' * 100_000, b'{', b'{"author": 1}'):
        with pytest.raises(UNREADABLE):
            DECODE(line)
