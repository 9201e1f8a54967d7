"""Train one model and evaluate it, by stock `parlai` commands, unless its rows are there already.

Ctrl-C stops a command; a later run resumes.
"""

import argparse
import fnmatch
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import record
from benchmarks.common.record import Row, append, hardware, read

VALIDATED = 1000  # examples of the valid split that choose the checkpoint
TEN_MINUTES = 600  # seconds
SCHEDULE = (
    f'--lr-scheduler none --validation-every-n-epochs 1 --validation-max-exs {VALIDATED} --validation-patience 3 '
    '--eval-dynamic-batching off --short-final-eval true --save-after-valid true --save-every-n-secs 60 '
    '--log-every-n-secs 30'
)


def model_file(out: Path, name: str, seed: int) -> Path:
    """Return the file of a model: each name and seed has its own folder, with all that belongs to the model."""
    return out / f'{name}-{seed}' / 'model'


def training(task: str, flags: str, seed: int, model: Path, seconds: int = TEN_MINUTES) -> str:
    """Return the command that trains a model for at most so long, validating after each epoch."""
    return f'parlai train_model {task} {flags} --seed {seed} --max-train-time {seconds} {SCHEDULE} -mf {model}'


@dataclass(frozen=True)
class Job:
    """The rows of one model and one evaluation: what their columns say, and the commands that measure them."""

    method: str
    task: str
    data: str
    split: str
    seed: int
    train: dict[str, Path]  # commands, and the last file that each writes: {model}.valid, or a dictionary
    evaluate: str  # a command that writes a report
    report: Path
    metrics: tuple[str, ...]  # names or patterns
    examples: int = 0  # how many the split has; 0: not checked

    @property
    def columns(self) -> tuple[str, str, str, str, int]:
        return self.method, self.task, self.data, self.split, self.seed

    @property
    def title(self) -> str:
        return f'{self.method}, {self.task}, {self.data}, {self.split}, seed {self.seed}'

    @property
    def command(self) -> str:
        return ' && '.join((*self.train, self.evaluate))

    def measured(self, csv: Path) -> bool:
        rows = [row for row in read(csv) if row.key[:5] == self.columns]
        if any(row.command != self.command for row in rows):
            print(f'{csv.name} has {self.title} by another command; remove its rows to measure it again')
        return bool(rows)

    def run(self) -> list[Row]:
        """Train what is not trained yet, evaluate, and return the rows."""
        log = self.report.with_suffix('.log')
        for command, ready in self.train.items():
            claim(ready.parent, command)
            if not ready.exists():
                execute(command, log)
        execute(self.evaluate, log)
        report = json.loads(self.report.read_text(encoding='utf-8'))['report']
        if self.examples and report['exs'] != self.examples:
            sys.exit(f'{self.report}: saw {report["exs"]:.0f} examples, expected {self.examples} for "{self.split}"')
        names = [name for pattern in self.metrics for name in fnmatch.filter(report, pattern)]
        if not names:
            sys.exit(f'{self.report}: saw {", ".join(report)}, expected one of {", ".join(self.metrics)}')
        return [Row(*self.columns, name, report[name], self.command, hardware=hardware(1)) for name in names]


def execute(command: str, log: Path) -> None:
    """Run `parlai …` on one thread with the console script beside this Python; its output goes to `log`.

    Ctrl-C or SIGTERM also stops the command. ParlAI first finishes a checkpoint that it is writing, and we wait for it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # also where a shell started us in the background
    name, *arguments = shlex.split(command)
    program = Path(sys.executable).with_name(name)
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('a', encoding='utf-8') as output:
        print(f'$ {command}', file=output, flush=True)
        process = subprocess.Popen([program, *arguments], stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            sys.exit(f'\nStopped during: {command}\nRun the same line again to go on.')
    if process.returncode:
        last = ''.join(log.read_text(encoding='utf-8').splitlines(keepends=True)[-15:])
        sys.exit(f'{last}\nExit status {process.returncode} of: {command}\nAll of its output: {log}')


def program(agent: str) -> str:
    """Return the program that knows an agent: Python itself finds those of our benchmarks."""
    return 'python -m parlai' if 'benchmarks.' in agent else 'parlai'


def claim(folder: Path, command: str) -> None:
    """Note which command fills a folder; stop if it was another one."""
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / 'command.txt'
    if note.exists() and note.read_text(encoding='utf-8') != command:
        sys.exit(f'{folder} was made by another command; remove it to run\n{command}')
    note.write_text(command, encoding='utf-8')


def run_all(jobs: Sequence[Job], csv: Path, allow_dirty: bool = False) -> None:
    """Run the jobs that have no rows yet."""
    left = [job for job in jobs if not job.measured(csv)]
    for number, job in enumerate(left, 1):
        start = time.monotonic()
        print(f'[{number}/{len(left)}] {job.title}; log: {job.report.with_suffix(".log")}', flush=True)
        rows = job.run()
        append(rows, csv, allow_dirty=allow_dirty)
        figures = ', '.join(f'{row.metric} {row.value:.4g}' for row in rows[:4])
        print(f'    {figures} ({(time.monotonic() - start) / 60:.1f} minutes)', flush=True)
    print(f'{len(jobs)} measurements in {csv.name}')


def arguments(description: str | None, names: Iterable[str], seeds: Sequence[int]) -> argparse.Namespace:
    """Parse the command line of a benchmark that runs jobs: what to measure, and with which seeds."""
    parser = record.parser(description)
    parser.add_argument('--datapath', required=True, help="ParlAI's data folder; what is missing in it is downloaded")
    parser.add_argument('--only', nargs='+', choices=[*names], default=[*names], help='these alone (default: all)')
    parser.add_argument('--seeds', type=int, nargs='+', default=seeds, help='of what is trained (default: %(default)s)')
    return record.parse_arguments(parser)
