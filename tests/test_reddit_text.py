"""Tokens, sentences, rules, hashes: by hand, and held to the textbook definitions."""

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import reddit_definitions as plain

from parlai_persona.tasks.reddit.pipeline import hashes
from parlai_persona.tasks.reddit.pipeline.comments import clean, cleaned
from parlai_persona.tasks.reddit.pipeline.lexicon import verbs
from parlai_persona.tasks.reddit.pipeline.options import Options
from parlai_persona.tasks.reddit.pipeline.sentences import Classifier, Rules
from parlai_persona.tasks.reddit.pipeline.tokens import Tokens, character_kinds, tokenize

VERBS = verbs()


def is_verb(token: str) -> bool:
    return plain.lower(token) in VERBS


def nobody(words: set[str]) -> set[str]:
    """No word is the name of an author."""
    return set()


def tokenized(*texts: str) -> Tokens:
    return tokenize(pa.array(texts, pa.string()))


def all_sentences(tokens: Tokens) -> list[str]:
    return tokens.sentences(np.arange(len(tokens.row))).to_pylist()


# ------------------------------------------------------------------------------------------- by hand


@pytest.mark.parametrize(
    'body, tokens',
    [
        ("I'm 3.5 miles from home.", "I ' m 3 . 5 miles from home ."),
        ('wait...what?!', 'wait . . . what ? !'),
        ('snake_case & co', 'snake _ case & co'),
        ('café naïve – “quoted”', 'café naïve – “ quoted ”'),
        ('हिन्दी 😀 ok', 'हिन्दी 😀 ok'),
        ('  \n\t ', ''),
    ],
)
def test_tokens(body, tokens):
    assert tokenized(body).texts().to_pylist() == [tokens]
    assert plain.read(body)[0] == tokens


def test_sentences_end_at_marks_before_a_space_and_at_lines():
    found = tokenized('I paid 3.50 there. Really?! Yes\nno end')
    assert all_sentences(found) == ['I paid 3 . 50 there .', 'Really ? !', 'Yes', 'no end']


def test_a_long_comment_loses_what_comes_after_100_tokens_and_its_last_sentence():
    body = 'I like tea a lot. ' * 30  # six tokens each
    found = tokenized(body)
    assert len(found.texts()[0].as_py().split()) == 100
    assert len(found.row) == 16  # 96 tokens; the 17th is cut


@pytest.mark.parametrize(
    'sentence, kept',
    [
        ('I like tea .', True),
        ('my dog sleeps here', True),
        ('MY dog sleeps here', True),
        ('I like .', False),  # three tokens
        ('I like ' + 'tea ' * 18, True),  # twenty
        ('I like ' + 'tea ' * 19, False),
        ('you like green tea', False),  # nobody's
        ('mine likes green tea', False),
        ('I and my two aunts', False),  # no verb
        ("I ' m a doctor .", True),
        ("I don ' t", True),
    ],
)
def test_rules(sentence, kept):
    assert Rules(True, VERBS)(tokenized(sentence)).tolist() == [kept]


@pytest.mark.parametrize(
    'body, expected',
    [
        ('Tom &amp; Jerry &lt;3 &amp;gt; &#233;&#xE9;&#009&amp;#9;.', 'Tom & Jerry <3 > éé\t\t.'),
        (r'snake\_case 2 \* 3 \# C:\dir', r'snake_case 2 * 3 # C:\dir'),
        ('&gt; what you said\nno.', '\nno.'),
        ('see [this](http://a.b/c?d=e) now', 'see this now'),
        ('see http://a.b/c?d=e now', 'see  URL  now'),
        ('WWW.example.org!', ' URL '),
        ('mail a.b+c@d-e.org ok', 'mail  EMAIL  ok'),
        ('thanks /u/some_body and u/other-one, @third', 'thanks  USER  and  USER ,  USER '),
        ('you/me and/or r/books', 'you/me and/or r/books'),
        ('nothing here', 'nothing here'),
    ],
)
def test_clean(body, expected):
    assert cleaned(pa.array([body, 'x'], pa.string()), Options(), nobody).to_pylist() == [expected, 'x']
    assert clean(body, Options()) == expected


def test_names_are_masked_whatever_is_kept():
    body = 'by u/name, a@b.cd, http://x.y\n> quoted'
    kept = clean(body, Options(drop_quotes=False, drop_urls=False, drop_emails=False))
    assert 'name' not in kept and 'http://x.y' in kept and 'a@b.cd' in kept and '> quoted' in kept


