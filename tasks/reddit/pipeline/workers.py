"""All blocks of all dumps -> numbers of authors, then files of clean comments; in this process or in several."""

import json
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tqdm import tqdm

from parlai_persona.data.dialogue import DataError
from parlai_persona.files import draft, write_json
from parlai_persona.tasks.reddit.pipeline import dump, names, storage
from parlai_persona.tasks.reddit.pipeline.comments import AUTHORS, read_lines
from parlai_persona.tasks.reddit.pipeline.stage import Job, Stage
from parlai_persona.tasks.reddit.pipeline.storage import Folders

BLOCK = 4 << 20  # bytes of lines that are read at once: what is computed of them stays near the processor
PIECE = 32  # blocks in one file: enough for many rows in each part
NUMBERS = '.numbers'  # of authors


class Piece(NamedTuple):
    """Some blocks of a file, and the folder for what comes of them."""

    folders: Folders
    file: int
    place: int

    def path(self, folder: Path, suffix: str) -> Path:
        return folder / f'{self.file:05}-{self.place:06}{suffix}'


class Step(Protocol):
    """One reading of all dumps, piece by piece. It is sent to other processes before it has done anything."""

    title: str

    def folder(self, folders: Folders) -> Path:
        """Return where to note that a whole file is done."""

    def done(self, piece: Piece) -> Path:
        """Return the file that is there if the piece is done."""

    def __call__(self, blocks: list[bytes], piece: Piece) -> None: ...


@dataclass
class FindAuthors:
    """Writes the numbers of a piece's authors."""

    key: bytes
    title = 'authors of dumps'

    def folder(self, folders: Folders) -> Path:
        return folders.authors

    def done(self, piece: Piece) -> Path:
        return piece.path(piece.folders.authors, NUMBERS)

    def __call__(self, blocks: list[bytes], piece: Piece) -> None:
        found = (line.author for block in blocks for line in read_lines(block, AUTHORS)[0])
        names.write_numbers(found, self.key, self.done(piece))


@dataclass
class CleanComments:
    """Writes the comments, words, broken lines and, last, the counts of a piece."""

    job: Job
    title = 'lines of dumps'

    @cached_property
    def stage(self) -> Stage:
        return Stage(self.job)

    def folder(self, folders: Folders) -> Path:
        return folders.stage

    def done(self, piece: Piece) -> Path:
        return piece.path(piece.folders.stage, '.json')

    def __call__(self, blocks: list[bytes], piece: Piece) -> None:
        folder = piece.folders.stage
        comments = piece.path(folder, storage.SUFFIX if self.job.sliced else '.parquet')
        words = piece.path(piece.folders.words, '.parquet')
        counts, broken = self.stage(blocks, (piece.file << 18) + piece.place, comments, words)
        if broken:
            with draft(piece.path(folder, '.broken')) as unfinished:
                unfinished.write_bytes(b'\n'.join(broken) + b'\n')
        write_json(self.done(piece), {'counts': counts})


STEP: Step  # of this process


def start_worker(step: Step) -> None:
    global STEP
    STEP = step


def finish_piece(blocks: list[bytes], piece: Piece) -> None:
    STEP(blocks, piece)


class Pool:
    """Finishes pieces: at once in this process, or several at a time in others, with few of them in memory."""

    def __init__(self, step: Step, workers: int):
        self.step, self.workers = step, workers
        self.others = ProcessPoolExecutor(workers, get_context('spawn'), start_worker, (step,)) if workers > 1 else None
        self.waiting: deque[Future] = deque()

    def submit(self, blocks: list[bytes], piece: Piece) -> None:
        if self.others is None:
            self.step(blocks, piece)
        else:
            self.waiting.append(self.others.submit(finish_piece, blocks, piece))
            self.wait(self.workers)

    def wait(self, most: int = 0) -> None:
        """Return when at most so many pieces are under way."""
        while len(self.waiting) > most:
            try:
                self.waiting.popleft().result()
            except BrokenProcessPool:
                raise DataError(
                    f'a process that reads {self.step.title} was killed, perhaps for memory: give fewer --workers. '
                    'Nothing was published; the same command continues where it stopped'
                ) from None

    def close(self) -> None:
        if self.others is not None:
            self.others.shutdown(cancel_futures=True)


def read_dumps(files: list[Path], step: Step, folders: Folders, workers: int) -> None:
    """Read what an earlier run has not read."""
    size = sum(path.stat().st_size for path in files)
    pool = Pool(step, workers)
    try:
        with tqdm(total=size, desc=step.title, unit='B', unit_scale=True) as bar:
            for number, path in enumerate(files):
                read_dump(number, path, folders, pool, bar.update)
    finally:
        pool.close()


def read_dump(number: int, path: Path, folders: Folders, pool: Pool, progress: Callable[[int], Any]) -> None:
    done = pool.step.folder(folders) / f'{number:05}.source'
    source = dump.Source(path)
    if done.exists():
        progress(source.size)
        return
    before = 0
    blocks = dump.blocks(source, BLOCK)
    for place in count():
        some = list(islice(blocks, PIECE))
        if not some:
            break
        piece = Piece(folders, number, place)
        if not pool.step.done(piece).exists():
            pool.submit(some, piece)
        progress(source.read - before)
        before = source.read
    pool.wait()
    write_json(done, {'path': path.name, 'bytes': source.size, 'sha256': source.checksum.hexdigest()})


def read_alone(number: int, path: Path, step: Step, folders: Folders) -> None:
    """Read a whole file in this process, as a cluster's workers do."""
    read_dump(number, path, folders, Pool(step, 1), lambda _: None)


def merge_authors(folders: Folders) -> Path:
    """Return a file of all authors' numbers."""
    merged = folders.authors / 'all'
    if not merged.exists():
        names.merge_numbers(sorted(folders.authors.glob(f'*{NUMBERS}')), merged)
    return merged


def summary(files: list[Path], folders: Folders) -> tuple[Counter[str], list[dict[str, Any]]]:
    """Return what was counted, and the checksums of the files."""
    counts: Counter[str] = Counter()
    for path in sorted(folders.stage.glob('*.json')):
        counts.update(json.loads(path.read_text())['counts'])
    if not counts['comments']:
        raise DataError(
            f'no comment in {", ".join(map(str, files))}: saw {counts["lines"]:,} lines, of which '
            f'{counts["broken"]:,} are broken; expected JSON with author, body, id, link_id and parent_id'
        )
    return counts, [json.loads(path.read_text()) for path in sorted(folders.stage.glob('*.source'))]
