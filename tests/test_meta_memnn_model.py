"""The memory network: numbers by hand, compiled loops against autograd, padding."""

import numpy as np
import pytest
import torch

from parlai_persona.agents.meta_memnn import model as plain
from parlai_persona.agents.meta_memnn.batches import Bags, StoryTable
from parlai_persona.agents.meta_memnn.model import DialogModel, Shape, WeightModel, blocks, fused
from parlai_persona.agents.meta_memnn.stories import Example, Story, tokenize
from parlai_persona.errors import UserError
from parlai_persona.flags import from_opt

WORDS = {f'w{n}': n for n in range(12)}


def table(count=9, seed=0, head='primary', size=12, replies=5):
    """Stories of 0 to 6 lines with up to two lines about the user."""
    rng = np.random.default_rng(seed)
    words = list(WORDS)
    stories = StoryTable(head, WORDS, size, {f'w{n} w{n + 1}': n for n in range(replies)}, 250)
    for number in range(count):
        lines = tuple(tuple(rng.choice(words, rng.integers(1, 5))) for _ in range(number % 7))
        reply = int(rng.integers(replies))
        stories.add(Example(lines, tuple(rng.choice(words, 3)), f'w{reply} w{reply + 1}', min(number % 3, len(lines))))
    return stories


def candidates(replies=5, size=12):
    return Bags.of([[n, n + 1] for n in range(replies)], size)


def models(shape, fast=True, seed=0):
    model = DialogModel(shape, {'primary': candidates()}, fast=fast)
    weigher = WeightModel(shape, fast=fast)
    theta = {n: 5 * p.double() for n, p in model.init({'0': 8, '1': 4}, seed).items()}
    eta = {n: 5 * p.double() for n, p in weigher.init({'0': 8, '1': 4}, seed + 1).items()}
    return model, weigher, theta, eta


needs_numba = pytest.mark.skipif(fused is None, reason='numba is not installed: there are no compiled loops to test')
SHAPES = [Shape(embedding=4), Shape(embedding=3, hops=2, split=True), Shape(embedding=4, hops=1)]


def test_the_sizes_of_the_paper():
    assert Shape() == Shape(embedding=20, hops=3, split=False, shared=False, scale=0.1)  # appendix B.2
    for name in ('embedding_size', 'hops'):
        assert 1 in vars(from_opt(Shape, {f'meta_memnn_{name}': 1}, 'meta_memnn')).values()
        with pytest.raises(UserError, match='it has to be 1 or more'):
            from_opt(Shape, {f'meta_memnn_{name}': 0}, 'meta_memnn')


def test_first_weights():
    shape = Shape(embedding=50)
    model = DialogModel(shape, {'primary': candidates(size=80)})
    assert model.fast and WeightModel(shape).fast
    theta, eta = model.init({'0': 60, '1': 20}, 3), WeightModel(shape).init({'0': 60}, 3)
    sizes = {name: tuple(p.shape) for name, p in theta.items()}
    assert sizes == {'A_0': (60, 50), 'A_1': (20, 50), 'H': (50, 50), 'W_primary': (80, 50)}
    assert {name: tuple(p.shape) for name, p in eta.items()} == {'A_0': (60, 50), 'H': (50, 50), 'w': (50,), 'b': ()}
    assert torch.cat([p.flatten() for p in theta.values()]).std().item() == pytest.approx(0.1, rel=0.05)
    assert eta['b'] == 0 and eta['H'].std().item() == pytest.approx(0.1, rel=0.1)
    assert torch.equal(model.init({'0': 60, '1': 20}, 3)['H'], theta['H'])
    assert not torch.equal(model.init({'0': 60, '1': 20}, 4)['H'], theta['H'])


def test_by_hand():
    """d = 1: memory (2, -1), query 1, H = 0.5, one hop: p = softmax(2, -1), u = 0.5 + 2 p0 - p1."""
    stories = StoryTable('primary', {'a': 0, 'b': 1, 'q': 2}, 3, {'a': 0, 'b': 1}, 10)
    stories.add(Example((('a', 'a'), ('b',)), ('q',), 'b'))
    model = DialogModel(Shape(embedding=1, hops=1), {'primary': Bags.of([[0], [1]], 3)})
    theta = {
        'A_0': torch.tensor([[1.0], [-1.0], [1.0]]),
        'H': torch.tensor([[0.5]]),
        'W_primary': torch.tensor([[3.0], [1.0], [0.0]]),
    }
    batch = stories.batch(np.array([0]))
    p = np.exp(2) / (np.exp(2) + np.exp(-1))
    u = 0.5 + 2 * p - (1 - p)
    assert model.state(theta, batch).item() == pytest.approx(u, rel=1e-6)
    assert model.scores(theta, batch).tolist()[0] == pytest.approx([3 * u, u], rel=1e-6)
    assert model.losses(theta, batch).item() == pytest.approx(np.log(np.exp(3 * u) + np.exp(u)) - u, rel=1e-6)


@needs_numba
@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('name', ['losses', 'read'])
def test_compiled_is_plain(shape, name):
    """Values, first derivatives, and of the losses second derivatives, by every input."""
    _, _, theta, _ = models(shape)
    batch = table().batch(np.random.default_rng(0).integers(0, 9, 18))
    inputs = [torch.cat([theta['A_0'], theta['A_1']]), theta['H']]
    inputs += [torch.randn(5, shape.embedding, dtype=torch.float64)] if name == 'losses' else []
    results = []
    for module in (plain, fused):
        leaves = [p.clone().requires_grad_() for p in inputs]
        values = getattr(module, name)(*leaves, batch, shape)
        first = torch.autograd.grad((values * values.detach()).sum(), leaves, create_graph=name == 'losses')
        results.append([values, *first])
        if name == 'losses':
            results[-1] += torch.autograd.grad(sum(g.square().sum() for g in first), leaves)
    for one, other in zip(*results, strict=True):
        assert one.any() and torch.allclose(one, other, rtol=1e-9, atol=1e-12)


