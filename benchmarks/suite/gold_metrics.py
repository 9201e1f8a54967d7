"""Our metrics on the gold replies of Persona-Chat's validation split, checked against a second computation.

The second one shares nothing with `parlai_persona.metrics.formulas` but the list of stop words: it counts with sparse
matrices from scikit-learn. The script fails where the two differ by more than 1e-9. It also shows what the
choices that PEDNet's paper leaves open amount to, and what measuring costs.

    python -m benchmarks.suite.gold_metrics --datapath data --vectors data/vectors/glove.6B.50d.txt
"""

import argparse
import operator
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

import parlai_persona  # noqa: F401  before ParlAI, which it mends
from parlai_persona.fields import PERSONA
from parlai_persona.metrics import formulas
from parlai_persona.metrics.stopwords import STOP_WORDS

VALID, TRAIN = 'valid_self_original_no_cands.txt', 'train_self_original_no_cands.txt'
TOLERANCE = 1e-9
REFERENCE = {  # gold replies of PEDNet's test split, its own pre-processing, a list of 272 stop words
    'persona_recall': '.26-.27',
    'persona_precision': '.16-.18',
    'persona_f1': '.20-.215',
    'persona_used': '.57',
    'distinct_raw_1': '.053',
    'distinct_raw_2': '.350',
}


class Gold(NamedTuple):
    persona: tuple[str, ...]
    text: str
    reply: str


def read(path: Path) -> Iterator[Gold]:
    """The examples of a ConvAI2 file whose persona lines are the replying speaker's."""
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


def utterances(examples: Iterable[Gold]) -> list[str]:
    return [text for gold in examples for text in (gold.text, gold.reply) if text != '__SILENCE__']


# ------------------------------------------------------------------------------------ the second computation


def tokens(text: str) -> list[str]:
    """Words, found another way than by `formulas.WORD`."""
    spaced = ''.join(c if c.isalnum() or c == "'" else ' ' for c in text.lower())
    return [word for piece in spaced.split() if (word := piece.strip("'"))]


class Pairs:
    """Every (reply, persona sentence) pair as a row of one sparse matrix of shared content words."""

    def __init__(self, examples: list[Gold], stop: Collection[str]):
        vectorizer = CountVectorizer(
            analyzer=lambda text: [word for word in tokens(text) if word not in stop], binary=True
        )
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

    def scores(self) -> dict[str, float]:
        """Eq. 19; `shared - told/1000` picks the sentence with most shared words, of several the shortest."""
        share = self.shared / np.maximum(self.told, 1)
        key = self.shared - self.told / 1000
        best = np.array([start + key[start:end].argmax() for start, end in self.spans()])
        recall = share[best]
        precision = self.shared[best] / np.maximum(self.said[best], 1)
        harmonic = 2 * self.shared[best] / (self.said[best] + self.told[best])  # as of two sets
        p, r = precision.mean(), recall.mean()
        return {
            'persona_recall': r,
            'persona_precision': p,
            'persona_f1': 2 / (1 / p + 1 / r),
            'persona_f1_mean': harmonic.mean(),
            'persona_used': (self.shared[best] > 0).mean(),
            'recall of greatest ratio': np.maximum.reduceat(share, self.starts).mean(),
        }

    def spans(self) -> Iterable[tuple[int, int]]:
        return zip(self.starts, [*self.starts[1:], len(self.shared)], strict=True)

    def cover(self, ranks: dict[str, int]) -> float:
        """Eq. 20."""
        rank = np.array([ranks.get(word, len(ranks) + 1) for word in self.words])
        idf = 1 / (1 + np.log1p(1e6 * rank**-1.07))
        mean = (self.matrix @ idf) / np.maximum(self.shared, 1)
        return np.maximum.reduceat(mean, self.starts).mean()


def corpus_ranks(texts: list[str]) -> dict[str, int]:
    vectorizer = CountVectorizer(analyzer=tokens)
    counts = np.asarray(vectorizer.fit_transform(texts).sum(axis=0)).ravel()
    words = vectorizer.get_feature_names_out()
    return {words[index]: rank + 1 for rank, index in enumerate(np.lexsort((words, -counts)))}


def file_ranks(path: Path) -> dict[str, int]:
    words = [line.split(' ')[0] for line in path.read_text(encoding='utf-8').split('\n') if line]
    return {word: rank for rank, word in enumerate(words, start=1)}


def distinct(replies: list[str], n: int) -> float:
    vectorizer = CountVectorizer(tokenizer=str.split, token_pattern=None, lowercase=False, ngram_range=(n, n))
    counts = vectorizer.fit_transform(replies)
    return counts.shape[1] / counts.sum()


# ---------------------------------------------------------------------------------------------------- tables


