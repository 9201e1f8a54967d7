"""benchmarks/p2bot/conversations.py: two models hold the same meetings, and a page shows them side by side."""

import re

import pytest
import tiny_p2bot

from benchmarks.p2bot import conversations


def test_a_command_without_the_folders_of_a_machine():
    said = conversations.public('x -t a:b --a /me/w/runs/s-1/model --b runs/a/b --datapath=/x/y/data --page /t/p.md')
    assert said == 'x -t a:b --a runs/s-1/model --b runs/a/b --datapath=data --page p.md'


@pytest.fixture(scope='module')
def lines(tmp_path_factory):
    """The page of two tiny models."""
    folder = tmp_path_factory.mktemp('conversations')
    model = tiny_p2bot.transmitter(folder / 'runs/s/model')
    receiver = tiny_p2bot.receiver(folder / 'runs/receiver/model')
    asked = ['-t', 'persona:sample', '--before', model, '--after', model, '--persona-receiver', receiver]
    few = ['--conversations', '2', '--turns', '3', '--persona-receiver-among', '5']
    opt = conversations.options().parse_args([*asked, *few])
    return conversations.page(opt, conversations.public(f'python {model}'))


def test_both_models_hold_the_same_meetings(lines):
    """Here they are one and the same model, so they say the same."""
    turns = [re.split(r' *\| *', line)[1:-1] for line in lines if re.match(r'\| [AB] \|', line)]
    assert [cells[0] for cells in turns] == ['A', 'B', 'A', 'B', 'A', 'B'] * 2
    assert all(cells[1:3] == cells[3:] and float(cells[2]) == float(cells[4]) for cells in turns)
    assert turns[0][1] != turns[1][1]  # the data's line, and what the model says


def test_what_stands_beside_them(lines):
    assert [line.strip() for line in lines if line.startswith('## ')] == [
        '## Meeting 1',
        '## Meeting 2',
        "## B's persona in the first meeting, after self-play",
    ]
    personas = [line.strip() for line in lines if re.match('[AB]: i ', line)]
    assert len(personas) == 4 and all(' · ' in line for line in personas)
    ranks = [line.split(', ')[1] for line in lines if line.startswith('From what the model said')]
    assert len(ranks) == 4 and ranks[0] == ranks[1]
    assert re.fullmatch(r'A is number \d and B number \d of 5.*\n', ranks[0])
    drawn = lines[lines.index('## Meeting 2\n') :]
    own = personas[1].removeprefix('B: ').split(' · ')
    numbered = [f'{number:3} {sentence}' for number, sentence in enumerate(own, 1)]
    assert drawn[drawn.index('```') + 1 :][: len(own)] == numbered
    assert '```\npython runs/s/model\n```\n' in lines
