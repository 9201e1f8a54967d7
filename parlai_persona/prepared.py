"""Folders of files that take long to make: stamped, checked, locked against a second process, and resumable.

`stamp.json` of such a folder has checksums of everything that the files were made from, and of the files.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import parlai.utils.logging as logging
from filelock import FileLock, Timeout
from tqdm import tqdm

from parlai_persona.files import draft, naming, read_json, write_array, write_json
from parlai_persona.models.checksums import file_checksum

MadeFrom = Mapping[str, str | int]
SUM_BYTES = 9  # of the checksum of a chunk


@contextmanager
def exclusive(finished: Path) -> Iterator[None]:
    """Keep other processes from making the same folder."""
    finished.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(finished.parent, os.W_OK):
        yield  # nobody can make anything here
        return
    with locked(finished.parent / f'.{finished.name}.lock', f'{finished}: another process is building or opening it'):
        yield


@contextmanager
def locked(path: Path, reason: str) -> Iterator[None]:
    """Hold the lock of a file; if another process has it, log the reason and wait. That of a killed process is free."""
    lock = FileLock(path)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        logging.info(f'{reason}; waiting')
        held = lock.acquire()
    with held:
        yield


# ------------------------------------------------------------------------------------------------- stamps


def write_stamp(folder: Path, made_from: MadeFrom) -> None:
    write_json(folder / 'stamp.json', {'made from': dict(made_from), 'files': {}})


def read_stamp(folder: Path) -> dict[str, dict[str, Any]] | None:
    """Return what a folder was made from and the checksums of its files, if they can be read."""
    try:
        stamp = read_json(folder / 'stamp.json')
        return {name: dict(stamp[name]) for name in ('made from', 'files')}
    except (OSError, ValueError, TypeError, KeyError):
        return None


def add_checksums(folder: Path, files: Iterable[str]) -> None:
    stamp = read_json(folder / 'stamp.json')
    stamp['files'] |= {name: file_checksum(folder / name) for name in files}
    write_json(folder / 'stamp.json', stamp)


def fault(folder: Path, made_from: MadeFrom, files: Iterable[str]) -> str | None:
    """Say why the files of a folder cannot be used."""
    stamp = read_stamp(folder)
    if stamp is None:
        return 'stamp.json is missing or damaged, or has no checksums'
    changed = [name for name in made_from if stamp['made from'].get(name) != made_from[name]]
    if changed:
        return f'out of date ({", ".join(changed)})'
    bad = damaged(folder, files)
    return f'{" and ".join(bad)} damaged or missing' if bad else None


def damaged(folder: Path, files: Iterable[str]) -> list[str]:
    """Return which of these files are missing or differ from their checksums."""
    known = (read_stamp(folder) or {'files': {}})['files']
    return [
        name
        for name in files
        if name not in known or not (folder / name).is_file() or file_checksum(folder / name) != known[name]
    ]


# -------------------------------------------------------------------------------------------------- lines


class Lines:
    """The lines of a text file on the disk, by number. `starts` tells where each begins."""

    def __init__(self, texts: Path, starts: Path):
        self.starts = np.load(starts, mmap_mode='r')
        self.texts = np.memmap(texts, np.uint8, 'r') if texts.stat().st_size else np.zeros(0, np.uint8)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> str:
        return bytes(self.texts[self.starts[number] : self.starts[number + 1] - 1]).decode()

    def __iter__(self) -> Iterator[str]:
        return (self[number] for number in range(len(self)))


def write_lines(texts: Path, starts: Path, lines: Iterable[str]) -> None:
    """Write the two files of `Lines`, one line after the other."""
    sizes = [0]
    with draft(texts) as part, part.open('wb') as file:
        for line in lines:
            sizes.append(file.write(f'{line}\n'.encode()))
    write_array(starts, np.cumsum(sizes))


# ------------------------------------------------------------------------------------------------- chunks


class ChunkedRows:
    """A file of rows of the same size, made chunk by chunk: an interruption loses at most one chunk.

    A file of checksums beside it tells which chunks are there.
    """

    def __init__(self, path: Path, row: int, chunk: int, sums: str = 'chunks.txt'):
        self.path, self.row, self.chunk = path, row, chunk  # bytes of a row, rows of a chunk
        self.sums = path.with_name(sums)

    def intact(self) -> int:
        """Return how many chunks an interrupted run has left, by their checksums."""
        if not self.sums.exists() or not self.path.exists():
            return 0
        count = 0
        with self.path.open('rb') as file, self.sums.open('rb') as sums:
            while (block := file.read(self.chunk * self.row)) and chunk_sum(block) == sums.read(SUM_BYTES):
                count += 1
        return count

    def write(self, total: int, make: Callable[[int, int], np.ndarray], label: str) -> None:
        """Write the rows that are missing. `make(first, end)` returns the rows of a chunk; the calls are in order."""
        done = min(self.intact() * self.chunk, total)
        with (
            naming(self.path),
            self.path.open('ab') as file,
            self.sums.open('ab') as sums,
            tqdm(total=total, initial=done, desc=label, unit_scale=True, disable=None) as bar,
        ):
            file.truncate(done * self.row)
            sums.truncate(-(-done // self.chunk) * SUM_BYTES)
            for first in range(done, total, self.chunk):
                end = min(first + self.chunk, total)
                block = np.ascontiguousarray(make(first, end)).data
                file.write(block)
                file.flush()
                sums.write(chunk_sum(block))
                sums.flush()
                bar.update(end - first)


def chunk_sum(block: bytes | memoryview) -> bytes:
    return b'%08x\n' % crc32(block)
