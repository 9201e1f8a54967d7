"""Raw files: every compression, blocks of whole lines, archives that are cut off."""

import bz2
import gzip
import lzma

import pytest
import zstandard

from parlai_persona.data.dialogue import DataError
from parlai_persona.tasks.reddit.pipeline import dump

LINES = b''.join(b'{"number": %d}\n' % n for n in range(3000))


def long_window(data: bytes) -> bytes:
    """As the public dumps are made: a window of 2 GB."""
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=31, enable_ldm=True)
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


PACKERS = {'.gz': gzip.compress, '.bz2': bz2.compress, '.xz': lzma.compress, '.zst': long_window, '': bytes}


def read(path, size: int = 1000) -> list[bytes]:
    return list(dump.blocks(dump.Source(path), size))


@pytest.mark.parametrize('suffix', PACKERS)
def test_every_compression(suffix, tmp_path):
    path = tmp_path / f'dump{suffix}'
    path.write_bytes(PACKERS[suffix](LINES))
    blocks = read(path)
    assert b''.join(blocks) == LINES
    assert len(blocks) > 40 and all(block.endswith(b'\n') and len(block) <= 1000 for block in blocks)


@pytest.mark.parametrize('suffix', [suffix for suffix in PACKERS if suffix])
def test_files_joined_to_one_and_wrong_names(suffix, tmp_path):
    path = tmp_path / 'dump.jsonl'  # what it begins with counts
    path.write_bytes(PACKERS[suffix](LINES[:700]) + PACKERS[suffix](LINES[700:]))
    assert b''.join(read(path)) == LINES


@pytest.mark.parametrize('suffix', [suffix for suffix in PACKERS if suffix])
@pytest.mark.parametrize('share', [0.3, 0.98])
def test_a_cut_archive_names_file_and_byte(suffix, share, tmp_path):
    path = tmp_path / f'dump{suffix}'
    whole = PACKERS[suffix](LINES)
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=rf'dump{suffix}: .* at byte {int(share * len(whole)):,} of'):
        read(path)


def test_damage_in_the_middle(tmp_path):
    path = tmp_path / 'dump.gz'
    whole = bytearray(gzip.compress(LINES))
    whole[len(whole) // 2] ^= 0xFF
    path.write_bytes(whole)
    with pytest.raises(DataError, match='broken or cut off'):
        read(path)


def test_something_else_under_an_archives_name(tmp_path):
    path = tmp_path / 'dump.zst'
    path.write_bytes(b'<html>not found</html>')
    with pytest.raises(DataError, match=r"begins with b'<html>no', which is no .zst archive"):
        read(path)


def test_lines_longer_than_a_block_and_no_end_of_line(tmp_path):
    path = tmp_path / 'dump'
    path.write_bytes(b'a' * 5000 + b'\n' + b'b' * 10 + b'\n' + b'c')
    assert read(path) == [b'a' * 5000 + b'\n', b'b' * 10 + b'\nc']


def test_blocks_do_not_depend_on_how_a_file_is_read(tmp_path, monkeypatch):
    path = tmp_path / 'dump'
    path.write_bytes(LINES)
    whole = read(path)
    monkeypatch.setattr(dump, 'PIECE', 7)
    assert read(path) == whole


def test_checksum_is_that_of_the_file(tmp_path):
    import hashlib

    path = tmp_path / 'dump.gz'
    path.write_bytes(gzip.compress(LINES))
    source = dump.Source(path)
    list(dump.blocks(source, 1000))
    assert source.checksum.hexdigest() == hashlib.sha256(path.read_bytes()).hexdigest()
    assert source.read == source.size


def test_find(tmp_path):
    for name in ('b.zst', 'a.zst'):
        (tmp_path / name).touch()
    assert [path.name for path in dump.find([str(tmp_path / '*.zst')])] == ['a.zst', 'b.zst']
    with pytest.raises(DataError, match='saw no such file'):
        dump.find([str(tmp_path / 'c.zst')])
    with pytest.raises(DataError, match='saw a folder'):
        dump.find([str(tmp_path)])
    (tmp_path / 'link.zst').symlink_to(tmp_path / 'a.zst')
    with pytest.raises(DataError, match='more than once'):
        dump.find([str(tmp_path / 'a.zst'), str(tmp_path / 'link.zst')])


def packed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


@pytest.mark.parametrize('compress', [packed, gzip.compress, bz2.compress])
def test_a_small_archive_of_one_endless_line_is_refused(tmp_path, monkeypatch, compress):
    """100 MB in a few kB, read in smaller pieces here: not much more is expanded than shows that a line is too long."""
    path = tmp_path / 'bomb'
    path.write_bytes(compress(bytes(100 << 20)))
    monkeypatch.setattr(dump, 'LONGEST_LINE', 1 << 22)
    monkeypatch.setattr(dump, 'PIECE', dump.PIECE // 256)
    expanded = []
    whole = dump.decompressed

    def watched(*args):
        for data in whole(*args):
            expanded.append(len(data))
            yield data

    monkeypatch.setattr(dump, 'decompressed', watched)
    with pytest.raises(DataError, match='bomb, before byte .* saw a line of more than 4 MiB'):
        list(dump.blocks(dump.Source(path), 1 << 20))
    assert sum(expanded) < 100 << 20
