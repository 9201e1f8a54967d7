"""Damaged, missing and refused files of a model, and full disks: a clear line, and what was saved before is intact."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from parlai.scripts.train_model import TrainModel
from test_errors import assert_explained

from parlai_persona.compat import launching
from parlai_persona.errors import UserError
from parlai_persona.files import draft, write_json
from parlai_persona.tasks.sample.agents import DefaultTeacher

TINY = ['-m', 'seq2seq', '-hs', '8', '-esz', '8', '-bs', '2', '--skip-generation', 'true']
TINY += ['-t', 'persona:sample:persona_sample_dialogues=40']
SHORT = ['--short-final-eval', 'true', '--validation-max-exs', '2', '--max-train-steps', '2']


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('trained')
    TrainModel.main(*TINY, *SHORT, '-mf', str(folder / 'm'), '--loglevel', 'error')
    return folder


@pytest.fixture
def model(trained, tmp_path):
    """A copy of a small model: `m`, `m.opt`, `m.dict` and so on, in the folder in which commands run."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    (tmp_path / 'm.opt').write_text((trained / 'm.opt').read_text().replace(str(trained), '.'))
    return tmp_path / 'm'


EVALUATE = ['eval_model', '-mf', 'm', '-t', 'persona:sample', '--num-examples', '4']


@pytest.mark.parametrize(
    ('file', 'said'),
    [
        ('m', 'm: damaged, or not a file that torch has saved'),
        ('m.opt', 'm.opt: expected options as JSON'),
        ('m.dict', 'm: its weights do not fit the options and the dictionary'),
    ],
)
def test_half_a_file_of_a_model(command, model, file, said):
    path = model.with_name(file)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert_explained(command(*EVALUATE), said, 'train the model again' if file == 'm' else '')


@pytest.mark.parametrize(
    ('file', 'said'),
    [
        ('m', 'Model file does not exist'),
        ('m.opt', 'm.opt: no such file; expected the options that were saved with the model'),
        ('m.dict', 'm.dict: no such file; expected the dictionary that was saved with the model'),
    ],
)
def test_a_missing_file_of_a_model(command, model, file, said):
    model.with_name(file).unlink()
    assert_explained(command(*EVALUATE), said)


@pytest.mark.parametrize('agent', ['seq2seq', 'persona:memnet'])
def test_options_of_a_model_that_are_missing_are_not_guessed(command, model, agent):
    """Without its options, a model only fits the options that it was trained with."""
    model.with_name('m.opt').unlink()
    assert_explained(command(*EVALUATE, '-m', agent), 'm.opt: no such file; expected the options')
    done = command(*EVALUATE, *TINY)
    assert done.returncode == 0


def test_a_model_of_another_agent(command, model):
    sizes = ['--seq2seq-hidden', '8', '--seq2seq-embedding', '8', '--seq2seq-layers', '1']
    done = command(*EVALUATE, '-m', 'persona:seq2seq', *sizes)
    assert_explained(done, 'm: a model of seq2seq, whose weights do not fit persona:seq2seq: leave -m out')


def test_weights_of_another_agent_to_start_from(command, model):
    start = ['--init-model', 'm', '--seq2seq-hidden', '8', '--seq2seq-embedding', '8', '--seq2seq-layers', '1']
    done = command('train_model', '-m', 'persona:seq2seq', *TINY[10:], *SHORT, *start, '-mf', 'new')
    assert done.returncode == 1 and 'm: its weights do not fit the options' in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_folder_that_cannot_be_written(command, model):
    done = command('train_model', *TINY, *SHORT, '-mf', 'm/x/new')
    assert_explained(done, 'm/x: Not a directory')


@pytest.mark.slow
def test_a_training_that_goes_on_gives_no_advice_to_undo_its_options(command, tmp_path):
    preset = ['-o', 'persona:memnet/sample', '-mf', 'm', '--short-final-eval', 'true', '--validation-max-exs', '9']
    first = command('train_model', *preset, '--max-train-steps', '3', '--save-every-n-secs', '0.001')
    assert first.returncode == 0 and (tmp_path / 'm.checkpoint').exists()
    done = command('train_model', *preset, '--max-train-steps', '6')
    assert done.returncode == 0 and 'your model is being loaded with opts' not in done.stdout + done.stderr
    assert 'ERROR' not in first.stdout + done.stdout


