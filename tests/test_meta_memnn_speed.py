"""The textbook implementation that the benchmark times gives the same numbers; and how it times and copies."""

import numpy as np
import pytest
import torch

from benchmarks.meta_memnn import speed
from benchmarks.meta_memnn.textbook import textbook  # noqa: E402
from parlai_persona.agents.meta_memnn.learner import Learner, Pool, Recipe
from parlai_persona.agents.meta_memnn.model import DialogModel, Shape, WeightModel
from parlai_persona.agents.meta_memnn.stories import Bags, Example, StoryTable, Vocabulary
from parlai_persona.data.dialogue import Dialogue, Turn  # noqa: E402

WORDS = [f'w{n}' for n in range(12)]
SHARED = 8  # words of the related task
REPLIES = {'primary': [(n, n + 1) for n in range(9)], 'related': [(n, n + 2) for n in range(6)]}


def table(head: str, size: int, count: int = 20) -> StoryTable:
    """Stories of 0 to 6 lines; one of the replies is longer than most."""
    rng = np.random.default_rng(len(head))
    vocabulary = Vocabulary()
    vocabulary.add(WORDS)
    replies = {' '.join(f'w{n}' for n in reply): place for place, reply in enumerate(REPLIES[head])}
    stories = StoryTable(head, vocabulary, size, replies, 250)
    for number in range(count):
        lines = tuple(tuple(rng.choice(WORDS[:size], rng.integers(1, 5))) for _ in range(number % 7))
        stories.add(Example(lines, tuple(rng.choice(WORDS[:size], 3)), str(rng.choice(list(replies)))))
    return stories


def learner(dtype: torch.dtype) -> Learner:
    shape, heads = Shape(embedding=4), {'primary': len(WORDS), 'related': SHARED}
    model = DialogModel(shape, {head: Bags.of(REPLIES[head], size) for head, size in heads.items()})
    weigher = WeightModel(shape)
    theta = model.init(1, {'0': SHARED, '1': len(WORDS) - SHARED}, 1)
    eta = weigher.init(1, {'0': SHARED}, 2)
    theta, eta = ({name: 5 * p.to(dtype) for name, p in params.items()} for params in (theta, eta))
    pools = [Pool(table(head, size), [np.arange(20)], [np.random.default_rng(size)]) for head, size in heads.items()]
    recipe = Recipe(batch=7, alpha=0.01, gamma=0.01, beta=0.05, updates=2, steps=3)
    return Learner(recipe, model, weigher, theta, eta, pools[0], pools[1:], [1])


@pytest.mark.parametrize('trim', [True, False])
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float64, 1e-12), (torch.float32, 1e-4)], ids=str)
def test_the_textbook_gives_the_same_numbers(dtype, tolerance, trim):
    ours = learner(dtype)
    params = [*ours.theta.values(), *ours.eta.values()]
    before = [p.detach().clone() for p in params]
    assert speed.difference(ours, textbook(ours, trim), iterations=4) < tolerance
    assert all((p - old).abs().max() > 1e-3 for p, old in zip(params, before, strict=True))  # all of them learned


def test_a_difference_is_seen():
    ours = learner(torch.float64)
    theirs = textbook(ours)
    with torch.no_grad():
        theirs.theta['H'][0, 0] += 1e-3
    assert speed.difference(ours, theirs, iterations=1) > 1e-5


def test_arms_take_turns():
    seen = []
    times = speed.interleave({'a': lambda: seen.append('a'), 'b': lambda: seen.append('b')}, turns=3)
    assert ''.join(seen) == 'baabbaab'
    assert set(times) == {'a', 'b'} and all(taken.wall >= 0 for taken in times.values())


def test_copies_of_dialogues_have_lines_of_their_own_and_the_same_replies():
    turns = (Turn('resto_a R_rating 1\nresto_b_phone R_x\nhello', 'take resto_a'), Turn('resto_b ?', 'yes'))
    found = speed.repeated([Dialogue('1', turns), Dialogue('2', turns[:1])], 3)
    assert found[:2] == [Dialogue('1', turns), Dialogue('2', turns[:1])]
    assert [turn.text for turn in found[2].turns] == ['resto_b R_rating 1\nresto_a R_x\nhello', 'resto_b_phone ?']
    assert [turn.reply for turn in found[2].turns] == ['take resto_a', 'yes']
