"""Defects of evaluation: something missing on the machine must not end the run, or silently shorten the report."""

import functools
from typing import Any

from parlai_persona.compat.hooks import fails, fixes


@fixes('parlai.core.metrics')
def metric_that_could_not_be_computed(module: Any) -> bool:
    """A metric that lacks its library is `None` (such as BLEU without NLTK), and adding it up is a TypeError.

    ParlAI 1.7.2 does this on every stack. Detected by adding one. `Metrics.add` now leaves `None` out, as its type
    annotation promises.
    """
    if not fails(lambda: module.Metrics().add('nothing', None), TypeError):
        return False
    add = module.Metrics.add

    @functools.wraps(add)
    def add_if_computed(self, key, value):
        if value is not None:
            add(self, key, value)

    module.Metrics.add = add_if_computed
    return True


@fixes('parlai.core.metrics')
def rouge_without_sentence_model(module: Any) -> bool:
    """`--metrics rouge` reports no ROUGE without a certain NLTK model, and says to download the wrong one.

    The cause: NLTK 3.8.2 renamed the model that py-rouge splits sentences with. Detected at the first use, by
    splitting one. ParlAI removes all punctuation before it calls py-rouge, so there is only one sentence and nothing
    to split. Our evaluator splits words as NLTK does and needs no model. The numbers are the same.
    """
    compute_many = module.RougeMetric.compute_many

    @functools.wraps(compute_many)
    def compute(guess, answers, measure='r'):
        if module.RougeMetric._evaluator is None:
            module.RougeMetric._evaluator = _evaluator_of_one_sentence()
        return compute_many(guess, answers, measure)

    module.RougeMetric.compute_many = staticmethod(compute)
    return True


def _evaluator_of_one_sentence():
    """Return py-rouge's evaluator without splitting. Return None if py-rouge can split; then ParlAI makes its own."""
    try:
        import nltk
        import rouge
    except ImportError:
        return None
    if not fails(lambda: nltk.sent_tokenize('one sentence'), LookupError):
        return None

    class OneSentence(rouge.Rouge):
        @staticmethod
        def tokenize_text(text, language='english'):
            return nltk.word_tokenize(text, language, preserve_line=True)

        @staticmethod
        def split_into_sentences(text, ensure_compatibility, language='english'):
            return [text] if text else []

    return OneSentence(metrics=['rouge-n', 'rouge-l'], max_n=2)
