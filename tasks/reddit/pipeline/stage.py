"""Blocks of lines -> a table of clean comments with their sentences, without names.

The same in this process, in others, and on a cluster's workers.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from parlai_persona.files import draft
from parlai_persona.tasks.reddit.pipeline import hashes, storage
from parlai_persona.tasks.reddit.pipeline.comments import (
    BOTS,
    GONE,
    is_bot,
    is_by_bot,
    is_gone,
    read_comments,
    read_texts,
)
from parlai_persona.tasks.reddit.pipeline.names import Names
from parlai_persona.tasks.reddit.pipeline.options import Options
from parlai_persona.tasks.reddit.pipeline.sentences import Classifier, Rules
from parlai_persona.tasks.reddit.pipeline.tagger import Tagger
from parlai_persona.tasks.reddit.pipeline.tokens import Tokens

SENTENCE = pa.struct([('hash', pa.int64()), ('lot', pa.int64()), ('score', pa.float32()), ('text', pa.string())])
WORD = r'[\pL\pN]'  # a text without a letter or digit says nothing
IS_GONE, IS_BOT = -1, -2  # instead of an author's number
MOST_AUTHORS = 500_000  # numbers of authors that stay in memory


@dataclass(frozen=True)
class Job:
    """How to read a block; the same for all of them."""

    options: Options
    key: bytes  # of the hash of authors' names, 64 bytes at most; never stored with the data
    names: Names = field(default_factory=Names)  # to mask
    parts: int = 1
    bots: frozenset[str] = BOTS
    verbs: frozenset[str] = frozenset()
    tagger: str | None = None  # spaCy's model for rules (iii) and (iv); without it, `verbs`
    classifier: Classifier | None = None
    sliced: bool = True  # write slices (storage.py); else Parquet


class Authors(dict[str, int]):
    """Numbers of authors, each computed when it is first asked for."""

    def __init__(self, job: Job):
        self.key = job.key
        self.bots, self.by_name = frozenset(name.lower() for name in job.bots), job.options.bot_rule

    def __missing__(self, name: str) -> int:
        if name in GONE:
            number = IS_GONE
        elif is_bot(name, self.bots, self.by_name):
            number = IS_BOT
        else:
            number = hashes.author_number(name, self.key)
        self[name] = number
        return number


class Stage:
    """Reads blocks, one after the other."""

    def __init__(self, job: Job):
        self.job = job
        by_rules = not job.options.selection.startswith('random')
        tagger = Tagger(job.tagger) if job.tagger and by_rules else None
        self.rules = Rules(by_rules, job.verbs, tagger)
        self.authors = Authors(job)
        self.counts: Counter[str] = Counter()
        self.broken: list[bytes] = []

    def __call__(self, blocks: list[bytes], number: int, output: Path, words: Path) -> tuple[Counter[str], list[bytes]]:
        """Write the comments and the words of some blocks; return what was counted, and the broken lines."""
        self.counts, self.broken = Counter(), []
        if len(self.authors) > MOST_AUTHORS:
            self.authors.clear()
        tables, word_counts, first = [], [], number << 32
        for block in blocks:
            comments, authors = self.kept(block)
            tokens = read_texts(comments.column('body'), self.job.options, self.job.names)
            tables.append(self.table(comments, authors, tokens, first))
            word_counts.append(tokens.counts())
            first += len(comments)
        table = pa.concat_tables(tables)
        self.counts['comments'] = len(table)
        total = pa.concat_tables(word_counts).group_by('word').aggregate([('count', 'sum')])
        write_parquet(total.rename_columns(['word', 'count']), words)
        if self.job.sliced:
            storage.write_slices(table.sort_by('part'), 'part', self.job.parts, output)
        else:
            write_parquet(table, output)
        return self.counts, self.broken

    def kept(self, block: bytes) -> tuple[pa.RecordBatch, np.ndarray]:
        """Return the comments that are neither deleted nor a bot's, and their authors' numbers."""
        comments, broken = read_comments(block)
        names = comments.column('author').dictionary_encode()
        authors = np.array([self.authors[name] for name in names.dictionary.to_pylist()], np.int64)[names.indices]
        bodies = comments.column('body')
        gone, bots = (authors == IS_GONE) | is_gone(bodies), authors == IS_BOT
        if self.job.options.bot_rule:
            bots |= is_by_bot(bodies)
        bots &= ~gone
        self.broken += broken
        self.counts.update(lines=len(comments) + len(broken), broken=len(broken))
        self.counts.update(deleted=int(gone.sum()), bots=int(bots.sum()))
        keep = ~(gone | bots)
        return comments.filter(pa.array(keep)), authors[keep]

    def table(self, comments: pa.RecordBatch, authors: np.ndarray, tokens: Tokens, first: int) -> pa.Table:
        """Return a row a comment, as plan.py has them; `at`, from `first` on, tells copies of a comment apart."""
        job, rows = self.job, len(comments)
        ids, threads = (hashes.id_numbers(comments.column(name)) for name in ('id', 'link_id'))
        answered = pc.replace_substring_regex(comments.column('parent_id'), '^t1_', '')
        answers = pc.not_equal(answered, comments.column('parent_id')).to_numpy(zero_copy_only=False)
        table = pa.table(
            {
                'part': pa.array(threads % job.parts, pa.int32()),
                'at': first + np.arange(rows),
                'id': ids,
                'parent': np.where(answers, hashes.id_numbers(answered), -1),  # -1: it answers a post
                'author': authors,
                'order': hashes.drawn(ids, np.zeros(rows, np.int64), job.options.seed),
                'text': tokens.texts(),
                'sentences': self.sentences(tokens, ids),
            }
        )
        written = pc.match_substring_regex(table.column('text'), WORD).to_numpy()
        self.counts['empty'] += rows - int(written.sum())
        return table if written.all() else table.filter(written)

    def sentences(self, tokens: Tokens, ids: np.ndarray) -> pa.Array:
        """Return a list for each comment, of the sentences that may stand in a persona."""
        job = self.job
        keep, scores = self.rules(tokens), np.zeros(len(tokens.row))
        if job.classifier:
            scores = job.classifier.scores(tokens)
            keep &= scores >= job.options.threshold
        which = np.flatnonzero(keep)
        self.counts['sentences'] += len(which)
        row, text = tokens.row[which], tokens.sentences(which)
        lots = hashes.drawn(ids[row], tokens.place[which], job.options.seed + 1)
        score = pa.array(scores[which].astype(np.float32))
        values = pa.StructArray.from_arrays(
            [pa.array(hashes.sentence_numbers(text)), pa.array(lots), score, text], fields=list(SENTENCE)
        )
        limits = np.searchsorted(row, np.arange(len(ids) + 1)).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(limits), values)


def write_parquet(table: pa.Table, output: Path) -> None:
    with draft(output) as unfinished:
        pq.write_table(table, unfinished, compression='lz4', use_dictionary=False, write_statistics=False)
