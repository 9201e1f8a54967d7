"""Files that are either whole or not there."""

import gzip
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Another name to write under; the file takes its own when that went well, else what was written goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def open_text(path: Path) -> IO[str]:
    """A text file, perhaps .gz, whose lines end at line feeds alone."""
    if path.suffix == '.gz':
        return gzip.open(path, 'rt', encoding='utf-8', newline='\n')
    return path.open(encoding='utf-8', newline='\n')


def write_json(path: Path, content: Any) -> None:
    with draft(path) as part:
        part.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding='utf-8'))
