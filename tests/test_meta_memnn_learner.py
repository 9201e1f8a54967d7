"""The iteration of every mode: the paper's equations, resuming changes nothing, what is updated when."""

import copy
import io

import numpy as np
import pytest
import torch
from test_meta_memnn_model import candidates, table
from torch import Tensor

from parlai_persona.agents.meta_memnn import meta
from parlai_persona.agents.meta_memnn.learner import MODES, ONE_HEAD, Learner, Pool, Recipe
from parlai_persona.agents.meta_memnn.model import DialogModel, Shape, WeightModel

ALPHA = 0.02
TINY = {'batch': 4, 'updates': 2, 'steps': 2, 'beta': 0.1, 'gamma': 0.05, 'pretraining': 2}
SHAPE = Shape(embedding=3, hops=2)


def learner(mode: str, tasks=1, shape=SHAPE, seed=1, **options) -> Learner:
    """Two kinds of synthetic stories; the related ones use the first 8 of 12 words."""
    heads = ['primary'] * tasks if mode in ONE_HEAD else [f'related{n}' for n in range(tasks)]
    bags = {'primary': candidates()} | {head: candidates(4, 8) for head in heads if head != 'primary'}
    model, weigher = DialogModel(shape, bags), WeightModel(shape)
    theta, eta = model.init({'0': 8, '1': 4}, 1), weigher.init({'0': 8}, 101)

    def pool(stories, offset):
        members = np.random.default_rng(offset).permutation(len(stories))[: len(stories) - 2]
        return Pool(stories, members, np.random.default_rng(offset + 1))

    related = [pool(table(20, n + 5, head, 8, 4), 10 + n) for n, head in enumerate(heads)]
    recipe = Recipe(mode=mode, **{**TINY, **options})
    adam = torch.optim.Adam(theta.values(), lr=ALPHA)
    one = Learner(
        recipe, model, weigher, theta, eta, pool(table(12), 0), related, seed, lambda loss: descend(adam, loss)
    )
    one.theta_optimizer = adam  # for what resumes
    return one


def numbers(learner: Learner) -> list[Tensor]:
    return [p.detach() for p in (*learner.theta.values(), *learner.eta.values())]


@pytest.mark.parametrize('mode', MODES)
def test_resuming_changes_nothing(mode):
    """The state can be saved and read without unpickling."""
    whole, first, second = learner(mode), learner(mode), learner(mode, seed=2)
    for _ in range(4):
        whole.iterate()
    for _ in range(2):
        first.iterate()
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    second.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    second.theta_optimizer.load_state_dict(copy.deepcopy(first.theta_optimizer.state_dict()))
    with torch.no_grad():
        for mine, theirs in zip(numbers(second), numbers(first), strict=True):
            mine.copy_(theirs)
    for _ in range(2):
        second.iterate()
    assert second.iteration == 4
    for one, other in zip(numbers(whole), numbers(second), strict=True):
        assert torch.equal(one, other)


def test_losses_are_means_whatever_the_size_of_the_first_batch():
    """The primary batch may have another size than the others."""
    for count in (1, 4, 7):
        one = learner('primary')
        batch = one.primary.draw(count)
        expected = one.model.losses(one.theta, batch).mean().item()
        assert one.iterate(batch)['primary_loss'] == pytest.approx(expected, rel=1e-5)


def test_a_joint_batch_is_full_although_the_first_one_is_small(monkeypatch):
    one, sizes = learner('joint'), []
    update = one.update
    monkeypatch.setattr(one, 'update', lambda losses: (sizes.append(len(losses)), update(losses))[1])
    for _ in range(20):
        one.iterate(one.primary.draw(1))
    assert sizes == [TINY['batch']] * 20


@pytest.mark.parametrize('shared', [False, True])
@pytest.mark.parametrize('inner', ['sgd', 'adam'])
def test_an_iteration_by_the_book(inner, shared):
    """Eqs. 1-10 with the same batches, in plain autograd over the plain network: the same numbers come out."""
    shape = SHARED if shared else SHAPE
    fast, book = (learner('learned', inner=inner, shape=shape) for _ in range(2))
    fast.iterate()
    model, weigher = DialogModel(shape, book.model.heads, fast=False), WeightModel(shape, fast=False)
    rates = ((book.theta, ALPHA), (book.eta, TINY['gamma']))
    adam = [torch.optim.Adam(params.values(), lr=rate) for params, rate in rates]
    losses = model.losses(book.theta, book.draw(book.primary))
    descend(adam[0], losses.sum())  # eqs. 1, 2
    batch = book.draw_related()[0]
    descend(adam[0], (weigher.weights(book.eta, batch).detach() * model.losses(book.theta, batch)).sum())  # eqs. 3-5
    for update in range(TINY['updates']):
        theta = {name: p.detach().clone().requires_grad_() for name, p in book.theta.items()}
        state = {}
        batches, held = [book.draw_related()[0] for _ in range(TINY['steps'])], book.draw(book.primary)
        if update == 0:
            book.draw_related()  # looked at once to see which parameters the related loss touches
        for batch in batches:
            loss = (weigher.weights(book.eta, batch) * model.losses(theta, batch)).sum()  # eq. 6
            grads = torch.autograd.grad(loss, list(theta.values()), create_graph=True, allow_unused=True)
            found = {name: g for name, g in zip(theta, grads, strict=True) if g is not None}
            if inner == 'sgd':
                theta = {name: p - TINY['beta'] * found[name] if name in found else p for name, p in theta.items()}
            else:
                theta, state = meta.Adam(TINY['beta']).step(theta, found, state)
        descend(adam[1], model.losses(theta, held).sum())  # eqs. 8-10
    for one, other in zip(numbers(fast), numbers(book), strict=True):
        assert torch.allclose(one, other, atol=2e-5)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def changed(learner: Learner, act) -> set[str]:
    before = {name: p.clone() for name, p in learner.theta.items()}
    act()
    return {name for name, p in learner.theta.items() if not torch.equal(p, before[name])}


