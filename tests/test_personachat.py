"""`persona:personachat`: parsing, choice of files, downloads, and what the teacher makes of them."""

import hashlib
import http.server
import random
import shutil
import tarfile
import threading
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
from conftest import FIXTURES
from parlai.core.loader import load_teacher_module
from parlai.core.teachers import FbDeprecatedDialogTeacher, create_task_agent_from_taskname
from parlai.scripts.display_data import setup_args
from parlai.scripts.train_model import TrainModel

from parlai_persona import fields
from parlai_persona.data.candidates import Distractors
from parlai_persona.data.dialogue import DataError, Dialogue, NoSplit, Turn
from parlai_persona.data.text_format import Line, shorten, split_line
from parlai_persona.tasks.personachat.build import choose
from parlai_persona.tasks.personachat.parse import read_dialogues, read_views, same_dialogue

FOLDER = FIXTURES / 'personachat'


def teacher(task: str = 'persona:personachat', **options):
    """A teacher as `parlai display_data` would make it."""
    options = {'datatype': 'train:evalmode', 'task': task, **options}
    if task.startswith('persona:') and 'datapath' not in options:
        options.setdefault('persona_folder', str(FOLDER))
    opt = setup_args().parse_kwargs(**options)
    return create_task_agent_from_taskname(opt)[0]


def parlais_reading(path: Path) -> list:
    """The file as ParlAI's own Persona-Chat teachers read it."""
    opt = setup_args().parse_kwargs(task='integration_tests', datatype='train:evalmode')
    return list(FbDeprecatedDialogTeacher({**opt, 'datafile': str(path)}))


# ---------------------------------------------------------------------------------------------- parsing


def test_golden_records():
    first, second = read_dialogues(FOLDER / 'train_both_original_no_cands.txt')
    assert first.id == 'train-0'
    assert first.persona == ('i keep bees.', 'i am a night nurse.')
    assert first.partner_persona == ('i bake bread: rye mostly.', 'i never learned to swim.')  # the colon stays
    assert [(t.text, t.reply, t.candidates) for t in first.turns] == [
        ('hello , how was your day ?', 'long ! i came home from the ward at seven .', ()),
        ('what do you do to relax ?', 'i sit with my bees for an hour .', ()),
        ('sounds lovely . i bake bread .', 'then we should trade honey for bread !', ()),
    ]
    assert second.id == 'train-1'
    assert second.turns[0].text == fields.SILENCE


def test_candidates_come_as_they_stand_in_the_file():
    turn = next(read_dialogues(FOLDER / 'train_self_original.txt')).turns[1]
    assert turn.candidates == ('i like tea .', 'no , never .', 'i sit with my bees for an hour .')


def test_a_message_without_reply_waits_for_the_next_one(tmp_path):
    path = tmp_path / 'valid_none_original.txt'
    path.write_text('1 hello\n2 are you there ?\tyes .\n\n1 good\tbye .\n2 never answered\n')
    first, second = read_dialogues(path)
    assert first.turns[0].text == 'hello\nare you there ?'
    assert [t.reply for t in second.turns] == ['bye .']


def test_a_malformed_line_is_shown_shortened():
    assert shorten('x' * 60 + '\n') == 'x' * 60 and shorten('x' * 61) == 'x' * 59 + '…'
    assert split_line('123456789 hi', 'here') == (123456789, Line('here', 'hi'))
    with pytest.raises(DataError, match="here: saw '1234567890 hi', expected"):
        split_line('1234567890 hi', 'here')


@pytest.mark.parametrize(
    ('line', 'complaint'),
    [
        ('hello\thi .', "saw 'hello\\thi .', expected"),
        ('3', "saw '3', expected"),
        ('2 hello\thi .', 'saw number 2 after number 2, expected 3 or 1'),
        ('4 hello\thi .', 'saw number 4 after number 2, expected 3 or 1'),
        ('3 a\tb\tc\td\te', 'expected "<number> <text>'),
        ('3 hello\thi .\t\tyes .|no .', "the reply 'hi .' is not among its 2 candidates"),
    ],
)
def test_a_malformed_line_names_file_and_line(tmp_path, line, complaint):
    path = tmp_path / 'train_self_original.txt'
    path.write_text(f'1 your persona: i sing.\n2 hello\thi .\n{line}\n')
    with pytest.raises(DataError) as error:
        list(read_dialogues(path))
    assert 'train_self_original.txt, line 3' in str(error.value)
    assert complaint in str(error.value)


