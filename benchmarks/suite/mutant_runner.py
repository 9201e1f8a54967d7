"""Run tests with changed sources of a module, each in a fork of this process; `mutants.py` starts it.

It imports torch and ParlAI once, and nothing of ours: each fork imports our modules, the changed one among them.
Stdin has the path, the tests and the sources as JSON. A line of stdout says what became of each source.
"""

import contextlib
import importlib
import importlib.machinery
import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path

PRELOADED = (
    'numpy pytest torch pyarrow.parquet sklearn.feature_extraction.text transformers parlai.core.teachers '
    'parlai.core.torch_ranker_agent parlai.core.torch_generator_agent parlai.scripts.train_model '
    'parlai.scripts.eval_model parlai.scripts.interactive parlai.scripts.display_data'
)


def replace_source(path: Path, source: str) -> None:
    """Let Python's importer compile this source for the module of that path."""
    original = importlib.machinery.SourceFileLoader.get_code

    def get_code(self, name):
        if Path(self.path).resolve() == path:
            return compile(source, self.path, 'exec', dont_inherit=True)
        return original(self, name)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign]


def passes(path: Path, source: str, tests: str) -> bool:
    import pytest

    replace_source(path, source)
    words = [f'tests/{word}' if word.endswith('.py') else word for word in shlex.split(tests)]
    with open(os.devnull, 'w') as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        options = ['-x', '-q', '-n', '0', '-m', 'not slow', '-p', 'no:cacheprovider', '-p', 'no:faulthandler']
        return pytest.main([*options, *words]) == 0


def outcome(path: Path, source: str, tests: str, seconds: float) -> str:
    """Run the tests in a fork; return `passed` or `noticed`, or `too long` after so many seconds."""
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setsid()
            status = 0 if passes(path, source, tests) else 1
        finally:
            os._exit(status)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return 'noticed' if status else 'passed'
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 'too long'


def main() -> None:
    work = json.load(sys.stdin)
    os.environ['OMP_NUM_THREADS'] = '1'
    for name in PRELOADED.split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    patience = 600.0
    for source in work['sources']:
        start = time.monotonic()
        print(outcome(Path(work['path']), source, work['tests'], patience), flush=True)
        if patience == 600:  # the first is the true source
            patience = 60 + 5 * (time.monotonic() - start)


if __name__ == '__main__':
    main()
