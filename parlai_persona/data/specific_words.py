"""Specific words: those of a context that go with the persona, by pointwise mutual information (PEDNet, sec. 3.3.1).

With the counts of training examples (N: all; n(w): those whose context, or whose persona, has the word; n(w, v): those
with w in the context and v in the persona), and with s, the smoothing:

    PMI(v, w) = log (n(w, v) + s) N / n(w) n(v)       (eq. 3)
    PMI(w, P) = sum of PMI(v, w) over the words v of P   (eq. 4)

Words are those of the metrics, without stop words, numbers and single letters; each counts once in a context and once
in a persona. A word that training lacks counts like the rarest one there. tasks/congeneric/README.md says what else was
tried, and how well each agrees with the authors' masked words.
"""

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from parlai_persona.fields import MASK, SILENCE
from parlai_persona.flags import flag
from parlai_persona.metrics.formulas import WORD, words
from parlai_persona.metrics.stopwords import STOP_WORDS

PAPER_EXAMPLES = 65_490  # of the paper's training split
BLOCK = 100_000  # examples that are counted together
LETTERS = re.compile(r'[^\W\d]{2}')


@dataclass(frozen=True)
class SpecificOptions:
    """Specific words"""

    threshold: float = flag(3.5, 'specific words have at least this PMI with the persona (sec. 3.3.1)', 'pmi_threshold')
    most: int = flag(5, 'specific words of a context, at most (sec. 3.3.1)', 'pmi_words', least=0)
    smoothing: float = flag(
        1.0,
        f"added to the count of each pair of words, per {PAPER_EXAMPLES} examples: the size of the paper's training "
        'split; without it a pair that never occurs rules a word out',
        'pmi_smoothing',
        least=0,
    )
    pairs: int = flag(
        2_000_000, 'pairs of words to keep, at most; rarer ones then count as pairs that never occur', 'pmi_pairs'
    )


@lru_cache(2**16)
def countable(text: str) -> tuple[str, ...]:
    """Return the distinct words that can be specific, in order."""
    found = words(text.replace(SILENCE, ' '))
    return tuple(word for word in dict.fromkeys(found) if word not in STOP_WORDS and LETTERS.match(word))


def persona_words(persona: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(map(countable, persona))))


def masked(text: str, specific: Iterable[str]) -> str:
    """Return the text with MASK in place of each specific word, in any case; nothing else changes."""
    chosen = frozenset(specific)
    if not chosen:
        return text
    plain, pieces, end = text.replace('’', "'"), [], 0
    for match in WORD.finditer(plain):
        if match.group().lower() in chosen:
            pieces += [text[end : match.start()], MASK]
            end = match.end()
    return ''.join([*pieces, text[end:]])


