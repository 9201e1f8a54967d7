"""Learning weights that a few steps of gradient descent make someone's (Madotto et al. 2019, sec. 2.2). Torch only.

A loss here is a function of named parameters that returns a sum over tokens and their number, so that losses of several
dialogues, and their gradients, add up. Its model is any module: `Calls` lends it other parameters.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

Params = dict[str, Tensor]
Rates = Mapping[str, Tensor | float]  # alpha of each parameter that adapts
Result = TypeVar('Result')


@dataclass(frozen=True)
class Nll:
    """Negative log-likelihood, summed over tokens."""

    total: Tensor
    tokens: float

    def mean(self) -> Tensor:
        return self.total / self.tokens

    def __add__(self, other: 'Nll') -> 'Nll':
        return Nll(self.total + other.total, self.tokens + other.tokens)


Loss = Callable[[Params], Nll]


class Calls(nn.Module):
    """Runs any code that uses a module while the module has other parameters. Nothing is copied."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        # Name of a parameter -> all places where it is. torch's own way with tied weights restores a module that has
        # several names (ParlAI's shared embeddings) in the wrong order, so that the lent parameters would stay.
        self.places: dict[str, list[str]] = {}
        first: dict[int, str] = {}
        for prefix, module in model.named_modules():  # each once
            for name, p in module.named_parameters(prefix, recurse=False):
                self.places.setdefault(first.setdefault(id(p), name), []).append(f'model.{name}')

    def params(self) -> Params:
        """theta: what can be learned, tied parameters once."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def forward(self, function: Callable[[], Result]) -> Result:
        return function()

    def run(self, params: Params, function: Callable[[], Result]) -> Result:
        lent = {place: p for name, p in params.items() for place in self.places[name]}
        return functional_call(self, lent, (function,), tie_weights=False)


def gradients(loss: Loss, theta: Params, names: Iterable[str], create_graph: bool = False) -> tuple[Nll, Params]:
    """Of the summed loss; zero for a parameter that has no part in it."""
    names = list(names)
    nll = loss(theta)
    found = torch.autograd.grad(
        nll.total, [theta[name] for name in names], create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
    return nll, dict(zip(names, found, strict=True))


def descend(theta: Params, g: Params, rates: Rates, tokens: float) -> Params:
    """eq. 3, for the mean over tokens (of which some may be a `prior`)."""
    return theta | {name: moved(theta[name], g[name], rates[name], tokens) for name in g}


def moved(p: Tensor, g: Tensor, rate: Tensor | float, tokens: float) -> Tensor:
    if isinstance(rate, Tensor):
        return p - rate / tokens * g
    return p.add(g, alpha=-rate / tokens)  # one pass over memory


def adapt(
    theta: Params, losses: Iterable[Loss], rates: Rates, second_order: bool, prior: float = 0.0
) -> tuple[Params, list[float]]:
    """theta': a step for each of the losses (mini-batches of the support), and what these were.

    With `second_order` the steps stay in the graph, so that theta' can be differentiated by theta. `prior` counts as so
    many tokens that theta says as they should be: of little evidence a step is smaller.
    """
    seen = []
    for loss in losses:
        nll, g = gradients(loss, theta, rates, create_graph=second_order)
        theta = descend(theta, g, rates, nll.tokens + prior)
        seen.append(nll.mean().item())
    return theta, seen


@dataclass(frozen=True)
class Lesson:
    """What one person teaches."""

    gradient: Params  # of the query's mean loss after adaptation (eq. 6)
    query: tuple[float, float]  # that loss as a sum over tokens, and their number
    support: list[float]  # mean losses before each inner step


def learn(
    theta: Params,
    support: Sequence[Loss],
    query: Loss,
    rates: Rates,
    second_order: bool = True,
    others: Params | None = None,
    prior: float = 0.0,
) -> Lesson:
    """One person's term of eq. 6. Without `second_order` the inner gradients count as constants (first-order MAML).
    `others`: what `rates` were computed from, if they are to be learned."""
    theta_i, seen = adapt(theta, support, rates, second_order, prior)
    nll = query(theta_i)
    wanted = theta | (others or {})
    found = torch.autograd.grad(nll.mean(), list(wanted.values()), allow_unused=True, materialize_grads=True)
    return Lesson(dict(zip(wanted, found, strict=True)), (nll.total.item(), nll.tokens), seen)


def leave_out(
    theta: Params, parts: Sequence[Loss], supports: Sequence[Sequence[int]], rates: Rates, prior: float = 0.0
) -> Iterator[Params]:
    """theta' after a step on all of each support, given as places in `parts` (a person's dialogues).

    The gradient at theta is a sum over dialogues: each is computed once, whatever the number of supports.
    """
    known: dict[int, tuple[Nll, Params]] = {}
    for place in sorted({place for support in supports for place in support}):
        nll, g = gradients(parts[place], theta, rates)
        known[place] = Nll(nll.total.detach(), nll.tokens), g
    for support in supports:
        if not support:
            yield theta
            continue
        tokens = sum(known[place][0].tokens for place in support)
        g = {name: sum_of([known[place][1][name] for place in support]) for name in rates}
        yield detached(descend(theta, g, rates, tokens + prior), ())


def adapted(theta: Params, losses: Iterable[Loss], rates: Rates, prior: float = 0.0) -> Params:
    """`adapt` for good: nothing of the way is kept."""
    for loss in losses:
        theta, _ = adapt(detached(theta, rates), [loss], rates, second_order=False, prior=prior)
    return detached(theta, ())


def detached(theta: Params, names: Iterable[str]) -> Params:
    """The same values without their past; those named can be differentiated by."""
    fresh = {name: p.detach() for name, p in theta.items()}
    return fresh | {name: fresh[name].requires_grad_() for name in names}


def sum_of(tensors: Sequence[Tensor]) -> Tensor:
    total = tensors[0].clone()
    for tensor in tensors[1:]:
        total += tensor
    return total
