"""One model and one thing to measure about it, by stock `parlai` commands; what is measured is not done again."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.commands import Progress, execute
from benchmarks.common.record import Row, append, commit, find, hardware


@dataclass(frozen=True)
class Job:
    method: str
    task: str
    data: str
    split: str
    seed: int
    train: tuple[str, ...]  # commands
    ready: tuple[Path, ...]  # what each of them leaves: {model}.valid, or a dictionary
    evaluate: str  # a command that leaves a report
    report: Path

    def measured(self, csv: Path) -> bool:
        same = {'method': self.method, 'task': self.task, 'data': self.data, 'split': self.split, 'seed': self.seed}
        return bool(find(csv, **same))

    def run(self, csv: Path, metrics: Sequence[str], number: int, progress: Progress, threads: int) -> None:
        progress.begin(number, f'{self.method}, {self.task}, {self.data}, {self.split}, seed {self.seed}')
        log = self.report.with_suffix('.log')
        log.parent.mkdir(parents=True, exist_ok=True)
        for command, ready in zip(self.train, self.ready, strict=True):
            if not ready.exists():
                ready.parent.mkdir(parents=True, exist_ok=True)
                execute(command, log, threads, progress)
        execute(self.evaluate, log, threads, progress)
        report = json.loads(self.report.read_text(encoding='utf-8'))['report']
        command = ' && '.join((*self.train, self.evaluate))
        found = [
            Row(
                self.method,
                self.task,
                self.data,
                self.split,
                self.seed,
                name,
                report[name],
                command,
                commit(),
                hardware(threads),
            )
            for name in metrics
            if name in report
        ]
        append(found, csv)
        progress.done(', '.join(f'{row.metric} {row.value:.4g}' for row in found))


def run_all(jobs: Sequence[Job], csv: Path, metrics: Sequence[str], threads: int, minutes: float) -> None:
    """Those that have no row yet; `minutes` is what one takes, roughly."""
    left = [job for job in jobs if not job.measured(csv)]
    progress = Progress(len(left), lambda: minutes * len(left))
    for number, job in enumerate(left, 1):
        job.run(csv, metrics, number, progress, threads)
    print(f'{len(jobs)} measurements in {csv.name}')
