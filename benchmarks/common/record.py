"""Read and write the rows under `results/`: one CSV row for each number that a benchmark measured.

A row names what was measured (method, task, data, split, seed, metric), the value, and how to measure it again
(command, commit, hardware, date). The first six columns are its key. `append` skips keys that the file already has,
so an interrupted benchmark can run again. `find` tells a benchmark what it can skip.

Long commands are written once, in `commands.csv` of the same folder. In the other files the command column holds an id
from there; `read` and `append` translate between the two.

A benchmark starts with `parse_arguments`. It refuses uncommitted code unless `--allow-dirty` is given; the commit of
such a row ends with '-dirty'.
"""

import argparse
import csv
import fcntl
import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from pathlib import Path

from parlai_persona.files import draft

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'results'
COMMANDS = 'commands.csv'
# Changes here make a tree dirty; results and prose do not.
CODE = ('*.py', '*.opt', 'pyproject.toml', 'requirements.lock')
DIRTY = '-dirty'

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

    @property
    def dirty(self) -> bool:
        """Whether the code had uncommitted changes when this was measured."""
        return self.commit.endswith(DIRTY)


HEADER = [column.name for column in fields(Row)]


def read(path: Path) -> list[Row]:
    """Return the rows of a file; none if there is no such file."""
    commands = read_commands(path.parent)
    return [parse_row(cells, commands, where) for cells, where in read_cells(path, HEADER)]


def read_cells(path: Path, header: list[str]) -> Iterator[tuple[list[str], str]]:
    """Yield the cells of each line, and a text that says where they stand; nothing if there is no such file."""
    if not path.exists():
        return
    with path.open(encoding='utf-8', newline='') as lines:
        table = csv.reader(lines)
        seen = next(table, None)
        if seen != header:
            raise ValueError(f'{path}: saw the columns {seen}, expected {header}: correct or remove its first line')
        for cells in table:
            where = f'{path}, line {table.line_num}'
            if len(cells) != len(header):
                raise ValueError(f'{where}: saw {len(cells)} columns, expected {len(header)}: correct or remove it')
            yield cells, where


def parse_row(cells: list[str], commands: dict[str, str], where: str) -> Row:
    """Return a row with its command in full."""
    texts = dict(zip(HEADER, cells, strict=True))
    command = texts.pop('command')
    if command not in commands:
        raise ValueError(f'{where}: the command {command} is not in {COMMANDS}: add it there or remove the line')
    try:
        seed, value = int(texts.pop('seed')), float(texts.pop('value'))
    except ValueError as error:
        raise ValueError(f'{where}: expected numbers as seed and value: {error}') from None
    return Row(seed=seed, value=value, command=commands[command], **texts)


def read_commands(folder: Path) -> dict[str, str]:
    """Return the commands of a folder of results by their ids."""
    return {cells[0]: cells[1] for cells, _ in read_cells(folder / COMMANDS, ['id', 'command'])}


def command_id(command: str) -> str:
    """Return the id of a command. It depends on the text alone, so that branches merge without clashes."""
    return hashlib.sha256(command.encode()).hexdigest()[:8]


def append(rows: Iterable[Row], path: Path, replace: bool = False, allow_dirty: bool = False) -> int:
    """Add rows to `path` unless it has their key already, or in any case if `replace`; return how many were written.

    The new file is written beside the old one and then renamed, so it is complete at any moment and holds either none
    or all of these rows.
    """
    rows = list(rows)
    refuse_dirty(rows, allow_dirty)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent):
        table = {row.key: row for row in read(path)}
        new = {row.key: row for row in rows if replace or row.key not in table}
        for row in rows:
            if row.key not in new and table[row.key].command != row.command:
                raise ValueError(
                    f'{path} already has {row.metric} of {row.method} (seed {row.seed}), measured by another command '
                    f'({table[row.key].command}): remove its rows to measure it again by {row.command}'
                )
        if new:
            write([*(table | new).values()], path)
    return len(new)


def remove(path: Path, **outdated: object) -> None:
    """Remove the rows that have these values; for a benchmark that is about to measure the same under another key."""
    with locked(path.parent):
        rows = read(path)
        kept = [row for row in rows if not has(row, outdated)]
        if kept != rows:
            write(kept, path)


