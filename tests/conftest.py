"""No test reaches the network: pytest-socket (see pyproject.toml) stops this process, a closed proxy its children."""

import io
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

# Before torch is imported: the tensors of the tests are small, and pytest-xdist already uses the cores.
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('CUDA_VISIBLE_DEVICES', '')  # the CPU gives the same numbers everywhere
os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_OFFLINE='1')
for proxy in ('http_proxy', 'https_proxy'):  # what a subprocess would try goes to a closed port
    os.environ[proxy] = os.environ[proxy.upper()] = 'http://127.0.0.1:9'
os.environ['no_proxy'] = os.environ['NO_PROXY'] = '127.0.0.1,localhost'

PATIENCE = 3600  # seconds before a process counts as hung, however slow the machine is
FIXTURES = Path(__file__).parent / 'fixtures'


@pytest.fixture
def parlai(tmp_path):
    """The stock console script, run in an empty folder; answers the finished process with its output as text."""

    def run(*arguments: str, input: str = '', cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(Path(sys.executable).parent / 'parlai'), *arguments],
            input=input,
            cwd=cwd,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    return run


@pytest.fixture
def shell(tmp_path):
    """Runs the commands of a page in an empty folder with bash; returns the finished process, which has succeeded."""

    def run(commands: str, input: str = '') -> subprocess.CompletedProcess:
        path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
        done = subprocess.run(
            ['bash', '-euo', 'pipefail', '-c', commands],
            cwd=tmp_path,
            env={**os.environ, 'PATH': path},
            input=input,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done

    return run


@pytest.fixture(autouse=True)
def bfloat16_everywhere(monkeypatch):
    """Use bfloat16 where it is asked for, on slow processors too."""
    from parlai_persona.models import precision

    monkeypatch.setattr(precision, 'LEAST_GAIN', 0.0)


def worker_program(folder: Path, name: str, source: str) -> None:
    """A module that subprocesses can import when `folder` is on their PYTHONPATH."""
    (folder / f'{name}.py').write_text(source)


@contextmanager
def room(size: int):
    """Let no file grow beyond so many bytes: writing fails as on a full disk."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def in_room(step, size: int):
    """Return a function that has so little room for its files."""

    def run(*args, **kwargs):
        with room(size):
            return step(*args, **kwargs)

    return run


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """A `parlai` command in this process and in an empty folder; answers what the console script would end with."""

    def run(*arguments: str, input: str = '') -> subprocess.CompletedProcess:
        import parlai.utils.logging as logging
        from parlai.core.script import superscript_main

        import parlai_persona  # noqa: F401
        from parlai_persona.compat import errors

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', ['parlai', *arguments])
        monkeypatch.setattr(sys, 'stdin', io.StringIO(input))
        monkeypatch.setattr(logging.logger.streamHandler, 'stream', sys.stdout)
        monkeypatch.setattr(logging.logger, 'level', logging.INFO)  # as in a new process; other tests are quieter
        monkeypatch.setattr(logging.logger, '_cache', {})  # of what is logged at this level
        capfd.readouterr()
        status = 0
        try:
            superscript_main([*arguments])
        except SystemExit as exit:
            status = exit.code if isinstance(exit.code, int) else bool(exit.code)
            sys.stderr.write(exit.code if isinstance(exit.code, str) else '')
        except BaseException as error:  # noqa: BLE001  as Python's interpreter does at the end
            errors.end(type(error), error, error.__traceback__)
            status = 1
        return subprocess.CompletedProcess(arguments, status, *capfd.readouterr())

    return run