def test_what_each_update_changes():
    one = learner('multitask')
    assert changed(one, one.update_related) == {'A_0', 'H', 'W_related0'}
    one = learner('primary')
    assert changed(one, one.iterate) == {'A_0', 'A_1', 'H', 'W_primary'}
    one = learner('learned')
    assert changed(one, one.update_weights) == set()
    one = learner('pretrain')
    assert changed(one, one.iterate) == {'A_0', 'H', 'W_primary'}  # related data alone, on the only head


SHARED = Shape(embedding=3, hops=2, shared=True)


def test_one_matrix_for_the_candidates_of_all_heads():
    one = learner('learned', shape=SHARED)
    assert set(one.theta) == {'A_0', 'A_1', 'H', 'W_0', 'W_1'}
    assert changed(one, one.update_related) == {'A_0', 'H', 'W_0'}
    batch = one.draw(one.primary)
    fast = one.model.losses(one.theta, batch)
    one.model.fast = False
    assert torch.allclose(fast, one.model.losses(one.theta, batch), atol=1e-5)


def test_several_related_tasks_have_heads_of_their_own():
    one = learner('learned', tasks=2)
    assert changed(one, one.update_related) == {'A_0', 'H', 'W_related0', 'W_related1'}
    one.iterate()
    assert [one.all_weights(n).shape for n in (0, 1)] == [(20,), (20,)]


def test_random_weights():
    fixed = learner('random_fixed')
    batch = [fixed.related[0].table.batch(np.array([0, 1, 0]))]
    w = fixed.related_weights(batch)
    assert torch.equal(w, fixed.related_weights(batch)) and w[0] == w[2] and w[0] != w[1]
    changing = learner('random_changing')
    draws = torch.cat([changing.related_weights(changing.draw_related()) for _ in range(500)])
    assert draws.min() >= 0 and draws.max() < 1 and abs(draws.mean() - 0.5) < 0.02
    assert len(draws.unique()) > 1900


def test_joint_batches_have_each_task_in_its_share():
    """10 primary and 18 related members; losses of 1 for the primary task tell them apart."""
    one, seen = learner('joint', batch=28), []
    one.update = seen.append
    one.model.losses = lambda theta, batch: torch.full((28,), float(batch.table is one.primary.table))
    for _ in range(100):
        one.update_joint(one.draw(one.primary))
    assert all(len(losses) == 28 for losses in seen)
    assert sum(float(losses.sum()) for losses in seen) / 100 == pytest.approx(10, abs=0.8)


def test_a_pass_over_the_pool_meets_everybody_once():
    pool = learner('primary').primary
    drawn = np.concatenate([pool.draw(5).index for _ in range(4)])
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == sorted(pool.members)


def test_any_torch_module_can_be_weighted():
    """A dialog model and a weigher that are nothing but modules: the meta code sees functions of parameters."""
    torch.manual_seed(0)
    dialog = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    weigher = torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Sigmoid())

    def losses(theta, batch):
        x, y = batch
        scores = torch.func.functional_call(dialog, dict(theta), x)
        return torch.nn.functional.cross_entropy(scores, y, reduction='none')

    def weights(eta, batch):
        return torch.func.functional_call(weigher, dict(eta), batch[0]).squeeze(-1)

    batches = [(torch.randn(5, 4), torch.randint(3, (5,))) for _ in range(3)]
    eta = dict(weigher.named_parameters())
    grads, _ = meta.meta_gradient(
        losses,
        losses,
        lambda e: [weights(e, b) for b in batches],
        dict(dialog.named_parameters()),
        eta,
        batches,
        batches[0],
        meta.SGD(0.1),
    )
    assert set(grads) == set(eta) and all(g.isfinite().all() and g.any() for g in grads.values())
