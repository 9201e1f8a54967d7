"""The meta-gradient against closed forms, finite differences and plain loops."""

import copy
import gc
import weakref
from dataclasses import replace
from functools import reduce
from operator import add
from types import SimpleNamespace

import paml_tasks
import pytest
import tiny_lm
import torch
from parlai.agents.transformer.modules import attention
from torch import nn

from parlai_persona.agents.paml.meta import Calls, Inner, Nll, adapt, adapted, gradients, learn, leave_out
from parlai_persona.errors import UserError
from parlai_persona.flags import from_opt

ALPHA, STEPS = 0.3, 3


def test_the_values_of_the_paper():
    assert Inner() == Inner(0.01, 1, 10, 16, 0.0, 'second', 'all', False, None, None)  # sec. 3
    for name in ('inner_steps', 'eval_steps', 'inner_batch', 'prior'):
        assert getattr(from_opt(Inner, {f'paml_{name}': 0}, 'paml'), name) == 0
        with pytest.raises(UserError, match='it has to be 0 or more'):
            from_opt(Inner, {f'paml_{name}': -1}, 'paml')


def test_what_adapts_is_named_by_an_expression():
    names = [f'layer{n}.{part}' for n in range(5) for part in ('weight', 'norm.bias')]
    assert Inner().adapting(names) == names
    assert Inner(adapt='norm|4').adapting(names) == [*names[1:8:2], *names[8:]]
    with pytest.raises(UserError, match="--paml-adapt 'bert' matches no parameter; .*layer3.norm.bias and 2 more"):
        Inner(adapt='bert').adapting(iter(names))
    for names, said in (('ab', 'a, b and 0 more'), ('abcdefghijklmnopq', 'a, b, c, d, e, f, g, h and 9 more')):
        with pytest.raises(UserError, match=f'there are {said}'):
            Inner(adapt='2').adapting(names)


def test_an_unused_parameter_has_a_gradient_of_zero():
    theta = start() | {'unused': torch.ones(2, dtype=torch.float64, requires_grad=True)}
    nll, g = gradients(bowl(1.0, 3.0), theta, iter(['unused', 'x']))
    assert nll.tokens == 3 and g['unused'].tolist() == [0, 0] and g['x'].tolist() == [3]  # of the sum
    assert not g['x'].requires_grad
    assert gradients(bowl(1.0), theta, ['x'], create_graph=True)[1]['x'].requires_grad
    lesson = learn(theta, [bowl(1.0)], bowl(0.0), {'x': ALPHA, 'unused': ALPHA})
    assert lesson.gradient['unused'].tolist() == [0, 0] and lesson.gradient['x'].item() != 0
    assert lesson.support == [0.5] and lesson.query == (pytest.approx(0.5 * (2 - ALPHA) ** 2), 1)


def test_losses_add_up_and_have_a_mean_a_token():
    total = Nll(torch.tensor(6.0), 2) + Nll(torch.tensor(3.0), 4)
    assert (total.total.item(), total.tokens, total.mean().item()) == (9, 6, 1.5)


def bowl(center: float, tokens: float = 1.0):
    """Return a loss of ½ (θ − center)² a token; its gradient is θ − center, its second derivative 1."""
    return lambda theta: Nll(tokens * 0.5 * ((theta['x'] - center) ** 2).sum(), tokens)


def start(value: float = 2.0):
    return {'x': torch.tensor([value], dtype=torch.float64, requires_grad=True)}


@pytest.mark.parametrize('prior', [0.0, 15.0])
@pytest.mark.parametrize('steps', [0, 1, 4])
def test_a_quadratic_tells_the_orders_apart(steps, prior):
    """θ' = a + (1−α)^t (θ−a); dL/dθ = (θ'−b) (1−α)^t; first order lacks the last factor.

    A prior of 15 tokens beside 5 makes a quarter of α.
    """
    a, b, alpha = 1.0, -3.0, ALPHA * 5 / (5 + prior)
    moved = a + (1 - alpha) ** steps * (2.0 - a)
    for second_order, factor in ((True, (1 - alpha) ** steps), (False, 1.0)):
        lesson = learn(start(), [bowl(a, tokens=5)] * steps, bowl(b, tokens=7), {'x': ALPHA}, second_order, prior=prior)
        assert lesson.gradient['x'].item() == pytest.approx((moved - b) * factor, rel=1e-12)
        assert lesson.query == pytest.approx((7 * 0.5 * (moved - b) ** 2, 7))