def compare(valid: list[Gold], train: list[Gold], vectors: Path | None) -> float:
    """Print both computations side by side; the largest difference."""
    replies, personas = [gold.reply for gold in valid], [gold.persona for gold in valid]
    pairs = Pairs(valid, STOP_WORDS)
    train_idf = formulas.ZipfIdf(formulas.frequency_ranks(utterances(train)))
    ours = formulas.persona_report(replies, personas, train_idf)
    ours['persona_cover_train'] = ours.pop('persona_cover')
    theirs = pairs.scores() | {'persona_cover_train': pairs.cover(corpus_ranks(utterances(train)))}
    if vectors:
        with vectors.open('rb') as lines:
            file_idf = formulas.ZipfIdf(formulas.read_ranks(lines, str(vectors)))
        ours['persona_cover_file'] = formulas.persona_report(replies, personas, file_idf)['persona_cover']
        theirs['persona_cover_file'] = pairs.cover(file_ranks(vectors))
    for n in (1, 2):
        ours[f'distinct_raw_{n}'] = formulas.distinct(replies, n)
        theirs[f'distinct_raw_{n}'] = distinct(replies, n)
    print(f'{"gold replies":24}{"ours":>10}{"second":>10}{"difference":>12}  PEDNet test')
    for name, value in ours.items():
        difference = abs(value - theirs[name])
        print(f'{name:24}{value:10.6f}{theirs[name]:10.6f}{difference:12.1e}  {REFERENCE.get(name, "")}')
    return max(abs(value - theirs[name]) for name, value in ours.items())


def show_choices(valid: list[Gold]) -> None:
    """What other stop words, and the other reading of the maximum in eq. 19, would give."""
    columns = {
        'persona_recall': 'recall',
        'recall of greatest ratio': '(ratio)',
        'persona_precision': 'precision',
        'persona_f1': 'F1',
        'persona_f1_mean': 'F1 mean',
        'persona_used': 'used',
    }
    print(f'\n{"stop words":24}' + ''.join(f'{title:>10}' for title in columns.values()))
    for title, stop in (('ours', STOP_WORDS), ('scikit-learn', ENGLISH_STOP_WORDS), ('none', ())):
        scores = Pairs(valid, stop).scores()
        print(f'{f"{title} ({len(stop)})":24}' + ''.join(f'{scores[name]:10.4f}' for name in columns))


def show_cost(valid: list[Gold]) -> None:
    """Time per example in a teacher that evaluates gold replies, with and without our metrics."""
    from parlai.core.message import Message
    from parlai.core.metrics import InterDistinctMetric, normalize_answer
    from parlai.core.opt import Opt
    from parlai.core.teachers import DialogTeacher

    from parlai_persona.metrics.teacher import PersonaMetrics
    from parlai_persona.metrics.types import DistinctMetric

    class GoldTeacher(PersonaMetrics, DialogTeacher):
        def setup_data(self, datafile):
            for gold in valid:
                yield Message({'text': gold.text, 'labels': [gold.reply], PERSONA: gold.persona}), True

        def training_texts(self):
            return utterances(valid)

    print()
    for on in (False, True):
        opt = Opt({'datatype': 'valid', 'datafile': '-', 'task': 'gold', 'persona_metrics': on})
        teacher = GoldTeacher(opt)
        start = time.perf_counter()
        for _ in valid:
            teacher.observe(Message({'text': teacher.act()['eval_labels'][0]}))
        spent = (time.perf_counter() - start) / len(valid)
        print(f'an example, our metrics {"on" if on else "off":12}{1e6 * spent:10.0f} us')
    for parts in (
        [DistinctMetric.compute(normalize_answer(gold.reply).split(), 2) for gold in valid],
        [InterDistinctMetric.compute(gold.reply, 2) for gold in valid],
    ):
        start = time.perf_counter()
        total = reduce(operator.add, parts)
        spent = time.perf_counter() - start
        print(f'{len(valid)} replies added up, {type(total).__name__:20}{spent:9.3f} s, {total.value():.6f}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--datapath', type=Path, required=True, help='ParlAI data folder that holds ConvAI2/')
    parser.add_argument('--vectors', type=Path, help='vector file in text form, most frequent word first')
    args = parser.parse_args()
    valid, train = (list(read(args.datapath / 'ConvAI2' / name)) for name in (VALID, TRAIN))
    print(f'{len(valid)} replies of {VALID}; ranks from {len(train)} examples of {TRAIN}\n')
    worst = compare(valid, train, args.vectors)
    show_choices(valid)
    show_cost(valid)
    if worst > TOLERANCE:
        sys.exit(f'the two computations differ by {worst:.1e}, expected at most {TOLERANCE:.0e}')


if __name__ == '__main__':
    main()
