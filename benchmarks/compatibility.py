"""Which of ParlAI's agents, scripts and options work on the stack that is installed, with our fixes and without.

    python benchmarks/compatibility.py                     # about 25 minutes on two cores; writes docs/compatibility.md
    python benchmarks/compatibility.py --without-fixes     # the same by plain ParlAI, for the second table
    python benchmarks/compatibility.py --only gpt2         # the cells whose name contains it

Every cell of the table is one or two `parlai` commands (`compatibility_matrix.py`), each in a process of its own.
Cells that are done are kept in `runs/compatibility/` and are not run again for the same versions, commands and
fixes; after Ctrl-C, run the same line again.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version

from compatibility_matrix import ACTIVITIES, AGENTS, OPTIONS, Command, make_fixtures

import parlai_persona.compat as compat

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / 'docs' / 'compatibility.md'
FOLDER = ROOT / 'runs' / 'compatibility'
PACKAGES = ('parlai', 'torch', 'numpy', 'transformers', 'tokenizers', 'nltk', 'py-rouge', 'scipy', 'scikit-learn')
TIMEOUT = 180  # seconds a command
WORKS, FAILS, ABSENT = '✓', '✗', '–'


@dataclass(frozen=True)
class Cell:
    """One field of a table: its row and column, and the commands that all have to work."""

    row: str
    column: str
    commands: list[Command]

    @property
    def name(self) -> str:
        return f'{self.row} | {self.column}'


def cells() -> list[Cell]:
    """All that applies. A column after the other, so that every agent is trained before it is used."""
    agents = [Cell(agent.name, column, run(agent)) for column, run in ACTIVITIES.items() for agent in AGENTS]
    options = [Cell(row, 'works', commands) for row, commands in OPTIONS.items()]
    return [cell for cell in agents + options if cell.commands]


def versions() -> dict[str, str]:
    found = {'python': python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = 'not installed'
    return found


def fingerprint(cell: Cell, fixes: str) -> str:
    """What a kept result depends on."""
    return hashlib.sha256(repr((versions(), cell, fixes)).encode()).hexdigest()[:16]


def source_of_fixes() -> str:
    return ''.join(path.read_text(encoding='utf-8') for path in sorted(Path(compat.__file__).parent.glob('*.py')))


class Results:
    """The cells that are done, in a JSON file: `with fixes` or `without` -> cell -> fingerprint, outcome, seconds."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / 'cells.json'
        self.found = json.loads(self.path.read_text()) if self.path.exists() else {}

    def get(self, mode: str, cell: Cell, key: str) -> str | None:
        kept = self.found.get(mode, {}).get(cell.name, {})
        return kept.get('outcome') if kept.get('key') == key else None

    def put(self, mode: str, cell: Cell, key: str, outcome: str) -> None:
        self.found.setdefault(mode, {})[cell.name] = {'key': key, 'outcome': outcome}
        self.path.write_text(json.dumps(self.found, indent=1, ensure_ascii=False), encoding='utf-8')