def test_a_learned_rate_by_hand():
    """dL/dα = −(θ'−b) (θ−a) after one step."""
    rate = torch.tensor(ALPHA, dtype=torch.float64, requires_grad=True)
    for second_order in (True, False):
        lesson = learn(start(), [bowl(1.0)], bowl(-3.0), {'x': rate}, second_order, {'alpha': rate})
        moved = 1.0 + (1 - ALPHA) * 1.0
        assert lesson.gradient['alpha'].item() == pytest.approx(-(moved + 3.0) * 1.0, rel=1e-12)


def test_without_a_prior_a_step_is_that_of_the_mean_over_tokens():
    """One step from 2 to the middle 1 goes to 1 + (1−α), whatever the number of tokens."""
    loss, rates, moved = bowl(1.0, tokens=3), {'x': ALPHA}, 1.0 + (1 - ALPHA)
    (left_out,) = leave_out(start(), [loss], [[0]], rates)
    several, _ = adapt(start(), [loss], rates, second_order=False)
    for theta in (left_out, several, adapted(start(), [loss], rates)):
        assert theta['x'].item() == pytest.approx(moved, rel=1e-12)
    assert learn(start(), [loss], bowl(0.0), rates).query == (pytest.approx(0.5 * moved**2), 1)


def losses(agent):
    """Return the losses of the three dialogues of a person."""
    task = agent.observe(paml_tasks.message(paml_tasks.teacher()))['task']
    return [agent.loss(turns) for turns in task.dialogues]


def joined(several):
    return lambda theta: reduce(add, (loss(theta) for loss in several))


@pytest.fixture(params=['persona:paml', 'persona:paml/seq2seq', 'pointer', 'persona:paml/lm'])
def double(request, tmp_path, monkeypatch):
    """A tiny generator in float64 (ParlAI's softmax in 32 bits would disturb finite differences)."""
    torch.manual_seed(3)
    plain = {**vars(torch.nn.functional), 'softmax': lambda x, dim, dtype=None: x.softmax(dim)}
    monkeypatch.setattr(attention, 'F', SimpleNamespace(**plain))
    more = {'paml_pointer': True} if request.param == 'pointer' else {}
    name = 'persona:paml' if request.param == 'pointer' else request.param
    if name == 'persona:paml/lm':
        more['lm_model'] = tiny_lm.folder('gpt2')  # Llama's norm computes in 32 bits
    agent = paml_tasks.agent(tmp_path, name, **more)
    agent.model.double().eval()
    for name, p in agent.theta().items():
        if 'lora_B' in name:  # zero at first
            p.data += 0.1 * torch.randn_like(p)
    return agent


@pytest.mark.parametrize('steps', [1, 3])
def test_second_order_is_the_finite_difference(double, steps):
    agent = double
    *support, query = losses(agent)
    theta = agent.theta()
    inner = [joined(support)] * steps
    rates = dict.fromkeys(theta, 0.5)
    exact = learn(theta, inner, query, rates).gradient
    first = learn(theta, inner, query, rates, second_order=False).gradient
    direction = {name: torch.randn_like(p) for name, p in theta.items()}

    def after(step: float) -> float:
        moved = {name: (p + step * direction[name]).detach().requires_grad_() for name, p in theta.items()}
        return query(adapt(moved, inner, rates, False)[0]).mean().item()

    difference = (after(3e-6) - after(-3e-6)) / 6e-6
    slope, other = (sum((g[name] * direction[name]).sum().item() for name in theta) for g in (exact, first))
    assert slope == pytest.approx(difference, rel=1e-5)
    assert abs(other - difference) > 100 * abs(slope - difference)  # at this rate the orders differ


def test_first_order_is_the_textbook_loop(double):
    """Copy the model and take SGD steps on the copy; the gradient there is the first-order meta-gradient."""
    agent = double
    *support, query = losses(agent)
    theta = agent.theta()
    ours = learn(theta, support, query, dict.fromkeys(theta, ALPHA), second_order=False).gradient
    twin = copy.deepcopy(agent.model)
    calls = Calls(twin)
    optimizer = torch.optim.SGD(twin.parameters(), ALPHA)
    mine, agent.model = agent.model, twin
    for loss in [*support, query]:
        optimizer.zero_grad()
        loss_of_twin = agent_loss(agent, loss, calls)
        loss_of_twin.backward()
        if loss is not query:
            optimizer.step()
    agent.model = mine
    for name, p in calls.params().items():
        torch.testing.assert_close(ours[name], p.grad, rtol=1e-9, atol=1e-12)


