"""The meta-gradient: finite differences, eq. 14 in closed form, and a textbook loop."""

import pytest
import torch
from torch import Tensor

from parlai_persona.agents.meta_memnn import meta


def linear(theta: meta.Params, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Squared error of a two-layer net: its gradient depends on theta, so that steps do not commute."""
    x, y = batch
    return (torch.tanh(x @ theta['A']) @ theta['B'] - y).square().squeeze(-1)


def weigh(eta: meta.Params, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, y = batch
    return torch.sigmoid(torch.cat([x, y], -1) @ eta['w'] + eta['b']).squeeze(-1)


@pytest.fixture
def problem():
    rng = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    theta = {'A': normal(3, 4), 'B': normal(4, 1)}
    eta = {'w': normal(4, 1), 'b': normal(1)}
    batches = [(normal(6, 3), normal(6, 1)) for _ in range(5)]
    return theta, eta, batches, (normal(7, 3), normal(7, 1))


def gradient(problem, rule, steps, **options):
    theta, eta, batches, held = problem
    return meta.meta_gradient(
        linear,
        linear,
        lambda e: [weigh(e, b) for b in batches[:steps]],
        theta,
        eta,
        batches[:steps],
        held,
        rule,
        **options,
    )


def after(problem, rule, steps, eta, state=None) -> float:
    """L_P(theta'), each step taken with plain autograd and no graph kept."""
    theta, _, batches, held = problem
    theta = {name: p.clone().requires_grad_() for name, p in theta.items()}
    kept = rule.start(theta) if state is None else state
    for batch in batches[:steps]:
        loss = (weigh(eta, batch).detach() * linear(theta, batch)).sum()
        stepped, kept = rule.step(theta, meta.gradients(loss, theta), kept)
        theta = {name: p.detach().requires_grad_() for name, p in stepped.items()}
    return linear(theta, held).sum().item()


RULES = [meta.SGD(0.05), meta.Adam(0.05)]


@pytest.mark.parametrize('rule', RULES, ids=['sgd', 'adam'])
@pytest.mark.parametrize('steps', [1, 5])
def test_finite_differences(problem, rule, steps):
    _, eta, _, _ = problem
    found, outer = gradient(problem, rule, steps)
    assert outer.item() == pytest.approx(after(problem, rule, steps, eta), rel=1e-12)
    epsilon = 1e-6
    for name, p in eta.items():
        for place in range(p.numel()):
            moved = {n: q.clone() for n, q in eta.items()}
            moved[name].view(-1)[place] += epsilon
            up = after(problem, rule, steps, moved)
            moved[name].view(-1)[place] -= 2 * epsilon
            down = after(problem, rule, steps, moved)
            assert found[name].view(-1)[place].item() == pytest.approx((up - down) / (2 * epsilon), rel=2e-6, abs=1e-9)


def test_adam_goes_on_from_given_moments(problem):
    theta, eta, batches, _ = problem
    rule = meta.Adam(0.05)
    state = {name: (3, 0.1 * torch.ones_like(p), 0.2 * torch.ones_like(p)) for name, p in theta.items()}
    found, outer = gradient(problem, rule, 2, state=state)
    assert outer.item() == pytest.approx(after(problem, rule, 2, eta, state), rel=1e-12)
    moved = {'w': eta['w'].clone(), 'b': eta['b'] + 1e-6}
    down = {'w': eta['w'].clone(), 'b': eta['b'] - 1e-6}
    slope = (after(problem, rule, 2, moved, state) - after(problem, rule, 2, down, state)) / 2e-6
    assert found['b'].item() == pytest.approx(slope, rel=1e-5)


def test_closed_form_of_one_step(problem):
    """Eq. 14 with eq. 10: -beta sum_i grad w_i (grad l_i(theta) . grad L_P(theta')); the paper leaves the sign out."""
    theta, eta, batches, held = problem
    beta = 0.05
    found, _ = gradient(problem, meta.SGD(beta), 1)
    theta = {name: p.clone().requires_grad_() for name, p in theta.items()}
    eta = {name: p.clone().requires_grad_() for name, p in eta.items()}
    losses, weights = linear(theta, batches[0]), weigh(eta, batches[0])
    each = [meta.gradients(loss, theta, create_graph=True) for loss in losses]
    step = meta.gradients((weights.detach() * losses).sum(), theta)
    ahead = {name: (p - beta * step[name]).detach().requires_grad_() for name, p in theta.items()}
    outer = meta.gradients(linear(ahead, held).sum(), ahead)
    for name in eta:
        expected = torch.zeros_like(eta[name])
        for weight, grads in zip(weights, each, strict=True):
            along = sum((grads[n] * outer[n]).sum() for n in theta)
            expected -= beta * meta.gradients(weight, eta, create_graph=True)[name].detach() * along.detach()
        assert torch.allclose(found[name], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('steps', [1, 4])
def test_adam_steps_are_torchs(problem, steps):
    theta, _, batches, _ = problem
    mine, state, rule = {n: p.clone().requires_grad_() for n, p in theta.items()}, {}, meta.Adam(0.01)
    theirs = {n: p.clone().requires_grad_() for n, p in theta.items()}
    optimizer = torch.optim.Adam(theirs.values(), lr=0.01, eps=1e-8)
    for batch in batches[:steps]:
        mine, state = rule.step(mine, meta.gradients(linear(mine, batch).sum(), mine), state)
        mine = {n: p.detach().requires_grad_() for n, p in mine.items()}
        optimizer.zero_grad()
        linear(theirs, batch).sum().backward()
        optimizer.step()
    for name in theta:
        assert torch.allclose(mine[name], theirs[name], atol=1e-9)


def test_gradients_are_those_of_the_parameters_in_use():
    params = {'used': torch.tensor([1.0, 2.0]), 'unused': torch.ones(1), 'fixed': torch.ones(1)}
    params = {name: p.requires_grad_(name != 'fixed') for name, p in params.items()}
    loss = (params['used'] ** 2 * params['fixed']).sum()
    kept = meta.gradients(loss, params, create_graph=True)
    assert kept.keys() == {'used'} and kept['used'].requires_grad
    found = meta.gradients(loss, params)
    assert found['used'].tolist() == [2, 4] and not found['used'].requires_grad


def test_what_the_weights_do_not_depend_on_has_no_meta_gradient(problem):
    theta, eta, batches, held = problem
    found, _ = gradient((theta, {**eta, 'unused': torch.ones(2)}, batches, held), meta.SGD(0.05), 1)
    assert found.keys() == {'w', 'b'}


def test_adams_first_step_by_hand():
    """With g = 2 the first step is lr g / |g|, and the moments are .1 g and .001 g^2."""
    theta, state = meta.Adam(0.5).step({'x': torch.tensor(1.0)}, {'x': torch.tensor(2.0)}, {})
    assert theta['x'].item() == pytest.approx(0.5, abs=1e-6)
    assert [float(part) for part in state['x']] == pytest.approx([1, 0.2, 0.004])


def test_parameters_that_are_not_touched_need_no_gradient(problem):
    theta, _, batches, _ = problem
    seen = []

    def outer(params, batch):
        seen.append({name: p.requires_grad for name, p in params.items()})
        return linear(params, batch) * params['other'].sum()

    theta = {**theta, 'other': torch.ones(2, dtype=torch.float64)}
    _, eta, _, held = problem
    meta.meta_gradient(
        outer,
        linear,
        lambda e: [weigh(e, batches[0])],
        theta,
        eta,
        batches[:1],
        held,
        meta.SGD(0.1),
        touched={'A', 'B'},
    )
    assert seen == [{'A': True, 'B': True, 'other': False}]


def test_an_example_that_helps_gains_weight():
    """Two kinds of related data, one with the primary task's labels and one with the opposite, told apart by x."""
    rng = torch.Generator().manual_seed(1)
    theta, eta = {'A': torch.eye(2), 'B': torch.zeros(2, 1)}, {'w': torch.zeros(3, 1), 'b': torch.zeros(1)}
    optimizer = torch.optim.Adam(eta.values(), lr=0.1)
    for _ in range(100):
        x = torch.randn(32, 2, generator=rng)
        good = (torch.arange(32) % 2 == 0).float()
        x[:, 1] = good
        y = x[:, :1].sign() * (2 * good - 1).unsqueeze(1)
        held = torch.stack([torch.randn(32, generator=rng), torch.ones(32)], 1)
        grads, _ = meta.meta_gradient(
            linear,
            linear,
            lambda e, x=x, y=y: [weigh(e, (x, y))],
            theta,
            eta,
            [(x, y)],
            (held, held[:, :1].sign()),
            meta.SGD(0.01),
        )
        for name, p in eta.items():
            p.grad = grads[name]
        optimizer.step()
    w = weigh(eta, (x, y))
    assert w[good == 1].min() > 0.8 > 0.2 > w[good == 0].max()
