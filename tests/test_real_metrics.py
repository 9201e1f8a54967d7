"""Our metrics on the gold replies of Persona-Chat's valid split agree with a second computation. Slow; needs the data.

The second computation shares only the list of stop words with `parlai_persona.metrics.formulas`: it counts with sparse
matrices from scikit-learn. The figures are those of docs/metrics.md.
"""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from real_data import real
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

from parlai_persona.metrics import formulas
from parlai_persona.metrics.stopwords import STOP_WORDS

pytestmark = pytest.mark.slow

DOCUMENTED = {
    'persona_recall': 0.277044,
    'persona_precision': 0.185140,
    'persona_f1': 0.221955,
    'persona_f1_mean': 0.209841,
    'persona_used': 0.519677,
    'persona_cover': 0.066891,
    'distinct_raw_1': 0.054144,
    'distinct_raw_2': 0.364310,
}


class Gold(NamedTuple):
    persona: tuple[str, ...]
    text: str
    reply: str


def read(path: Path) -> Iterator[Gold]:
    """Yield the examples of a ConvAI2 file with the persona of the replying speaker."""
    mark = 'your persona: '
    persona: tuple[str, ...] = ()
    for line in path.read_text(encoding='utf-8').splitlines():
        number, rest = line.split(' ', 1)
        if number == '1':
            persona = ()
        if rest.startswith(mark):
            persona += (rest.removeprefix(mark),)
        else:
            text, reply = rest.split('\t')[:2]
            yield Gold(persona, text, reply)


@pytest.fixture(scope='module')
def gold() -> list[Gold]:
    return list(read(real('ConvAI2', 'valid_self_original_no_cands.txt')))


def tokens(text: str) -> list[str]:
    """Return words, found in another way than by `formulas.WORD`."""
    spaced = ''.join(c if c.isalnum() or c == "'" else ' ' for c in text.lower())
    return [word for piece in spaced.split() if (word := piece.strip("'"))]


class Pairs:
    """Every pair of reply and persona sentence as a row of one sparse matrix of shared content words."""

    def __init__(self, examples: list[Gold], stop: Collection[str]):
        vectorizer = CountVectorizer(analyzer=lambda text: [w for w in tokens(text) if w not in stop], binary=True)
        sentences = [(row, line) for row, gold in enumerate(examples) for line in gold.persona]
        rows = np.array([row for row, _ in sentences])
        both = vectorizer.fit_transform([gold.reply for gold in examples] + [line for _, line in sentences])
        replies, lines = both[: len(examples)][rows], both[len(examples) :]
        self.words = vectorizer.get_feature_names_out()
        self.matrix = replies.multiply(lines).tocsr()
        self.starts = np.flatnonzero(np.diff(rows, prepend=-1))  # first pair of each reply
        self.shared = np.asarray(self.matrix.sum(axis=1)).ravel()
        self.said = np.asarray(replies.sum(axis=1)).ravel()
        self.told = np.asarray(lines.sum(axis=1)).ravel()
        self.share = self.shared / np.maximum(self.told, 1)

    def scores(self) -> dict[str, float]:
        """Return eq. 19; `shared - told/1000` picks the sentence with most shared words, the shortest of several."""
        key = self.shared - self.told / 1000
        ends = [*self.starts[1:], len(self.shared)]
        best = np.array([start + key[start:end].argmax() for start, end in zip(self.starts, ends, strict=True)])
        precision = self.shared[best] / np.maximum(self.said[best], 1)
        harmonic = 2 * self.shared[best] / (self.said[best] + self.told[best])  # as of two sets
        p, r = precision.mean(), self.share[best].mean()
        return {
            'persona_recall': r,
            'persona_precision': p,
            'persona_f1': 2 / (1 / p + 1 / r),
            'persona_f1_mean': harmonic.mean(),
            'persona_used': (self.shared[best] > 0).mean(),
        }

    def greatest_ratio(self) -> float:
        """Return recall in the other reading of the maximum in eq. 19."""
        return np.maximum.reduceat(self.share, self.starts).mean()

    def cover(self, ranks: dict[str, int]) -> float:
        """Return eq. 20."""
        rank = np.array([ranks.get(word, len(ranks) + 1) for word in self.words])
        idf = 1 / (1 + np.log1p(1e6 * rank**-1.07))
        mean = (self.matrix @ idf) / np.maximum(self.shared, 1)
        return np.maximum.reduceat(mean, self.starts).mean()


def corpus_ranks(texts: Iterable[str]) -> dict[str, int]:
    vectorizer = CountVectorizer(analyzer=tokens)
    counts = np.asarray(vectorizer.fit_transform(texts).sum(axis=0)).ravel()
    words = vectorizer.get_feature_names_out()
    return {words[index]: rank + 1 for rank, index in enumerate(np.lexsort((words, -counts)))}


def distinct(replies: list[str], n: int) -> float:
    vectorizer = CountVectorizer(tokenizer=str.split, token_pattern=None, lowercase=False, ngram_range=(n, n))
    counts = vectorizer.fit_transform(replies)
    return counts.shape[1] / counts.sum()


def test_two_computations_agree(gold: list[Gold]):
    train = list(read(real('ConvAI2', 'train_self_original_no_cands.txt')))
    texts = [text for one in train for text in (one.text, one.reply) if text != '__SILENCE__']
    replies, personas = [one.reply for one in gold], [one.persona for one in gold]
    ours = formulas.persona_report(replies, personas, formulas.ZipfIdf(formulas.frequency_ranks(texts)))
    pairs = Pairs(gold, STOP_WORDS)
    second = pairs.scores() | {'persona_cover': pairs.cover(corpus_ranks(texts))}
    for n in (1, 2):
        ours[f'distinct_raw_{n}'] = formulas.distinct(replies, n)
        second[f'distinct_raw_{n}'] = distinct(replies, n)
    assert ours == pytest.approx(second, abs=1e-9)
    if len(train) == 29_462:  # documented for these: both sides of 2,072 dialogues
        assert ours == pytest.approx(DOCUMENTED, abs=1e-6)


def test_coverage_by_the_order_of_a_file_agrees(gold: list[Gold]):
    path = real('vectors', 'glove.6B.50d.subset.txt')
    words = [line.split(' ')[0] for line in path.read_text(encoding='utf-8').split('\n') if line]
    with path.open('rb') as lines:
        idf = formulas.ZipfIdf(formulas.read_ranks(lines, str(path)))
    ours = formulas.persona_report([one.reply for one in gold], [one.persona for one in gold], idf)['persona_cover']
    second = Pairs(gold, STOP_WORDS).cover({word: rank for rank, word in enumerate(words, start=1)})
    assert ours == pytest.approx(second, abs=1e-9)
    assert ours == pytest.approx(0.081667, abs=1e-6)


def test_what_the_open_choices_amount_to(gold: list[Gold]):
    ours, others, none = (Pairs(gold, stop) for stop in (STOP_WORDS, ENGLISH_STOP_WORDS, ()))
    assert ours.greatest_ratio() - ours.scores()['persona_recall'] == pytest.approx(0.001, abs=0.0005)
    used = [pairs.scores()['persona_used'] for pairs in (ours, others, none)]
    assert used == pytest.approx([0.5197, 0.5412, 0.8759], abs=5e-5)
