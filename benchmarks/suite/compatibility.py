"""Find out which of ParlAI's agents, scripts and options work with the installed packages, with our fixes and without.

    python -m benchmarks.suite.compatibility                    # about 25 minutes; fills in docs/compatibility.md
    python -m benchmarks.suite.compatibility --without-fixes    # the same with plain ParlAI, for the second table
    python -m benchmarks.suite.compatibility --only gpt2        # the cells with this in their name; writes no page

Every cell of a table is one or two `parlai` commands (`compatibility_matrix.py`), each in its own process. Outcomes go
to a JSON file in `runs/compatibility/`, and a later run continues it. To measure all again, remove that folder.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

from benchmarks.common.record import ROOT
from benchmarks.common.tables import between
from benchmarks.suite.compatibility_matrix import ACTIVITIES, AGENTS, OPTIONS, Command, make_fixtures
from parlai_persona import compat

PAGE = ROOT / 'docs' / 'compatibility.md'
FOLDER = ROOT / 'runs' / 'compatibility'
PACKAGES = ('parlai', 'torch', 'numpy', 'transformers', 'tokenizers', 'nltk', 'py-rouge', 'scipy', 'scikit-learn')
TIMEOUT = 180  # seconds a command
WITH, WITHOUT = 'with_fixes', 'without_fixes'
WORKS = '✓'
# name ('row | column') -> commands, all of which have to work; column by column: an agent is trained before it is used
CELLS = {f'{agent.name} | {column}': make(agent) for column, make in ACTIVITIES.items() for agent in AGENTS}
CELLS |= {f'{row} | works': commands for row, commands in OPTIONS.items()}
Outcomes = dict[str, str]  # name of a cell -> check mark, or why it failed


def read(mode: str) -> Outcomes:
    path = FOLDER / f'{mode}.json'
    return json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}


def run(name: str, mode: str) -> str:
    """Run a cell in a new folder, with links to the fixtures and to the agents that the `train` cells made."""
    folder = FOLDER / mode / re.sub(r'\W+', '_', name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for shared in [*(FOLDER / 'fixtures').iterdir(), FOLDER / 'agents']:
        (folder / shared.name).symlink_to(shared)
    for command in CELLS[name]:
        arguments = command.arguments() + (
            unscheduled(command.line) if mode == WITHOUT and '| train' not in name else []
        )
        outcome = run_command(arguments, command, folder, mode)
        if outcome != WORKS:
            return outcome
    if '| train' in name and mode == WITH:  # plain ParlAI also uses these agents
        for path in folder.glob('model*'):
            shutil.copy2(path, FOLDER / 'agents' / path.name.replace('model', name.split()[0].replace('/', '_'), 1))
    return WORKS


def unscheduled(line: str) -> list[str]:
    """Switch off the default scheduler, with which plain ParlAI can train nothing: other failures become visible."""
    learns = '-mf' in line and not re.search('^vacuum|--lr-scheduler|ir_baseline|tfidf_retriever', line)
    return ['--lr-scheduler', 'none'] if learns else []


def run_command(arguments: list[str], command: Command, folder: Path, mode: str) -> str:
    """Return the check mark, or why the command failed; its whole output is in `log.txt`."""
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'HF_HUB_OFFLINE': '1', 'CUDA_VISIBLE_DEVICES': ''}
    environment['PARLAI_PERSONA_SKIP_FIXES'] = '' if mode == WITH else 'all'
    with (folder / 'log.txt').open('w+', encoding='utf-8') as log:
        shared: dict[str, Any] = {'cwd': folder, 'env': environment, 'stdout': log, 'stderr': subprocess.STDOUT}
        try:
            done = subprocess.run(
                [sys.executable, *arguments], input=command.typed, timeout=TIMEOUT, text=True, **shared
            )
        except subprocess.TimeoutExpired:
            return f'no end after {TIMEOUT} seconds'
        log.seek(0)
        output = re.sub(r'\x1b\[[\d;]*m', '', log.read())  # without colours
    if done.returncode:
        return reason(output) or f'exit status {done.returncode}'
    return WORKS if re.search(command.expect, output) else f'the output lacks {command.expect}'


def reason(output: str) -> str:
    """Return the last error in an output, without the paths of this machine."""
    error = r'^(?:\[rank\d\]: )?((?:[\w.]*(?:Error|Exception|Exit)\b|Parse Error).*)$'
    found = re.findall(error, output, re.MULTILINE)
    return re.sub(r'(?:/[\w.+-]+)+/', '…/', found[-1])[:160] if found else ''


# ------------------------------------------------------------------------------------------------ the page


class Marks:
    """The fields of the tables; the reason of a failure is a number in a list, where it stands once."""

    def __init__(self) -> None:
        self.outcomes = {mode: read(mode) for mode in (WITH, WITHOUT)}
        self.reasons: list[str] = []

    def mark(self, mode: str, name: str) -> str:
        outcome = self.outcomes[mode].get(name, '?') if CELLS[name] else '–'
        if outcome in ('?', '–', WORKS):
            return outcome
        if outcome not in self.reasons:
            self.reasons.append(outcome)
        return f'✗ ({self.reasons.index(outcome) + 1})'

    def agents(self, mode: str) -> list[str]:
        rows = [[f'`{one.name}`', *(self.mark(mode, f'{one.name} | {what}') for what in ACTIVITIES)] for one in AGENTS]
        return grid(['agent', *ACTIVITIES], rows)

    def options(self) -> list[str]:
        rows = [[row, *(self.mark(mode, f'{row} | works') for mode in (WITH, WITHOUT))] for row in OPTIONS]
        return grid(['script or option', 'with the fixes', 'without'], rows)


def grid(header: list[str], rows: list[list[str]]) -> list[str]:
    return [f'| {" | ".join(header)} |', '|---' * len(header) + '|', *(f'| {" | ".join(row)} |' for row in rows)]


def installed(package: str) -> str:
    try:
        return f'{package} {version(package)}'
    except PackageNotFoundError:
        return f'{package} not installed'


def write_page() -> None:
    """Fill in the parts between the marks of the page; the rest is written by hand."""
    marks = Marks()
    parts = {
        'versions': [' · '.join([f'python {python_version()}', *map(installed, PACKAGES)])],
        'with fixes': marks.agents(WITH),
        'without fixes': marks.agents(WITHOUT),
        'options': marks.options(),
        'reasons': [f'{number}. `{one}`' for number, one in enumerate(marks.reasons, 1)],
        'fixes': sorted(
            f'- **`{fix.__name__}`** (in `{module}`). {" ".join((fix.__doc__ or "").split())}'
            for module, fixes in compat.FIXES.items()
            for fix in fixes
        ),
    }
    text = PAGE.read_text(encoding='utf-8')
    for name, lines in parts.items():
        text = between(text, f'<!-- {name} -->', f'<!-- end of {name} -->', ['', *lines, ''])
    PAGE.write_text(text, encoding='utf-8')
    print(f'wrote {PAGE.relative_to(ROOT)}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--without-fixes', action='store_true', help='what plain ParlAI does')
    parser.add_argument('--only', default='', metavar='TEXT', help='run cells with this in their name, done or not')
    asked = parser.parse_args()
    mode = WITHOUT if asked.without_fixes else WITH
    if not (FOLDER / 'fixtures').exists():
        make_fixtures(FOLDER / 'fixtures')
    (FOLDER / 'agents').mkdir(exist_ok=True)
    outcomes = read(mode)
    chosen = [name for name in CELLS if CELLS[name] and asked.only in name and (asked.only or name not in outcomes)]
    for number, name in enumerate(chosen, 1):
        outcomes[name] = run(name, mode)
        (FOLDER / f'{mode}.json').write_text(json.dumps(outcomes, indent=1, ensure_ascii=False), encoding='utf-8')
        print(f'[{number:3d}/{len(chosen)}] {name}: {outcomes[name]}', flush=True)
    if not asked.only:
        write_page()


if __name__ == '__main__':
    main()