def test_hash_is_the_textbook_one():
    h = 0xCBF29CE484222325  # FNV-1a of 'a', then the last step of splitmix64
    h = ((h ^ ord('a')) * 0x100000001B3) % 2**64
    h = ((h ^ (h >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    h = ((h ^ (h >> 27)) * 0x94D049BB133111EB) % 2**64
    assert hashes.id_numbers(pa.array(['A', 'a'])).tolist() == [(h ^ (h >> 31)) >> 1] * 2


def test_numbers_of_ids_are_those_of_the_definition():
    ids = ['', 'c0ffee', 'C0FFEE', 'é', '1' * 64]
    assert hashes.id_numbers(pa.array(ids)).tolist() == [plain.hashed(one) for one in ids]
    assert hashes.id_numbers(pa.array([], pa.string())).tolist() == []


def test_numbers_of_authors_need_the_key():
    """BLAKE2b of 'Ann' in 8 bytes with the key 'k' is c187a88d3942264a."""
    one = hashes.author_number('Ann', b'k')
    assert one == int.from_bytes(bytes.fromhex('c187a88d3942264a'), 'little') >> 1
    assert len({one, hashes.author_number('ann', b'k'), hashes.author_number('Ann', b'other')}) == 3


def test_numbers_of_sentences_do_not_know_upper_case():
    found = hashes.sentence_numbers(pa.array(['I see .', 'i See .', 'I saw .', 'É', 'é'])).tolist()
    assert found[0] == found[1] and len(set(found)) == 4 and min(found) >= 0


# ------------------------------------------------------------------------------- many texts at once


def bodies(count: int) -> list[str]:
    """Return texts in which everything that matters comes close together."""
    rng = random.Random(5)
    pieces = [*"I x.!?\n  '’é😀…_", 'my', 'My', 'am', 'like', 'tea', '3.5', ' ']
    return ['', ' ', '.', 'I'] + [''.join(rng.choices(pieces, k=rng.randrange(300))) for _ in range(count)]


def tea(sentences: list[str]) -> np.ndarray:
    """Tag as a tagger does that knows one verb."""
    return np.array(['tea' in sentence for sentence in sentences], bool)


TEXTS = bodies(1500)
RULES = {
    'all': (Rules(True, VERBS), lambda s: plain.persona_like(s, is_verb)),
    'length': (Rules(False), plain.lengthy),
    'tagger': (Rules(True, tagger=tea), lambda s: plain.lengthy(s) and plain.about_me(s) and 'tea' in s.text),
}


@pytest.mark.parametrize('name', RULES)
def test_rules_are_the_definitions(name):
    rules, keep = RULES[name]
    weights = {'i': 0.5, 'tea': -1.25, 'é': 2.0, '.': -0.75, '’': 1.5}
    tokens = tokenized(*TEXTS)
    which = np.flatnonzero(rules(tokens))
    scores = Classifier(weights, 0.25).scores(tokens)[which]
    found = zip(tokens.row[which], tokens.place[which], tokens.sentences(which).to_pylist(), strict=True)
    expected = [
        (row, place, sentence)
        for row, body in enumerate(TEXTS)
        for place, sentence in enumerate(plain.read(body)[1])
        if keep(sentence)
    ]
    assert list(found) == [(row, place, sentence.text) for row, place, sentence in expected]
    means = [sum(weights.get(plain.lower(t), 0) for t in s.tokens) / len(s.tokens) for _, _, s in expected]
    assert scores == pytest.approx([0.25 + mean for mean in means], abs=1e-6)
    assert len(expected) > 100


def test_tokens_are_the_definitions():
    assert tokenized(*TEXTS).texts().to_pylist() == [plain.read(body)[0] for body in TEXTS]
    assert tokenized().texts().to_pylist() == [] and all_sentences(tokenized()) == []


def test_words_are_counted():
    expected = Counter(plain.lower(token) for body in TEXTS for token in plain.read(body)[0].split())
    assert {row['word']: row['count'] for row in tokenized(*TEXTS).counts().to_pylist()} == expected


def test_kinds_of_all_characters():
    kinds = character_kinds()
    for code in range(0, 0x110000, 97):
        expected = 0 if plain.is_word(chr(code)) else 2 if plain.is_space(chr(code)) else 1
        assert kinds[code] == expected


def test_drawn_numbers_look_random_and_repeat():
    ids, places = np.arange(10_000), np.zeros(10_000, np.int32)
    one, other = (hashes.drawn(ids, places, seed) for seed in (1, 2))
    assert (one == hashes.drawn(ids, places, 1)).all() and (one != other).all()
    assert len(set(one.tolist())) == 10_000 and one.min() >= 0
    counts = np.bincount(one % 16, minlength=16)
    assert abs(counts - 625).max() < 125  # five standard deviations
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.05
