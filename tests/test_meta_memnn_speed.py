"""The textbook implementation that the benchmark times gives the same numbers; and the benchmark's turns."""

import os
from functools import partial

import numpy as np
import pytest
import torch

from benchmarks.common import arms
from benchmarks.meta_memnn import speed
from benchmarks.meta_memnn.textbook import Textbook
from parlai_persona.agents.meta_memnn.batches import Bags, StoryTable
from parlai_persona.agents.meta_memnn.learner import Learner, Pool, Recipe
from parlai_persona.agents.meta_memnn.model import DialogModel, Shape, WeightModel
from parlai_persona.agents.meta_memnn.stories import Example

WORDS = {f'w{n}': n for n in range(12)}
SHARED = 8  # words of the related task
REPLIES = {'primary': [(n, n + 1) for n in range(9)], 'related': [(n, n + 2) for n in range(6)]}


def table(head: str, size: int, count: int = 20) -> StoryTable:
    """Stories of 0 to 6 lines; one of the replies is longer than most."""
    rng = np.random.default_rng(len(head))
    words = list(WORDS)[:size]
    replies = {' '.join(f'w{n}' for n in reply): place for place, reply in enumerate(REPLIES[head])}
    stories = StoryTable(head, WORDS, size, replies, 250)
    for number in range(count):
        lines = tuple(tuple(rng.choice(words, rng.integers(1, 5))) for _ in range(number % 7))
        stories.add(Example(lines, tuple(rng.choice(words, 3)), str(rng.choice(list(replies)))))
    return stories


def learner(dtype: torch.dtype) -> Learner:
    shape, heads = Shape(embedding=4), {'primary': len(WORDS), 'related': SHARED}
    model = DialogModel(shape, {head: Bags.of(REPLIES[head], size) for head, size in heads.items()})
    weigher = WeightModel(shape)
    theta = model.init({'0': SHARED, '1': len(WORDS) - SHARED}, 1)
    eta = weigher.init({'0': SHARED}, 2)
    theta, eta = ({name: 5 * p for name, p in params.items()} for params in (theta, eta))
    pools = [Pool(table(head, size), np.arange(20), np.random.default_rng(size)) for head, size in heads.items()]
    recipe = Recipe(batch=7, gamma=0.01, beta=0.05, updates=2, steps=3)
    return speed.copied(Learner(recipe, model, weigher, theta, eta, pools[0], pools[1:], 1, print), dtype)


@pytest.fixture(autouse=True)
def alpha(monkeypatch):
    monkeypatch.setattr(speed, 'ALPHA', 0.01)


@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float64, 1e-12), (torch.float32, 1e-4)], ids=str)
def test_the_textbook_gives_the_same_numbers(dtype, tolerance):
    ours = learner(dtype)
    params = [*ours.theta.values(), *ours.eta.values()]
    before = [p.detach().clone() for p in params]
    assert speed.difference(ours, Textbook(ours, 0.01), iterations=4) < tolerance
    assert all((p - old).abs().max() > 1e-3 for p, old in zip(params, before, strict=True))  # all of them learned


def test_a_difference_is_seen():
    ours = learner(torch.float64)
    theirs = Textbook(ours, 0.01)
    with torch.no_grad():
        theirs.theta['H'][0, 0] += 1e-3
    assert speed.difference(ours, theirs, iterations=1) > 1e-5


def test_arms_take_turns():
    seen = []
    times = arms.in_turns({name: partial(speed.timed, partial(seen.append, name)) for name in 'ab'}, turns=3, warm=1)
    assert ''.join(seen) == 'baabbaab'
    assert all(len(own) == 3 and taken['wall_s'] >= 0 for own in times.values() for taken in own)
    assert arms.medians({'a': [{'s': 3.0}, {'s': 1.0}, {'s': 1.5}]}) == {'a': {'s': 1.5}}


def test_a_child_is_a_process_of_its_own_with_so_many_threads(monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')  # and put back afterwards
    assert arms.child(os.getenv, 'OMP_NUM_THREADS', threads=3) == '3' and arms.child(os.getpid) != os.getpid()
