"""Train one model and evaluate it, by stock `parlai` commands, unless its rows are there already."""

import fnmatch
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.commands import Progress, execute
from benchmarks.common.record import Row, append, find, hardware

VALIDATED = 1000  # examples of the valid split that choose the checkpoint
SCHEDULE = (
    f'--lr-scheduler none --validation-every-n-epochs 1 --validation-max-exs {VALIDATED} --validation-patience 3 '
    '--eval-dynamic-batching off --short-final-eval true --save-after-valid true --save-every-n-secs 60 '
    '--log-every-n-secs 30'
)


def model_file(out: Path, name: str, seed: int) -> Path:
    """Return the file of a model: each name and seed has its own folder, with all that belongs to the model."""
    return out / f'{name}-{seed}' / 'model'


def training(task: str, flags: str, seed: int, minutes: float, model: Path) -> str:
    """Return the command that trains a model for at most so many minutes, validating after each epoch."""
    return f'parlai train_model {task} {flags} --seed {seed} --max-train-time {60 * minutes:g} {SCHEDULE} -mf {model}'


@dataclass(frozen=True)
class Job:
    """The rows of one model and one evaluation: what their columns say, and the commands that measure them."""

    method: str
    task: str
    data: str
    split: str
    seed: int
    train: tuple[str, ...]  # commands, each for a model in its own folder
    ready: tuple[Path, ...]  # the last file that each of them writes: {model}.valid, or a dictionary
    evaluate: str  # a command that writes a report
    report: Path
    metrics: tuple[str, ...] = ()  # names or patterns; empty: those that `run_all` is given
    examples: int = 0  # how many the split has; 0: not checked

    @property
    def title(self) -> str:
        return f'{self.method}, {self.task}, {self.data}, {self.split}, seed {self.seed}'

    @property
    def command(self) -> str:
        return ' && '.join((*self.train, self.evaluate))

    def measured(self, csv: Path) -> bool:
        same = {'method': self.method, 'task': self.task, 'data': self.data, 'split': self.split, 'seed': self.seed}
        rows = find(csv, **same)
        if any(row.command != self.command for row in rows):
            print(f'{csv.name} has {self.title} by another command; remove its rows to measure it again')
        return bool(rows)

    def run(self, metrics: Sequence[str], progress: Progress, threads: int) -> list[Row]:
        """Train what is not trained yet, evaluate, and return the rows."""
        log = self.report.with_suffix('.log')
        for command, ready in zip(self.train, self.ready, strict=True):
            claim(ready.parent, command)
            if not ready.exists():
                execute(command, log, threads, progress)
        execute(self.evaluate, log, threads, progress)
        report = json.loads(self.report.read_text(encoding='utf-8'))['report']
        if self.examples and report['exs'] != self.examples:
            sys.exit(f'{self.report}: saw {report["exs"]:.0f} examples, expected {self.examples} for "{self.split}"')
        names = [name for pattern in self.metrics or metrics for name in fnmatch.filter(report, pattern)]
        if not names:
            sys.exit(f'{self.report}: saw {", ".join(report)}, expected one of {", ".join(self.metrics or metrics)}')
        columns = (self.method, self.task, self.data, self.split, self.seed)
        return [Row(*columns, name, report[name], self.command, hardware=hardware(threads)) for name in names]


def claim(folder: Path, command: str) -> None:
    """Note which command fills a folder; stop if it was another one."""
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / 'command.txt'
    if note.exists() and note.read_text(encoding='utf-8') != command:
        sys.exit(f'{folder} was made by another command; remove it to run\n{command}')
    note.write_text(command, encoding='utf-8')


def run_all(
    jobs: Sequence[Job], csv: Path, metrics: Sequence[str], threads: int, minutes: float, allow_dirty: bool = False
) -> None:
    """Run the jobs that have no rows yet; `minutes` is roughly what one takes."""
    left = [job for job in jobs if not job.measured(csv)]
    done = 0
    progress = Progress(len(left), lambda: minutes * (len(left) - done))
    for job in left:
        progress.begin(done + 1, job.title)
        rows = job.run(metrics, progress, threads)
        append(rows, csv, allow_dirty=allow_dirty)
        progress.done(', '.join(f'{row.metric} {row.value:.4g}' for row in rows[:4]))
        done += 1
    print(f'{len(jobs)} measurements in {csv.name}')
