"""A block of raw lines -> a Parquet file of clean comments with their sentences, without names.

What runs on every block alike, in this process, in others, or on a cluster's workers.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from parlai_persona.files import draft
from parlai_persona.tasks.reddit import kernels, text
from parlai_persona.tasks.reddit.tagger import Tagger
from parlai_persona.tasks.reddit.verbs import words

GONE = frozenset({'[deleted]', '[removed]', '[ Removed by Reddit ]', ''})
BOTS = words(
    'AutoModerator autotldr RemindMeBot TotesMessenger TweetPoster imgurtranscriber ImgurTranscriber LinkFixerBot '
    'WikiTextBot HelperBot_ GifReversingBot sneakpeekbot tweetposter MTGCardFetcher dogetipbot changetip '
    'TrollaBot JoeBidenBot timezone_bot youtubefactsbot autowikibot xkcd_transcriber conspirobot '
    'CompileBot sexual_coffee ObamaRobot PORTMANTEAU-BOT'
)
BOT_NAME = re.compile(r'Bot\d*$|BOT$|[_-]bot\d*$|^bot[_-]|^Bot[A-Z_-]|[_-]Bot[_-]')
GROUP = pa.struct([('hash', pa.int64()), ('lot', pa.int64()), ('score', pa.float32()), ('text', pa.string())])


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


class Stage:
    """Reads blocks, one after the other."""

    def __init__(self, job: Job):
        self.job = job
        rule = kernels.LENGTH if job.selection.startswith('random') else kernels.RULES
        self.tagger = Tagger(job.tagger) if job.tagger and rule == kernels.RULES else None
        rule = kernels.ABOUT_ME if self.tagger else rule
        self.reader = kernels.Reader(kernels.Words(dict.fromkeys(job.verbs, 1.0)), rule, job.weights, job.bias)
        self.decoder = msgspec.json.Decoder(Comment)
        self.authors: dict[str, int] = {}  # names -> keyed hashes, of this process
        self.counts: Counter[str] = Counter()
        self.broken: list[bytes] = []

    def __call__(self, block: bytes, output: Path) -> tuple[Counter[str], list[bytes]]:
        """Write the block's comments; what was counted, and the lines that could not be read."""
        self.counts, self.broken = Counter(), []
        table = self.table(self.comments(block))
        self.counts['comments'] = len(table)
        write(table, output, 'part')
        return self.counts, self.broken

    def comments(self, block: bytes) -> list[Comment]:
        found, decode, job = [], self.decoder.decode, self.job
        deleted = bots = 0
        lines = block.split(b'\n')
        for line in lines:
            try:
                comment = decode(line)
            except UNREADABLE:
                if line.strip():
                    self.broken.append(line)
                continue
            if comment.author in GONE or comment.body in GONE:
                deleted += 1
            elif comment.author in job.bots or (job.bot_rule and BOT_NAME.search(comment.author)):
                bots += 1
            else:
                found.append(comment)
        self.counts.update(
            lines=sum(map(bool, lines)), broken=len(self.broken), deleted=deleted, bots=bots
        )  # fmt: skip
        return found

    def table(self, comments: list[Comment]) -> pa.Table:
        """part, id, parent, author, order, text, sentences."""
        job = self.job
        bodies, offsets = packed([text.clean(comment.body, job.cleaning) for comment in comments])
        read = self.reader(bodies, offsets)
        ids = hashes([comment.id for comment in comments])
        threads = hashes([comment.link_id for comment in comments])
        parents = hashes([comment.parent_id[3:] if comment.parent_id[:3] == 't1_' else '' for comment in comments])
        authors = np.array([self.author(comment.author) for comment in comments], np.int64)
        order = kernels.shuffled(ids, np.zeros(len(ids), np.int32), job.seed)
        table = pa.table({
            'part': pa.array(threads % job.parts, pa.int32()),
            'id': ids,
            'parent': np.where([comment.parent_id[:3] == 't1_' for comment in comments], parents, -1).astype(np.int64),
            'author': authors,
            'order': order,
            'text': strings(read.out, read.offsets),
            'sentences': self.sentences(read, ids),
        })  # fmt: skip
        written = np.diff(read.offsets) > 0
        self.counts['empty'] = len(comments) - int(written.sum())
        return table if written.all() else table.filter(written)

    def sentences(self, read: kernels.Read, ids: np.ndarray) -> pa.Array:
        """A list for each comment, of the sentences that may stand in a persona."""
        job = self.job
        keep = np.ones(len(read.row), bool) if job.threshold is None else read.score >= job.threshold
        if self.tagger:
            texts = slices(read.out, read.start[keep], read.end[keep]).to_pylist()
            keep[keep] = self.tagger(texts)
        self.counts['sentences'] = int(keep.sum())
        row, starts, ends = read.row[keep], read.start[keep], read.end[keep]
        lots = kernels.shuffled(ids[row], read.place[keep], job.seed + 1)
        score = read.score[keep] if job.weights else np.zeros(len(row), np.float32)
        values = pa.StructArray.from_arrays(
            [pa.array(read.hash[keep]), pa.array(lots), pa.array(score), slices(read.out, starts, ends)],
            fields=list(GROUP),
        )
        offsets = np.searchsorted(row, np.arange(len(ids) + 1)).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), values)

    def author(self, name: str) -> int:
        found = self.authors.get(name)
        if found is None:
            digest = hashlib.blake2b(name.encode(), key=self.job.key, digest_size=8).digest()
            found = self.authors[name] = int.from_bytes(digest, 'big') >> 1
            if len(self.authors) > 1_000_000:
                self.authors.clear()
        return found


def write(table: pa.Table, output: Path, part: str) -> None:
    """Sorted by `part`, a row group for each value of it: a part is read without the others."""
    table = table.sort_by(part)
    numbers = table.column(part).to_numpy()
    cuts = np.flatnonzero(np.diff(numbers)) + 1
    with draft(output) as unfinished, pq.ParquetWriter(unfinished, table.schema, compression='zstd') as writer:
        for start, end in zip([0, *cuts], [*cuts, len(numbers)], strict=True):
            writer.write_table(table.slice(start, end - start))


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
    return kernels.hash_rows(*packed(texts))


def strings(data: np.ndarray, offsets: np.ndarray) -> pa.Array:
    """Rows of UTF-8 bytes as strings."""
    if offsets[-1] < 2**31:
        return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data))
    raise OverflowError(f'{offsets[-1]:,} bytes of text in a block; lower the size of blocks')


def slices(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(ends - starts)])
    return strings(kernels.gather(data, starts, ends), offsets)


def merged(counts: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return total