def refuse_dirty(rows: list[Row], allow_dirty: bool) -> None:
    if not allow_dirty and any(row.dirty for row in rows):
        raise ValueError(
            f'the code differs from commit {rows[0].commit.removesuffix(DIRTY)}, so nobody could measure this again: '
            'commit your changes first, or call the benchmark with --allow-dirty to write rows that say so'
        )


def write(rows: list[Row], path: Path) -> None:
    """Replace the file, after its commands were added to the folder's."""
    old = read_commands(path.parent)
    commands = old | {command_id(row.command): row.command for row in rows}
    if commands != old:
        write_table(['id', 'command'], sorted(commands.items()), path.with_name(COMMANDS))
    changes = [{'value': f'{row.value:.6g}', 'command': command_id(row.command)} for row in rows]
    cells = [(asdict(row) | changed).values() for row, changed in zip(rows, changes, strict=True)]
    write_table(HEADER, cells, path)


def write_table(header: list[str], lines: Iterable[Iterable[str]], path: Path) -> None:
    """Replace a CSV file as a whole."""
    with draft(path) as part, part.open('w', encoding='utf-8', newline='') as file:
        csv.writer(file, lineterminator='\n').writerows([header, *lines])
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time write: two benchmarks that finish together both keep their rows."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def find(path: Path, **wanted: object) -> list[Row]:
    """Return the rows that have these values, e.g. `find(path, method='memnn', seed=1)`."""
    return [row for row in read(path) if has(row, wanted)]


def has(row: Row, wanted: dict[str, object]) -> bool:
    return all(getattr(row, name) == value for name, value in wanted.items())


# ------------------------------------------------------------------------------------- a benchmark's arguments


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that every benchmark starts from: its docstring as help, and `--allow-dirty`."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        '--allow-dirty', action='store_true', help='write rows although the code has uncommitted changes; rows say so'
    )
    return made


def parse_arguments(made: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line; stop before anything is measured if its rows would be refused."""
    arguments, others = parse_known_arguments(made)
    if others:
        made.error(f'unrecognized arguments: {" ".join(others)}')
    return arguments


def parse_known_arguments(made: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str]]:
    """Do the same, and return what the parser does not know."""
    arguments, others = made.parse_known_args()
    if not arguments.allow_dirty and (seen := commit()).endswith(DIRTY):
        made.error(f'the code differs from commit {seen.removesuffix(DIRTY)}: commit it first, or add --allow-dirty')
    return arguments, others


# ------------------------------------------------------------------------------------------ what columns say


def data_label(corpus: str, dialogues: int) -> str:
    """Name the training data: 'Persona-Chat, 2,072-dialogue train subset', or 'Persona-Chat, full'."""
    published = PUBLISHED[corpus]['train'][0]
    return f'{corpus}, full' if dialogues == published else f'{corpus}, {dialogues:,}-dialogue train subset'


def split_label(corpus: str, split: str, examples: int) -> str:
    """Name what was evaluated: 'valid' if all of it, else 'valid, first 1,000 of 7,801 examples'."""
    published = PUBLISHED[corpus][split][1]
    return split if examples == published else f'{split}, first {examples:,} of {published:,} examples'


def commit() -> str:
    """Return the short hash of HEAD, with '-dirty' if code differs from it; 'unknown' outside a repository."""
    try:
        head = git('rev-parse', '--short', 'HEAD')
        return f'{head}{DIRTY}' if git('status', '--porcelain', '--', *CODE) else head
    except (FileNotFoundError, subprocess.CalledProcessError):
        return 'unknown'


def git(*arguments: str) -> str:
    return subprocess.run(('git', *arguments), cwd=ROOT, capture_output=True, check=True, text=True).stdout.strip()


def hardware(threads: int | None = None) -> str:
    """Return e.g. 'NVIDIA H100 80GB HBM3, Intel Xeon …, 1 thread on 2 cores'; without `threads` all cores were used.

    A graphics card that is there is used, unless CUDA_VISIBLE_DEVICES hides it.
    """
    cores = os.cpu_count() or 1
    used = threads or cores
    units = f'{used} {"thread" if used == 1 else "threads"} on {cores} {"core" if cores == 1 else "cores"}'
    return ', '.join([*gpu_names(), cpu_name(), units])


def gpu_names() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def cpu_name() -> str:
    info = Path('/proc/cpuinfo')
    lines = info.read_text(encoding='utf-8').splitlines() if info.exists() else []
    names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()
