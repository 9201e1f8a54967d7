"""The lexical term of `persona:memnet`: by hand, and against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from parlai_persona.agents.memnet.batches import Example, Line
from parlai_persona.agents.memnet.lexical import Lexical

SEEN = [[1, 2, -1], [1, 3, 3], [1, 2, 2]]  # responses of the training


def lexical(weight=1.0, seen=SEEN, words=6):
    net = Lexical(words, weight)
    if seen:
        net.count(torch.tensor(seen))
    return net


def test_idf_by_hand():
    """Word 1 is in all 3 responses, 2 in two, 3 in one, 4 in none. A repeated word counts once."""
    expected = [math.log(4 / count) for count in (1, 4, 3, 2, 1, 1)]
    assert lexical().idf().tolist() == pytest.approx(expected)
    assert lexical(seen=[]).idf().tolist() == [0] * 6
    twice = lexical()
    twice.count(torch.tensor(SEEN))
    assert twice.idf()[3] == pytest.approx(math.log(7 / 3))


def test_scores_by_hand():
    """With a = ln 4/3, b = ln 2, c = ln 4: the query has 2, 3 and 4."""
    a, b, c = math.log(4 / 3), math.log(2), math.log(4)
    query = torch.tensor([[2, 3, 4, 2, 1], [-1] * 5])
    responses = torch.tensor([[2, 3, -1], [4, 5, 4], [1, 1, -1], [0, -1, -1], [-1, -1, -1]])
    length = math.sqrt(a * a + b * b + c * c)
    expected = [math.hypot(a, b) / length, c * c / length / math.hypot(c, c), 0, 0, 0]
    scores = lexical(10.0)(query, responses)
    assert scores[0].tolist() == pytest.approx([10 * score for score in expected])
    assert scores[1].tolist() == [0] * 5  # an empty query has nothing in common with anything
    assert lexical(10.0, [])(query, responses).abs().sum() == 0  # and nothing is known before the training


def test_unknown_words_have_nothing_in_common():
    """Word 3 stands for all of them. Without it the texts have the directions (ln 4/3, ln 4) and (ln 4/3)."""
    net = Lexical(6, 1.0, unknown=3)
    net.count(torch.tensor(SEEN))
    a, c = math.log(4 / 3), math.log(4)
    assert net(torch.tensor([[2, 3, 4]]), torch.tensor([[3, 3], [2, 3]]))[0].tolist() == pytest.approx(
        [0, a / math.hypot(a, c)]
    )


def test_it_is_the_cosine_of_scikit_learn():
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 30, rng.integers(1, 9)) for _ in range(40)]
    rows = torch.full((40, 8), -1)
    for row, text in enumerate(texts):
        rows[row, : len(text)] = torch.from_numpy(text)
    names = [str(word) for word in range(30)]
    vectorizer = TfidfVectorizer(analyzer=lambda text: map(str, text), binary=True, vocabulary=names).fit(texts)
    vectorizer.idf_ = vectorizer.idf_ - 1  # which it adds
    vectors = vectorizer.transform(texts)
    expected = (vectors @ vectors.T).toarray()
    torch.testing.assert_close(
        lexical(seen=rows.tolist(), words=30)(rows, rows).double(), torch.tensor(expected), atol=1e-6, rtol=0
    )


def test_what_a_query_is():
    context, one, other = (Line.of(words) for words in ([1, 2], [3], [2, 4]))
    example = Example(context, [one, other], None, frozenset())
    assert example.words(True).tolist() == [1, 2, 3, 2, 4] and example.words(False).tolist() == [1, 2]
