"""`metrics` against numbers worked out by hand, and against rules that hold for all inputs."""

import ast
import math
import random
from itertools import permutations
from pathlib import Path

import pytest

from parlai_persona.metrics import formulas, stopwords

DOGS = 'i love my two old dogs .'  # content words: love two old dogs
CAT = 'i have a cat .'  # cat


def overlap(reply, *persona):
    return formulas.persona_overlap(formulas.content_words(reply), map(formulas.content_words, persona))


def cover(idf, reply, *persona):
    return formulas.persona_cover(formulas.content_words(reply), map(formulas.content_words, persona), idf)


def test_is_pure():
    tree = ast.parse(Path(formulas.__file__).read_text(encoding='utf-8'))
    froms = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert {name.split('.')[0] for name in names} == {'math', 're'}
    assert {name for name in froms if 'torch' in name or 'parlai' in name} == {
        'parlai_persona.errors',
        'parlai_persona.metrics.stopwords',
    }


# ---------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    'text, words',
    [
        ("I'm a Nurse, isn't it?", ["i'm", 'a', 'nurse', "isn't", 'it']),
        ('i am a nurse.', ['i', 'am', 'a', 'nurse']),
        ('i am a nurse .', ['i', 'am', 'a', 'nurse']),
        ('i’m 21 – rock ‘n’ roll_band', ["i'm", '21', 'rock', 'n', 'roll', 'band']),
        (". , ! ' - __unk__", ['unk']),
        ('', []),
    ],
)
def test_words(text, words):
    assert formulas.words(text) == words


def test_content_words():
    assert formulas.content_words("i'm the nurse with two dogs and two cats !") == {'nurse', 'two', 'dogs', 'cats'}
    assert formulas.content_words('do you not ? it is what we have .') == set()


def test_every_stop_word_can_be_met():
    pieces = {"n't"}  # 'do n't' as other tokenisers write it
    assert all(formulas.words(word) == [word] for word in stopwords.STOP_WORDS | pieces)


# ----------------------------------------------------------------------------------------- persona, eq. 19


def test_recall_and_precision_by_hand():
    # said: hello love dogs (3); shared with DOGS: love dogs (2 of its 4), with CAT: none
    counts = overlap('hello ! i love dogs', CAT, DOGS)
    assert counts == (2, 3, 4)
    assert counts.recall == 2 / 4
    assert counts.precision == 2 / 3
    assert formulas.f1(counts.recall, counts.precision) == pytest.approx(4 / 7)


def test_nearest_sentence_is_the_one_with_most_shared_words():
    # by ratio CAT would win (1 of 1); by count DOGS does (2 of 4), and recall and precision speak of one sentence
    assert overlap('my cat loves ; i love dogs', CAT, DOGS) == (2, 4, 4)


def test_of_equals_the_shortest_sentence():
    for persona in permutations([DOGS, 'i walk dogs .', CAT]):
        assert overlap('big dogs', *persona) == (1, 2, 2)


def test_nothing_said_is_zero_but_nothing_to_say_is_none():
    assert overlap('', CAT) == (0, 0, 1)
    assert overlap('', CAT).precision == 0.0
    assert overlap('i do not', CAT).recall == 0.0
    assert overlap('my cat') is None
    assert overlap('my cat', 'i am what i am .', '') is None
    assert cover(formulas.ZipfIdf({}), 'my cat', 'i am what i am .') is None
    assert overlap('my cat', 'i am what i am .', CAT) == (1, 1, 1)


def test_a_word_said_twice_counts_once():
    assert overlap('dogs , dogs , dogs', DOGS) == (1, 1, 4)


