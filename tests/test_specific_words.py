"""Specific words by PMI (PEDNet, eqs. 3-4): by hand on five sentences, against a plain loop, and in files."""

import math
import random

import numpy as np
import pytest

from parlai_persona.data import specific_words
from parlai_persona.data.specific_words import SpecificOptions, SpecificWords, masked
from parlai_persona.flags import from_opt
from parlai_persona.metrics.formulas import words
from parlai_persona.metrics.stopwords import STOP_WORDS

CAT, BOAT = ['I keep a cat.', 'cats purr'], ['my boat is blue.']
FIVE = [
    ('the cat sleeps', CAT),
    ('a cat purrs .', CAT),
    ('do you sail ?', BOAT),
    ('the sea is blue', BOAT),
    ('hello cat', []),
]
PLAIN = {'smoothing': 1.0 * specific_words.PAPER_EXAMPLES / 5, 'threshold': 0.0}  # s = 1 for five examples


def counted(examples=FIVE, **options):
    return SpecificWords.count(iter(examples), SpecificOptions(**{**PLAIN, **options}))


def test_pmi_by_hand():
    """Words of CAT: keep, cat, cats, purr, in 2 of 5 examples each; of BOAT: boat, blue, also in 2."""
    table = counted()
    assert (table.examples, table.options.most) == (5, 5)
    assert dict(zip(table.context, table.context_counts.tolist(), strict=True)) == {
        'cat': 3,
        'sleeps': 1,
        'purrs': 1,
        'sail': 1,
        'sea': 1,
        'blue': 1,
        'hello': 1,
    }
    known = ['keep', 'cat', 'cats', 'purr']
    assert list(table.persona) == [*known, 'boat', 'blue']
    # cat: in 3 contexts, 2 of them with CAT; sail: in 1, none with CAT; unheard: counts like a word in 1 context
    expected = [4 * math.log((2 + 1) * 5 / (3 * 2)), 4 * math.log((0 + 1) * 5 / (1 * 2)), 4 * math.log(5 / 2)]
    assert table.pmi(['cat', 'sail', 'unheard'], known).tolist() == pytest.approx(expected)
    # a word that no persona has counts like the rarest of them, in 2
    assert table.pmi(['cat'], ['unheard']).tolist() == pytest.approx([math.log(1 * 5 / (3 * 2))])


def test_specific_words_by_hand():
    table = counted(threshold=4 * math.log(5 / 2) - 1e-9)
    # sleeps and purrs: once, with CAT: 4 log(2 * 5 / 2); cat: 4 log 2.5
    assert table.find('Purrs! the CAT sleeps, and the cat purrs', CAT) == ['purrs', 'cat', 'sleeps']
    assert counted(most=2).find('the cat sleeps and purrs', CAT) == ['sleeps', 'purrs']
    assert counted(most=0).find('the cat sleeps', CAT) == []
    assert counted(threshold=99.0).find('the cat sleeps', CAT) == []
    assert table.find('is it that ?', CAT) == table.find('', CAT) == table.find('the cat sleeps', []) == []


def test_without_smoothing_a_pair_that_never_occurs_rules_a_word_out():
    table = counted(smoothing=0.0, threshold=-1000.0)
    assert table.pmi(['cat', 'sail'], ['keep']).tolist() == [math.log(2 * 5 / (3 * 2)), -math.inf]
    assert table.find('the cat sails to sea', CAT) == ['cat']


def test_an_example_does_not_count_for_itself():
    table, own = counted(), ['the cat sleeps', 'a cat purrs .']
    # without its dialogue: 3 examples, cat in 1 context; the words of CAT in none, so they count like the rarest, 2
    expected = [4 * math.log((0 + 3 / 5) * 3 / (1 * 2))]
    assert table.pmi(['cat'], ['keep', 'cat', 'cats', 'purr'], own).tolist() == pytest.approx(expected)
    assert table.pmi(['cat'], ['boat'], own[:0]).tolist() == table.pmi(['cat'], ['boat']).tolist()