@needs_numba
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_the_networks_are_the_same_with_and_without_compiled_loops(shape):
    batch, results = table().batch(np.arange(9)), []
    for fast in (True, False):
        model, weigher, theta, eta = models(shape, fast)
        for p in (*theta.values(), *eta.values()):
            p.requires_grad_()
        losses, weights = model.losses(theta, batch), weigher.weights(eta, batch)
        both = [*theta.values(), *eta.values()]
        results.append([model.scores(theta, batch), *torch.autograd.grad((losses * weights).sum(), both)])
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def test_compiled_loops_are_chosen_on_a_cpu_with_numba(monkeypatch):
    model = models(SHAPES[0])[0]
    H, elsewhere = torch.zeros(4, 4), torch.zeros(4, 4, device='meta')
    if fused is not None:
        assert model.functions(H) == (fused.read, fused.losses)
    assert model.functions(elsewhere) == (plain.read, plain.losses)
    monkeypatch.setattr(plain, 'fused', None)
    assert model.functions(H) == (plain.read, plain.losses)


@pytest.mark.parametrize('fast', [pytest.param(True, marks=needs_numba), False])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_finite_differences(shape, fast):
    """First and second derivatives of the losses, by torch's own checks."""
    model, _, theta, _ = models(shape, fast)
    batch = table().batch(np.array([0, 3, 5, 8, 1, 6]))
    names = list(theta)

    def losses(*values):
        return model.losses(dict(zip(names, values, strict=True)), batch)

    leaves = [p.requires_grad_() for p in theta.values()]
    assert torch.autograd.gradcheck(losses, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(losses, leaves, fast_mode=True)


@pytest.mark.parametrize('fast', [pytest.param(True, marks=needs_numba), False])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_padding_changes_nothing(shape, fast):
    model, weigher, theta, eta = models(shape, fast)
    stories = table()
    together = stories.batch(np.arange(9))
    for n in range(9):
        alone = stories.batch(np.array([n]))
        assert torch.allclose(model.losses(theta, alone)[0], model.losses(theta, together)[n])
        assert torch.allclose(weigher.weights(eta, alone)[0], weigher.weights(eta, together)[n])


def test_words_of_other_tasks_only_make_the_table_longer():
    """A task with the first 8 of 12 words uses only the first block of the embedding."""
    _, _, theta, _ = models(Shape(embedding=4))
    assert blocks(theta, 'A', 8) is theta['A_0']
    assert blocks(theta, 'A', 12).shape == (12, 4)


def test_bags_and_their_transpose():
    bags = Bags.of([[0, 2, 2], [], [1]], 4)
    dense = torch.zeros(3, 4)
    for row, ids in enumerate([[0, 2, 2], [], [1]]):
        for i in ids:
            dense[row, i] += 1
    values = torch.randn(3, 2)
    turned = torch.nn.functional.embedding_bag(
        bags.transpose.ids, values, bags.transpose.offsets, mode='sum', include_last_offset=True
    )
    assert torch.allclose(turned, dense.T @ values)
    assert bags.transpose.transpose is bags


def test_tokenize():
    assert tokenize('May I have a table, in the Paris?') == ['may', 'i', 'have', 'table', ',', 'in', 'paris']
    assert tokenize('<SILENCE>') == ['<silence>']
    assert tokenize('resto_rome_1stars_2 R_phone x') == ['resto_rome_1stars_2', 'r_phone', 'x']


def test_story():
    story = Story()
    story.hear('male young\nresto_a R_rating 1\nhello', profile=1)
    assert story.example('hi') == Example(
        (('male', 'young', '$r', '#1'), ('resto_a', 'r_rating', '1', '$r', '#2')), ('hello',), 'hi', 1
    )
    story.say('hi')
    story.hear('bye')
    assert story.example('').memory[2:] == (('hello', '$u', '#3'), ('hi', '$r', '#3'))
    assert story.example('').query == ('bye',)


def test_time_counted_back():
    """The lines of the turn before the query are one turn ago, whatever came before. So similar ends look the same."""
    late, early = Story(back=True), Story(back=True)
    late.hear('resto_a R_rating 1\nhello')
    early.hear('hello')
    for story in (late, early):
        story.say('hi')
        story.hear('bye')
    assert early.example('').memory == (('hello', '$u', '#-1'), ('hi', '$r', '#-1'))
    assert late.example('').memory == (('resto_a', 'r_rating', '1', '$r', '#-2'), *early.example('').memory)


def test_old_lines_go_first_but_the_profile_stays():
    stories = StoryTable('primary', WORDS, 12, {'w0': 0}, 3)
    stories.add(Example((('w0',), ('w1',), ('w2',), ('w3',), ('w4',)), ('w5',), 'w0', 1))
    words, start, _, rows, row_start, row_count, targets, profiles = stories.arrays()
    lines = rows[row_start[0] : row_start[0] + row_count[0] - 2]
    assert [words[start[row]] for row in lines] == [0, 3, 4]
    assert (targets.tolist(), profiles.tolist()) == ([0], [1])
