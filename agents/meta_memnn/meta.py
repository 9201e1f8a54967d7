"""Learning which examples to learn from (Rajendran et al., eqs. 1-14). Knows only functions of parameters.

A loss is a function (theta, batch) -> loss of each example. Parameters are dictionaries of tensors. A batch is passed
on and never looked at. theta' depends on eta through the weights alone, and the gradient goes back through every
simulated step exactly.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Params = Mapping[str, Tensor]
PerExample = Callable[[Params, Any], Tensor]
State = Any


def gradients(loss: Tensor, params: Params, create_graph: bool = False) -> dict[str, Tensor]:
    """Return d loss / d params, only for those that the loss depends on."""
    free = {name: p for name, p in params.items() if p.requires_grad}
    grads = torch.autograd.grad(loss, list(free.values()), create_graph=create_graph, allow_unused=True)
    return {name: g for name, g in zip(free, grads, strict=True) if g is not None}


@dataclass(frozen=True)
class SGD:
    """theta - lr g."""

    lr: float

    def start(self, params: Params) -> State:
        return None

    def step(self, params: Params, grads: Params, state: State) -> tuple[dict[str, Tensor], State]:
        return {n: p.sub(grads[n], alpha=self.lr) if n in grads else p for n, p in params.items()}, state


@dataclass(frozen=True)
class Adam:
    """Adam as an expression that can be differentiated.

    The derivative of a root at zero is infinite. So the root is taken of v + eps^2, and eps is added to nothing: a
    step differs from Adam's by less than lr * eps / sqrt(v). Moments start at zero unless `start` is given some.
    """

    lr: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def start(self, params: Params) -> State:
        return {}

    def step(self, params: Params, grads: Params, state: State) -> tuple[dict[str, Tensor], State]:
        stepped, after = dict(params), dict(state)
        for name, g in grads.items():
            t, m, v = state.get(name, (0, torch.zeros_like(g), torch.zeros_like(g)))
            t, m, v = t + 1, self.beta1 * m + (1 - self.beta1) * g, self.beta2 * v + (1 - self.beta2) * g * g
            root = (v / (1 - self.beta2**t) + self.eps**2).sqrt()
            stepped[name] = params[name] - self.lr / (1 - self.beta1**t) * m / root
            after[name] = (t, m, v)
        return stepped, after


Rule = SGD | Adam


def simulate(
    loss: PerExample, theta: Params, batches: Sequence[Any], weights: Sequence[Tensor], rule: Rule, state: State = None
) -> dict[str, Tensor]:
    """Return theta' after a weighted update on each batch, as a differentiable function of the weights."""
    theta = dict(theta)
    state = rule.start(theta) if state is None else state
    for batch, w in zip(batches, weights, strict=True):
        total = (w * loss(theta, batch)).sum()  # eq. 6
        theta, state = rule.step(theta, gradients(total, theta, create_graph=True), state)  # eq. 7
    return theta


def meta_gradient(
    primary: PerExample,
    related: PerExample,
    weigh: Callable[[Params], Sequence[Tensor]],
    theta: Params,
    eta: Params,
    batches: Sequence[Any],
    held: Any,
    rule: Rule,
    state: State = None,
    touched: Container[str] | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Return d L_P(theta') / d eta (eqs. 8-10), and L_P(theta').

    `weigh(eta)` gives the weights of each of the related `batches`; `held` is the primary batch. The gradient is taken
    in two parts, as eq. 10 reads from the right: first to the weights, then through P_eta. `touched` names the
    parameters that the related loss depends on, if the caller knows them; the others then need no gradient.
    """
    theta = {name: p.detach().requires_grad_(touched is None or name in touched) for name, p in theta.items()}
    eta = {name: p.detach().requires_grad_() for name, p in eta.items()}
    weights = list(weigh(eta))
    leaves = [w.detach().requires_grad_() for w in weights]
    outer = primary(simulate(related, theta, batches, leaves, rule, state), held).sum()  # eq. 8
    to_weights = torch.autograd.grad(outer, leaves)
    grads = torch.autograd.grad(weights, list(eta.values()), to_weights, allow_unused=True)
    return {name: g for name, g in zip(eta, grads, strict=True) if g is not None}, outer.detach()