def naive(pairs, text, persona, options):
    """Eqs. 3 and 4, read aloud."""

    def kept(text):
        good = (word for word in words(text) if word not in STOP_WORDS and len(word) > 1 and not word[0].isdigit())
        return list(dict.fromkeys(good))

    documents = [(kept(context), kept(' '.join(known))) for context, known in pairs]
    N, scores = len(pairs), {}
    s = options.smoothing * N / specific_words.PAPER_EXAMPLES
    rarest = [min(sum(w in one[side] for one in documents) for d in documents for w in d[side]) for side in (0, 1)]
    for word in kept(text):
        scores[word] = 0.0
        for other in kept(' '.join(persona)):
            both = sum(word in context and other in known for context, known in documents)
            n_w = max(sum(word in context for context, _ in documents), rarest[0])
            n_v = max(sum(other in known for _, known in documents), rarest[1])
            scores[word] += math.log((both + s) * N / (n_w * n_v))
    best = sorted(scores, key=lambda word: -scores[word])[: options.most]
    return [word for word in scores if word in best and scores[word] >= options.threshold]


def test_equals_a_plain_loop(monkeypatch):
    monkeypatch.setattr(specific_words, 'BLOCK', 7)
    rng = random.Random(0)
    vocabulary = [f'{a}{b}' for a in 'bcdf' for b in 'lmnr'] + ['the', '7up', 'a']
    text = lambda size: ' '.join(rng.choices(vocabulary, k=size))  # noqa: E731
    pairs = [(text(6), [text(3), text(3)]) for _ in range(40)]
    options = SpecificOptions(threshold=1.0, most=3, smoothing=800.0)
    table = SpecificWords.count(pairs, options)
    found = [table.find(context, persona) for context, persona in pairs]
    assert found == [naive(pairs, context, persona, options) for context, persona in pairs]
    assert {len(one) for one in found} >= {0, 1, 2, 3}


def test_masks_whole_words_in_any_case_and_nothing_else():
    assert masked("The Cat's cat, concatenated: CAT.", ['cat']) == "The Cat's <KEY>, concatenated: <KEY>."
    assert masked('it’s  Tom’s\tdog ?', ["tom's", 'dog']) == 'it’s  <KEY>\t<KEY> ?'
    assert masked('a b', []) == 'a b'
    assert masked('tea , tea', ['tea']) == '<KEY> , <KEY>'


def test_silence_is_no_word():
    assert counted([('__SILENCE__', CAT)]).context == {}


def test_goes_through_a_file(tmp_path):
    table = counted()
    np.savez(tmp_path / 'words.npz', **table.arrays())
    with np.load(tmp_path / 'words.npz') as arrays:
        again = SpecificWords.from_arrays(dict(arrays), table.options)
    assert (again.examples, again.context, again.persona) == (table.examples, table.context, table.persona)
    for name in ('context_counts', 'persona_counts', 'keys', 'counts'):
        assert getattr(again, name).tolist() == getattr(table, name).tolist()
    assert again.find('the cat sleeps', CAT) == table.find('the cat sleeps', CAT)
    assert all(array.dtype in (np.uint8, np.int16, np.int64) for array in table.arrays().values())


def test_without_training_examples_nothing_is_specific():
    table = SpecificWords.count([], SpecificOptions(threshold=5.0))
    again = SpecificWords.from_arrays(table.arrays(), table.options)
    for one in (table, again):
        assert one.examples == 0 and one.find('the cat sleeps', CAT) == []


def test_keeps_the_most_frequent_pairs():
    table = counted(pairs=4)
    assert table.counts.tolist() == [2, 2, 2, 2]  # cat with the four words of CAT
    assert len(counted(pairs=5).counts) == 4  # all pairs that occur once go together
    assert table.pmi(['sea'], ['boat']).tolist() == pytest.approx([math.log(1 * 5 / (1 * 2))])


def test_options_under_any_prefix():
    opt = {'any_pmi_threshold': 1, 'any_pmi_words': 2}
    assert from_opt(SpecificOptions, opt, 'any') == SpecificOptions(threshold=1.0, most=2)
    assert (SpecificOptions().threshold, SpecificOptions().most) == (3.5, 5)  # sec. 3.3.1
