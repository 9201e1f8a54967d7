"""Rules (iii) and (iv) by a part-of-speech tagger, as in the paper; far slower than the lexicon."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from parlai_persona.data.dialogue import DataError

VERBS, OTHERS = frozenset({'VERB', 'AUX'}), frozenset({'NOUN', 'PROPN', 'PRON', 'ADJ'})
UNUSED = ['parser', 'ner', 'lemmatizer']
CONTRACTION = re.compile(r" ' (?=(?:s|m|d|t|re|ve|ll)\b)", re.I)  # spaCy reads "I'm", not "I ' m"


class Tagger:
    def __init__(self, model: str):
        self.model = load(model)

    def __call__(self, sentences: Sequence[str]) -> np.ndarray:
        """Tell which sentences have a verb, and a noun, pronoun or adjective."""
        documents = self.model.pipe((CONTRACTION.sub("'", sentence) for sentence in sentences), batch_size=256)
        return np.array([accepted({token.pos_ for token in document}) for document in documents], bool)


def accepted(tags: set[str]) -> bool:
    return bool(tags & VERBS) and bool(tags & OTHERS)


def load(model: str) -> Any:
    try:
        import spacy
    except ImportError:
        raise DataError('--tagger spacy needs the package spacy: pip install spacy, or use --tagger lexicon') from None
    try:
        found = spacy.load(model, exclude=UNUSED)
    except OSError:
        raise DataError(
            f'--tagger spacy: saw no model {model!r}; python -m spacy download {model}, or name another with '
            '--spacy-model, or use --tagger lexicon'
        ) from None
    if not any(token.pos_ for token in found('I am who I am.')):
        raise DataError(
            f'--tagger spacy: saw no part of speech from the model {model!r} (it has {", ".join(found.pipe_names)}); '
            'name one with a tagger by --spacy-model, or use --tagger lexicon'
        )
    return found


def choose(tagger: str, model: str) -> str | None:
    """Return the model to tag with, or None for the lexicon."""
    if tagger == 'lexicon':
        return None
    try:
        load(model)
    except DataError:
        if tagger == 'spacy':
            raise
        return None
    return model
