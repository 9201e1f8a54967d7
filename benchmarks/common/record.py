"""How every experiment of the suite writes its results: one CSV row a number, under `results/`.

A row names what was measured (method, task, data, split, seed, metric), the value, and what it takes to measure
it again (command, commit, hardware, date). The first six are its key. `append` leaves keys alone that the file
has already, so an experiment that was interrupted can be run again; `find` tells it what it may skip.
"""

import csv
import fcntl
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'results'
CODE = ('*.py', '*.opt', 'pyproject.toml', 'requirements.lock')  # what `-dirty` is about: neither results nor prose

# Published sizes: corpus -> split -> (dialogues, examples). ConvAI2 has both sides of each dialogue.
PUBLISHED = {
    'Persona-Chat': {'train': (8939, 65719), 'valid': (1000, 7801), 'test': (968, 7512)},
    'ConvAI2': {'train': (17878, 131438), 'valid': (1000, 7801)},
}


@dataclass(frozen=True)
class Row:
    method: str
    task: str
    data: str  # see `data_label`
    split: str  # see `split_label`
    seed: int
    metric: str
    value: float
    command: str
    commit: str = field(default_factory=lambda: commit())
    hardware: str = field(default_factory=lambda: hardware())
    date: str = field(default_factory=lambda: date.today().isoformat())

    @property
    def key(self) -> tuple[str, str, str, str, int, str]:
        return self.method, self.task, self.data, self.split, self.seed, self.metric


HEADER = [column.name for column in fields(Row)]


def read(path: Path) -> list[Row]:
    """The rows of a file; none if there is no such file."""
    if not path.exists():
        return []
    with path.open(encoding='utf-8', newline='') as lines:
        table = csv.reader(lines)
        header = next(table, None)
        if header != HEADER:
            raise ValueError(f'{path}: saw the columns {header}, expected {HEADER}: mend or remove its first line')
        return [parse(cells, f'{path}, line {table.line_num}') for cells in table]


def parse(cells: list[str], where: str) -> Row:
    if len(cells) != len(HEADER):
        raise ValueError(f'{where}: saw {len(cells)} columns, expected {len(HEADER)}: mend or remove the line')
    texts = dict(zip(HEADER, cells, strict=True))
    try:
        seed, value = int(texts.pop('seed')), float(texts.pop('value'))
    except ValueError as error:
        raise ValueError(f'{where}: seed and value have to be numbers: {error}') from None
    return Row(seed=seed, value=value, **texts)


def append(rows: Iterable[Row], path: Path, replace: bool = False) -> int:
    """Add the rows whose key `path` does not have yet, or all of them if `replace`; how many were written.

    The file is written anew beside the old one and then takes its name: at any moment it is whole, and holds
    either none of these rows or all of them.
    """
    rows = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path.parent):
        table = {row.key: row for row in read(path)}
        new = {row.key: row for row in rows if replace or row.key not in table}
        for row in rows:
            if row.key not in new and table[row.key].command != row.command:
                raise ValueError(
                    f'{path} has {row.metric} of {row.method} (seed {row.seed}) already, measured by another command '
                    f'({table[row.key].command}): remove its rows to measure it anew by {row.command}'
                )
        if new:
            write([*(table | new).values()], path)
    return len(new)


def write(rows: Iterable[Row], path: Path) -> None:
    """Replace the file as a whole."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'w', encoding='utf-8', newline='') as file:
            table = csv.writer(file, lineterminator='\n')
            table.writerow(HEADER)
            table.writerows((asdict(row) | {'value': f'{row.value:.6g}'}).values() for row in rows)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time: two experiments that finish together both keep their rows."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def find(path: Path, **wanted: object) -> list[Row]:
    """The rows that have these values, e.g. `find(path, method='memnn', seed=1)`."""
    return [row for row in read(path) if all(getattr(row, name) == value for name, value in wanted.items())]


# ------------------------------------------------------------------------------ what the columns say


def data_label(corpus: str, dialogues: int) -> str:
    """Which training data: 'Persona-Chat, 2,072-dialogue train subset', or 'Persona-Chat, full'."""
    published = PUBLISHED[corpus]['train'][0]
    return f'{corpus}, full' if dialogues == published else f'{corpus}, {dialogues:,}-dialogue train subset'


def split_label(corpus: str, split: str, examples: int) -> str:
    """What was evaluated: 'valid' if all of it, else 'valid, first 1,000 of 7,801 examples'."""
    published = PUBLISHED[corpus][split][1]
    return split if examples == published else f'{split}, first {examples:,} of {published:,} examples'


def commit() -> str:
    """The short hash of HEAD, with '-dirty' if code differs from it; 'unknown' outside a repository."""
    try:
        head = git('rev-parse', '--short', 'HEAD')
        return f'{head}-dirty' if git('status', '--porcelain', '--', *CODE) else head
    except (FileNotFoundError, subprocess.CalledProcessError):
        return 'unknown'


def git(*arguments: str) -> str:
    return subprocess.run(('git', *arguments), cwd=ROOT, capture_output=True, check=True, text=True).stdout.strip()


def hardware(threads: int | None = None, device: str = '') -> str:
    """'Intel Xeon …, 1 thread of 2 cores'; with the name of a GPU, if one was used, before it."""
    cores = os.cpu_count() or 1
    used = cores if threads is None else threads
    text = f'{cpu_name()}, {used} {"thread" if used == 1 else "threads"} on {cores} {"core" if cores == 1 else "cores"}'
    return f'{device}; {text}' if device else text


def cpu_name() -> str:
    info = Path('/proc/cpuinfo')
    lines = info.read_text(encoding='utf-8').splitlines() if info.exists() else []
    names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()
