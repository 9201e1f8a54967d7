"""The most similar texts by the cosine of TF-IDF vectors, as Gensim defines them: one blocked sparse product.

Shapes: M texts, B of them in a block of queries, V words.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags

from parlai_persona.fields import MASK
from parlai_persona.metrics.formulas import WORD

TOKEN = re.compile(f'{re.escape(MASK.lower())}|{WORD.pattern}')
BLOCK = 64  # queries that are multiplied together; their scores should fit the processor's cache
GROUP = 64  # texts of which first the best one is looked at


class TfIdf:
    """Vectors of texts: tf * log2(M / df) of each token, of length 1. Tokens are words, and the mask counts as one."""

    def __init__(self, texts: Sequence[str]):
        self.numbers: dict[str, int] = {}
        counts = self.counts(texts, grow=True)
        df = np.bincount(counts.indices, minlength=len(self.numbers))
        self.idf = np.log2(len(texts) / df).astype(np.float32)
        self.vectors = self.weighted(counts)  # (M, V)

    def __call__(self, texts: Sequence[str]) -> csr_matrix:
        return self.weighted(self.counts(texts))

    def counts(self, texts: Iterable[str], grow: bool = False) -> csr_matrix:
        starts, places = [0], []
        for text in texts:
            found = TOKEN.findall(text.lower())
            if grow:
                places += [self.numbers.setdefault(token, len(self.numbers)) for token in found]
            else:
                places += [self.numbers[token] for token in found if token in self.numbers]
            starts.append(len(places))
        ones = np.ones(len(places), np.float32)
        counts = csr_matrix((ones, np.array(places, np.int32), starts), shape=(len(starts) - 1, len(self.numbers)))
        counts.sum_duplicates()
        return counts

    def weighted(self, counts: csr_matrix) -> csr_matrix:
        weights = counts @ diags(self.idf)
        lengths = np.sqrt(np.asarray(weights.multiply(weights).sum(1))).ravel()
        return csr_matrix(diags((1 / np.where(lengths > 0, lengths, 1)).astype(np.float32)) @ weights)

    def nearest(self, texts: Sequence[str], count: int) -> tuple[NDArray, NDArray]:
        """Return the numbers of the most similar texts of each query, the best first, and their cosines."""
        queries = self(texts)
        count = min(count, self.vectors.shape[0])
        blocks = [self.block(queries[first : first + BLOCK], count) for first in range(0, len(texts), BLOCK)]
        numbers, cosines = zip(*blocks, strict=True)
        return np.concatenate(numbers), np.concatenate(cosines)

    def block(self, queries: csr_matrix, count: int) -> tuple[NDArray, NDArray]:
        cosines = self.vectors @ np.ascontiguousarray(queries.toarray().T)  # (M, B)
        numbers = best(cosines, count)  # (B, count)
        found = np.take_along_axis(cosines.T, numbers, 1)
        order = np.lexsort((numbers, -found))  # of equal ones, the first in the data
        return np.take_along_axis(numbers, order, 1), np.take_along_axis(found, order, 1)


def best(scores: NDArray, count: int) -> NDArray:
    """Return where the highest scores of each column are, in any order: (M, B) -> (B, count).

    The best `count` are in those `count` groups whose maxima are highest, so that most scores are looked at only once.
    """
    texts, queries = scores.shape
    whole = texts // GROUP * GROUP  # texts in groups of the same size; the rest is looked at anyway
    if whole // GROUP <= count:
        return topk(np.ascontiguousarray(scores.T), count)
    maxima = scores[:whole].reshape(-1, GROUP, queries).max(1)
    groups = topk(np.ascontiguousarray(maxima.T), count)  # (B, count)
    inside = (groups[:, :, None] * GROUP + np.arange(GROUP)).reshape(queries, -1)
    rest = np.broadcast_to(np.arange(whole, texts), (queries, texts - whole))
    rows = np.concatenate([inside, rest], 1)
    return np.take_along_axis(rows, topk(np.take_along_axis(scores.T, rows, 1), count), 1)


def topk(scores: NDArray, count: int) -> NDArray:
    return torch.from_numpy(scores).topk(count, 1).indices.numpy()


class Search:
    """Finds the masked training contexts that are most similar to another one, and from other dialogues."""

    def __init__(self, texts: Sequence[str], owners: NDArray, count: int):
        self.owners, self.count = owners, count  # the dialogue that alone has a text, or 0; how many to find
        self.numbers = {text: number for number, text in enumerate(texts)}
        self.tfidf = TfIdf(texts)
        _, owned = np.unique(self.owners[self.owners != 0], return_counts=True)
        self.spare = 1 + int(owned.max(initial=0))  # of those that are found, how many may have to be left out

    def __call__(self, texts: Sequence[str], dialogues: NDArray) -> NDArray:
        """Return the numbers of the most similar contexts of each text: (texts, count); -1 where there are no more.

        The text itself is not among them, nor any that only its own dialogue has.
        """
        distinct = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        found, cosines = self.tfidf.nearest(list(distinct), self.count + self.spare)
        places = [distinct[text] for text in texts]
        found, cosines = found[places], cosines[places]  # (texts, count + spare)
        own = np.array([self.numbers.get(text, -1) for text in texts])
        good = (found != own[:, None]) & (self.owners[found] != dialogues[:, None]) & (cosines > 0)
        order = np.argsort(~good, axis=1, kind='stable')[:, : self.count]  # the good ones first
        kept = np.where(np.take_along_axis(good, order, 1), np.take_along_axis(found, order, 1), -1)
        rows = np.full((len(texts), self.count), -1, np.int32)
        rows[:, : kept.shape[1]] = kept
        return rows
