"""Find out which of ParlAI's agents, scripts and options work with the installed packages, with our fixes and without.

    python -m benchmarks.suite.compatibility                    # about 25 minutes; fills in docs/compatibility.md
    python -m benchmarks.suite.compatibility --without-fixes    # the same with plain ParlAI, for the second table
    python -m benchmarks.suite.compatibility --only gpt2        # the cells with this in their name; writes no page
    python -m benchmarks.suite.compatibility --page             # write the page from the cells that are done

Every cell of a table is one or two `parlai` commands (`compatibility_matrix.py`), each in its own process. Finished
cells are kept in `runs/compatibility/` and run again only if versions, commands or fixes change. After Ctrl-C, run
the same line again.
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
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from platform import python_version

from benchmarks.suite.compatibility_matrix import ACTIVITIES, AGENTS, OPTIONS, Command, make_fixtures
from parlai_persona import compat

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs' / 'compatibility.md'
FOLDER = ROOT / 'runs' / 'compatibility'
PACKAGES = ('parlai', 'torch', 'numpy', 'transformers', 'tokenizers', 'nltk', 'py-rouge', 'scipy', 'scikit-learn')
TIMEOUT = 180  # seconds a command
WITH, WITHOUT = 'with_fixes', 'without_fixes'
WORKS, FAILS, ABSENT, UNKNOWN = '✓', '✗', '–', '?'


@dataclass(frozen=True)
class Cell:
    """One field of a table: its row and column, and the commands, all of which have to work."""

    row: str
    column: str
    commands: list[Command]

    @property
    def name(self) -> str:
        return f'{self.row} | {self.column}'


def cells(mode: str) -> list[Cell]:
    """Return all cells column by column, so that an agent is trained before it is used."""
    agents = [Cell(agent.name, column, run(agent)) for column, run in ACTIVITIES.items() for agent in AGENTS]
    options = [Cell(row, 'works', commands) for row, commands in OPTIONS.items()]
    return [cell if mode == WITH else unscheduled(cell) for cell in agents + options if cell.commands]


def unscheduled(cell: Cell) -> Cell:
    """Switch off the default scheduler, with which plain ParlAI can train nothing: other failures become visible."""

    def command(old: Command) -> Command:
        learns = '-mf' in old.line and not old.line.startswith('vacuum') and '--lr-scheduler' not in old.line
        return replace(old, line=f'{old.line} --lr-scheduler none') if learns else old

    if cell.column == 'train' or cell.row in ('ir_baseline', 'tfidf_retriever'):
        return cell
    return replace(cell, commands=[command(old) for old in cell.commands])


@cache
def versions() -> dict[str, str]:
    installed = {str(each.metadata['Name']).lower(): each.version for each in distributions()}
    return {'python': python_version()} | {name: installed.get(name, 'not installed') for name in PACKAGES}


def code_of_fixes() -> list[str]:
    return [path.read_text(encoding='utf-8') for path in sorted(Path(compat.__file__).parent.glob('*.py'))]


class Results:
    """The finished cells in a JSON file: mode -> name of the cell -> outcome, and digests of what it depends on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cells = json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}

    def get(self, mode: str, cell: Cell, fixes: str | None = None) -> str | None:
        """Return the outcome if versions and commands (and the fixes, if given) are still the same."""
        kept = self.cells.get(mode, {}).get(cell.name, {})
        current = kept.get('of') == digest(versions(), cell) and fixes in (None, kept.get('fixes'))
        return kept['outcome'] if current else None

    def put(self, mode: str, cell: Cell, fixes: str, outcome: str) -> None:
        kept = {'of': digest(versions(), cell), 'fixes': fixes, 'outcome': outcome}
        self.cells.setdefault(mode, {})[cell.name] = kept
        self.path.write_text(json.dumps(self.cells, indent=1, ensure_ascii=False), encoding='utf-8')


def digest(*things: object) -> str:
    return hashlib.sha256(repr(things).encode()).hexdigest()[:16]


def run_all(chosen: list[Cell], results: Results, mode: str) -> None:
    if not (FOLDER / 'fixtures' / 'candidates.txt').exists():
        make_fixtures(FOLDER / 'fixtures')
    (FOLDER / 'agents').mkdir(exist_ok=True)
    fixes = digest(code_of_fixes() if mode == WITH else None)
    started = time.monotonic()
    for number, cell in enumerate(chosen, 1):
        outcome = results.get(mode, cell, fixes)
        if outcome is None:
            outcome = run(cell, mode)
            results.put(mode, cell, fixes, outcome)
        print(f'[{number:3d}/{len(chosen)} {time.monotonic() - started:5.0f} s] {cell.name}: {outcome}', flush=True)