def test_personas_of_several_files_are_put_together():
    paths = [FOLDER / 'train_self_original.txt', FOLDER / 'train_other_original_no_cands.txt']
    merged = next(read_views(paths))
    assert merged.persona[0] == 'i keep bees.'
    assert merged.partner_persona[0] == 'i bake bread: rye mostly.'
    assert len(merged.turns[0].candidates) == 3


def test_files_may_differ_in_contractions(tmp_path):
    other = tmp_path / 'train_other_original.txt'
    other.write_text((FOLDER / 'train_other_original_no_cands.txt').read_text().replace('i would', "i'd"))
    paths = [FOLDER / 'train_self_original.txt', other]
    assert [d.turns for d in read_views(paths)] == [d.turns for d in read_dialogues(paths[0])]


@pytest.mark.parametrize(
    ('one', 'other', 'same'),
    [('a b c', 'a b c d', True), ('a b c', 'a b d', False), ('a b c d e', 'a b c f g', False), ('a', 'a', True)],
)
def test_more_than_half_of_the_words_are_the_same(one, other, same):
    first, second = (Dialogue('x', (Turn(text, ''),)) for text in (one, other))
    assert same_dialogue(first, second) == same_dialogue(second, first) == same
    longer = Dialogue('x', (*second.turns, Turn('a', '')))
    assert not same_dialogue(first, longer) and not same_dialogue(longer, first)


def test_files_that_are_not_of_the_same_split_are_refused(tmp_path):
    lines = (FOLDER / 'train_other_original_no_cands.txt').read_text().splitlines()
    short, other = tmp_path / 'short.txt', tmp_path / 'other.txt'
    short.write_text('\n'.join(lines[:5]))
    other.write_text('\n'.join(line if 'persona' in line else line[:2] + 'so ?\twell .' for line in lines))
    with pytest.raises(DataError, match=r'short\.txt has fewer dialogues than .*train_self'):
        list(read_views([FOLDER / 'train_self_original.txt', short]))
    with pytest.raises(DataError, match="dialogue 'train-0' differs between"):
        list(read_views([FOLDER / 'train_self_original.txt', other]))


# --------------------------------------------------------------------------------------- choice of files


@pytest.mark.parametrize(
    ('side', 'inline', 'names'),
    [
        ('self', True, ['train_self_original.txt', 'train_both_original_no_cands.txt']),
        ('self', False, ['train_self_original_no_cands.txt', 'train_both_original_no_cands.txt']),
        ('other', False, ['train_other_original_no_cands.txt', 'train_both_original_no_cands.txt']),
        ('both', False, ['train_both_original_no_cands.txt']),
        ('both', True, ['train_self_original.txt', 'train_both_original_no_cands.txt']),
        ('none', False, ['train_none_original_no_cands.txt', 'train_both_original_no_cands.txt']),
    ],
)
def test_the_fewest_files_that_hold_everything_are_chosen(side, inline, names):
    assert [p.name for p in choose(FOLDER, 'train', 'original', side, inline)] == names


@pytest.mark.parametrize(
    ('side', 'inline', 'name'),
    [('self', True, 'train_self_original.txt'), ('none', False, 'train_none_original_no_cands.txt')],
)
def test_the_turns_come_from_the_file_that_parlai_reads(tmp_path, side, inline, name):
    """The files of a release differ in small things: "i'm" in one can be "i am" in another."""
    for kind in ('both', 'self', 'other', 'none'):
        for suffix in ('', '_no_cands'):
            (tmp_path / f'train_{kind}_original{suffix}.txt').touch()
    assert choose(tmp_path, 'train', 'original', side, inline)[0].name == name


