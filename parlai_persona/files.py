"""Files that are either complete or absent, and files of text, JSON and numbers."""

import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parlai_persona.errors import UserError

HALF = re.compile(r'\\ud', re.IGNORECASE)  # how JSON writes half of a character, which is no text alone


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write under. The file gets its real name at the end; after an error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        with naming(path):
            yield part
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in an error of the system that does not say which one it was about, as for a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def open_text(path: Path) -> Iterator[Iterator[str]]:
    """Open a text file in UTF-8, gzipped if it ends in .gz, and yield its lines; only line feeds end a line.

    A byte order mark at its start is dropped. An error names the file and the line.
    """
    try:
        with gzip.open(path) if path.suffix == '.gz' else path.open('rb') as file:
            yield decoded(file, path)
    except gzip.BadGzipFile as error:
        raise UserError(f'{path}: {error}; expected a file made by gzip') from None
    except (EOFError, zlib.error) as error:
        raise UserError(f'{path}: the gzip file is damaged or ends in the middle ({error}); copy it again') from None


def decoded(lines: Iterable[bytes], path: Path) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise UserError(
                f'{path}, line {number}: byte {error.start + 1} of the line is 0x{line[error.start]:02x}, which is not '
                'UTF-8; save the file as UTF-8 text'
            ) from None
        yield text.removeprefix('\ufeff') if number == 1 else text


def read_text(path: Path) -> str:
    """Return the whole text of a file that a person named."""
    try:
        with open_text(path) as lines:
            return ''.join(lines)
    except OSError as error:
        raise UserError(f'cannot read the file {path}: {error.strerror}') from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f'cannot read the file {path}: {error}') from None  # a NUL in its name


def typed_path(name: str) -> Path:
    """Return the path that a person named, in which `~` is a home folder."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise UserError(f'{name}: there is no user with this home folder; write the whole path') from None


def write_json(path: Path, content: Any) -> None:
    with draft(path) as part:
        part.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')


def parse_json(text: str | bytes) -> Any:
    """Return the value of JSON text. A ValueError says why there is none; text that cannot be written is not one."""
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text))
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError('it is nested too deeply') from None
    if HALF.search(text):
        json.dumps(value, ensure_ascii=False).encode()
    return value


def read_json(path: Path) -> Any:
    try:
        return parse_json(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise UserError(f'{path}: expected JSON ({error}): the file is damaged, or something else') from None


def write_array(path: Path, array: Any) -> None:
    """Write a numpy file. `np.save` to a file does not notice that the disk is full."""
    import numpy as np

    content = io.BytesIO()
    np.save(content, array)
    with draft(path) as part:
        part.write_bytes(content.getbuffer())
