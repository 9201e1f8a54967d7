"""What a data set says about itself."""

import platform
from collections import Counter
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from parlai_persona.tasks.reddit.pipeline import plan
from parlai_persona.tasks.reddit.pipeline.options import Machine, Options
from parlai_persona.tasks.reddit.pipeline.storage import Folders

FORMAT = 1
PACKAGES = ('parlai-persona', 'numpy', 'pyarrow', 'ibis-framework', 'lemminflect', 'msgspec')
ENGINES = {'duckdb': 'duckdb', 'spark': 'pyspark'}
FILTERS = ('lines', 'broken', 'deleted', 'bots', 'empty', 'comments', 'sentences')  # in their order


def describe(
    folders: Folders,
    options: Options,
    machine: Machine,
    counts: Counter[str],
    sources: list[dict[str, Any]],
    seconds: float,
) -> dict[str, Any]:
    packages = [*PACKAGES, ENGINES[machine.engine], *(['spacy'] if options.tagger == 'spacy' else [])]
    unique = [row for path in folders.unique.glob('*.parquet') for row in pq.read_table(path).to_pylist()]
    return {
        'format': FORMAT,
        'options': asdict(options),
        'inputs': sources,
        'counts': {
            **{name: counts[name] for name in FILTERS},
            'distinct comments': sum(row['comments'] for row in unique),
            'pairs': counts['pairs'],
            **{kind: rows(folders.data, kind) for kind in (*plan.FOLDS, 'personas')},
        },
        'versions': {'python': platform.python_version(), **{name: version(name) for name in packages}},
        'engine': machine.engine,
        'seconds': round(seconds, 1),
    }


def rows(folder: Path, kind: str) -> int:
    return sum(pq.read_metadata(path).num_rows for path in folder.glob(f'{kind}-*.parquet'))
