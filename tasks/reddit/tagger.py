"""Rules (iii) and (iv) by a part-of-speech tagger: slower than the lexicon by far, and the paper's way."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from parlai_persona.dialogue import DataError

VERBS, OTHERS = frozenset({'VERB', 'AUX'}), frozenset({'NOUN', 'PROPN', 'PRON', 'ADJ'})
UNUSED = ['parser', 'ner', 'lemmatizer']


class Tagger:
    def __init__(self, model: str):
        self.model = load(model)

    def __call__(self, sentences: Sequence[str]) -> np.ndarray:
        """Which have a verb, and a noun, pronoun or adjective."""
        documents = self.model.pipe(sentences, batch_size=256)
        return np.array([accepted({token.pos_ for token in document}) for document in documents], bool)


def accepted(tags: set[str]) -> bool:
    return bool(tags & VERBS) and bool(tags & OTHERS)


def load(model: str) -> Any:
    try:
        import spacy
    except ImportError:
        raise DataError('--tagger spacy needs the package spacy: pip install spacy, or use --tagger lexicon') from None
    try:
        return spacy.load(model, exclude=UNUSED)
    except OSError:
        raise DataError(
            f'--tagger spacy: saw no model {model!r}; python -m spacy download {model}, or name another with '
            '--spacy-model, or use --tagger lexicon'
        ) from None


def choose(tagger: str, model: str) -> str | None:
    """The model to tag with, or None for the lexicon."""
    if tagger == 'lexicon':
        return None
    try:
        load(model)
    except DataError:
        if tagger == 'spacy':
            raise
        return None
    return model
