"""Blocks of raw lines -> a file of clean comments with their sentences, without names.

What runs on every block alike, in this process, in others, or on a cluster's workers.
"""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from parlai_persona.files import draft
from parlai_persona.tasks.reddit import kernels, lines, slices, text
from parlai_persona.tasks.reddit.tagger import Tagger
from parlai_persona.tasks.reddit.verbs import words

GONE = frozenset({'[deleted]', '[removed]', '[ Removed by Reddit ]', ''})
LONGEST_GONE = max(map(len, GONE))
BOTS = words(
    'AutoModerator autotldr RemindMeBot TotesMessenger TweetPoster imgurtranscriber ImgurTranscriber LinkFixerBot '
    'WikiTextBot HelperBot_ GifReversingBot sneakpeekbot tweetposter MTGCardFetcher dogetipbot changetip '
    'TrollaBot JoeBidenBot timezone_bot youtubefactsbot autowikibot xkcd_transcriber conspirobot '
    'CompileBot sexual_coffee ObamaRobot PORTMANTEAU-BOT'
)
BOT_NAME = re.compile(r'Bot\d*$|BOT$|[_-]bot\d*$|^bot[_-]|^Bot[A-Z_-]|[_-]Bot[_-]')
SENTENCE = pa.struct([('hash', pa.int64()), ('lot', pa.int64()), ('score', pa.float32()), ('text', pa.string())])


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Comment(msgspec.Struct):
    """What is read of a line; the rest of the public schema is passed over."""

    author: str
    body: str
    id: str
    link_id: str
    parent_id: str


@dataclass(frozen=True)
class Job:
    """How to read a block; the same for all of them."""

    key: bytes  # of the hash of authors' names; never stored with the data
    parts: int
    seed: int = 0
    selection: str = 'rules'
    cleaning: text.Cleaning = text.Cleaning()
    bot_rule: bool = True
    bots: frozenset[str] = BOTS
    verbs: frozenset[str] = frozenset()
    weights: dict[str, float] = field(default_factory=dict)
    bias: float = 0.0
    tagger: str | None = None  # spaCy's model for rules (iii) and (iv); without it, `verbs`
    threshold: float | None = None  # of a sentence's score
    sliced: bool = True  # write slices (slices.py); else Parquet


