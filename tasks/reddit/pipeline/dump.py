"""Raw comment dumps -> blocks of whole lines: any compression, streamed, with an error where an archive is cut off."""

import bz2
import hashlib
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from glob import glob
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from parlai_persona.data.dialogue import DataError

PIECE = 1 << 12  # bytes read at once: a hostile archive expands 30,000 times, and that still has to fit in memory
LONGEST_LINE = 1 << 26  # bytes; a comment has at most some 100,000
WINDOW = 31  # bits; the public dumps are compressed with `zstd --long=31`
HOW = 'expected .zst, .bz2, .xz, .gz or plain JSON lines'


@dataclass
class Source:
    """A dump that is being read: how far, and the checksum of what was read."""

    path: Path
    size: int = 0
    read: int = 0  # bytes of the file
    checksum: Any = field(default_factory=hashlib.sha256)

    def __post_init__(self) -> None:
        self.size = self.path.stat().st_size

    def pieces(self, file: BinaryIO) -> Iterator[bytes]:
        while piece := file.read(PIECE):
            self.read += len(piece)
            self.checksum.update(piece)
            yield piece

    def check_line(self, length: int) -> None:
        if length > LONGEST_LINE:
            raise DataError(
                f'{self.path}, before byte {self.read:,} of {self.size:,}: saw a line of more than '
                f'{LONGEST_LINE >> 20} MiB; expected a comment as JSON on each line. Nothing was published'
            )

    def cut_off(self, reason: object) -> DataError:
        return DataError(
            f'{self.path}: the archive is broken or cut off at byte {self.read:,} of {self.size:,} ({reason}); '
            'expected it to end whole. Download it again, or leave it out. Nothing was published.'
        )


def find(patterns: list[str]) -> list[Path]:
    """Return the files that paths and globs name, sorted within each."""
    found: dict[Path, Path] = {}  # resolved -> as named
    for pattern in patterns:
        matched = sorted(Path(path) for path in glob(pattern, recursive=True))
        if not matched:
            raise DataError(f'--input {pattern}: saw no such file; {HOW}')
        for path in matched:
            if path.is_dir():
                raise DataError(f'--input {path}: saw a folder; name its files ({path}/*.zst)')
            if found.setdefault(path.resolve(), path) != path:
                raise DataError(f'--input names {path.resolve()} more than once, by different paths; name it once')
    return list(found.values())


def blocks(source: Source, size: int) -> Iterator[bytes]:
    """Yield whole lines, about `size` bytes at a time. Where a block ends depends on file and size alone."""
    buffer, length = bytearray(2 * size), 0
    with source.path.open('rb') as file:
        for data in decompressed(source, file):
            buffer[length : length + len(data)] = data  # which grows if need be
            length += len(data)
            while length >= size:
                end = buffer.rfind(b'\n', 0, size) + 1 or buffer.find(b'\n', size, length) + 1
                if not end:  # a line longer than a block: wait for its end
                    source.check_line(length)
                    break
                yield bytes(memoryview(buffer)[:end])
                buffer[: length - end] = buffer[end:length]
                length -= end
    if length:
        yield bytes(memoryview(buffer)[:length])


def decompressed(source: Source, file: BinaryIO) -> Iterator[bytes]:
    """Return the contents, piece by piece. The first bytes say how a file is compressed, not its name."""
    pieces = source.pieces(file)
    first = next(pieces, b'')
    formats: dict[str, tuple[bytes, Callable[[], Any]]] = {
        '.gz': (b'\x1f\x8b', lambda: zlib.decompressobj(zlib.MAX_WBITS | 16)),
        '.bz2': (b'BZh', bz2.BZ2Decompressor),
        '.xz': (b'\xfd7zXZ\0', lzma.LZMADecompressor),
        '.zst': (b'\x28\xb5\x2f\xfd', lambda: zstd().ZstdDecompressor(max_window_size=1 << WINDOW).decompressobj()),
    }
    suffix = source.path.suffix.lower()
    for name, (magic, start) in formats.items():
        if first.startswith(magic):
            errors = (OSError, EOFError, zlib.error, lzma.LZMAError, *([zstd().ZstdError] if name == '.zst' else []))
            return members(source, chain([first], pieces), start, errors)
    if suffix in formats:
        raise source.cut_off(f'it begins with {first[:8]!r}, which is no {suffix} archive')
    return chain([first], pieces)


def zstd() -> Any:
    try:
        import zstandard
    except ImportError:
        raise DataError(
            "reading .zst files needs the package zstandard: pip install 'parlai-persona[reddit]'"
        ) from None
    return zstandard


def members(
    source: Source, pieces: Iterator[bytes], start: Callable[[], Any], errors: tuple[type[Exception], ...]
) -> Iterator[bytes]:
    """Yield the contents of an archive's members one after the other: compressed files may be joined to one."""
    member = None
    for piece in pieces:
        while piece:
            try:
                member = member or start()
                data = member.decompress(piece)
            except errors as error:
                raise source.cut_off(error) from None
            if data:
                yield data
            if not member.eof:
                break
            piece, member = member.unused_data, None
            if source.path.suffix.lower() != '.zst':
                piece = piece.lstrip(b'\0')  # padding between members
    if member is not None or not source.read:
        raise source.cut_off('it ends in the middle')
