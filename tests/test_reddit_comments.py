"""Lines of a dump: a block is read as its lines are one by one, and what cannot be read is kept aside."""

import json
import random

import pyarrow as pa
import pytest

from parlai_persona.tasks.reddit.pipeline.comments import (
    COMMENTS,
    UNREADABLE,
    columns,
    is_by_bot,
    read_comments,
    read_one_by_one,
)
from parlai_persona.tasks.reddit.pipeline.options import Options
from parlai_persona.tasks.reddit.pipeline.stage import IS_BOT, IS_GONE, Authors, Job

GOOD = '{"author":"Ann","body":"B","id":"1","link_id":"t3_2","parent_id":"t1_3","score":-12,"x":null,"y":true}'


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
    line = GOOD.replace('"B"', f'"{body}"')
    comments, broken = read_comments(line.encode())
    expected = {'author': 'Ann', 'body': json.loads(line)['body'], 'id': '1', 'link_id': 't3_2', 'parent_id': 't1_3'}
    assert comments.to_pylist() == [expected] and not broken


@pytest.mark.parametrize(
    'line',
    [
        GOOD + GOOD,  # two on a line
        GOOD.replace(',', '\n,', 1),  # one on two lines
        '[1]',
        'null',
        '{}',
        GOOD[:-1],
        GOOD + 'x',
        GOOD.replace('"Ann"', 'null'),
        GOOD.replace('"id"', '"no"'),
        GOOD.replace('"1"', '1'),
        GOOD.replace('"1"', f'"{"1" * 65}"'),  # no id is that long
        GOOD.replace('"B"', '"\\ud83d"'),
        GOOD.replace('"B"', '"\t"'),
    ],
)
def test_broken_lines(line):
    sound = GOOD.replace('"1"', '"2"')
    comments, broken = read_comments(f'{sound}\n{line}\n\n  \n{sound}\n'.encode())
    assert comments.column('id').to_pylist() == ['2', '2'] and broken == line.encode().split(b'\n')


def test_a_block_is_read_as_its_lines_one_by_one():
    """Thousands of blocks with bytes changed, added and taken away."""
    rng = random.Random(1)
    seeds = [GOOD.replace('"B"', f'"{body}"').encode() for body in ('x\\u00e9\\n', 'é€😀', '\\"', 'plain words')]
    alphabet = b'{}[]":,\\/u0123456789abcdefntrl \t\r\n-.\x00\x1f\x80\xc2\xed\xf0\xff'
    broken_blocks = 0
    for _ in range(5000):
        block = bytearray(b'\n'.join(rng.choices(seeds, k=3)))
        for _ in range(rng.randrange(3)):
            place = rng.randrange(len(block))
            block[place : place + rng.randrange(3)] = bytes(rng.choices(alphabet, k=rng.randrange(3)))
        found = read_comments(bytes(block))
        expected = read_one_by_one(bytes(block).split(b'\n'), COMMENTS)
        assert found[0].equals(columns(expected[0])) and found[1] == expected[1]
        broken_blocks += bool(found[1])
    assert 1000 < broken_blocks < 4500


def test_unreadable_is_all_that_the_parser_raises():
    for line in (b'{"author": "\xff"}', b'[' * 100_000, b'{', b'{"author": 1}'):
        with pytest.raises(UNREADABLE):
            COMMENTS.decode(line)


def test_bots_and_deleted_authors():
    authors = Authors(Job(Options(), b'k', bots=frozenset({'Helper'})))
    names = ['Ann', '[deleted]', 'helper', 'SomeBot', 'xkcd_bot', 'Abbott', 'robot']
    assert [min(authors[name], 0) for name in names] == [0, IS_GONE, IS_BOT, IS_BOT, IS_BOT, 0, 0]
    assert Authors(Job(Options(bot_rule=False), b'k'))['SomeBot'] >= 0


@pytest.mark.parametrize(
    'body, by_bot',
    [
        ('I am a bot, and this action was performed automatically. Please [contact](/message/compose)', True),
        ('*I am a bot , and this action was performed automatically .*', True),
        ('^I ^am ^a ^bot ^| ^source', True),
        ("^(I'm a bot)", True),
        ('I&#39;m a helpful bot.', True),
        ('Hi! I’m just a bot.', True),
        ("i ' m a bot", True),
        ('Beep, boop!', True),
        ('*bleep* *bloop*', True),
        ('*This action was performed automatically.*', True),
        ('I am not a bot, I swear', False),
        ('I am a botanist', False),
        ('You are a bot', False),
        ('I wrote a bot once', False),
        ('I am a human', False),
    ],
)
def test_comments_that_say_that_a_bot_wrote_them(body, by_bot):
    assert is_by_bot(pa.array([body])).tolist() == [by_bot]
