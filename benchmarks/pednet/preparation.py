"""Measure what `persona:congeneric` prepares: seconds and memory by size, and the search against Gensim's.

    pip install --no-deps gensim smart_open wrapt sparse_dot_topn          # the peers
    python -m benchmarks.pednet.preparation --datapath data                # half an hour on an idle core

The examples are those of Persona-Chat's training and valid split, repeated with 15 % other words to the sizes. A
million examples search the default pool of 100,000. Seconds are those of the processor, on one thread, so that other
processes do not count; reading is that of a file of examples. Parts (`--only`):

sizes   10,000, 65,000 and 1,000,000 examples: counts, specific words, labels by overlap, similar contexts.
search  65,000 contexts: seconds for all of them, by the first few hundred queries. Gensim answers them one by one, as
        its `similarities` are used, and in chunks; two other ways to multiply sparse matrices are there for comparison.

Rows go to results/pednet_preparation.csv. Exit status 1 if a target is missed.
"""

import argparse
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from benchmarks.common import record
from benchmarks.common.arms import Figures, Report, child, in_turns, medians, memory, run_parts
from benchmarks.pednet.corpus import read_corpus, write_corpus
from parlai_persona.data.specific_words import SpecificOptions
from parlai_persona.tasks.congeneric.build import KEPT, Congeneric
from parlai_persona.tasks.congeneric.labels import Overlap
from parlai_persona.tasks.congeneric.neighbours import TfIdf
from parlai_persona.tasks.congeneric.prepare import Preparation, PreparedSplit, Recipe

CSV = record.RESULTS / 'pednet_preparation.csv'
OUT = Path('runs/pednet_preparation')
TASK = 'persona:congeneric'
SIZES = (10_000, 65_000, 1_000_000)
PAPER = 65_000
SECONDS, MEGABYTES, TIMES = 60.0, 2000.0, 10.0  # targets, at 65,000 examples
STEPS = {
    'write_examples': 'reading',
    'write_counts': 'counting',
    'write_specific': 'specific words',
    'write_masked': 'masked contexts',
    'write_labels': 'labels by overlap',
    'write_neighbours': 'similar contexts',
}
FOUND = KEPT - 1