def run(cell: Cell, mode: str) -> str:
    """Run a cell in a new folder, with links to the fixtures and to the agents that the `train` cells made."""
    folder = FOLDER / mode / re.sub(r'\W+', '_', cell.name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for shared in [*(FOLDER / 'fixtures').iterdir(), FOLDER / 'agents']:
        (folder / shared.name).symlink_to(shared)
    for command in cell.commands:
        outcome = run_command(command, folder, mode)
        if outcome != WORKS:
            return outcome
    if cell.column == 'train' and mode == WITH:  # plain ParlAI also uses these agents
        for path in folder.glob('model*'):
            shutil.copy2(path, FOLDER / 'agents' / path.name.replace('model', cell.row.replace('/', '_'), 1))
    return WORKS


def run_command(command: Command, folder: Path, mode: str) -> str:
    """Return the check mark, or why the command failed; its whole output is in `log.txt`."""
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'HF_HUB_OFFLINE': '1', 'CUDA_VISIBLE_DEVICES': ''}
    environment['PARLAI_PERSONA_SKIP_FIXES'] = '' if mode == WITH else 'all'
    with (folder / 'log.txt').open('w+', encoding='utf-8') as log:
        try:
            done = subprocess.run(
                [sys.executable, *command.arguments()],
                cwd=folder,
                env=environment,
                input=command.typed,
                timeout=TIMEOUT,
                text=True,
                stdout=log,
                stderr=subprocess.STDOUT,
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


def table(results: Results, mode: str, notes: list[str]) -> list[str]:
    """Return the table of agents and what they can do."""
    by_name = {cell.name: cell for cell in cells(mode)}
    lines = [f'| agent | {" | ".join(ACTIVITIES)} |', '|---|' + '---|' * len(ACTIVITIES)]
    for agent in AGENTS:
        marks = [mark(results, mode, by_name.get(f'{agent.name} | {column}'), notes) for column in ACTIVITIES]
        lines.append(f'| `{agent.name}` | {" | ".join(marks)} |')
    return lines


def options(results: Results, notes: list[str]) -> list[str]:
    lines = ['| script or option | with the fixes | without |', '|---|---|---|']
    for both in zip(cells(WITH), cells(WITHOUT), strict=True):
        if both[0].row in OPTIONS:
            marks = [mark(results, mode, cell, notes) for mode, cell in zip((WITH, WITHOUT), both, strict=True)]
            lines.append(f'| {both[0].row} | {" | ".join(marks)} |')
    return lines


def mark(results: Results, mode: str, cell: Cell | None, notes: list[str]) -> str:
    """Return a field of a table; the reason of a failure goes to the notes, each once."""
    outcome = ABSENT if cell is None else results.get(mode, cell) or UNKNOWN
    if outcome in (ABSENT, UNKNOWN, WORKS):
        return outcome
    if outcome not in notes:
        notes.append(outcome)
    return f'{FAILS} ({notes.index(outcome) + 1})'


def list_of_fixes() -> list[str]:
    return sorted(
        f'- **`{fix.__name__}`** (in `{module}`). {" ".join((fix.__doc__ or "").split())}'
        for module, functions in compat.FIXES.items()
        for fix in functions
    )


def write_page(results: Results) -> None:
    """Fill in the parts between the marks of the page; the rest is written by hand."""
    notes: list[str] = []
    parts = {
        'versions': [' · '.join(f'{name} {number}' for name, number in versions().items())],
        'with fixes': table(results, WITH, notes),
        'without fixes': table(results, WITHOUT, notes),
        'options': options(results, notes),
        'reasons': [f'{number}. `{note}`' for number, note in enumerate(notes, 1)],
        'fixes': list_of_fixes(),
    }
    text = PAGE.read_text(encoding='utf-8')
    for name, lines in parts.items():
        start, end = f'<!-- {name} -->\n', f'\n<!-- end of {name} -->'
        if start not in text or end not in text:
            raise SystemExit(f'{PAGE.name} lacks the marks {start.strip()!r} and {end.strip()!r}')
        before, after = text.split(start)[0], text.split(end)[1]
        text = before + start + '\n' + '\n'.join(lines) + '\n' + end + after
    PAGE.write_text(text, encoding='utf-8')
    print(f'wrote {PAGE.relative_to(ROOT)}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--without-fixes', action='store_true', help='what plain ParlAI does')
    parser.add_argument('--only', nargs='+', default=[], metavar='TEXT', help='cells with one of these in their name')
    parser.add_argument('--page', action='store_true', help='run nothing, only write the page from finished cells')
    asked = parser.parse_args()
    mode = WITHOUT if asked.without_fixes else WITH
    chosen = [cell for cell in cells(mode) if not asked.only or any(text in cell.name for text in asked.only)]
    results = Results(FOLDER / 'cells.json')
    if not asked.page:
        run_all(chosen, results, mode)
    if not asked.only:
        write_page(results)


if __name__ == '__main__':
    main()
