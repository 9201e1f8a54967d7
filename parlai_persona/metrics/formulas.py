"""The formulas of our metrics, as functions from strings to numbers; without ParlAI or torch.

Persona recall, precision, F1 (eq. 19) and coverage (eq. 20) are PEDNet's (Jiang et al., COLING 2020, section 4.4).
Where the paper leaves a choice, docs/metrics.md says what we chose and what the others would give.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from parlai_persona.errors import UserError
from parlai_persona.metrics.stopwords import STOP_WORDS

WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")  # letters and digits, with apostrophes inside; no punctuation
ZIPF_SCALE, ZIPF_EXPONENT = 1e6, 1.07  # Zhang et al. 2018

Words = frozenset[str]

# ----------------------------------------------------------------------------------------- persona, eq. 19


def words(text: str) -> list[str]:
    """Return the lower-cased words in order; 'a nurse.' and 'a nurse .' have the same words."""
    return WORD.findall(text.lower().replace('’', "'"))


def content_words(text: str) -> Words:
    """Return the set of words that are not stop words: W_Y of a reply, W_p of a persona sentence."""
    return frozenset(words(text)) - STOP_WORDS


class Overlap(NamedTuple):
    """Numbers of content words: in a reply, in the nearest persona sentence, and in both."""

    shared: int  # |W_Y & W_p|
    reply: int  # |W_Y|
    persona: int  # |W_p|

    @property
    def recall(self) -> float:  # eq. 19, usual reading: share of the sentence that is said
        return self.shared / self.persona

    @property
    def precision(self) -> float:  # eq. 19, usual reading: share of the reply that is from the sentence
        return self.shared / self.reply if self.reply else 0.0


def persona_overlap(reply: Words, persona: Iterable[Words]) -> Overlap | None:
    """Return the overlap with the sentence that shares most words; of several, with the shortest (eq. 19).

    Return None if no sentence has a content word. There is nothing to recall then, so a recall of 0 would be wrong.
    """
    counts = (Overlap(len(reply & sentence), len(reply), len(sentence)) for sentence in persona if sentence)
    return max(counts, key=lambda overlap: (overlap.shared, -overlap.persona), default=None)


def f1(recall: float, precision: float) -> float:
    """Return the harmonic mean; 0 if both are 0."""
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


# ---------------------------------------------------------------------------------------- coverage, eq. 20


def zipf_idf(rank: int) -> float:
    """Return the idf of the word at a 1-based frequency rank."""
    tf = ZIPF_SCALE / rank**ZIPF_EXPONENT  # occurrences in about a million words, by Zipf's law
    return 1 / (1 + math.log(1 + tf))


class ZipfIdf:
    """The idf of a word by its rank. A word without a rank counts as the one after the last ranked word."""

    def __init__(self, ranks: Mapping[str, int]):
        self.ranks = ranks
        self.unranked = max(ranks.values(), default=0) + 1

    def __call__(self, word: str) -> float:
        return zipf_idf(self.ranks.get(word, self.unranked))


def frequency_ranks(texts: Iterable[str]) -> dict[str, int]:
    """Return the 1-based ranks of all words, stop words included, by frequency in `texts`; ties by alphabet."""
    counts = Counter(word for text in texts for word in words(text))
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: rank for rank, word in enumerate(ordered, start=1)}


def read_ranks(lines: Iterable[bytes], source: str) -> dict[str, int]:
    """Return 1-based ranks from the order of a vector file (text form of GloVe, word2vec, fastText) or a word list.

    Words are compared in lower case, and a repeated word keeps its first rank. `source` names the file in errors.
    """
    ranks: dict[str, int] = {}
    columns = headers = 0
    for number, raw in enumerate(lines, start=1):
        line = raw.rstrip().replace(b'\t', b' ')
        if number == 1 and re.fullmatch(rb'\d+ \d+', line):
            headers = 1  # 'words dimensions', the first line of word2vec and fastText
            continue
        seen = line.count(b' ') + 1 if line else 0
        columns = columns or seen
        if not seen or seen < columns:
            raise UserError(
                f'{source}, line {number}: saw {seen} columns, expected {columns or 1} as before: '
                'give a vector file in text form, or a file with one word a line, the most frequent first'
            )
        blanks = seen - columns  # blanks inside the word
        try:
            word = b' '.join(line.split(b' ', blanks + 1)[: blanks + 1]).decode()
        except UnicodeDecodeError:
            raise UserError(f'{source}, line {number}: not UTF-8 text: give a text file') from None
        ranks.setdefault(word.lower(), number - headers)
    if not ranks:
        raise UserError(f'{source}: saw no words, expected one a line: give a vector file or a word list')
    return ranks


def persona_cover(reply: Words, persona: Iterable[Words], idf: Callable[[str], float]) -> float | None:
    """Return the greatest mean idf of the words shared with a sentence (eq. 20); 0 if none is shared."""
    sentences = [sentence for sentence in persona if sentence]
    if not sentences:
        return None
    shared = [reply & sentence for sentence in sentences]
    return max((math.fsum(map(idf, both)) / len(both) for both in shared if both), default=0.0)


# -------------------------------------------------------------------------------------------- whole corpora


def persona_report(
    replies: Iterable[str], personas: Iterable[Sequence[str]], idf: Callable[[str], float]
) -> dict[str, float]:
    """Return averages over replies, each with its speaker's sentences. Replies without a persona are left out."""
    overlaps, covers = [], []
    for reply, persona in zip(replies, personas, strict=True):
        said, sentences = content_words(reply), [content_words(sentence) for sentence in persona]
        overlap, cover = persona_overlap(said, sentences), persona_cover(said, sentences, idf)
        if overlap is not None and cover is not None:
            overlaps.append(overlap)
            covers.append(cover)
    if not overlaps:
        return {}
    recall = math.fsum(overlap.recall for overlap in overlaps) / len(overlaps)
    precision = math.fsum(overlap.precision for overlap in overlaps) / len(overlaps)
    return {
        'persona_recall': recall,
        'persona_precision': precision,
        'persona_f1': f1(recall, precision),  # of the averages, like table 2
        'persona_f1_mean': math.fsum(f1(o.recall, o.precision) for o in overlaps) / len(overlaps),
        'persona_used': sum(overlap.shared > 0 for overlap in overlaps) / len(overlaps),
        'persona_cover': math.fsum(covers) / len(covers),
    }


