"""The parsers of `persona:reddit`: dumps, whole builds, and what a build wrote."""

import bz2
import gzip
import io
import json
import lzma
import shutil
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.suite.mutated_inputs import Parser, frozen, json_lines, of, whole_file
from parlai_persona.tasks.reddit import parse as reddit


def reddit_lines() -> Parser:
    rows = ({'persona': ['i sing.', 'é'], 'context': 'hi', 'response': 'hello', 'speaker': 'jo'},)
    units = json_lines(*rows, {'persona': [], 'context': 'a', 'response': 'b'})
    return Parser('train.jsonl', units, lambda p: (one for c in reddit.line_chunks(p) for one in of(reddit.read(c))))


def reddit_shard(personas: bool) -> Parser:
    """A data set as `persona_reddit build` writes it: the examples of a part, and the personas of their speakers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def written(table: pa.Table) -> bytes:
        file = io.BytesIO()
        pq.write_table(table, file, compression='zstd')
        return file.getvalue()

    examples = {'persona_id': [1, 2], 'context': ['hi', 'why ?'], 'response': ['hello', 'so'], 'without': [[0], []]}
    known = {'persona_id': [1, 2], 'persona': [['i sing.', 'i cook.'], ['i own a cat.']]}
    files = {
        'train-00000-of-00001.parquet': written(pa.table(examples)),
        'personas-00000-of-00001.parquet': written(pa.table(known)),
    }
    name = [*files][personas]

    def read(path: Path) -> Iterator[tuple]:
        for chunk in reddit.chunks(path.parent, 'train'):
            yield from of(reddit.read(chunk))

    return whole_file(name, {**files, 'manifest.json': b'{}'}, read)


COMMENTS = json_lines(
    *(
        {'author': 'Ann', 'body': f'I like tea {n}', 'id': f'a{n}', 'link_id': 't3_a', 'parent_id': 't3_a', 'score': n}
        for n in range(3)
    )
)


def reddit_comments() -> Parser:
    from parlai_persona.tasks.reddit.pipeline.comments import read_comments

    def read(path: Path) -> Iterator[Hashable]:
        return (frozen(row) for row in read_comments(path.read_bytes())[0].to_pylist())

    return Parser('RC_2020-01', COMMENTS, read)


def reddit_archive(suffix: str) -> Parser:
    import zstandard

    from parlai_persona.tasks.reddit.pipeline import dump

    packers: dict[str, Callable[[bytes], bytes]] = {
        '.gz': gzip.compress,
        '.bz2': bz2.compress,
        '.xz': lzma.compress,
        '.zst': zstandard.ZstdCompressor(write_checksum=True).compress,
    }

    def read(path: Path) -> list[bytes]:
        return b''.join(dump.blocks(dump.Source(path), 100)).splitlines()

    return Parser(f'RC{suffix}', (packers[suffix](b''.join(COMMENTS)),), read, exact=True)


def reddit_classifier() -> Parser:
    from parlai_persona.tasks.reddit.pipeline.sentences import Classifier

    content = json.dumps({'bias': -0.5, 'weights': {'i': 1.5, 'my': 2, 'the': -1e-3}}).encode()
    return Parser('classifier.json', (content,), lambda p: frozen(vars(Classifier.load(p))))


def comment(id: str, body: str, parent: str, author: str = 'Ann') -> dict[str, str]:
    return {'author': author, 'body': body, 'id': id, 'link_id': 't3_top', 'parent_id': parent}


def reddit_build() -> Parser:
    """Whole builds. A unit is a comment with an answer; one has an id twice, one answers itself, two each other."""
    from parlai_persona.tasks.reddit.pipeline import build
    from parlai_persona.tasks.reddit.pipeline.options import Machine, Options

    def pair(*comments: dict[str, str]) -> bytes:
        return b''.join(json_lines(*comments))

    units = (
        pair(comment('aaaa', 'I like tea', 't3_top'), comment('bbbb', 'my cat too', 't1_aaaa', 'Bob')),
        pair(comment('cccc', 'who is old', 't1_dddd'), comment('dddd', 'I am old', 't1_cccc', 'Cid')),
        pair(
            comment('eeee', 'one house', 't3_top'),
            comment('eeee', 'two houses', 't1_eeee'),
            comment('ffff', 'I have none', 't1_eeee', 'Dan'),
            comment('gggg', 'I answer me', 't1_gggg', 'Eve'),
        ),
    )

    def read(path: Path) -> list[str]:
        output = path.with_name('data')
        for other in path.parent.iterdir():
            if other != path:
                shutil.rmtree(other) if other.is_dir() else other.unlink()
        options = Options(valid=0, test=0, persona_size=4, tagger='lexicon')
        build.build([str(path)], output, options, Machine(workers=1, parts=2), {}, b'key')
        dialogues = (dialogue for chunk in reddit.chunks(output, 'train') for dialogue in reddit.read(chunk))
        return [dialogue.turns[0].reply for dialogue in dialogues]

    return Parser('RC.jsonl', units, read, cost=50)


REDDIT: dict[str, Callable[[], Parser]] = {
    'reddit: JSON lines': reddit_lines,
    'reddit: Parquet, examples': partial(reddit_shard, False),
    'reddit: Parquet, personas': partial(reddit_shard, True),
    'reddit: lines of a dump': reddit_comments,
    'reddit: dump, .gz': partial(reddit_archive, '.gz'),
    'reddit: dump, .bz2': partial(reddit_archive, '.bz2'),
    'reddit: dump, .xz': partial(reddit_archive, '.xz'),
    'reddit: dump, .zst': partial(reddit_archive, '.zst'),
    'reddit: classifier': reddit_classifier,
    'reddit: whole builds': reddit_build,
}