def test_both_aggregations_by_hand():
    # first: R 1/2, P 2/3, F1 4/7. second: said cat sleeps day long (4), shared cat: R 1/1, P 1/4, F1 2/5
    replies, personas = ['hello ! i love dogs', 'my cat sleeps all day long', 'no persona'], [[DOGS], [CAT], []]
    report = formulas.persona_report(replies, personas, formulas.ZipfIdf({}))
    assert report['persona_recall'] == pytest.approx(3 / 4)
    assert report['persona_precision'] == pytest.approx(11 / 24)
    assert report['persona_f1'] == pytest.approx(33 / 58)  # 2 * 3/4 * 11/24 / (3/4 + 11/24)
    assert report['persona_f1_mean'] == pytest.approx(17 / 35)  # (4/7 + 2/5) / 2
    assert report['persona_used'] == 1.0
    assert formulas.persona_report(['hi'], [[]], formulas.ZipfIdf({})) == {}


def test_table_2_shows_the_f1_of_averages():
    rows = {(0.048, 0.030): 0.037, (0.082, 0.048): 0.060, (0.111, 0.068): 0.084, (0.143, 0.088): 0.109}
    for (recall, precision), f1 in rows.items():
        assert formulas.f1(recall, precision) == pytest.approx(f1, abs=1e-3)


# ---------------------------------------------------------------------------------------- coverage, eq. 20


def test_idf_by_hand():
    # rank 1: tf 1e6, log(1 + tf) 13.815512; rank 10: tf 1e6 / 11.748976 = 85113.80, log 11.351756
    assert formulas.zipf_idf(1) == pytest.approx(1 / 14.815512, rel=1e-6)
    assert formulas.zipf_idf(10) == pytest.approx(1 / 12.351756, rel=1e-6)
    # rank 1e6: tf 1e6 / 1e6^1.07 = 10^-0.42 = 0.380189, log(1 + tf) 0.322221
    assert formulas.zipf_idf(10**6) == pytest.approx(1 / 1.322221, rel=1e-6)


def test_coverage_by_hand():
    def idf(word):
        return {'love': 0.1, 'dogs': 0.3, 'cat': 0.15}[word]

    assert cover(idf, 'i love dogs', DOGS, CAT) == pytest.approx(0.2)  # (0.1 + 0.3) / 2
    assert cover(idf, 'i love my cat', DOGS, CAT) == pytest.approx(0.15)  # max of 0.1 / 1 and 0.15 / 1
    assert cover(idf, 'hello', DOGS, CAT) == 0.0


def test_a_word_without_a_rank_comes_after_the_last():
    idf = formulas.ZipfIdf({'the': 1, 'dogs': 7})
    assert idf('dogs') == formulas.zipf_idf(7)
    assert idf('unheard') == formulas.zipf_idf(8)


def test_frequency_ranks():
    # b 3, a 2, c 2, d 1
    assert formulas.frequency_ranks(['b a b', 'C , a !', 'b c d']) == {'b': 1, 'a': 2, 'c': 3, 'd': 4}


@pytest.mark.parametrize(
    'lines, ranks',
    [
        (['the 0.1 0.2', ', 0.3 0.4', 'dog 0.5 0.6'], {'the': 1, ',': 2, 'dog': 3}),
        (['3 2', 'the 0.1 0.2 ', ', 0.3 0.4 ', 'dog 0.5 0.6 '], {'the': 1, ',': 2, 'dog': 3}),  # fastText
        (['the', 'dog'], {'the': 1, 'dog': 2}),
        (['the\t9', 'dog\t5'], {'the': 1, 'dog': 2}),
        (['The 0.1', 'the 0.2', 'dog 0.3'], {'the': 1, 'dog': 3}),
        (['the 0.1', 'new york 0.2', 'café 0.3'], {'the': 1, 'new york': 2, 'café': 3}),
    ],
)
def test_read_ranks(lines, ranks):
    assert formulas.read_ranks([f'{line}\n'.encode() for line in lines], 'v.txt') == ranks