def ngrams(tokens: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(tokens[i:] for i in range(n)), strict=False)


def distinct(replies: Iterable[str], n: int) -> float:
    """Return Distinct-n (Li et al. 2016) of a corpus on raw whitespace tokens; n-grams do not cross replies."""
    grams = [gram for reply in replies for gram in ngrams(reply.split(), n)]
    return len(set(grams)) / len(grams) if grams else 0.0


# -------------------------------------------------------------------------------------------------- ranking


def label_rank(ranked: Iterable[str], labels: Collection[str]) -> int | None:
    """Return the 1-based place of the first candidate that is a label, or None.

    Texts are compared, not list positions: a label that is there twice has its better place as rank.
    """
    return next((place for place, candidate in enumerate(ranked, start=1) if candidate in labels), None)


def score_rank(scores: Sequence[float]) -> int:
    """Return the 1-based rank of the first score among all. Ties, and scores that are not numbers, count against it."""
    first, *others = scores
    return 1 + sum(not other < first for other in others)


def hits(rank: int | None, k: int) -> float:
    """Return hits@k of one ranked list; a label that is not in it is no hit."""
    return float(rank is not None and rank <= k)


def reciprocal_rank(rank: int | None) -> float:
    """Return the term of MRR of one ranked list; 0 for a label that is not in it."""
    return 0.0 if rank is None else 1 / rank


# ----------------------------------------------------------------------------------------------- perplexity


def word_count(label: str) -> int:
    """Count the whitespace tokens of a label and its end token, which do not depend on a model's dictionary."""
    return len(label.split()) + 1


def perplexity(nll: float, tokens: int) -> float:
    """Return exp of the summed negative log-likelihood (nats) per token; infinity if a float cannot hold it."""
    try:
        return math.exp(nll / tokens)
    except OverflowError:
        return math.inf


# ----------------------------------------------------------------------------------------------- BLEU

BLEU_TOKENS = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[^\w\s]|_")
ORDERS = (1, 2, 3, 4)


@dataclass(frozen=True)
class BleuCounts:
    """The counts of replies and references that BLEU needs. The counts of several replies add up."""

    matches: tuple[int, ...]  # n-grams in both reference and reply, for n = 1 to 4
    totals: tuple[int, ...]  # n-grams of the reply
    length: int
    reference: int

    def __add__(self, other: BleuCounts) -> BleuCounts:
        return BleuCounts(
            added(self.matches, other.matches),
            added(self.totals, other.totals),
            self.length + other.length,
            self.reference + other.reference,
        )


def added(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def bleu_counts(reply: str, label: str) -> BleuCounts:
    """Count n-grams of lower-case words and punctuation marks, whether or not an agent puts spaces before the marks."""
    said, wanted = (BLEU_TOKENS.findall(text.lower()) for text in (reply, label))
    pairs = [(Counter(ngrams(said, n)), Counter(ngrams(wanted, n))) for n in ORDERS]
    return BleuCounts(
        tuple((one & other).total() for one, other in pairs),
        tuple(one.total() for one, _ in pairs),
        len(said),
        len(wanted),
    )


def bleu(counts: BleuCounts) -> float:
    """Return 100 · brevity penalty · geometric mean of the precisions, unsmoothed like multi-bleu.perl."""
    if not all(counts.matches):
        return 0.0
    mean = sum(math.log(m / t) for m, t in zip(counts.matches, counts.totals, strict=True)) / len(ORDERS)
    return 100 * math.exp(min(0.0, 1 - counts.reference / counts.length) + mean)


def repetition(text: str, earlier: Iterable[str], n: int = 3) -> float:
    """Return the share of a text's n-grams that it has said before, or that an earlier text has; 0 if it has none."""
    known = {gram for one in earlier for gram in ngrams(one.split(), n)}
    grams = list(ngrams(text.split(), n))
    repeated = 0
    for gram in grams:
        repeated += gram in known
        known.add(gram)
    return repeated / len(grams) if grams else 0.0
