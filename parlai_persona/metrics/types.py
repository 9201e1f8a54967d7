"""Metrics that are not a mean over replies, in a form that ParlAI's reports can add up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

from parlai.core.metrics import AverageMetric, Metric

from parlai_persona.metrics import formulas
from parlai_persona.metrics.nli import Nli


class PersonaF1Metric(Metric):
    """F1 of the average recall and the average precision (not the average of F1s)."""

    __slots__ = ('_recall', '_precision', '_examples')
    macro_average = True  # over tasks, like the two averages

    def __init__(self, recall: float, precision: float, examples: int = 1):
        self._recall, self._precision, self._examples = recall, precision, examples  # sums over the examples

    def __add__(self, other: PersonaF1Metric | None) -> PersonaF1Metric:
        if other is None:
            return self
        return PersonaF1Metric(
            self._recall + other._recall, self._precision + other._precision, self._examples + other._examples
        )

    def value(self) -> float:
        return formulas.f1(self._recall / self._examples, self._precision / self._examples)


class DistinctMetric(Metric):
    """Distinct-n of all replies together. Adding a reply takes time in proportion to that reply only.

    ParlAI's InterDistinctMetric copies all counts at each addition. But a metric must not change when another is added
    to it, because ParlAI keeps one object in two places. So here a sum shares one dict with the metric it grew from.
    The dict keeps n-grams in order of arrival and never loses any: those of a metric are the first `_distinct` keys.
    """

    __slots__ = ('_grams', '_distinct', '_total')

    def __init__(self, grams: dict[tuple[str, ...], None], total: int):
        self._grams, self._distinct, self._total = grams, len(grams), total

    @classmethod
    def compute(cls, tokens: Sequence[str], n: int) -> DistinctMetric:
        grams = list(formulas.ngrams(tokens, n))
        return cls(dict.fromkeys(grams), len(grams))

    def _own(self) -> dict[tuple[str, ...], None]:
        return dict.fromkeys(islice(self._grams, self._distinct))

    def __add__(self, other: DistinctMetric | None) -> DistinctMetric:
        if other is None:
            return self
        grams = self._grams if len(self._grams) == self._distinct else self._own()
        grams.update(other._own())
        return DistinctMetric(grams, self._total + other._total)

    def __reduce__(self):
        return DistinctMetric, (self._own(), self._total)  # without the n-grams that other metrics appended

    def value(self) -> float:
        return self._distinct / self._total if self._total else 0.0


class PerplexityMetric(AverageMetric):
    """exp of the summed negative log-likelihood over the summed number of tokens."""

    def value(self) -> float:
        return formulas.perplexity(self._numer, self._denom) if self._denom else math.nan


class BleuMetric(Metric):
    """BLEU-4 of all replies together, times 100 (`formulas.bleu`)."""

    __slots__ = ('_counts',)
    macro_average = False

    def __init__(self, counts: formulas.BleuCounts):
        self._counts = counts

    @classmethod
    def compute(cls, reply: str, label: str) -> BleuMetric:
        return cls(formulas.bleu_counts(reply, label))

    def __add__(self, other: BleuMetric | None) -> BleuMetric:
        return self if other is None else BleuMetric(self._counts + other._counts)

    def value(self) -> float:
        return formulas.bleu(self._counts)


class ConsistencyMetric(Metric):
    """Mean C (PAML, eq. 7) within each group of replies, then over groups.

    All pairs are classified together, when the value is first asked for.
    """

    __slots__ = ('_parts', '_nli')
    macro_average = True

    def __init__(self, groups: Sequence[Sequence[tuple[str, Sequence[str]]]], nli: Nli):
        self._parts: tuple = (groups,)  # groups, or tuples of parts: a rope, so that adding copies nothing
        self._nli = nli

    def __add__(self, other: ConsistencyMetric | None) -> ConsistencyMetric:
        if other is None:
            return self
        total = ConsistencyMetric((), self._nli)
        total._parts = (self._parts, other._parts)
        return total

    def groups(self) -> list[Sequence[tuple[str, Sequence[str]]]]:
        groups: list[Sequence[tuple[str, Sequence[str]]]] = []
        waiting = [self._parts]
        while waiting:
            part = waiting.pop()
            if isinstance(part, tuple):
                waiting += part
            else:
                groups += part
        return groups

    def value(self) -> float:
        groups = self.groups()
        # One call for all pairs, so that the classifier can make batches; it remembers the results.
        self._nli([(reply, sentence) for group in groups for reply, persona in group for sentence in persona])
        scores = [[self._nli.consistency(*pair) for pair in group] for group in groups]
        return sum(sum(group) / len(group) for group in scores) / len(scores) if scores else math.nan

    def __reduce__(self):
        return ConsistencyMetric, (self.groups(), self._nli)
