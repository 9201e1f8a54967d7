"""The plan on this machine, by DuckDB: one part or shelf after the other.

Each is a file that is whole or not there; a build that was stopped does not do it again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pyarrow.dataset
from ibis import Table
from tqdm import tqdm

from parlai_persona.data.dialogue import DataError
from parlai_persona.files import draft
from parlai_persona.tasks.reddit.pipeline import plan, storage, workers
from parlai_persona.tasks.reddit.pipeline.storage import Folders, shard

GROUP = 20_000  # rows that a teacher reads at once
KEPT = '2GB'  # of freed memory: getting it back from the system costs more than most queries


@contextmanager
def explained() -> Iterator[None]:
    """Name the way out of DuckDB's errors about the disk and the memory."""
    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        memory = isinstance(error, duckdb.OutOfMemoryException)
        advice = 'raise --memory, or give more --parts' if memory else 'free some space'
        raise DataError(
            f'{str(error).splitlines()[0]}; {advice}. Nothing was published; the same command continues where it '
            'stopped'
        ) from None


class DuckEngine:
    def __init__(self, folders: Folders, memory: str, threads: int):
        self.folders, self.processes = folders, threads
        spill = folders.work / 'spill'
        spill.mkdir(parents=True, exist_ok=True)
        self.connection = ibis.duckdb.connect(
            memory_limit=memory,
            threads=threads,
            temp_directory=str(spill),
            preserve_insertion_order=False,
            allocator_flush_threshold=KEPT,
            allocator_bulk_deallocation_flush_threshold=KEPT,
        )

    def read(self, files: list[Path], step: workers.Step) -> None:
        workers.read_dumps(files, step, self.folders, self.processes)

    def all(self, folder: Path) -> Table:
        """Return everything that was written to a folder."""
        if list(folder.glob('*.parquet')):
            return self.connection.read_parquet(str(folder / '*.parquet'))
        files = sorted(folder.glob(f'*{storage.SUFFIX}'))
        return self.registered(folder.name, pyarrow.dataset.dataset(files, format='arrow'))

    def slice(self, folder: Path, number: int) -> Table:
        files = sorted(folder.glob(f'*{storage.SUFFIX}'))
        return self.registered(folder.name, storage.read_slice(files, number))

    def registered(self, name: str, data: Any) -> Table:
        """Return a table that DuckDB reads where it is."""
        self.connection.con.register(name, data)
        return self.connection.table(name)

    def pairs(self, parts: int, choice: plan.Choice) -> None:
        """Write pairs, sentences and numbers of comments, part by part."""
        for part in tqdm(range(parts), desc='pairs of comments'):
            name = f'{part:05}'
            done = self.folders.pairs / f'{name}{storage.SUFFIX}'
            if done.exists():
                continue
            comments = self.slice(self.folders.stage, part)
            if plan.copied(comments).count().to_pyarrow().as_py():
                comments = plan.unique(comments)
            self.write(plan.counted(comments), self.folders.unique / f'{name}.parquet')
            sentences = self.folders.sentences / f'{name}{storage.SUFFIX}'
            self.write_slices(plan.sentences(comments, choice), sentences, choice.shelves)
            self.write_slices(plan.pairs(comments, choice), done, choice.shelves)  # the last: all are there

    def write_slices(self, table: Table, path: Path, shelves: int) -> None:
        ordered = table.order_by('shelf') if shelves > 1 else table
        storage.write_slices(ordered.to_pyarrow(), 'shelf', shelves, path)

    def examples(self, choice: plan.Choice) -> None:
        """Write examples and personas, shelf by shelf."""
        for shelf in tqdm(range(choice.shelves), desc='personas and examples'):
            if not (self.folders.data / shard('personas', shelf, choice.shelves)).exists():
                self.shelf(choice, shelf)

    def shelf(self, choice: plan.Choice, shelf: int) -> None:
        paths = {kind: self.folders.data / shard(kind, shelf, choice.shelves) for kind in (*plan.FOLDS, 'personas')}
        sentences = self.slice(self.folders.sentences, shelf)
        chosen = self.kept(plan.chosen(sentences, choice))
        examples = self.kept(plan.examples(self.slice(self.folders.pairs, shelf), sentences, chosen, choice))
        for fold in plan.FOLDS:
            self.write(plan.fold(examples, choice, fold).drop('shelf').order_by('order'), paths[fold])
        personas = plan.personas(chosen).drop('shelf').order_by('persona_id')
        self.write(personas, paths['personas'])  # the last one: all are there
        for table in (chosen, examples):
            self.connection.raw_sql(f'DROP TABLE {table.get_name()}')

    def kept(self, table: Table) -> Table:
        return self.connection.create_table(ibis.util.gen_name('kept'), table, temp=True)

    def write(self, table: Table, path: Path) -> None:
        with draft(path) as unfinished:
            self.connection.to_parquet(table, unfinished, compression='zstd', compression_level=1, row_group_size=GROUP)