class Timed(Preparation):
    """Notes how long each step takes."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seconds: Figures = {}
        for name, label in STEPS.items():
            setattr(self, name, partial(self.timed, getattr(self, name), label))

    def timed(self, step: Callable, label: str):
        begun = time.process_time()
        made = step()
        self.seconds[f'seconds, {label}'] = time.process_time() - begun
        return made


def prepare(corpus: Path, folder: Path) -> Figures:
    """Prepare the examples of a file; called in a process of its own."""
    defaults = Congeneric()
    recipe = Recipe(
        SpecificOptions(),
        FOUND,
        defaults.pool,
        defaults.seed,
        defaults.none,
        lambda training: Overlap(*training.replies),
        'benchmark',
    )
    shutil.rmtree(folder, ignore_errors=True)
    job = Timed(folder / 'train', recipe, partial(read_corpus, corpus), None)
    begun = time.process_time()
    size = len(job.open())
    seconds = time.process_time() - begun
    return {
        'seconds': seconds,
        'milliseconds an example': 1000 * seconds / size,
        'peak MB': memory('VmHWM') / 1000,
        **job.seconds,
    }


def sizes(report: Report, args: argparse.Namespace) -> None:
    for size in args.sizes:
        corpus = write_corpus(OUT / f'examples-{size}.jsonl', size, args.datapath)
        figures = child(prepare, corpus, OUT / str(size))
        report.add('preparation', TASK, f'{size:,} examples', 'train', figures)
        if size == PAPER:
            report.expect(figures['seconds'] < SECONDS, f'{figures["seconds"]:.1f} s (target {SECONDS:.0f})')
            report.expect(figures['peak MB'] < MEGABYTES, f'{figures["peak MB"]:.0f} MB (target {MEGABYTES:.0f})')


# -------------------------------------------------------------------------------------------------- search


def contexts(folder: Path) -> list[str]:
    split = PreparedSplit(folder / 'train', Recipe(SpecificOptions(), FOUND, 0, 0, 0.0, lambda _: Overlap({}, 0), ''))
    return [split.masked_context(number) for number in range(len(split))]


def per_text(seconds: float, queries: int, texts: int) -> Figures:
    return {'seconds for all': seconds / queries * texts}


def ours(folder: Path) -> Figures:
    texts = contexts(folder)
    tfidf = TfIdf(list(dict.fromkeys(texts)))
    begun = time.process_time()
    tfidf.nearest(list(dict.fromkeys(texts[:4096])), FOUND)
    return per_text(time.process_time() - begun, 4096, len(texts))


def gensim(folder: Path, queries: int, chunk: int) -> Figures:
    from gensim.similarities import SparseMatrixSimilarity

    texts = contexts(folder)
    tfidf = TfIdf(texts)  # the same vectors as Gensim's TfidfModel makes, to compare nothing but the search
    bags = [list(zip(row.indices.tolist(), row.data.tolist(), strict=True)) for row in tfidf.vectors]
    index = SparseMatrixSimilarity(bags, num_features=tfidf.vectors.shape[1], num_best=FOUND)
    begun = time.process_time()
    found = [one for first in range(0, queries, chunk) for one in asked(index, bags[first : first + chunk])]
    seconds = time.process_time() - begun
    _, cosines = tfidf.nearest(texts[:queries], FOUND)
    theirs = np.array([[cosine for _, cosine in row] for row in found if len(row) == FOUND])
    mine = np.array([row for row, other in zip(cosines, found, strict=True) if len(other) == FOUND])
    return {
        **per_text(seconds, queries, len(texts)),
        'greatest difference of a cosine': float(abs(theirs - mine).max()),
    }


def asked(index, bags: list) -> list:
    return index[bags] if len(bags) > 1 else [index[bags[0]]]


def scipy_rows(folder: Path) -> Figures:
    vectors = TfIdf(contexts(folder)).vectors
    columns, queries = csr_matrix(vectors.T), 512
    begun = time.process_time()
    for first in range(0, queries, 64):
        block = vectors[first : first + 64] @ columns
        for start, end in zip(block.indptr, block.indptr[1:], strict=False):
            np.argpartition(-block.data[start:end], min(FOUND, end - start - 1))
    return per_text(time.process_time() - begun, queries, vectors.shape[0])


def sparse_dot_topn(folder: Path) -> Figures:
    from sparse_dot_topn import sp_matmul_topn

    vectors = TfIdf(contexts(folder)).vectors
    begun = time.process_time()
    sp_matmul_topn(vectors[:512], csr_matrix(vectors.T), top_n=FOUND, sort=True, n_threads=1)
    return per_text(time.process_time() - begun, 512, vectors.shape[0])


ARMS: dict[str, tuple[Any, ...]] = {
    'blocked product': (ours,),
    'Gensim, one by one': (gensim, 200, 1),
    'Gensim, chunks of 64': (gensim, 512, 64),
    'scipy, sparse rows': (scipy_rows,),
    'sparse_dot_topn': (sparse_dot_topn,),
}


def search(report: Report, args: argparse.Namespace) -> None:
    folder = OUT / str(PAPER)
    if not (folder / 'train').exists():
        child(prepare, write_corpus(OUT / f'examples-{PAPER}.jsonl', PAPER, args.datapath), folder)
    calls = {name: partial(child, arm, folder, *more) for name, (arm, *more) in ARMS.items()}
    found = medians(in_turns(calls, 3))
    best, *peers = found
    for peer in peers:
        times = found[peer]['seconds for all'] / found[best]['seconds for all']
        found[best][f'{peer}, times slower'] = times
        if peer == 'Gensim, one by one':
            report.expect(times >= TIMES, f'Gensim takes {times:.1f} times as long (target {TIMES:.0f})')
    for name, figures in found.items():
        report.add(name, f'{TASK}: search', f'{PAPER:,} examples', 'train', figures)


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--sizes', type=int, nargs='+', default=SIZES, help='of the part `sizes`')
    run_parts({'sizes': sizes, 'search': search}, parser, CSV, 'python -m benchmarks.pednet.preparation')


if __name__ == '__main__':
    main()
