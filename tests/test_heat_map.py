"""The heat map of what a receiver perceives, and `parlai persona_perception`, which shows it."""

import sys

import pytest
from listener import listener
from PIL import Image

from parlai_persona.errors import UserError
from parlai_persona.metrics.heat_map import HeatMap

HAND = HeatMap(
    utterances=('i swim every day in the local pool , and after that i sleep', 'no .'),
    persona=('i love water.', 'i cost $5 or $6.'),
    relevance=[[2.0, -0.5], [0.125, 1.0]],
    scores=[1.5, 0.5],
)
FILE = """\
your persona: i own cats.
your persona: i row.
partner's persona: i fly.
them: we fly away
me: cats row well

your persona: i sing.
me: la
"""


def test_text_by_hand():
    # five shades of 0.5 each, from -0.5 to 2: 2.0 has the fifth, -0.5 the first, 0.125 the second, 1.0 the fourth
    assert HAND.text(width=52).splitlines() == [
        '  1 i love water.',
        '  2 i cost $5 or $6.',
        '',
        '                                 1        2    score',
        'i swim every day in the   ██  2.00    -0.50     1.50',
        'local pool , and after',
        'that i sleep',
        'no .                      ░░  0.12 ▓▓  1.00     0.50',
    ]


def test_a_terminal_without_unicode():
    assert HAND.text('ascii', 52).splitlines()[-1] == 'no .                      ..  0.12 ++  1.00     0.50'
    assert '█' not in HAND.text('latin-1')


def test_all_fits_the_terminal():
    """A long persona takes several tables, each with all utterances."""
    many = HeatMap(('word ' * 30, 'no'), tuple(f'sentence {n}' for n in range(12)), [[-10.5] * 12, [3.0] * 12], [0, 1])
    lines = many.text().splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split() for line in lines if 'score' in line] == [
        [*map(str, numbers), 'score'] for numbers in (range(1, 5), range(5, 9), range(9, 13))
    ]
    assert sum(line.startswith('no ') for line in lines) == 3


def test_equal_relevance_has_no_shade():
    assert HeatMap(('a',), ('b',), [[1.0]], [1.0]).text().splitlines()[-1].split() == ['a', '1.00', '1.00']


def test_picture(tmp_path):
    pytest.importorskip('matplotlib', reason='pictures are an extra: pip install parlai-persona[plots]')
    path = tmp_path / 'deep' / 'map.png'
    HAND.draw(path)
    with Image.open(path) as image:
        assert image.format == 'PNG' and image.size == (720, 350)  # 5 + 2 * 1.1 and 2.5 + 2 * 0.5 inches of 100 dots
        colours = image.convert('RGB').getcolors(2**20)
    assert any(red + 60 < blue for _, (red, _, blue) in colours)  # the highest relevance is blue
    assert [one.name for one in path.parent.iterdir()] == ['map.png']


def test_no_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    with pytest.raises(UserError, match='pictures need matplotlib: saw none, pip install'):
        HAND.draw(tmp_path / 'map.png')
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------ the command


@pytest.fixture
def shows(command, tmp_path):
    (tmp_path / 'talk.txt').write_text(FILE)
    model = listener(tmp_path)
    return lambda line: command('persona_perception', '-mf', model, *line.split())


def test_a_dialogue_of_a_task(shows):
    done = shows('-t persona:sample --dialogue 2')
    assert 'Persona in dialogue valid-1:\n  1 i ' in done.stdout
    assert 'The receiver ranks this persona ' in done.stdout and ' of 32.' in done.stdout
    assert shows('-t persona:sample --dialogue valid-1').stdout.splitlines()[-9:] == done.stdout.splitlines()[-9:]
    assert 'dialogue train-1:' in shows('-t persona:sample --dialogue train-1 -dt train').stdout


def test_a_dialogue_of_a_file(shows):
    done = shows('--conversation talk.txt')
    assert 'dialogue talk.txt/0:\n  1 i own cats.\n  2 i row.\n' in done.stdout
    assert [line.split()[-1] for line in done.stdout.splitlines() if 'cats row well' in line] == ['1.00']
    assert 'receiver ranks' not in done.stdout  # there are no others
    assert '  1 i fly.\n' in shows('--conversation talk.txt --side other').stdout


def test_a_picture_of_it(shows, tmp_path):
    pytest.importorskip('matplotlib', reason='pictures are an extra: pip install parlai-persona[plots]')
    assert shows('--conversation talk.txt --png map.png').stdout.endswith('Wrote map.png\n')
    assert (tmp_path / 'map.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize(
    ('line', 'said'),
    [
        ('', 'nothing to show: name a task with -t, or a file of dialogues with --conversation'),
        ('-t persona:sample --dialogue 101', 'there is no dialogue 101: they are numbered from 1 to 100'),
        ('-t persona:sample --dialogue x', '--dialogue x: saw no such id, expected one like valid-0, or a number'),
        ('-t integration_tests:multiturn', 'has no dialogues of its own'),
        ('--conversation talk.txt --dialogue 2 --side other', 'dialogue talk.txt/1: saw no persona of this speaker'),
        ('--conversation nowhere.txt', 'cannot read the file nowhere.txt'),
    ],
)
def test_what_cannot_be_shown(shows, line, said):
    done = shows(line)
    assert done.returncode and said in done.stderr and 'Traceback' not in done.stderr
