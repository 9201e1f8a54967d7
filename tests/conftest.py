"""No test reaches the network: pytest-socket (see pyproject.toml) stops this process, a closed proxy its children."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Before torch is imported: the tensors of the tests are small, and pytest-xdist already uses the cores.
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_OFFLINE='1')
for proxy in ('http_proxy', 'https_proxy'):  # what a subprocess would try goes to a closed port
    os.environ[proxy] = os.environ[proxy.upper()] = 'http://127.0.0.1:9'
os.environ['no_proxy'] = os.environ['NO_PROXY'] = '127.0.0.1,localhost'


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Let pytest-xdist keep a file's tests on one worker, so that their fixtures are made once."""
    for item in items:
        if not item.get_closest_marker('xdist_group'):
            item.add_marker(pytest.mark.xdist_group(item.path.name))


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


def worker_program(folder: Path, name: str, source: str) -> None:
    """A module that subprocesses can import when `folder` is on their PYTHONPATH."""
    (folder / f'{name}.py').write_text(source)
