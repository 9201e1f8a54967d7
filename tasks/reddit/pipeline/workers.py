"""All blocks of all dumps -> files of clean comments, in this process or in several."""

import json
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from parlai_persona.data.dialogue import DataError
from parlai_persona.files import draft, write_json
from parlai_persona.tasks.reddit.pipeline import dump, storage
from parlai_persona.tasks.reddit.pipeline.stage import Job, Stage
from parlai_persona.tasks.reddit.pipeline.storage import Folders

BLOCK = 4 << 20  # bytes of lines that are read at once: what is computed of them stays near the processor
PIECE = 32  # blocks in one file: enough for many rows in each part


class Piece(NamedTuple):
    """Where the comments of some blocks of a file go."""

    folders: Folders
    file: int
    place: int

    def path(self, folder: Path, suffix: str) -> Path:
        return folder / f'{self.file:05}-{self.place:06}{suffix}'

    def done(self) -> Path:
        return self.path(self.folders.stage, '.json')


STAGE: Stage  # of this process


def start_worker(job: Job) -> None:
    global STAGE
    STAGE = Stage(job)


def finish_piece(blocks: list[bytes], piece: Piece) -> None:
    """Write the comments, words, broken lines and, last, the counts of a piece."""
    folder = piece.folders.stage
    comments = piece.path(folder, storage.SUFFIX if STAGE.job.sliced else '.parquet')
    words = piece.path(piece.folders.words, '.parquet')
    counts, broken = STAGE(blocks, (piece.file << 18) + piece.place, comments, words)
    if broken:
        with draft(piece.path(folder, '.broken')) as unfinished:
            unfinished.write_bytes(b'\n'.join(broken) + b'\n')
    write_json(piece.done(), {'counts': counts})


class Pool:
    """Finishes pieces: at once in this process, or several at a time in others, with few of them in memory."""

    def __init__(self, job: Job, workers: int):
        self.workers = workers
        self.others = ProcessPoolExecutor(workers, get_context('spawn'), start_worker, (job,)) if workers > 1 else None
        self.waiting: deque[Future] = deque()
        if self.others is None:
            start_worker(job)

    def submit(self, blocks: list[bytes], piece: Piece) -> None:
        if self.others is None:
            finish_piece(blocks, piece)
        else:
            self.waiting.append(self.others.submit(finish_piece, blocks, piece))
            self.wait(self.workers)

    def wait(self, most: int = 0) -> None:
        """Return when at most so many pieces are under way."""
        while len(self.waiting) > most:
            self.waiting.popleft().result()

    def close(self) -> None:
        if self.others is not None:
            self.others.shutdown(cancel_futures=True)


def read_dumps(files: list[Path], job: Job, folders: Folders, workers: int) -> None:
    """Read what an earlier run has not read."""
    size = sum(path.stat().st_size for path in files)
    pool = Pool(job, workers)
    try:
        with tqdm(total=size, desc='lines of dumps', unit='B', unit_scale=True) as bar:
            for number, path in enumerate(files):
                read_dump(number, path, folders, pool, bar.update)
    finally:
        pool.close()


def read_dump(number: int, path: Path, folders: Folders, pool: Pool, progress: Callable[[int], Any]) -> None:
    done = folders.stage / f'{number:05}.source'
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
        if not piece.done().exists():
            pool.submit(some, piece)
        progress(source.read - before)
        before = source.read
    pool.wait()
    write_json(done, {'path': path.name, 'bytes': source.size, 'sha256': source.checksum.hexdigest()})


def read_alone(number: int, path: Path, job: Job, folders: Folders) -> None:
    """Read a whole file in this process, as a cluster's workers do."""
    read_dump(number, path, folders, Pool(job, 1), lambda _: None)


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
