"""A built data set, or JSON lines -> dialogues of one turn."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from parlai_persona.data.dialogue import DataError, Dialogue, NoSplit, Turn
from parlai_persona.files import parse_json, read_json
from parlai_persona.models.checksums import file_checksum

Row = tuple[tuple[str, ...], str, str, str]  # persona, context, response, who responds
CHUNK = 20_000  # lines of a JSON-lines file that are read together


@dataclass(frozen=True)
class Chunk:
    """A piece of a split that is read at once: a row group of a shard, or some lines of a file."""

    path: Path
    count: int
    number: int = 0  # of the row group
    offset: int = 0  # of the first line, in bytes


def chunks(folder: Path, fold: str) -> list[Chunk]:
    """Return the pieces of a split, in a fixed order."""
    if not folder.is_dir():
        raise DataError(
            f'--reddit-data {folder}: saw no such folder; expected one that `parlai persona_reddit build` made, or one '
            'with train.jsonl, valid.jsonl, test.jsonl'
        )
    lines = folder / f'{fold}.jsonl'
    if lines.exists():
        return list(line_chunks(lines))
    if not (folder / 'manifest.json').exists():
        if list(folder.glob('*.jsonl')):
            raise NoSplit(f'--reddit-data {folder} has no {fold}.jsonl')
        raise DataError(
            f'--reddit-data {folder}: saw neither manifest.json nor {fold}.jsonl; expected a whole data set. Was the '
            'build finished?'
        )
    return [chunk for shard in shards(folder, fold) for chunk in row_groups(shard)]


def shards(folder: Path, fold: str) -> list[Path]:
    """Return the files of a split; all of them have to be there."""
    found = sorted(folder.glob(f'{fold}-*.parquet'))
    count = int(found[0].stem.rsplit('-', 1)[1]) if found else 0
    if not found or len(found) != count:
        expected = f'{count:,}' if count else 'some'
        raise DataError(f'{folder}: saw {len(found)} files {fold}-*.parquet, expected {expected}; build it again')
    return found


def row_groups(path: Path) -> Iterator[Chunk]:
    with intact(path):
        metadata = parquet().ParquetFile(path).metadata
    for number in range(metadata.num_row_groups):
        if metadata.row_group(number).num_rows:
            yield Chunk(path, metadata.row_group(number).num_rows, number)


def line_chunks(path: Path) -> Iterator[Chunk]:
    start = place = count = 0
    with path.open('rb') as file:
        for line in file:
            place += len(line)
            count += bool(line.strip())
            if count == CHUNK:
                yield Chunk(path, count, offset=start)
                start, count = place, 0
    if count:
        yield Chunk(path, count, offset=start)


def read(chunk: Chunk) -> list[Dialogue]:
    rows = lines(chunk) if chunk.path.suffix == '.jsonl' else row_group(chunk)
    return [
        Dialogue(
            f'{chunk.path.name}/{chunk.number or chunk.offset}/{place}',
            (Turn(context, response),),
            persona,
            speaker=speaker,
        )
        for place, (persona, context, response, speaker) in enumerate(rows)
    ]


def row_group(chunk: Chunk) -> Iterator[Row]:
    """Yield examples with their personas, which are in a file beside theirs."""
    fold = chunk.path.name.split('-', 1)[0]
    beside = chunk.path.with_name('personas' + chunk.path.name[len(fold) :])
    for path in (chunk.path, beside):
        check(path, mtime(path), mtime(path.with_name('manifest.json')))
    with intact(chunk.path):
        table = parquet().ParquetFile(chunk.path).read_row_group(chunk.number)
        columns = [table.column(name).to_pylist() for name in ('persona_id', 'context', 'response', 'without')]
    with intact(beside):
        named = parquet().read_table(beside)
        wanted, names = set(columns[0]), named.column('persona_id').to_pylist()
        mask = np.fromiter((name in wanted for name in names), bool, len(names))  # a list without items has no type
        lists = named.filter(mask).column('persona').to_pylist()
        known = dict(zip((name for name in names if name in wanted), map(tuple, lists), strict=True))
    for name, context, response, without in zip(*columns, strict=True):
        persona = known.get(name, ())
        if without:
            persona = tuple(line for place, line in enumerate(persona) if place not in without)
        yield persona, context, response, str(name)


def mtime(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


@cache
def check(path: Path, *_: int) -> None:
    """Compare a shard with its checksum in the manifest, when this process opens it for the first time.

    Data sets without checksums are from before they had any. The numbers are the times of both files: what is copied
    again is checked again.
    """
    manifest = path.with_name('manifest.json')
    about = read_json(manifest) if manifest.exists() else {}
    expected = about.get('checksums', {}).get(path.name) if isinstance(about, dict) else None
    with intact(path):
        if expected is not None and file_checksum(path) != expected:
            raise ValueError('its checksum differs from the one in manifest.json')


@contextmanager
def intact(path: Path) -> Iterator[None]:
    """Name the file in the errors that a damaged one ends in."""
    try:
        yield
    except (ValueError, KeyError, TypeError, OSError, MemoryError, NotImplementedError) as error:  # pyarrow's
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f'{path}: cannot be read ({reason[0][:160]}); expected a file that '
            '`parlai persona_reddit build` made: copy the data set again, or build it again'
        ) from None


def lines(chunk: Chunk) -> Iterator[Row]:
    with chunk.path.open('rb') as file:
        file.seek(chunk.offset)
        number = 0
        while number < chunk.count:
            line = file.readline()
            if line.strip():
                number += 1
                yield from_line(line, chunk, number)


def from_line(line: bytes, chunk: Chunk, number: int) -> Row:
    try:
        found = parse_json(line)
        persona, context, response = (found[name] for name in ('persona', 'context', 'response'))
        speaker = found.get('speaker', '')
        if not isinstance(persona, list) or not all(
            isinstance(text, str) for text in (*persona, context, response, speaker)
        ):
            raise ValueError('persona has to be a list of strings, context, response and speaker strings')
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f'{chunk.path}, line {number:,} after byte {chunk.offset:,}: saw {line[:80]!r} ({error!r}); expected '
            '{"persona": [sentence, …], "context": text, "response": text}, perhaps with "speaker": text'
        ) from None
    return tuple(persona), context, response, speaker


def parquet():
    try:
        import pyarrow.parquet
    except ImportError:
        raise DataError("reading this data set needs pyarrow: pip install 'parlai-persona[reddit]'") from None
    return pyarrow.parquet