def run_cell(cell: Cell, folder: Path, with_fixes: bool) -> str:
    """The check mark, or the reason why one of the commands did not work; what it printed stays in `log.txt`."""
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'HF_HUB_OFFLINE': '1', 'CUDA_VISIBLE_DEVICES': ''}
    environment['PARLAI_PERSONA_SKIP_FIXES'] = '' if with_fixes else 'all'
    for command in cell.commands:
        python = ['-c', command.arguments()[1]] if command.line.startswith('-c ') else ['-m', 'parlai', *data(command)]
        try:
            done = subprocess.run(
                [sys.executable, *python],
                cwd=folder, env=environment, input=command.typed, timeout=TIMEOUT, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f'no end after {TIMEOUT} seconds'
        if done.returncode or not re.search(command.expect, done.stdout):
            (folder / 'log.txt').write_text(done.stdout, encoding='utf-8')
            return reason(done.stdout) or f'the output lacks {command.expect!r}'
    return WORKS


def data(command: Command) -> list[str]:
    """ParlAI's data folder is a flag of every script but `vacuum`."""
    arguments = command.arguments()
    return arguments if arguments[0] == 'vacuum' else [*arguments, '--datapath', 'data']


def reason(output: str) -> str:
    """The last error that an output tells of, without the paths of this machine."""
    errors = re.findall(r'^(?:\[rank\d\]: )?(\w[\w.]*(?:Error|Exception|Exit)\b.*|Parse Error.*)$', output, re.MULTILINE)
    return re.sub(r'(?:/[\w.+-]+){2,}/', '…/', errors[-1])[:200] if errors else ''


def run_fresh(cell: Cell, mode: str) -> str:
    """Run a cell in a new folder with links to the fixtures and to the agents that the cells `train` have made."""
    folder = FOLDER / mode / re.sub(r'\W+', '_', cell.name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for shared in [*(FOLDER / 'fixtures').iterdir(), FOLDER / 'agents']:
        (folder / shared.name).symlink_to(shared)
    outcome = run_cell(cell, folder, mode == WITH)
    if cell.column == 'train' and mode == WITH:
        for path in folder.glob('model*'):
            shutil.copy2(path, FOLDER / 'agents' / path.name.replace('model', cell.row.replace('/', '_'), 1))
    return outcome


def run_all(chosen: list[Cell], results: Results, mode: str) -> None:
    (FOLDER / 'agents').mkdir(parents=True, exist_ok=True)
    if not (FOLDER / 'fixtures' / 'candidates.txt').exists():
        make_fixtures(FOLDER / 'fixtures')
    fixes = source_of_fixes() if mode == WITH else ''
    started = time.monotonic()
    for number, cell in enumerate(chosen, 1):
        key = fingerprint(cell, fixes)
        outcome = results.get(mode, cell, key)
        if outcome is None:
            outcome = run_fresh(cell, mode)
            results.put(mode, cell, key, outcome)
        seconds = time.monotonic() - started
        print(f'[{number:3d}/{len(chosen)} {seconds:5.0f} s] {cell.name}: {outcome}', flush=True)


def table(results: Results, mode: str, notes: list[str]) -> list[str]:
    """Agents and what they can do; the reason of a failure goes to the notes, each once."""
    rows = [f'| agent | {" | ".join(ACTIVITIES)} |', '|---|' + '---|' * len(ACTIVITIES)]
    for agent in AGENTS:
        fields = [mark(results.outcome(mode, f'{agent.name} | {column}'), notes) for column in ACTIVITIES]
        rows.append(f'| `{agent.name}` | {" | ".join(fields)} |')
    return rows


def mark(outcome: str | None, notes: list[str]) -> str:
    if outcome is None:
        return ABSENT
    if outcome == WORKS:
        return WORKS
    if outcome not in notes:
        notes.append(outcome)
    return f'{FAILS} {notes.index(outcome) + 1}'


def list_of_fixes() -> list[str]:
    """Every fix with its docstring, by the module of ours it is in."""
    lines = []
    for module, fixes in compat.FIXES.items():
        for fix in fixes:
            text = ' '.join((fix.__doc__ or '').split())
            lines.append(f'- **`{fix.__name__}`** (`{module}`). {text}')
    return sorted(lines)


def page(results: Results) -> str:
    notes: list[str] = []
    found = ' · '.join(f'{name} {number}' for name, number in versions().items())
    both = [(row, *(mark(results.outcome(mode, f'{row} | works'), notes) for mode in (WITH, WITHOUT))) for row in OPTIONS]
    parts = {
        'INTRODUCTION': [found],
        'WITH': table(results, WITH, notes),
        'WITHOUT': table(results, WITHOUT, notes),
        'OPTIONS': [f'| {" | ".join(row)} |' for row in both],
        'NOTES': [f'{number}. `{note}`' for number, note in enumerate(notes, 1)],
        'FIXES': list_of_fixes(),
    }
    text = TEMPLATE
    for name, lines in parts.items():
        text = text.replace(f'<{name}>', '\n'.join(lines))
    return text
