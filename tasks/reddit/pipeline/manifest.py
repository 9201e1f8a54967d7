"""What a data set says about itself."""

import platform
from collections import Counter
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import pyarrow.parquet as pq

from parlai_persona.tasks.reddit.pipeline import plan
from parlai_persona.tasks.reddit.pipeline.options import Options
from parlai_persona.tasks.reddit.pipeline.storage import Folders

FORMAT = 1
PACKAGES = ('parlai-persona', 'numpy', 'pyarrow', 'ibis-framework', 'lemminflect', 'msgspec')
FILTERS = ('lines', 'broken', 'deleted', 'bots', 'empty', 'comments', 'sentences')  # in their order


def describe(folders: Folders, options: Options, engine: str, counts: Counter[str]) -> dict[str, Any]:
    packages = [*PACKAGES, 'pyspark' if engine == 'spark' else engine, *(['spacy'] * (options.tagger == 'spacy'))]
    unique = [row for path in folders.unique.glob('*.parquet') for row in pq.read_table(path).to_pylist()]
    kinds = {kind: list(folders.data.glob(f'{kind}-*.parquet')) for kind in (*plan.FOLDS, 'personas')}
    return {
        'format': FORMAT,
        'options': asdict(options),
        'counts': {
            **{name: counts[name] for name in FILTERS},
            'distinct comments': sum(row['comments'] for row in unique),
            'pairs': counts['pairs'],
            **{kind: sum(pq.read_metadata(path).num_rows for path in paths) for kind, paths in kinds.items()},
        },
        'versions': {'python': platform.python_version(), **{name: version(name) for name in packages}},
        'engine': engine,
    }
