"""Where a build keeps its work; tables in files that are cut by a number.

Such a file is Arrow IPC with a batch for each number, found without reading the others. Of many Parquet files with many
slices, as a large dump has them, every footer would have to be read for every slice.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from parlai_persona.files import draft

SUFFIX = '.arrow'


class Folders:
    """The folders of finished steps."""

    def __init__(self, work: Path):
        self.work, self.authors = work, work / 'authors'
        self.stage, self.unique, self.pairs = work / 'stage', work / 'unique', work / 'pairs'
        self.sentences, self.words, self.data = work / 'sentences', work / 'words', work / 'data'


def shard(kind: str, number: int, count: int) -> str:
    return f'{kind}-{number:05}-of-{count:05}.parquet'


def write_slices(table: pa.Table, column: str, count: int, path: Path) -> None:
    """Write a table that is sorted by `column`, which holds numbers below `count`."""
    numbers = table.column(column).to_numpy()
    if len(numbers) and not 0 <= numbers[0] <= numbers[-1] < count:
        strange = numbers[-1] if numbers[-1] >= count else numbers[0]
        raise ValueError(f'saw {strange} among the numbers of `{column}`, expected 0 to {count - 1}')
    limits = np.searchsorted(numbers, np.arange(count + 1)).tolist()
    with draft(path) as unfinished, pa.ipc.new_file(unfinished, table.schema) as writer:
        for start, end in zip(limits[:-1], limits[1:], strict=True):
            rows = table.slice(start, end - start).combine_chunks().to_batches()
            writer.write_batch(rows[0] if rows else pa.RecordBatch.from_pylist([], table.schema))


def read_slice(paths: Iterable[Path], number: int) -> pa.Table:
    """Return the rows with this number of all files, mapped into memory."""
    found = []
    for path in paths:
        with pa.memory_map(str(path)) as file:
            found.append(pa.ipc.open_file(file).get_batch(number))
    return pa.Table.from_batches(found)
