"""Tokens, sentences, rules: by hand for the definitions, and the compiled loops held to them."""

import random
from collections import Counter

import numpy as np
import pytest

from parlai_persona.tasks.reddit import kernels, text
from parlai_persona.tasks.reddit.stage import packed
from parlai_persona.tasks.reddit.verbs import verbs

VERBS = verbs()


def is_verb(token: str) -> bool:
    return text.lower(token) in VERBS


def told(body: str) -> list[str]:
    """The sentences that may stand in a persona."""
    return [sentence.text for sentence in text.read(body)[1] if text.persona_like(sentence, is_verb)]


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
    assert text.read(body)[0] == tokens


def test_sentences_end_at_marks_before_a_space_and_at_lines():
    _, found = text.read('I paid 3.50 there. Really?! Yes\nno end')
    assert [sentence.text for sentence in found] == ['I paid 3 . 50 there .', 'Really ? !', 'Yes', 'no end']


def test_a_long_comment_loses_what_comes_after_100_tokens_and_its_last_sentence():
    body = 'I like tea a lot. ' * 30  # six tokens each
    kept, found = text.read(body)
    assert len(kept.split()) == 100
    assert len(found) == 16  # 96 tokens; the 17th is cut


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
    assert bool(told(sentence)) == kept


@pytest.mark.parametrize(
    'body, cleaned',
    [
        ('Tom &amp; Jerry &lt;3 &amp;gt;', 'Tom & Jerry <3 &gt;'),
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
def test_clean(body, cleaned):
    assert text.clean(body, text.Cleaning()) == cleaned


def test_names_are_masked_whatever_is_kept():
    body = 'by u/name, a@b.cd, http://x.y\n> quoted'
    kept = text.clean(body, text.Cleaning(quotes=False, urls=False, emails=False))
    assert 'name' not in kept and 'http://x.y' in kept and 'a@b.cd' in kept and '> quoted' in kept


def test_hash_is_the_textbook_one():
    h = 0xCBF29CE484222325  # FNV-1a of 'a', then the last step of splitmix64
    h = ((h ^ ord('a')) * 0x100000001B3) % 2**64
    h = ((h ^ (h >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    h = ((h ^ (h >> 27)) * 0x94D049BB133111EB) % 2**64
    assert text.hashed('A') == text.hashed('a') == (h ^ (h >> 31)) >> 1


# ---------------------------------------------------------------------------------------- compiled loops


def bodies(count: int) -> list[str]:
    """Texts in which everything that matters comes close together."""
    rng = random.Random(5)
    pieces = [*"I x.!?\n  '’é😀…_", 'my', 'My', 'am', 'like', 'tea', '3.5', ' ']
    return ['', ' ', '.', 'I'] + [''.join(rng.choices(pieces, k=rng.randrange(300))) for _ in range(count)]


def read_all(texts: list[str], reader: kernels.Reader) -> list[tuple[str, list[tuple[int, str, int, float]]]]:
    data, offsets = packed(texts)
    read = reader(data, offsets[:-1], offsets[1:])
    out = read.out.tobytes()
    found: list[tuple[str, list]] = [
        (out[start:end].decode(), []) for start, end in zip(read.offsets, read.offsets[1:], strict=False)
    ]
    for row, place, start, end, hash, score in zip(
        read.row, read.place, read.start, read.end, read.hash, read.score, strict=True
    ):
        found[row][1].append((int(place), out[start:end].decode(), int(hash), float(score)))
    return found


@pytest.mark.parametrize('rule', [kernels.RULES, kernels.ABOUT_ME, kernels.LENGTH])
def test_loops_are_the_definitions(rule):
    texts = bodies(1500)
    weights = {'i': 0.5, 'tea': -1.25, 'é': 2.0}
    reader = kernels.Reader(kernels.Words(dict.fromkeys(VERBS, 1.0)), rule, weights, 0.25)
    keep = {
        kernels.RULES: lambda s: text.persona_like(s, is_verb),
        kernels.ABOUT_ME: lambda s: text.lengthy(s) and text.about_me(s),
        kernels.LENGTH: text.lengthy,
    }[rule]
    total = 0
    for body, (tokens, found) in zip(texts, read_all(texts, reader), strict=True):
        expected, sentences = text.read(body)
        assert tokens == expected
        kept = [(place, s) for place, s in enumerate(sentences) if keep(s)]
        assert [(p, t, h) for p, t, h, _ in found] == [(p, s.text, text.hashed(s.text)) for p, s in kept]
        scores = [0.25 + sum(weights.get(text.lower(t), 0) for t in s.tokens) / len(s.tokens) for _, s in kept]
        assert [score for *_, score in found] == pytest.approx(scores, abs=1e-6)
        total += len(found)
    assert total > 500


def test_words_are_counted():
    texts = bodies(500)
    data, offsets = packed(texts)
    reader = kernels.Reader(kernels.Words({}))
    for _ in range(2):  # the second time, nothing is left of the first
        read = reader(data, offsets[:-1], offsets[1:])
    limits = zip(read.words.start, read.words.end, strict=True)
    words = [read.out[start:end].tobytes().decode() for start, end in limits]
    expected = Counter(text.lower(token) for body in texts for token in text.read(body)[0].split())
    assert {text.lower(word): int(n) for word, n in zip(words, read.words.count, strict=True)} == expected


def test_keyed_hash_has_the_published_values():
    """SipHash-2-4 of the bytes 0, 1, … with the key 0, 1, … 15 (appendix A of the paper, and of no bytes at all)."""
    key, data = np.frombuffer(bytes(range(16)), np.uint64), np.arange(15, dtype=np.uint8)
    found = kernels.keyed(data, np.array([0, 0]), np.array([15, 0]), key)
    assert [hex(number) for number in found] == ['0xa129ca6149be45e5', '0x726fdb47dd0e0e31']


def test_kinds_of_all_characters():
    kinds = kernels.character_kinds()
    assert all(kinds[code] == text.kind(chr(code)) for code in range(0, 0x110000, 97))


def test_shuffled_numbers_look_random_and_repeat():
    ids, places = np.arange(10_000), np.zeros(10_000, np.int32)
    one, other = (kernels.shuffled(ids, places, seed) for seed in (1, 2))
    assert (one == kernels.shuffled(ids, places, 1)).all() and (one != other).all()
    assert len(set(one.tolist())) == 10_000 and one.min() >= 0
    counts = np.bincount(one % 16, minlength=16)
    assert abs(counts - 625).max() < 125  # five standard deviations
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.05