@pytest.mark.parametrize(
    'lines, message',
    [
        ([b'the 0.1 0.2\n', b'dog 0.3\n'], r'v\.txt, line 2: saw 2 columns, expected 3'),
        ([b'the 0.1\n', b'\n', b'dog 0.3\n'], r'v\.txt, line 2: saw 0 columns, expected 2'),
        ([b'\n'], r'v\.txt, line 1: saw 0 columns, expected 1'),
        ([b'the 0.1\n', b'\xff\xfe 0.2\n'], r'v\.txt, line 2: not UTF-8 text'),
        ([], r'v\.txt: saw no words'),
        ([b'400000 300\n'], r'v\.txt: saw no words'),
    ],
)
def test_a_broken_rank_file_is_named(lines, message):
    with pytest.raises(ValueError, match=message):
        formulas.read_ranks(lines, 'v.txt')


# -------------------------------------------------------------------- distinct, ranking, perplexity by hand


def test_distinct():
    replies = ['a b a', 'a b', '']
    assert formulas.distinct(replies, 1) == 2 / 5
    assert formulas.distinct(replies, 2) == 2 / 3  # (a b) (b a) | (a b): none across replies
    assert formulas.distinct(['A . a .'], 1) == 3 / 4  # nothing is normalised
    assert formulas.distinct(['one', ''], 2) == 0.0


def test_ranking():
    assert formulas.label_rank(['x', 'y', 'z'], ['y']) == 2
    assert formulas.label_rank(['x', 'y', 'y'], ['y', 'z']) == 2
    assert formulas.label_rank(['x'], ['y']) is None
    assert [formulas.hits(2, k) for k in (1, 2, 3)] == [0.0, 1.0, 1.0]
    assert formulas.hits(None, 100) == 0.0
    assert [formulas.reciprocal_rank(rank) for rank in (1, 4, None)] == [1.0, 0.25, 0.0]


def test_perplexity():
    assert formulas.word_count("i'm a nurse .") == 5
    assert formulas.word_count('') == 1
    assert formulas.perplexity(5 * math.log(10), 5) == pytest.approx(10)
    assert formulas.perplexity(1e6, 2) == math.inf


# ----------------------------------------------------------------------------------------- rules for any input


def test_rules_hold_for_random_replies():
    rng = random.Random(0)
    vocabulary = [f'w{i}' for i in range(12)] + ['the', 'i', "don't", '.']
    idf = formulas.ZipfIdf({f'w{i}': 1 + i * i for i in range(10)})

    def sentence():
        return ' '.join(rng.choices(vocabulary, k=rng.randrange(8)))

    for _ in range(500):
        reply, persona = sentence(), [sentence() for _ in range(rng.randrange(5))]
        counts, covered = overlap(reply, *persona), cover(idf, reply, *persona)
        assert (counts is None) == (covered is None)
        if counts is None:
            continue
        recall, precision = counts.recall, counts.precision
        assert 0 <= recall <= 1 and 0 <= precision <= 1
        assert min(recall, precision) <= formulas.f1(recall, precision) + 1e-12
        assert formulas.f1(recall, precision) <= max(recall, precision) + 1e-12
        assert (covered > 0) == (counts.shared > 0)
        assert covered <= formulas.zipf_idf(idf.unranked)
        rng.shuffle(persona)
        assert overlap(reply, *persona) == counts
        assert cover(idf, reply, *persona) == covered
        more = sentence()
        assert overlap(reply, *persona, more).shared >= counts.shared
        assert overlap(f'{reply} {" ".join(persona)}', *persona).recall == 1.0


def test_bleu_by_hand():
    """All n-grams match. The reply has 5 words of 6: the penalty is exp(1 - 6/5). A longer reply has none."""
    counts = formulas.bleu_counts('A b c d e', 'a b c d e f')
    assert counts == formulas.BleuCounts((5, 4, 3, 2), (5, 4, 3, 2), 5, 6)
    assert formulas.bleu(counts) == pytest.approx(100 * math.exp(-0.2))
    longer = formulas.bleu_counts('a b c d e f', 'a b c d e')  # precisions 5/6, 4/5, 3/4, 2/3
    assert formulas.bleu(longer) == pytest.approx(100 * (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25)
    assert formulas.bleu(formulas.bleu_counts('a b c', 'a b c')) == 0
    assert formulas.bleu_counts("it's .", "it 's.").matches == (1, 0, 0, 0)  # only the mark