def test_a_missing_file_is_named_with_what_is_there():
    with pytest.raises(NoSplit, match=r'none of train_self_revised.txt.*it has train_both_original_no_cands.txt'):
        choose(FOLDER, 'train', 'revised', 'self', True)
    with pytest.raises(NoSplit, match=r'none of valid_both_revised_no_cands.txt.* it has valid_both_orig'):
        choose(FOLDER, 'valid', 'revised', 'both', True)


# ------------------------------------------------------------------------------------------- the teacher


def test_message_fields():
    messages = list(teacher(persona_side='both'))
    assert len(messages) == 5
    first, second = messages[0], messages[1]
    assert first['text'].split('\n') == [
        'your persona: i keep bees.',
        'your persona: i am a night nurse.',
        "partner's persona: i bake bread: rye mostly.",
        "partner's persona: i never learned to swim.",
        'hello , how was your day ?',
    ]
    assert second['text'] == 'what do you do to relax ?'
    assert second[fields.PERSONA] == ['i keep bees.', 'i am a night nurse.']
    assert second[fields.PARTNER_PERSONA][0] == 'i bake bread: rye mostly.'
    assert (second[fields.DIALOGUE_ID], second[fields.TURN]) == ('train-0', 1)
    assert [m['episode_done'] for m in messages] == [False, False, True, False, True]


@pytest.mark.parametrize('side', ['self', 'none', 'both', 'other'])
def test_text_labels_and_candidates_are_those_of_parlais_own_teacher(tmp_path, side):
    """The yardstick is ParlAI's own reader of the same files."""
    shutil.copytree(FOLDER, tmp_path / 'ConvAI2')
    (tmp_path / 'ConvAI2' / '.built').write_text('now\nv5.0')
    name = {'self': 'train_self_original.txt'}.get(side, f'train_{side}_original_no_cands.txt')
    theirs = parlais_reading(FOLDER / name)
    ours = list(
        teacher(
            datapath=str(tmp_path),
            persona_source='convai2',
            persona_side=side,
            persona_candidates='inline' if side == 'self' else 'none',
        )
    )
    assert [(m['text'], m['eval_labels']) for m in ours] == [(m['text'], m['eval_labels']) for m in theirs]
    assert [sorted(m.get('label_candidates', ())) for m in ours] == [
        sorted(m.get('label_candidates') or ()) for m in theirs
    ]


@pytest.mark.parametrize('candidates', ['inline', 'sampled'])
def test_the_place_of_the_label_tells_nothing(candidates):
    """The reply is always the last candidate in the files, so a model with ties would look perfect."""
    places = set()
    for seed in range(30):
        for message in teacher(persona_candidates=candidates, persona_candidates_count=3, persona_candidates_seed=seed):
            places.add(message['label_candidates'].index(message['eval_labels'][0]))
    assert places == {0, 1, 2}


def test_sampled_candidates_are_the_same_in_any_order_of_reading():
    options = {'persona_candidates': 'sampled', 'persona_candidates_count': 3}
    by_id = {
        datatype: {
            (m[fields.DIALOGUE_ID], m[fields.TURN]): m['label_candidates']
            for m in teacher(datatype=datatype, **options)
        }
        for datatype in ('train:evalmode', 'train:evalmode:stream')
    }
    assert by_id['train:evalmode'] == by_id['train:evalmode:stream']
    assert by_id['train:evalmode'] != {
        (m[fields.DIALOGUE_ID], m[fields.TURN]): m['label_candidates']
        for m in teacher(persona_candidates_seed=7, **options)
    }


def test_distractors_come_from_other_dialogues():
    for message in teacher(persona_candidates='sampled', persona_candidates_count=3):
        own = {
            t.reply
            for d in read_dialogues(FOLDER / 'train_self_original.txt')
            if d.id == message['dialogue_id']
            for t in d.turns
        }
        assert set(message['label_candidates']) & own == {message['eval_labels'][0]}


def test_too_many_candidates_asked_for():
    with pytest.raises(DataError, match='20 candidates asked for, but the split holds only 5 different replies'):
        teacher(persona_candidates='sampled')
    with pytest.raises(DataError, match=r"'train-0', turn 0: found only 3 different replies outside.* 5 needed"):
        teacher(persona_candidates='sampled', persona_candidates_count=5)