def agent_loss(agent, loss, calls):
    agent.calls, kept = calls, agent.calls
    found = loss(calls.params()).mean()
    agent.calls = kept
    return found


def test_leaving_out_is_adapting_fold_by_fold(double):
    agent = double
    parts = losses(agent)
    theta = agent.theta()
    rates = dict.fromkeys(theta, ALPHA)
    supports = [[1, 2], [], [0, 2], [0]]
    for support, ours in zip(supports, leave_out(theta, parts, supports, rates, 9.0), strict=True):
        plain = adapted(theta, [joined([parts[place] for place in support])] if support else [], rates, 9.0)
        for name in theta:
            torch.testing.assert_close(ours[name], plain[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('batch', [0, 1])
def test_folds_together_are_folds_alone(double, batch):
    """This also holds for several steps, when folds share only the first one."""
    agent = double
    agent.inner = replace(agent.inner, inner_batch=batch, eval_steps=STEPS, inner_lr=ALPHA)
    task = agent.observe(paml_tasks.message(paml_tasks.teacher()))['task']
    folds = [*task.folds, {**task.folds[0], 'support': []}]
    assert len(folds) == 4
    together = list(agent.people(replace(task, folds=folds)))
    for fold, theta in zip(folds, together, strict=True):
        alone = next(agent.people(replace(task, folds=[fold])))
        for name in theta:
            torch.testing.assert_close(theta[name], alone[name], rtol=1e-9, atol=1e-12)
    assert any((together[0][name] != agent.theta()[name]).any() for name in together[0])


def test_some_parameters_adapt():
    theta = {'x': torch.ones(2, requires_grad=True), 'y': torch.ones(2, requires_grad=True)}

    def loss(params):
        return Nll((params['x'] * params['y'] ** 2).sum(), 1)

    moved, _ = adapt(theta, [loss], {'x': 0.1}, second_order=True)
    assert moved['y'] is theta['y'] and moved['x'].tolist() == pytest.approx([0.9, 0.9])
    _, g = gradients(loss, theta, ['y'])
    assert list(g) == ['y']


class Shared(nn.Module):
    """One embedding under three names, one tied weight, as in ParlAI's generators and in GPT-2."""

    def __init__(self):
        super().__init__()
        self.embeddings = nn.Embedding(3, 2)
        self.inside = nn.Module()
        self.inside.embeddings = self.embeddings
        self.output = nn.Linear(2, 3, bias=False)
        self.output.weight = self.embeddings.weight


def test_lent_parameters_reach_all_places_and_are_given_back():
    model = Shared()
    own = model.embeddings.weight
    calls = Calls(model)
    lent = torch.randn(3, 2)
    assert list(calls.params()) == ['embeddings.weight']

    def look():
        return model.embeddings.weight, model.inside.embeddings.weight, model.output.weight

    assert all(seen is lent for seen in calls.run({'embeddings.weight': lent}, look))
    assert all(seen is own for seen in look())
    with pytest.raises(ZeroDivisionError):
        calls.run({'embeddings.weight': lent}, lambda: 1 / 0)
    assert all(seen is own for seen in look())


def test_memory_is_that_of_one_person(tmp_path):
    """The most that autograd keeps does not grow with the number of people in a meta-batch."""

    def most(people: int) -> int:
        agent = paml_tasks.agent(tmp_path, datatype='train')
        teacher = paml_tasks.teacher('train')
        observations = [agent.clone().observe(paml_tasks.message(teacher)) for _ in range(people)]
        live, peak = 0, 0

        def kept(tensor):
            nonlocal live, peak
            box, size = Box(tensor), tensor.nbytes
            live += size
            peak = max(peak, live)

            def gone():
                nonlocal live
                live -= size

            weakref.finalize(box, gone)
            return box

        gc.collect()
        with torch.autograd.graph.saved_tensors_hooks(kept, lambda box: box.tensor):
            agent.batch_act(observations)
        return peak

    few, many = most(2), most(12)
    assert many < 1.3 * few


class Box:
    def __init__(self, tensor):
        self.tensor = tensor