class Vocabulary:
    """Numbers words in order of appearance, and counts them."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.counts = array('q')

    def add(self, found: Iterable[str]) -> list[int]:
        ids = []
        for word in found:
            number = self.numbers.setdefault(word, len(self.counts))
            if number == len(self.counts):
                self.counts.append(0)
            self.counts[number] += 1
            ids.append(number)
        return ids


@dataclass(frozen=True, eq=False)
class SpecificWords:
    """The counts of a training split. `count` makes them; `arrays` and `from_arrays` take them to and from a file."""

    options: SpecificOptions
    examples: int  # N
    context: Mapping[str, int]  # word -> row
    persona: Mapping[str, int]  # word -> column
    context_counts: NDArray  # n(w), by row
    persona_counts: NDArray  # n(v), by column
    keys: NDArray  # row * columns + column of each pair that occurs, in ascending order
    counts: NDArray  # n(w, v), at the places of `keys`

    @classmethod
    def count(cls, pairs: Iterable[tuple[str, Sequence[str]]], options: SpecificOptions) -> 'SpecificWords':
        """Count contexts and personas of training examples. Only the counts stay in memory."""
        context, persona = Vocabulary(), Vocabulary()
        stream, examples, table = iter(pairs), 0, None
        while block := list(islice(stream, BLOCK)):
            said = [context.add(countable(text)) for text, _ in block]
            known = [persona.add(persona_words(sentences)) for _, sentences in block]
            shape = len(context.counts), len(persona.counts)
            both = indicators(said, shape[0]).T @ indicators(known, shape[1])
            if table is not None:
                table.resize(shape)
                both = table + both
            table, examples = both, examples + len(block)
        keys, counts = most_frequent(table, options.pairs)
        n_w, n_v = np.array(context.counts, np.int64), np.array(persona.counts, np.int64)
        return cls(options, examples, context.numbers, persona.numbers, n_w, n_v, keys, counts)

    def find(self, text: str, persona: Sequence[str], own: Sequence[str] = ()) -> list[str]:
        """Return the specific words of a text, in its order.

        `own` are contexts with the same persona that were counted and should not be: those of the text's own dialogue,
        if it is a training example. Otherwise its words go with its persona because they are there, and far more words
        of training examples are specific than of new ones.
        """
        said, known = countable(text), persona_words(persona)
        if not said or not known:
            return []
        scores = self.pmi(said, known, own)
        best = np.argsort(-scores, kind='stable')[: self.options.most]
        return [said[place] for place in np.sort(best[scores[best] >= self.options.threshold])]

    def pmi(self, said: Sequence[str], known: Sequence[str], own: Sequence[str] = ()) -> NDArray:
        """Return PMI(w, P), eq. 4, for the words w of a text; `known` are the words of P."""
        rows = np.array([self.context.get(word, -1) for word in said])
        columns = np.array([self.persona.get(word, -1) for word in known])
        pair = self.pair_counts(rows, columns)  # (words, words of P)
        n_w, n_v, N = taken(self.context_counts, rows), taken(self.persona_counts, columns), self.examples
        if own:
            counted = Counter(chain.from_iterable(map(countable, own)))
            here = np.array([counted[word] for word in said])
            pair, n_w = np.maximum(pair - here[:, None], 0), n_w - here
            n_v, N = n_v - len(own), N - len(own)
        n_w, n_v = np.maximum(n_w, rarest(self.context_counts)), np.maximum(n_v, rarest(self.persona_counts))
        s = self.options.smoothing * N / PAPER_EXAMPLES
        with np.errstate(divide='ignore'):
            return np.log((pair + s) * N / (n_w[:, None] * n_v)).sum(1)  # eqs. 3, 4

    def pair_counts(self, rows: NDArray, columns: NDArray) -> NDArray:
        """Return n(w, v) of all pairs; -1 stands for a word that training lacks."""
        if not len(self.keys):
            return np.zeros((len(rows), len(columns)), np.int64)
        wanted = rows[:, None] * len(self.persona) + columns
        places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        there = (self.keys[places] == wanted) & (rows[:, None] >= 0) & (columns >= 0)
        return np.where(there, self.counts[places], 0)

    def arrays(self) -> dict[str, NDArray]:
        """Return everything but the options as plain arrays, for a file. Nothing is lost."""
        rows, columns = np.divmod(self.keys, max(len(self.persona), 1))
        return {
            'examples': np.array([self.examples]),
            'context_words': encoded(self.context),
            'persona_words': encoded(self.persona),
            'context_counts': small(self.context_counts),
            'persona_counts': small(self.persona_counts),
            'row_sizes': small(np.bincount(rows, minlength=len(self.context))),
            'columns': small(columns),
            'counts': small(self.counts),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray], options: SpecificOptions) -> 'SpecificWords':
        context, persona = decoded(arrays['context_words']), decoded(arrays['persona_words'])
        numbers = {name: arrays[name].astype(np.int64) for name in arrays if not name.endswith('_words')}
        rows = np.repeat(np.arange(len(context)), numbers['row_sizes'])
        n_w, n_v = numbers['context_counts'], numbers['persona_counts']
        keys = rows * len(persona) + numbers['columns']
        return cls(options, int(numbers['examples'][0]), context, persona, n_w, n_v, keys, numbers['counts'])


def indicators(rows: Sequence[Sequence[int]], width: int):
    """Return a sparse matrix with a 1 at each of the places in a row."""
    from scipy.sparse import csr_matrix

    starts = np.cumsum([0, *map(len, rows)])
    places = np.fromiter(chain.from_iterable(rows), np.int32, starts[-1])
    return csr_matrix((np.ones(len(places), np.int32), places, starts), shape=(len(rows), width))


def most_frequent(table, limit: int) -> tuple[NDArray, NDArray]:
    """Return keys and counts of the pairs in a sparse matrix; without the rarest, if there are more than `limit`."""
    if table is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    table = table.tocsr()
    table.sort_indices()
    rows = np.repeat(np.arange(table.shape[0], dtype=np.int64), np.diff(table.indptr))
    keys, counts = rows * table.shape[1] + table.indices, table.data.astype(np.int64)
    if len(counts) > limit:
        kept = counts > np.sort(counts)[len(counts) - limit - 1]
        keys, counts = keys[kept], counts[kept]
    return keys, counts


def taken(counts: NDArray, places: NDArray) -> NDArray:
    """Return the counts at these places; 0 for -1."""
    return np.append(counts, 0)[places]


def rarest(counts: NDArray) -> int:
    return int(counts.min()) if len(counts) else 1


def small(numbers: NDArray) -> NDArray:
    """Return the numbers in the smallest signed type that holds them."""
    return numbers.astype(np.result_type(np.int16, np.min_scalar_type(-int(numbers.max(initial=0)) - 1)))


def encoded(found: Mapping[str, int]) -> NDArray:
    return np.frombuffer('\n'.join(found).encode(), np.uint8)


def decoded(letters: NDArray) -> dict[str, int]:
    text = letters.astype(np.uint8).tobytes().decode()
    return {word: number for number, word in enumerate(text.split('\n'))} if text else {}
