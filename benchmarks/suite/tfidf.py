"""Measure plain TF-IDF on Persona-Chat: the strongest of the simple peers of `persona:memnet`.

    python -m benchmarks.suite.tfidf --datapath data          # a minute

The query is the persona and the last message, joined. Candidates are ranked by cosine. Inverse document frequencies
come from the replies and persona sentences of the training split. Two vectorizers of scikit-learn: words without its
English stop words, and groups of three to five characters. Other settings that were tried on this split lie between
.30 (all messages instead of the last) and .48. Ties count against the reply, as everywhere here. Rows go to
results/baselines.csv.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from parlai.core.params import ParlaiParser
from sklearn.feature_extraction.text import TfidfVectorizer

import parlai_persona  # noqa: F401  tells ParlAI about persona:
from benchmarks.common import record
from benchmarks.common.arms import Report
from benchmarks.common.record import RESULTS, data_label, split_label
from benchmarks.suite.baselines import CORPUS, TASK, training_dialogues
from parlai_persona import fields
from parlai_persona.data.other_task import episodes, teacher, turn

VECTORIZERS = {
    'TF-IDF, words': {'stop_words': 'english', 'sublinear_tf': True},
    'TF-IDF, characters': {'analyzer': 'char_wb', 'ngram_range': (3, 5), 'sublinear_tf': True},
}


def examples(datapath: str, fold: str) -> Iterator[dict[str, Any]]:
    line = ['-t', TASK, '--datapath', datapath, '--persona-side', 'none', '--persona-metrics', 'false']
    opt = ParlaiParser(True, False).parse_args([*line, '--loglevel', 'error'])
    for episode in episodes(teacher(opt, TASK, fold)):
        yield from ({fields.PERSONA: message[fields.PERSONA], **turn(message)} for message in episode)


def fitted(name: str, train: list[dict[str, Any]]) -> TfidfVectorizer:
    """Return a vectorizer that knows how rare words are in replies and persona sentences."""
    corpus = [text for one in train for text in (*one['labels'], *one[fields.PERSONA])]
    return TfidfVectorizer(**VECTORIZERS[name]).fit(corpus)


def ranks(vectorizer: TfidfVectorizer, valid: list[dict[str, Any]], persona: bool) -> np.ndarray:
    """Return the place of each reply among its candidates, from 1 on."""
    candidates = [one['label_candidates'] for one in valid]
    replies = [one['labels'][0] for one in valid]
    personas = [one[fields.PERSONA] if persona else [] for one in valid]
    queries = [' '.join([*own, one['text']]) for own, one in zip(personas, valid, strict=True)]
    query = vectorizer.transform(queries)
    texts = vectorizer.transform([text for own in candidates for text in own])
    places, start = [], 0
    for row, (own, reply) in enumerate(zip(candidates, replies, strict=True)):
        scores = (texts[start : start + len(own)] @ query[row].T).toarray().ravel()
        start += len(own)
        label = len(own) - 1 - own[::-1].index(reply)
        places.append(1 + sum(scores[other] >= scores[label] for other in range(len(own)) if own[other] != reply))
    return np.array(places)


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--datapath', default='data')
    args = record.parse_arguments(parser)
    train, valid = (list(examples(args.datapath, fold)) for fold in ('train', 'valid'))
    report = Report(RESULTS / 'baselines.csv', 'python -m benchmarks.suite.tfidf --datapath data', args.allow_dirty)
    data, split = data_label(CORPUS, training_dialogues(args.datapath)), split_label(CORPUS, 'valid', len(valid))
    for name in VECTORIZERS:
        vectorizer = fitted(name, train)
        for persona in (True, False):
            place = ranks(vectorizer, valid, persona)
            figures = {f'hits@{k}': float((place <= k).mean()) for k in (1, 3, 5, 10)}
            figures['mrr'] = float((1 / place).mean())
            report.add(name if persona else f'{name}, no persona', TASK, data, split, figures)


if __name__ == '__main__':
    main()