# --------------------------------------------------------------------------------------------- full disks


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize('write', [lambda path: write_json(path, {'a': 2}), None])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, write):
    path = tmp_path / 'x.json'
    write_json(path, {'a': 1})
    before = path.read_bytes()
    monkeypatch.setattr(Path, 'write_text', full)
    with pytest.raises(OSError, match='No space left'):
        if write:
            write(path)
        with draft(path) as part:
            part.write_text('half')
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.argv = ['parlai', *sys.argv[2:]]
from parlai.__main__ import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize('limit', [100, 3_000, 20_000])
def test_a_training_without_room_ends_with_a_line(model, limit):
    """No file can be larger than the limit: first the dictionary is too large, then the options, then the weights."""
    line = [*TINY, '-hs', '64', *SHORT, '-mf', 'new', '--loglevel', 'warn']
    before = {path.name: path.read_bytes() for path in model.parent.iterdir()}
    done = subprocess.run(
        [sys.executable, '-c', LIMITED, str(limit), 'train_model', *line],
        cwd=model.parent, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and 'Traceback' not in done.stdout + done.stderr, done.stderr[-2000:]
    assert 'File too large' in done.stderr
    assert {name: (model.parent / name).read_bytes() for name in before} == before


# ----------------------------------------------------------------------------------------- out of memory

NO_MEMORY = "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"


@pytest.mark.parametrize('error', [MemoryError(), RuntimeError(NO_MEMORY)])
def test_a_training_without_memory_ends_with_a_line(command, model, monkeypatch, error):
    from parlai.agents.seq2seq.seq2seq import Seq2seqAgent

    learn, steps = Seq2seqAgent.train_step, iter(range(3))

    def train_step(self, batch):
        if next(steps, None) is None:
            raise error
        return learn(self, batch)

    line = ['train_model', *TINY, *SHORT, '--save-every-n-secs', '0.0001', '--loglevel', 'error', '-mf', 'new']
    with monkeypatch.context() as patched:
        patched.setattr(Seq2seqAgent, 'train_step', train_step)
        assert_explained(command(*line, '--max-train-steps', '9'), 'Out of memory', 'lower --batchsize')
    assert '"train_steps": 3' in (model.parent / 'new.checkpoint.trainstats').read_text()
    assert command(*line, '--max-train-steps', '4').returncode == 0


# --------------------------------------------------------------------------------------------- workers


class Joined:
    def __init__(self, error):
        self.error = error

    def join(self, timeout):
        raise self.error


def test_the_cause_is_that_of_the_worker_that_failed_first():
    from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

    closed = RuntimeError('Connection closed by peer')
    killed = ProcessExitedException('…', error_index=0, error_pid=1, exit_code=-9, signal_name='SIGKILL')
    cause = launching.failure(Joined(killed), closed)
    assert isinstance(cause, UserError) and 'worker 1 was killed by SIGKILL (out of memory?)' in str(cause)
    trace = 'Traceback …\nparlai_persona.errors.UserError: m: No space left on device.\n'
    cause = launching.failure(Joined(ProcessRaisedException(trace, 1, 1)), closed)
    assert isinstance(cause, UserError) and str(cause) == 'm: No space left on device.'
    cause = launching.failure(Joined(ProcessRaisedException('Traceback …\nKeyError: 3', 1, 1)), closed)
    assert type(cause) is RuntimeError and 'worker 2' in str(cause) and 'KeyError: 3' in str(cause)


@pytest.mark.slow
def test_a_killed_worker_ends_the_training(tmp_path):
    """On a new model, as the README writes it; its dictionary is built first."""
    arguments = ['-mf', 'new', '--distributed-world-size', '2', '--num-epochs', '99999', '--save-every-n-secs', '1']
    parlai = Path(sys.executable).parent / 'parlai'
    with (tmp_path / 'log').open('w') as log:
        process = subprocess.Popen(
            [parlai, 'multiprocessing_train', *TINY, *arguments], cwd=tmp_path, stdout=log, stderr=log
        )
        while not (tmp_path / 'new.checkpoint.trainstats').exists():
            assert process.poll() is None, (tmp_path / 'log').read_text()[-2000:]
        children = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
        (worker,) = [pid for pid in children if b'spawn_main' in Path(f'/proc/{pid}/cmdline').read_bytes()]
        os.kill(int(worker), signal.SIGKILL)
        assert process.wait() == 1
    shown = (tmp_path / 'log').read_text()
    assert 'parlai: worker 1 was killed by SIGKILL (out of memory?)' in shown and 'Traceback' not in shown


def start_loaders(command, monkeypatch, how: str):
    """Train with a teacher that fails in the processes of `--num-workers` only."""
    read = DefaultTeacher.next_example

    def next_example(self):
        if 'background_index' in self.opt:
            if how == 'kill':
                os.kill(os.getpid(), signal.SIGKILL)
            raise {'file': UserError('x, line 3: saw y'), 'memory': MemoryError(), 'bug': LookupError('a bug')}[how]
        return read(self)

    if how:
        monkeypatch.setattr(DefaultTeacher, 'next_example', next_example)
    return command('train_model', *TINY, *SHORT, '--num-workers', '2', '--truncate', '16', '-mf', 'new')


@pytest.mark.parametrize(
    ('how', 'said'),
    [
        ('file', 'x, line 3: saw y'),
        ('memory', 'Out of memory (MemoryError): lower --batchsize'),
        ('kill', 'was killed by SIGKILL (out of memory?)'),
    ],
)
def test_an_error_of_a_data_loader_is_that_of_the_training(command, model, monkeypatch, how, said):
    assert_explained(start_loaders(command, monkeypatch, how), said)


def test_an_unexpected_error_of_a_data_loader_keeps_its_traceback(command, model, monkeypatch):
    done = start_loaders(command, monkeypatch, 'bug')
    assert done.returncode == 1 and 'LookupError: a bug' in done.stderr


def test_data_loaders_that_work(command, model, monkeypatch):
    assert start_loaders(command, monkeypatch, '').returncode == 0
