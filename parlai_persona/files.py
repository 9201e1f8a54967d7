"""Files that are either complete or absent, and files of text and JSON."""

import gzip
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write under. The file gets its real name at the end; after an error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def open_text(path: Path) -> IO[str]:
    """Open a text file, gzipped if it ends in .gz; only line feeds end a line."""
    if path.suffix == '.gz':
        return gzip.open(path, 'rt', encoding='utf-8', newline='\n')
    return path.open(encoding='utf-8', newline='\n')


def write_json(path: Path, content: Any) -> None:
    with draft(path) as part:
        part.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding='utf-8'))
