"""Measure the arms of a comparison in turns, so that a slow minute hits all of them, and report the figures."""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.common import record
from benchmarks.common.record import Row, append, hardware

Figures = dict[str, float]
Part = Callable[['Report', argparse.Namespace], None]


def child(function: Callable[..., Any], *arguments: Any, threads: int = 1) -> Any:
    """Call a function in a new process of its own, with so many threads."""
    os.environ['OMP_NUM_THREADS'] = str(threads)  # the child inherits it, and then loads torch
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn'), end_with_parent) as pool:
        return pool.submit(function, *arguments).result()


def end_with_parent() -> None:
    """End this process as soon as its parent has ended, even by SIGKILL."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def in_turns(arms: Mapping[str, Callable[[], Figures]], turns: int, warm: int = 0) -> dict[str, list[Figures]]:
    """Measure each arm several times, and let the first of them alternate; `warm` turns before do not count."""
    measured: dict[str, list[Figures]] = {name: [] for name in arms}
    for turn in range(warm + turns):
        for name in list(arms) if turn % 2 else reversed(list(arms)):
            measured[name].append(arms[name]())
            figure, value = next(iter(measured[name][-1].items()))
            print(f'{turn + 1}/{warm + turns} {name}: {figure} {value:.4g}', file=sys.stderr, flush=True)
    return {name: own[warm:] for name, own in measured.items()}


def medians(measured: Mapping[str, list[Figures]]) -> dict[str, Figures]:
    return {
        arm: {name: statistics.median(one[name] for one in own) for name in own[0]} for arm, own in measured.items()
    }


def memory(name: str) -> int:
    """Return a size of this process in kB, as Linux names it: VmRSS (now) or VmHWM (at its peak)."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


class Report:
    """Prints figures, writes them as rows, and notes which targets are missed."""

    def __init__(self, csv: Path, command: str, allow_dirty: bool, seed: int = 0):
        self.csv, self.command, self.allow_dirty, self.seed = csv, command, allow_dirty, seed
        self.missed: list[str] = []

    def add(
        self, method: str, task: str, data: str, split: str, figures: Mapping[str, float], threads: int | None = 1
    ) -> None:
        """Add a row for each figure; threads None: all cores."""
        columns = (method, task, data, split, self.seed)
        rows = [Row(*columns, *figure, self.command, hardware=hardware(threads)) for figure in figures.items()]
        append(rows, self.csv, replace=True, allow_dirty=self.allow_dirty)
        print(f'{method}, {task}, {data}:', *(f'{row.metric} {row.value:.4g}' for row in rows), sep='\n  ', flush=True)

    def expect(self, good: bool, what: str) -> None:
        print(f'{"ok" if good else "MISSED"}: {what}', flush=True)
        if not good:
            self.missed.append(what)

    def exit(self) -> None:
        """End with status 1 if a target is missed."""
        sys.exit(f'Missed: {"; ".join(self.missed)}' if self.missed else 0)


def run_parts(parts: Mapping[str, Part], parser: argparse.ArgumentParser, csv: Path, command: str) -> None:
    """Parse the command line, measure all parts or those of `--only`, and end with status 1 if a target is missed."""
    parser.add_argument('--datapath', default='data', help="ParlAI's data folder")
    parser.add_argument('--only', choices=parts, nargs='+', default=parts, help='these parts (default: all)')
    args = record.parse_arguments(parser)
    report = Report(csv, command, args.allow_dirty)
    for name in args.only:
        parts[name](report, args)
    report.exit()


def parlai(command: str, *arguments: str) -> None:
    """Run a `parlai` command."""
    program = Path(sys.executable).with_name('parlai')
    subprocess.run([program, *command.split(), *arguments, '--loglevel', 'warn'], check=True)


def dictionary(path: Path, task: str, datapath: str) -> None:
    """Build a lower-cased dictionary with ParlAI's regular expression, unless it is there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = f'build_dict -t {task} --dict-tokenizer re --dict-lower true'
        parlai(command, '--datapath', datapath, '--dict-file', str(path))
