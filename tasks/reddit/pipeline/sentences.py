"""Which sentences may stand in a persona (sec. 3.2)."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from parlai_persona.data.dialogue import DataError
from parlai_persona.files import parse_json, write_json
from parlai_persona.tasks.reddit.pipeline.tagger import Tagger
from parlai_persona.tasks.reddit.pipeline.tokens import Tokens

SHORTEST, LONGEST = 4, 20  # words or punctuation marks (rule i)
ABOUT_ME = frozenset({'i', 'my'})  # rule ii


@dataclass(frozen=True)
class Classifier:
    """Log odds of a sentence: the bias and the mean weight of its tokens; unknown words weigh nothing."""

    weights: dict[str, float]
    bias: float

    def scores(self, tokens: Tokens) -> np.ndarray:
        """Return the score of every sentence."""
        weights = np.array([self.weights.get(word, 0.0) for word in tokens.words])
        return self.bias + tokens.sums(weights) / (tokens.end - tokens.first)

    def without(self, words: set[str]) -> 'Classifier':
        return replace(self, weights={word: weight for word, weight in self.weights.items() if word not in words})

    def save(self, path: Path) -> None:
        write_json(path, {'bias': self.bias, 'weights': self.weights})

    @classmethod
    def load(cls, path: Path) -> 'Classifier':
        try:
            read = parse_json(path.read_text(encoding='utf-8'))
            return cls({str(word): float(weight) for word, weight in read['weights'].items()}, float(read['bias']))
        except (OSError, ValueError, KeyError, AttributeError, TypeError, OverflowError) as error:
            raise DataError(f'--classifier {path}: {error!r}; expected a file that an earlier build wrote') from None


def has_length(tokens: Tokens) -> np.ndarray:
    """Rule (i) for every sentence."""
    size = tokens.end - tokens.first
    return (size >= SHORTEST) & (size <= LONGEST)


def has_word(tokens: Tokens, words: frozenset[str]) -> np.ndarray:
    """Tell for every sentence whether one of its tokens is among the words."""
    return tokens.sums(np.fromiter(map(words.__contains__, tokens.words), bool, len(tokens.words))) > 0


class Rules:
    """Rules (i) to (iv), or the first alone. I and my are pronouns, so (ii) implies (iv) where a lexicon finds verbs.

    With a tagger, its parts of speech decide (iii) and (iv).
    """

    def __init__(self, all_rules: bool, verbs: frozenset[str] = frozenset(), tagger: Tagger | None = None):
        self.all_rules, self.verbs, self.tagger = all_rules, verbs, tagger

    def __call__(self, tokens: Tokens) -> np.ndarray:
        """Tell for every sentence whether the rules hold."""
        keep = has_length(tokens)
        if not self.all_rules:
            return keep
        keep &= has_word(tokens, ABOUT_ME)
        if self.tagger is None:
            return keep & has_word(tokens, self.verbs)
        keep[keep] = self.tagger(tokens.sentences(np.flatnonzero(keep)).to_pylist())
        return keep
