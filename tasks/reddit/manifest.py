"""What a data set says about itself."""

import platform
from collections import Counter
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from parlai_persona.tasks.reddit import plan
from parlai_persona.tasks.reddit.engines import Folders
from parlai_persona.tasks.reddit.options import Machine, Options

FORMAT = 1
PACKAGES = ('parlai-persona', 'numpy', 'pyarrow', 'ibis-framework', 'lemminflect', 'msgspec')
ENGINES = {'duckdb': 'duckdb', 'spark': 'pyspark'}


def of(
    folders: Folders,
    options: Options,
    machine: Machine,
    counts: Counter[str],
    sources: list[dict[str, Any]],
    seconds: float,
) -> dict[str, Any]:
    packages = [*PACKAGES, ENGINES[machine.engine], *(['spacy'] if options.tagger == 'spacy' else [])]
    return {
        'format': FORMAT,
        'options': asdict(options),
        'inputs': sources,
        'counts': {**in_order(counts), **relations(folders, counts['pairs'])},
        'versions': {'python': platform.python_version(), **{name: version(name) for name in packages}},
        'engine': machine.engine,
        'seconds': round(seconds, 1),
    }


def in_order(counts: Counter[str]) -> dict[str, int]:
    """What is left after each filter of lines."""
    return {name: counts[name] for name in ('lines', 'broken', 'deleted', 'bots', 'empty', 'comments', 'sentences')}


def relations(folders: Folders, pairs: int) -> dict[str, int]:
    """What came out of the steps after that."""
    distinct = sum(
        row['comments'] for path in folders.unique.glob('*.parquet') for row in pq.read_table(path).to_pylist()
    )
    kinds = {kind: rows(folders.data, f'{kind}-*.parquet') for kind in (*plan.FOLDS, 'personas')}
    return {'distinct comments': distinct, 'pairs': pairs, **kinds}


def rows(folder: Path, files: str) -> int:
    return sum(pq.read_metadata(path).num_rows for path in folder.glob(files))