@dataclass
class Raw:
    """The fields of comments as bytes: data[starts[row, field]:ends[row, field]], fields as in lines.FIELDS."""

    data: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def of(self, field: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        number = lines.FIELDS.index(field)
        return self.data, np.ascontiguousarray(self.starts[:, number]), np.ascontiguousarray(self.ends[:, number])

    def text(self, field: bytes, row: int) -> str:
        number = lines.FIELDS.index(field)
        return self.data[self.starts[row, number] : self.ends[row, number]].tobytes().decode()

    def only(self, keep: np.ndarray) -> 'Raw':
        return Raw(self.data, self.starts[keep], self.ends[keep])


class Stage:
    """Reads blocks, one after the other."""

    def __init__(self, job: Job):
        self.job = job
        rule = kernels.LENGTH if job.selection.startswith('random') else kernels.RULES
        self.tagger = Tagger(job.tagger) if job.tagger and rule == kernels.RULES else None
        rule = kernels.ABOUT_ME if self.tagger else rule
        self.reader = kernels.Reader(kernels.Words(dict.fromkeys(job.verbs, 1.0)), rule, job.weights, job.bias)
        self.key = np.frombuffer(hashlib.blake2b(job.key, digest_size=16).digest(), np.uint64)
        self.gone, self.bots = (hashes(sorted(names)) for names in (GONE, job.bots))
        self.decode = msgspec.json.Decoder(Comment).decode
        self.counts: Counter[str] = Counter()
        self.broken: list[bytes] = []

    def __call__(self, blocks: list[bytes], number: int, output: Path, words: Path) -> tuple[Counter[str], list[bytes]]:
        """Write the comments and the words of some blocks; what was counted, and the lines that could not be read."""
        self.counts, self.broken = Counter(), []
        tables, told, before = [], [], 0
        for block in blocks:
            raw = self.kept(self.raw(np.frombuffer(block, np.uint8)))
            read = self.reader(*self.cleaned(raw))
            told.append(pa.table(counted(read)))
            tables.append(self.table(raw, read, (number << 32) + before))
            before += len(raw.starts)
        table = pa.concat_tables(tables)
        self.counts['comments'] = len(table)
        counts = pa.concat_tables(told).group_by('word').aggregate([('count', 'sum')])
        write(counts.rename_columns(['word', 'count']), words)
        if self.job.sliced:
            slices.write(table.sort_by('part'), 'part', self.job.parts, output)
        else:
            write(table, output)
        return self.counts, self.broken

    def raw(self, block: np.ndarray) -> Raw:
        """Every sound line."""
        data, starts, ends, slow, count = lines.read(block)
        others = [comment for start, end in slow if (comment := self.sound(block[start:end].tobytes()))]
        self.counts['lines'] += count
        self.counts['broken'] = len(self.broken)
        if not others:
            return Raw(data, starts, ends)
        more, offsets = packed([getattr(comment, name.decode()) for comment in others for name in lines.FIELDS])
        limits = (offsets + len(data)).astype(np.int64)
        return Raw(
            np.concatenate([data, more]),
            np.concatenate([starts, limits[:-1].reshape(-1, len(lines.FIELDS))]),
            np.concatenate([ends, limits[1:].reshape(-1, len(lines.FIELDS))]),
        )

    def sound(self, line: bytes) -> Comment | None:
        try:
            return self.decode(line)
        except UNREADABLE:
            self.broken.append(line)
            return None

    def kept(self, raw: Raw) -> Raw:
        """Without deleted comments and bots."""
        names = kernels.hash_rows(*raw.of(b'author'))
        gone = np.isin(names, self.gone)
        data, starts, ends = raw.of(b'body')
        rows = np.flatnonzero(ends - starts <= LONGEST_GONE)
        gone[rows] |= np.isin(kernels.hash_rows(data, starts[rows], ends[rows]), self.gone)
        bots = np.isin(names, self.bots)
        if self.job.bot_rule:
            for row in np.flatnonzero(lines.names_a_bot(*raw.of(b'author')) & ~bots).tolist():
                bots[row] = bool(BOT_NAME.search(raw.text(b'author', row)))
        self.counts['deleted'] += int(gone.sum())
        self.counts['bots'] += int((bots & ~gone).sum())
        return raw.only(~(gone | bots))

    def cleaned(self, raw: Raw) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The bodies; those that hold something to clean are replaced."""
        data, starts, ends = raw.of(b'body')
        rows = np.flatnonzero(lines.marked(data, starts, ends))
        more, offsets = packed([text.clean(raw.text(b'body', row), self.job.cleaning) for row in rows.tolist()])
        starts, ends = starts.copy(), ends.copy()
        starts[rows], ends[rows] = offsets[:-1] + len(data), offsets[1:] + len(data)
        return np.concatenate([data, more]), starts, ends

    def table(self, raw: Raw, read: kernels.Read, first: int) -> pa.Table:
        """A row a comment, as plan.py has them; `at`, from `first` on, tells copies of a comment apart."""
        job, rows = self.job, len(raw.starts)
        ids, threads = (kernels.hash_rows(*raw.of(name)) for name in (b'id', b'link_id'))
        table = pa.table(
            {
                'part': pa.array(threads % job.parts, pa.int32()),
                'at': first + np.arange(rows),
                'id': ids,
                'parent': lines.parents(*raw.of(b'parent_id')),
                'author': (kernels.keyed(*raw.of(b'author'), self.key) >> np.uint64(1)).astype(np.int64),
                'order': kernels.shuffled(ids, np.zeros(rows, np.int32), job.seed),
                'text': strings(read.out, read.offsets),
                'sentences': (found := self.sentences(read, ids)),
                'hashes': pa.ListArray.from_arrays(found.offsets, found.values.field('hash')),
            }
        )
        written = np.diff(read.offsets) > 0
        self.counts['empty'] += rows - int(written.sum())
        return table if written.all() else table.filter(written)

    def sentences(self, read: kernels.Read, ids: np.ndarray) -> pa.Array:
        """A list for each comment, of the sentences that may stand in a persona."""
        job = self.job
        keep = np.ones(len(read.row), bool) if job.threshold is None else read.score >= job.threshold
        if self.tagger:
            keep[keep] = self.tagger(cuttings(read.out, read.start[keep], read.end[keep]).to_pylist())
        self.counts['sentences'] += int(keep.sum())
        row, starts, ends = read.row[keep], read.start[keep], read.end[keep]
        lots = kernels.shuffled(ids[row], read.place[keep], job.seed + 1)
        score = read.score[keep] if job.weights else np.zeros(len(row), np.float32)
        values = pa.StructArray.from_arrays(
            [pa.array(read.hash[keep]), pa.array(lots), pa.array(score), cuttings(read.out, starts, ends)],
            fields=list(SENTENCE),
        )
        offsets = np.searchsorted(row, np.arange(len(ids) + 1)).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), values)


def counted(read: kernels.Read) -> dict[str, pa.Array]:
    """The words of a block, in lower case, and how often they stand there."""
    words = cuttings(read.out, read.words.start, read.words.end)
    return {'word': pc.ascii_lower(words), 'count': pa.array(read.words.count)}


def write(table: pa.Table, output: Path) -> None:
    with draft(output) as unfinished:
        pq.write_table(table, unfinished, compression='lz4', use_dictionary=False, write_statistics=False)


def packed(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of all texts in a row, and where each begins and ends."""
    array = pa.array(texts, pa.large_string())
    _, offsets, data = array.buffers()
    size = len(texts) + 1
    return (
        np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8),
        np.frombuffer(offsets, np.int64)[:size] if texts else np.zeros(1, np.int64),
    )


def hashes(texts: list[str]) -> np.ndarray:
    data, offsets = packed(texts)
    return kernels.hash_rows(data, offsets[:-1], offsets[1:])


def strings(data: np.ndarray, offsets: np.ndarray) -> pa.Array:
    """Rows of UTF-8 bytes as strings."""
    if offsets[-1] < 2**31:
        return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data))
    raise OverflowError(f'{offsets[-1]:,} bytes of text in a block; lower the size of blocks')


def cuttings(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(ends - starts)])
    return strings(kernels.gather(data, starts, ends), offsets)
