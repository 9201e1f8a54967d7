"""How the files of `persona:congeneric` are made: once, again after changes, after interruptions, by several."""

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from conftest import FIXTURES, PATIENCE, in_room
from mutations import mutated
from test_congeneric import BEES, messages, new_teacher

from parlai_persona.tasks.congeneric import neighbours, prepare
from parlai_persona.tasks.congeneric.labels import Overlap


@pytest.fixture
def teacher(tmp_path):
    return partial(new_teacher, tmp_path)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


def test_a_smaller_k_uses_the_same_files(teacher, tmp_path):
    fifteen = messages(teacher())
    made = files(tmp_path)
    two = messages(teacher(congeneric_k=2))
    assert files(tmp_path) == made
    assert [one['congeneric'][:2] for one in fifteen] == [one['congeneric'] for one in two]
    assert {len(one['congeneric']) for one in fifteen} == {15}


def times(folder: Path) -> dict[Path, int]:
    """Return when the prepared files were written; a lock may be touched at any time."""
    paths = [path for path in (folder / 'congeneric').rglob('*') if path.is_file() and path.suffix != '.lock']
    return {path: path.stat().st_mtime_ns for path in paths}


def test_files_are_made_once_and_again_when_the_data_change(teacher, tmp_path):
    source = tmp_path / 'own'
    source.mkdir()
    for path in (FIXTURES / 'personachat').iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    options = {**BEES, 'persona_folder': str(source)}
    opened = teacher(**options)
    before = messages(opened)
    made = times(tmp_path)
    assert messages(teacher(**options)) == before
    assert times(tmp_path) == made
    for path in source.glob('train_*'):
        path.write_text(path.read_text().replace('long ! i came home', 'long ! i walked home'))
    assert messages(teacher(**options, congeneric_check=False)) == before  # nobody looked
    after = messages(teacher(**options))
    assert after[0]['labels'] == ['long ! i walked home from the ward at seven .'] and len(after) == len(before)
    assert messages(opened) == before  # a teacher that is at work keeps its files
    assert set(times(tmp_path)) == set(made)


def test_another_training_split_makes_the_valid_split_again(teacher, tmp_path):
    source = tmp_path / 'own'
    source.mkdir()
    for path in (FIXTURES / 'personachat').iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    options = {**BEES, 'persona_folder': str(source)}
    before = messages(teacher('valid', **options))
    for path in source.glob('train_*'):
        path.write_text(path.read_text().replace('what do you do to relax ?', 'what do you cook ?'))
    after = messages(teacher('valid', **options))
    assert [one['text'] for one in before] == [one['text'] for one in after]
    contexts = [text for one in after for text in one['congeneric'][1:]]
    assert not any('relax' in text for text in contexts) and any('you' in text for text in contexts)


def test_other_options_have_other_files(teacher, tmp_path):
    teacher()
    for options in ({'congeneric_turns': 2}, {'congeneric_pmi_threshold': 4.0}, {'congeneric_none': 0.2}):
        teacher(**options)
    teacher(persona_metrics=False)
    assert len([path for path in (tmp_path / 'congeneric').iterdir() if path.is_dir()]) == 4


@pytest.mark.parametrize('name', [*prepare.TRAINING_FILES, 'stamp.json'])
def test_a_damaged_file_is_made_again(teacher, tmp_path, name):
    before = messages(teacher())
    [path] = (tmp_path / 'congeneric').rglob(name)
    path.write_bytes(mutated(path.read_bytes(), random.Random(name)))
    assert messages(teacher()) == before


class Interrupted(Exception):
    pass


STEPS = ('write_examples', 'write_counts', 'write_specific', 'write_masked', 'write_labels', 'write_neighbours')


@pytest.mark.parametrize('step', STEPS)
def test_an_interrupted_preparation_continues_to_the_same_bytes(teacher, tmp_path, monkeypatch, step):
    monkeypatch.setattr(prepare, 'CHUNK', 16)
    new_teacher(tmp_path / 'whole')
    whole = files(tmp_path / 'whole')
    stops, steps = {}, []

    def watched(name, function):
        def run(self):
            steps.append(name)
            return function(self)

        return run

    def interrupting(first, end=None, *_):
        stops[step] = stops.get(step, 0) + 1
        raise Interrupted

    with monkeypatch.context() as patched:
        if step in ('write_labels', 'write_neighbours'):  # after two chunks
            kind = Overlap if step == 'write_labels' else neighbours.Search
            name = 'labels' if step == 'write_labels' else '__call__'
            original, calls = getattr(kind, name), []

            def third(*args):
                calls.append(None)
                return original(*args) if len(calls) < 3 else interrupting(0)

            patched.setattr(kind, name, third)
        else:
            patched.setattr(prepare.Preparation, step, interrupting)
        with pytest.raises(Interrupted):
            teacher()
    for name in STEPS:
        monkeypatch.setattr(prepare.Preparation, name, watched(name, getattr(prepare.Preparation, name)))
    teacher()
    assert stops and steps == list(STEPS[STEPS.index(step) :])  # what was finished is not made again
    assert files(tmp_path / 'congeneric') == {
        name.removeprefix('congeneric/'): content for name, content in whole.items()
    }


def test_a_full_disk_leaves_nothing_half_made(teacher, tmp_path, monkeypatch):
    before = messages(teacher())
    made = files(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(prepare, 'write_lines', in_room(prepare.write_lines, 2000))
        with pytest.raises(OSError, match='File too large'):
            teacher(congeneric_turns=3)
    assert {name: content for name, content in files(tmp_path).items() if name in made} == made
    assert not list(tmp_path.rglob('*.jsonl.*')) and messages(teacher()) == before
    assert len(messages(teacher(congeneric_turns=3))) == len(before)


def test_threads_that_open_a_split_at_the_same_time_see_the_same(teacher):
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: messages(teacher()), range(3)))
    assert found[0] == found[1] == found[2]


PROCESSES = """
import hashlib, json, sys
from parlai.core.teachers import create_task_agent_from_taskname
from parlai.scripts.display_data import setup_args
import parlai_persona
from parlai_persona.tasks.congeneric import prepare
prepare.CHUNK = 16
task = create_task_agent_from_taskname(setup_args().parse_kwargs(
    task='persona:congeneric', congeneric_of='persona:sample', persona_sample_dialogues=40, datatype='train',
    datapath=sys.argv[1]))[0]
found = [dict(task.get(number)) for number in range(task.num_episodes())]
print(hashlib.md5(json.dumps(found).encode()).hexdigest())
"""


@pytest.mark.slow
def test_processes_build_at_the_same_time_and_one_is_killed(tmp_path):
    def start():
        command = [sys.executable, '-c', PROCESSES, str(tmp_path / 'data')]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    running = [start() for _ in range(3)]
    while running[0].poll() is None and not list((tmp_path / 'data').rglob('examples.jsonl')):
        pass
    running[0].kill()
    answers = [process.communicate(timeout=PATIENCE)[0].split()[-1] for process in running[1:]]
    assert answers[0] == answers[1]
    assert not [path for path in (tmp_path / 'data').rglob('*') if path.name.endswith('.part')]
