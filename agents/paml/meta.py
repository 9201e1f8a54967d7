"""Meta-learning (Madotto et al. 2019, sec. 2.2): weights from which a few steps of gradient descent lead to a person.

Torch only. A loss is a function of named parameters. It returns a sum over tokens and their number, so the losses of
several dialogues, and their gradients, add up. The model can be any module: `Calls` runs it with other parameters.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from parlai_persona.errors import UserError
from parlai_persona.flags import flag

Params = dict[str, Tensor]
Rates = Mapping[str, Tensor | float]  # alpha of each parameter that adapts
Result = TypeVar('Result')
ALL = 'all'


@dataclass(frozen=True)
class Inner:
    """The options of the inner learning, that is, of adapting to a person."""

    inner_lr: float = flag(0.01, 'alpha, the rate of the inner SGD (sec. 3); learned rates start from it')
    inner_steps: int = flag(1, 'training: passes over the support dialogues', least=0)
    eval_steps: int = flag(
        10, 'evaluation and conversation: passes over the support dialogues; 0: no adaptation', least=0
    )
    inner_batch: int = flag(16, 'replies in an inner step (sec. 3); 0: all of the support', least=0)
    prior: float = flag(
        0.0,
        'the gradient of an inner step is the sum over its tokens, divided by their number plus this: a person who has '
        'said little moves the weights less',
        least=0,
    )
    order: str = flag(
        'second',
        'of the meta-gradient: second is exact; first takes the inner gradients for constants',
        choices=('second', 'first'),
    )
    adapt: str = flag(ALL, "what adapts: 'all', or a regular expression for the names of parameters (norm)")
    learn_rates: bool = flag(False, 'learn a rate alpha for each parameter tensor')
    delta: str | None = flag(None, 'start as the person in this file, written by --paml-save-delta', metavar='FILE')
    save_delta: str | None = flag(
        None,
        'write what adapting changed in the weights to this file, whenever a conversation begins with dialogues',
        metavar='FILE',
    )

    def adapting(self, names: Iterable[str]) -> list[str]:
        """Return those of the parameters that adapt."""
        names = list(names)
        matching = [name for name in names if self.adapt == ALL or re.search(self.adapt, name)]
        if not matching:
            raise UserError(
                f'--paml-adapt {self.adapt!r} matches no parameter; there are {", ".join(names[:8])} and '
                f'{max(0, len(names) - 8)} more'
            )
        return matching


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
        # Name of a parameter -> all its places in the module. torch's own treatment of tied weights restores a module
        # with several names (ParlAI's shared embeddings) in the wrong order, and the other parameters would stay.
        self.places: dict[str, list[str]] = {}
        first: dict[int, str] = {}
        for prefix, module in model.named_modules():  # each once
            for name, p in module.named_parameters(prefix, recurse=False):
                self.places.setdefault(first.setdefault(id(p), name), []).append(f'model.{name}')

    def params(self) -> Params:
        """Return theta: the parameters that can be learned, tied ones once."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def forward(self, function: Callable[[], Result]) -> Result:
        return function()

    def run(self, params: Params, function: Callable[[], Result]) -> Result:
        """Return the result of `function` while the model has these parameters."""
        lent = {place: p for name, p in params.items() for place in self.places[name]}
        return functional_call(self, lent, (function,), tie_weights=False)


def gradients(loss: Loss, theta: Params, names: Iterable[str], create_graph: bool = False) -> tuple[Nll, Params]:
    """Return the loss and the gradient of its sum (zeros for unused parameters)."""
    names = list(names)
    nll = loss(theta)
    tensors = [theta[name] for name in names]
    g = torch.autograd.grad(nll.total, tensors, create_graph=create_graph, allow_unused=True, materialize_grads=True)
    return nll, dict(zip(names, g, strict=True))


def descend(theta: Params, g: Params, rates: Rates, tokens: float) -> Params:
    """Take the step of eq. 3 for the mean over tokens, given the gradient of the sum."""
    return theta | {name: moved(theta[name], g[name], rates[name], tokens) for name in g}


def moved(p: Tensor, g: Tensor, rate: Tensor | float, tokens: float) -> Tensor:
    if isinstance(rate, Tensor):
        return p - rate / tokens * g
    return p.add(g, alpha=-rate / tokens)  # one pass over memory


def adapt(
    theta: Params, losses: Iterable[Loss], rates: Rates, second_order: bool, prior: float = 0.0
) -> tuple[Params, list[float]]:
    """Return theta' after a step for each loss (a mini-batch of the support), and the losses before each step.

    With `second_order` the steps stay in the graph, so theta' can be differentiated by theta. `prior` is added to the
    number of tokens of a step.
    """
    seen = []
    for loss in losses:
        nll, g = gradients(loss, theta, rates, create_graph=second_order)
        theta = descend(theta, g, rates, nll.tokens + prior)
        seen.append(nll.mean().item())
    return theta, seen


@dataclass(frozen=True)
class Lesson:
    """The gradient and the losses from learning with one person."""

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
    """Return one person's term of eq. 6.

    Without `second_order` the inner gradients count as constants (first-order MAML). `others` are parameters beside
    theta to differentiate by: those that learned rates were computed from.
    """
    theta_i, seen = adapt(theta, support, rates, second_order, prior)
    nll = query(theta_i)
    learned = theta | (others or {})
    g = torch.autograd.grad(nll.mean(), list(learned.values()), allow_unused=True, materialize_grads=True)
    return Lesson(dict(zip(learned, g, strict=True)), (nll.total.item(), nll.tokens), seen)


def leave_out(
    theta: Params, dialogues: Sequence[Loss], supports: Sequence[Sequence[int]], rates: Rates, prior: float = 0.0
) -> Iterator[Params]:
    """Yield theta' after one step on all of each support, which is a list of places in `dialogues`.

    The gradient at theta is a sum over dialogues. Each dialogue's is computed once, whatever the number of supports.
    """
    known: dict[int, tuple[Nll, Params]] = {}
    for place in sorted({place for support in supports for place in support}):
        nll, g = gradients(dialogues[place], theta, rates)
        known[place] = Nll(nll.total.detach(), nll.tokens), g
    for support in supports:
        if not support:
            yield theta
            continue
        tokens = sum(known[place][0].tokens for place in support)
        g = {name: sum_of([known[place][1][name] for place in support]) for name in rates}
        yield detached(descend(theta, g, rates, tokens + prior), ())


def adapted(theta: Params, losses: Iterable[Loss], rates: Rates, prior: float = 0.0) -> Params:
    """Return theta' as `adapt` does, without what is needed to differentiate it."""
    for loss in losses:
        theta, _ = adapt(detached(theta, rates), [loss], rates, second_order=False, prior=prior)
    return detached(theta, ())


def detached(theta: Params, names: Iterable[str]) -> Params:
    """Return the same values cut off from the graph; only the parameters in `names` require a gradient."""
    fresh = {name: p.detach() for name, p in theta.items()}
    return fresh | {name: fresh[name].requires_grad_() for name in names}


def sum_of(tensors: Sequence[Tensor]) -> Tensor:
    total = tensors[0].clone()
    for tensor in tensors[1:]:
        total += tensor
    return total
