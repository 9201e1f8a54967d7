"""The first step of a build: pieces of dumps -> clean comments, in several processes or on a cluster's workers."""

import json
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from parlai_persona.data.dialogue import DataError
from parlai_persona.files import draft, write_json
from parlai_persona.tasks.reddit import dump, slices
from parlai_persona.tasks.reddit.engines import DuckEngine, Folders, SparkEngine
from parlai_persona.tasks.reddit.stage import Job, Stage

BLOCK = 16 << 20  # bytes of lines that are read at once; arrays of this size are reused, larger ones cost new memory
PIECE = 8  # blocks whose comments stand in one file, so that the rows of a part are many


def stage(
    files: list[Path], job: Job, folders: Folders, workers: int, engine: DuckEngine | SparkEngine
) -> tuple[Counter[str], list[dict[str, Any]]]:
    """All pieces of all files; what was counted, and the files' checksums."""
    if isinstance(engine, SparkEngine):
        items = [(number, path) for number, path in enumerate(files)]
        list(engine.each(lambda item: read_file(item[0], item[1], Stage(job), folders), items))
    else:
        with bar(files) as progress, pieces_done(job, workers) as submit:
            for number, path in enumerate(files):
                submit_file(number, path, folders, submit, progress)
    counts: Counter[str] = Counter()
    for path in sorted(folders.stage.glob('*.json')):
        counts.update(json.loads(path.read_text())['counts'])
    if not counts['comments']:
        raise DataError(
            f'no comment in {", ".join(map(str, files))}: saw {counts["lines"]:,} lines, of which '
            f'{counts["broken"]:,} are broken; expected JSON with author, body, id, link_id and parent_id'
        )
    return counts, [json.loads(path.read_text()) for path in sorted(folders.stage.glob('*.source'))]


@dataclass(frozen=True)
class Piece:
    """Where the comments of some blocks of a file go."""

    folders: Folders
    file: int
    place: int

    def path(self, folder: str, suffix: str) -> Path:
        return self.folders.work / folder / f'{self.file:05}-{self.place:06}{suffix}'

    @property
    def number(self) -> int:
        return (self.file << 18) + self.place

    @property
    def done(self) -> Path:
        return self.path('stage', '.json')


def read_file(number: int, path: Path, reader: Stage, folders: Folders) -> None:
    """A whole file in this process."""
    submit_file(number, path, folders, lambda *piece: finish_piece(reader, *piece), lambda _: None)


def submit_file(number: int, path: Path, folders: Folders, submit: Any, progress: Any) -> None:
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
        if not piece.done.exists():
            submit(some, piece)
        progress(source.read - before)
        before = source.read
    submit([], None)  # until all of the file is there
    write_json(done, {'path': path.name, 'bytes': source.size, 'sha256': source.checksum.hexdigest()})


def finish_piece(reader: Stage, blocks: list[bytes], piece: Piece | None) -> None:
    if piece is None:
        return
    comments = piece.path('stage', slices.SUFFIX if reader.job.sliced else '.parquet')
    counts, broken = reader(blocks, piece.number, comments, piece.path('words', '.parquet'))
    if broken:
        with draft(piece.path('stage', '.broken')) as unfinished:
            unfinished.write_bytes(b'\n'.join(broken) + b'\n')
    write_json(piece.done, {'counts': counts})


@contextmanager
def pieces_done(job: Job, workers: int) -> Iterator[Any]:
    """A function that has pieces read, several at a time; called without one it waits for those on their way."""
    if workers == 1:
        reader = Stage(job)
        yield lambda *piece: finish_piece(reader, *piece)
        return
    waiting: deque[Future] = deque()
    with ProcessPoolExecutor(workers, get_context('spawn'), start_worker, (job,)) as pool:

        def submit(blocks: list[bytes], piece: Piece | None) -> None:
            if piece is not None:
                waiting.append(pool.submit(in_worker, blocks, piece))
            while waiting and (piece is None or len(waiting) > workers):
                waiting.popleft().result()

        try:
            yield submit
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def start_worker(job: Job) -> None:
    global READER
    READER = Stage(job)


def in_worker(blocks: list[bytes], piece: Piece) -> None:
    finish_piece(READER, blocks, piece)


READER: Stage


@contextmanager
def bar(files: list[Path]) -> Iterator[Any]:
    total = sum(path.stat().st_size for path in files)
    with tqdm(total=total, desc='lines of dumps', unit='B', unit_scale=True) as shown_bar:
        yield shown_bar.update
