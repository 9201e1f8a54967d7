"""The training iteration of Rajendran et al., sec. 3.2, for R runs side by side, and every row of their Table 2."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from parlai_persona.agents.meta_memnn import meta
from parlai_persona.agents.meta_memnn.model import DialogModel, WeightModel, joined
from parlai_persona.agents.meta_memnn.stories import Batch, StoryTable
from parlai_persona.flags import flag

MODES = ('learned', 'primary', 'pretrain', 'joint', 'multitask', 'random_fixed', 'random_changing')
ONE_HEAD = ('primary', 'pretrain', 'joint')  # the others have a head for each task
BINS = 20  # of the histograms of weights
PRIMARY, RELATED = 'primary', 'related'  # names of heads


@dataclass(frozen=True)
class Recipe:
    """How to learn; the paper's values (sec. 3.3, appendix B.2)."""

    mode: str = flag('learned', "how to use related tasks: the rows of the paper's Table 2", choices=MODES)
    batch: int = flag(
        32,
        'examples in a related batch, and in the primary batches that judge the weights (B.2); the first primary '
        'batch of an iteration has --batchsize',
        least=1,
    )
    alpha: float = 1e-3  # rate of the primary and related updates (Adam); the paper's alpha and beta
    gamma: float = flag(1e-3, 'rate of the updates of eta, by Adam (eq. 9)')
    updates: int = flag(10, 'updates of eta in an iteration (B.2)', least=1)
    steps: int = flag(5, 'steps simulated for each of them (B.2)', least=1)
    inner: str = flag('sgd', 'rule of the simulated steps (eq. 7)', choices=('sgd', 'adam'))
    beta: float = flag(1e-3, 'rate of the simulated steps (eq. 7)')
    pretraining: int = flag(2000, 'iterations on related examples alone (mode pretrain)')

    def rule(self) -> meta.Rule:
        return meta.SGD(self.beta) if self.inner == 'sgd' else meta.Adam(self.beta)


@dataclass
class Pool:
    """The examples of a task that each run may learn from, drawn as shuffled passes."""

    table: StoryTable
    members: list[np.ndarray]  # of each run
    rngs: list[np.random.Generator]
    order: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.order = self.order or [members[:0] for members in self.members]

    def draw(self, count: int) -> np.ndarray:
        """(R, count)"""
        for run, (members, rng) in enumerate(zip(self.members, self.rngs, strict=True)):
            while len(self.order[run]) < count:
                self.order[run] = np.concatenate([self.order[run], rng.permutation(members)])
        drawn = np.stack([order[:count] for order in self.order])
        self.order = [order[count:] for order in self.order]
        return drawn