def test_drawing_candidates_ends_after_a_thousand_draws_each(monkeypatch):
    """One dialogue has both replies of the split, so the second candidate is never found."""
    drawn = []

    class Counting(random.Random):
        def randrange(self, *bounds):
            drawn.append(bounds)
            return super().randrange(*bounds)

    monkeypatch.setattr('parlai_persona.data.candidates.example_rng', lambda *example: Counting(0))
    distractors = Distractors([Dialogue('a', (Turn('hi', 'yes .'), Turn('so ?', 'no .')))], seed=0)
    with pytest.raises(DataError, match=r"'a', turn 1: found only 1 different replies outside this dialogue, 2 needed"):
        distractors.candidates('a', 1, 'no .', 2)
    assert len(drawn) == 2000


def test_no_candidates():
    assert all('label_candidates' not in m for m in teacher(persona_candidates='none'))


def test_options_inside_the_task_string():
    messages = list(teacher('persona:personachat:persona_side=none'))
    assert messages[0]['text'] == 'hello , how was your day ?'
    with pytest.raises(ValueError, match="--persona-side is 'nobody'; expected self or other or both or none"):
        list(teacher('persona:personachat:persona_side=nobody'))


def test_opt_is_left_as_it_was():
    opt = setup_args().parse_kwargs(task='persona:personachat', persona_folder=str(FOLDER), datatype='valid')
    before = dict(opt)
    load_teacher_module('persona:personachat')(opt)
    assert dict(opt) == before


# ---------------------------------------------------------------------------------- splits and downloads


def test_asking_for_a_test_split_that_does_not_exist():
    with pytest.raises(NoSplit, match='--persona-source convai2 has no test split; it has train and valid'):
        list(teacher(datatype='test', persona_source='convai2'))


def test_training_without_a_test_split_ends_well(tmp_path, monkeypatch):
    """`train_model` tests at its end without being asked to."""
    errors, said = [], []
    monkeypatch.setattr('parlai.utils.logging.error', errors.append)
    monkeypatch.setattr('parlai.utils.logging.info', said.append)
    options = {'model': 'repeat_label', 'model_file': str(tmp_path / 'm'), 'num_epochs': 1}
    TrainModel.main(task='persona:personachat', persona_folder=str(FOLDER), **options)
    assert not errors
    (note,) = [line for line in said if 'No final test.' in line]
    assert 'no test_*.txt at all' in note


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r'--persona-folder .*nowhere: no such folder'):
        teacher(persona_folder=str(tmp_path / 'nowhere'))


@pytest.fixture
def server(tmp_path):
    """A web server on this machine that stands in for ParlAI's."""
    folder = tmp_path / 'www'
    folder.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield folder, f'http://127.0.0.1:{httpd.server_port}'
        httpd.shutdown()


@pytest.mark.parametrize(
    ('source', 'builder', 'inside'),
    [('personachat', 'parlai.tasks.personachat.build', 'personachat'), ('convai2', 'parlai.tasks.convai2.build', '.')],
)
def test_download_and_checksum_are_parlais(tmp_path, monkeypatch, server, source, builder, inside):
    folder, address = server
    archive = folder / f'{source}.tgz'
    with tarfile.open(archive, 'w:gz') as tar:
        tar.add(FOLDER, inside, recursive=False)
        for path in FOLDER.glob('*.txt'):
            tar.add(path, f'{inside}/{path.name}')
    resource = import_module(builder).RESOURCES[0]
    monkeypatch.setattr(resource, 'url', f'{address}/{archive.name}')
    options = {'datapath': str(tmp_path / 'data'), 'persona_source': source}
    with pytest.raises(AssertionError, match='Checksum'):  # not the file that ParlAI knows
        teacher(**options)
    monkeypatch.setattr(resource, 'hashcode', hashlib.sha256(archive.read_bytes()).hexdigest())
    assert len(list(teacher(**options))) == 5