class Learner:
    """theta, eta and their optimisers. `iterate` is one iteration; batches may be given, else they are drawn."""

    def __init__(
        self,
        recipe: Recipe,
        model: DialogModel,
        weigher: WeightModel,
        theta: dict[str, Tensor],
        eta: dict[str, Tensor],
        primary: Pool,
        related: Sequence[Pool],
        seeds: Sequence[int],
        descend: Callable[[Tensor], None] | None = None,
        device: str = 'cpu',
        judge: Pool | None = None,
    ):
        """`descend` takes a step of theta down a loss; without it, Adam does. `judge` has the examples on which the
        simulated model is judged (eq. 8); without it, the primary training examples are."""
        self.recipe, self.model, self.weigher = recipe, model, weigher
        self.theta = {name: p.requires_grad_() for name, p in theta.items()}
        self.eta = {name: p.requires_grad_() for name, p in eta.items()}
        self.primary, self.related, self.judge = primary, list(related), judge
        self.device = device
        self.descend = descend or self.descend_by_adam
        self.theta_optimizer = None if descend else torch.optim.Adam(self.theta.values(), lr=recipe.alpha, fused=True)
        self.eta_optimizer = torch.optim.Adam(self.eta.values(), lr=recipe.gamma, fused=True) if eta else None
        self.view = {name: p.detach() for name, p in self.theta.items()}  # the same numbers, without gradient
        self.touched: frozenset[str] | None = None
        self.iteration = 0
        self.rngs = [np.random.default_rng((seed, 7)) for seed in seeds]
        self.fixed = {
            pool.table.head: np.stack(
                [np.random.default_rng((seed, 8, n)).random(len(pool.table), np.float32) for seed in seeds]
            )
            for n, pool in enumerate(self.related)
        }  # weights of mode random_fixed, (R, examples) for each related task

    # ------------------------------------------------------------------------------------- losses

    def losses(self, theta: meta.Params, batches: Sequence[Batch]) -> Tensor:
        """(R, B): the losses of the batches one after the other."""
        return joined([self.model.losses(theta, batch) for batch in batches], -1)

    def weights(self, eta: meta.Params, batches: Sequence[Batch]) -> Tensor:
        return joined([self.weigher.weights(eta, batch) for batch in batches], -1)

    def weights_of_steps(self, eta: meta.Params, steps: Sequence[Sequence[Batch]]) -> tuple[Tensor, ...]:
        """The weights of several batches of each task, from one call of P_eta for each task."""
        tasks = zip(*steps, strict=True)
        together = [
            batches[0].table.batch(np.concatenate([batch.index for batch in batches], 1), self.device)
            for batches in tasks
        ]
        each = [self.weigher.weights(eta, batch).unflatten(1, (len(steps), -1)) for batch in together]  # (R, T, B)
        return joined(each, -1).unbind(1)

    # ------------------------------------------------------------------------------------- batches

    def pools(self) -> list[Pool]:
        return [self.primary, *self.related, *([self.judge] if self.judge else [])]

    def draw(self, pool: Pool) -> Batch:
        return pool.table.batch(pool.draw(self.recipe.batch), self.device)

    def draw_primary(self) -> list[Batch]:
        return [self.draw(self.primary)]

    def draw_judge(self) -> list[Batch]:
        """The primary batch of eq. 8."""
        return [self.draw(self.judge or self.primary)]

    def draw_related(self) -> list[Batch]:
        """A batch of each related task."""
        return [self.draw(pool) for pool in self.related]

    # ------------------------------------------------------------------------------------- updates

    def update(self, losses: Tensor, weights: Tensor | None = None) -> Tensor:
        """theta <- theta - alpha g (eqs. 2 and 5); the loss of each run."""
        loss = (losses if weights is None else weights * losses).sum(-1)
        for p in self.eta.values():
            p.grad = None  # or it would count where the gradient of a whole model is clipped
        self.descend(loss.sum())
        for p in self.theta.values():
            increment_version(p)  # what was computed from theta is old; fused optimisers do not say so
        return loss.detach()

    def descend_by_adam(self, loss: Tensor) -> None:
        assert self.theta_optimizer
        self.theta_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.theta_optimizer.step()

    def update_related(self) -> Tensor:
        batches = self.draw_related()
        return self.update(self.losses(self.theta, batches), self.related_weights(batches))

    def related_weights(self, batches: Sequence[Batch]) -> Tensor | None:
        mode = self.recipe.mode
        if mode == 'learned':
            with torch.no_grad():
                return self.weights(self.eta, batches)
        if mode == 'random_fixed':
            runs = np.arange(len(self.rngs))[:, None]
            fixed = np.concatenate([self.fixed[batch.table.head][runs, batch.index] for batch in batches], -1)
            return torch.from_numpy(fixed).to(self.device)
        if mode == 'random_changing':
            count = sum(batch.index.shape[1] for batch in batches)
            return torch.from_numpy(np.stack([rng.random(count, np.float32) for rng in self.rngs])).to(self.device)
        return None

    def update_weights(self) -> Tensor:
        """One update of eta (eqs. 6-10); the loss of the simulated model."""
        batches = [self.draw_related() for _ in range(self.recipe.steps)]
        grads, outer = meta.meta_gradient(
            self.losses,
            self.losses,
            lambda eta: self.weights_of_steps(eta, batches),
            self.view,
            self.eta,
            batches,
            self.draw_judge(),
            self.recipe.rule(),
            touched=self.related_names(),
        )
        for name, p in self.eta.items():
            p.grad = grads.get(name)
        assert self.eta_optimizer, 'weights are learned without eta'
        self.eta_optimizer.step()
        return outer

    def related_names(self) -> frozenset[str]:
        """The parameters that the related loss depends on."""
        if self.touched is None:
            loss = self.losses(self.theta, self.draw_related()).sum()
            self.touched = frozenset(meta.gradients(loss, self.theta))
        return self.touched

    # ------------------------------------------------------------------------------------- iteration

    def iterate(self, batch: list[Batch] | None = None) -> dict[str, Tensor]:
        """One iteration on `batch` of the primary task; what happened, for each run."""
        mode, seen = self.recipe.mode, {}
        self.iteration += 1
        if mode == 'pretrain' and self.iteration <= self.recipe.pretraining:
            return {'related_loss': self.update_related() / self.recipe.batch}
        batch = batch or self.draw_primary()
        if mode == 'joint':
            return {'joint_loss': self.update_joint(batch) / self.recipe.batch}
        seen['primary_loss'] = self.update(self.losses(self.theta, batch)) / self.recipe.batch  # step 1
        if mode not in ('primary', 'pretrain'):
            seen['related_loss'] = self.update_related() / self.recipe.batch  # step 2
        if mode == 'learned':
            outer = [self.update_weights() for _ in range(self.recipe.updates)]  # step 3
            seen['outer_loss'] = torch.stack(outer).mean(0) / self.recipe.batch
        return seen

    def update_joint(self, batch: list[Batch]) -> Tensor:
        """A batch of the two data sets shuffled together: each task has its share of it, drawn for each run."""
        losses = self.losses(self.theta, [*batch, *self.draw_related()])
        size = self.recipe.batch
        kept = np.zeros(losses.shape, np.float32)
        for run, rng in enumerate(self.rngs):
            sizes = np.array([len(pool.members[run]) for pool in (self.primary, *self.related)])
            for task, count in enumerate(rng.multinomial(size, sizes / sizes.sum())):
                kept[run, task * size : task * size + count] = 1
        return self.update(losses, torch.from_numpy(kept).to(self.device))

    # ------------------------------------------------------------------------------------- reading off

    @torch.no_grad()
    def correct(self, table: StoryTable, index: np.ndarray, chunk: int = 512) -> np.ndarray:
        """Whether the best candidate is the reply, for examples `index` (R, N)."""
        size = max(1, chunk // len(index))
        found = []
        for start in range(0, index.shape[1], size):
            batch = table.batch(index[:, start : start + size], self.device)
            found.append((self.model.scores(self.view, batch).argmax(-1) == batch.target).cpu().numpy())
        return np.concatenate(found, 1)

    @torch.no_grad()
    def all_weights(self, number: int = 0, chunk: int = 512) -> np.ndarray:
        """The weights of every example of a related task, (R, N)."""
        table, runs = self.related[number].table, len(self.rngs)
        if self.recipe.mode == 'random_fixed':
            return self.fixed[table.head]
        if self.recipe.mode != 'learned':
            return np.ones((runs, len(table)), np.float32)
        found = []
        for start in range(0, len(table), chunk):
            index = np.tile(np.arange(start, min(start + chunk, len(table))), (runs, 1))
            found.append(self.weigher.weights(self.eta, table.batch(index, self.device)).cpu().numpy())
        return np.concatenate(found, 1)

    def histogram(self, number: int = 0) -> np.ndarray:
        """How many examples of a related task have a weight in each of equal bins, (R, BINS)."""
        return np.stack([np.histogram(own, BINS, (0, 1))[0] for own in self.all_weights(number)])

    # ------------------------------------------------------------------------------------- saving

    def state_dict(self) -> dict[str, Any]:
        return {
            'theta': {name: p.detach() for name, p in self.theta.items()},
            'eta': {name: p.detach() for name, p in self.eta.items()},
            'optimizers': [o.state_dict() if o else None for o in (self.theta_optimizer, self.eta_optimizer)],
            'iteration': self.iteration,
            'touched': self.touched,
            'rngs': [rng.bit_generator.state for rng in self.rngs],
            'pools': [
                {'order': pool.order, 'rngs': [rng.bit_generator.state for rng in pool.rngs]} for pool in self.pools()
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for mine, theirs in ((self.theta, state['theta']), (self.eta, state['eta'])):
                for name, p in mine.items():
                    p.copy_(theirs[name])
        for optimizer, kept in zip((self.theta_optimizer, self.eta_optimizer), state['optimizers'], strict=True):
            if optimizer:
                optimizer.load_state_dict(kept)
        self.iteration, self.touched = state['iteration'], state['touched']
        for rng, kept in zip(self.rngs, state['rngs'], strict=True):
            rng.bit_generator.state = kept
        for pool, kept in zip(self.pools(), state['pools'], strict=True):
            pool.order = list(kept['order'])
            for rng, rng_state in zip(pool.rngs, kept['rngs'], strict=True):
                rng.bit_generator.state = rng_state
