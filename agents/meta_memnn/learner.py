"""The training iteration of Rajendran et al., sec. 3.2, and that of every other row of their Table 2."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parlai_persona.agents.meta_memnn import meta
from parlai_persona.agents.meta_memnn.batches import Batch, StoryTable
from parlai_persona.agents.meta_memnn.model import DialogModel, WeightModel
from parlai_persona.flags import flag

MODES = ('learned', 'primary', 'pretrain', 'joint', 'multitask', 'random_fixed', 'random_changing')
ONE_HEAD = ('primary', 'pretrain', 'joint')  # the others have a head for each task
PRIMARY, RELATED = 'primary', 'related'  # names of heads
BINS = 20  # of the histograms of weights


@dataclass(frozen=True)
class Recipe:
    """Options of learning, with the paper's values (sec. 3.3, appendix B.2). --learningrate is alpha, theta's rate."""

    mode: str = flag('learned', "how to use related tasks: the rows of the paper's Table 2", choices=MODES)
    batch: int = flag(
        32,
        'examples in a related batch, and in the primary batches that judge the weights (B.2); the first primary '
        'batch of an iteration has --batchsize',
        least=1,
    )
    gamma: float = flag(1e-3, 'rate of the updates of eta, by Adam (eq. 9)')
    updates: int = flag(10, 'updates of eta in an iteration (B.2)', least=1)
    steps: int = flag(5, 'steps simulated for each of them (B.2)', least=1)
    inner: str = flag('sgd', 'rule of the simulated steps (eq. 7)', choices=('sgd', 'adam'))
    beta: float = flag(1e-3, 'rate of the simulated steps (eq. 7)')
    pretraining: int = flag(2000, 'iterations on related examples alone (mode pretrain)')

    def rule(self) -> meta.Rule:
        return meta.SGD(self.beta) if self.inner == 'sgd' else meta.Adam(self.beta)


class Pool:
    """The examples of a task to learn from, drawn in shuffled passes."""

    def __init__(self, table: StoryTable, members: np.ndarray, rng: np.random.Generator):
        self.table, self.members, self.rng = table, members, rng
        self.order = members[:0]  # what is left of the pass

    def draw(self, count: int, device: torch.device | str = 'cpu') -> Batch:
        while len(self.order) < count:
            self.order = np.concatenate([self.order, self.rng.permutation(self.members)])
        drawn, self.order = self.order[:count], self.order[count:]
        return self.table.batch(drawn, device)

    def state_dict(self) -> dict[str, Any]:
        return {'order': torch.from_numpy(self.order.copy()), 'rng': self.rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.order = state['order'].numpy()
        self.rng.bit_generator.state = state['rng']


class Learner:
    """The parameters theta and eta, and the iteration that changes them."""

    def __init__(
        self,
        recipe: Recipe,
        model: DialogModel,
        weigher: WeightModel,
        theta: Mapping[str, Tensor],
        eta: Mapping[str, Tensor],
        primary: Pool,
        related: Sequence[Pool],
        seed: int,
        descend: Callable[[Tensor], None],
        judge: Pool | None = None,
    ):
        """`descend` takes a step of theta down a loss. `judge` has the examples on which the simulated model is judged
        (eq. 8); without it the primary training examples are."""
        self.recipe, self.model, self.weigher, self.descend = recipe, model, weigher, descend
        self.theta = {name: p.requires_grad_() for name, p in theta.items()}
        self.eta = {name: p.requires_grad_() for name, p in eta.items()}
        self.primary, self.related, self.judge = primary, list(related), judge or primary
        self.eta_optimizer = torch.optim.Adam(self.eta.values(), lr=recipe.gamma, fused=True) if eta else None
        self.touched: frozenset[str] | None = None
        self.iteration = 0
        self.device = self.theta['H'].device
        self.rng = np.random.default_rng((seed, 7))
        draws = [np.random.default_rng((seed, 8, n)) for n in range(len(related))]
        self.fixed = {
            pool.table.head: rng.random(len(pool.table), np.float32) for pool, rng in zip(related, draws, strict=True)
        }

    # ----------------------------------------------------------------------------------- iteration

    def iterate(self, batch: Batch | None = None) -> dict[str, float]:
        """Do one iteration, on `batch` of the primary task or on one drawn here; return its mean losses."""
        mode, size = self.recipe.mode, self.recipe.batch
        self.iteration += 1
        if mode == 'pretrain' and self.iteration <= self.recipe.pretraining:
            return {'related_loss': self.update_related() / size}
        batch = batch or self.draw(self.primary)
        if mode == 'joint':
            return {'joint_loss': self.update_joint(batch) / size}
        losses = self.model.losses(self.theta, batch)
        seen = {'primary_loss': self.update(losses) / len(losses)}  # step 1, eqs. 1 and 2
        if mode not in ('primary', 'pretrain'):
            seen['related_loss'] = self.update_related() / size  # step 2
        if mode == 'learned':
            outer = [self.update_weights() for _ in range(self.recipe.updates)]  # step 3
            seen['outer_loss'] = sum(outer) / len(outer) / size
        return seen

    def update(self, losses: Tensor) -> float:
        """theta <- theta - alpha g (eqs. 2 and 5). Return the loss of the batch."""
        loss = losses.sum()
        for p in self.eta.values():
            p.grad = None  # ParlAI clips the gradient of the whole model, eta included
        self.descend(loss)
        return loss.item()

    def update_related(self) -> float:
        """Learn from a batch of each related task."""
        batches = self.draw_related()
        return self.update(self.related_weights(batches) * self.losses(self.theta, batches))  # eqs. 4 and 5

    def update_joint(self, batch: Batch) -> float:
        """Learn from a batch of all data sets shuffled together: each task has its share of it."""
        related = self.draw_related()
        sizes = np.array([len(pool.members) for pool in (self.primary, *self.related)])
        counts = self.rng.multinomial(self.recipe.batch, sizes / sizes.sum())
        own = batch if len(batch.index) >= counts[0] else self.draw(self.primary)
        drawn = zip([own, *related], counts, strict=True)
        losses = [self.model.losses(self.theta, batch)[:count] for batch, count in drawn]
        return self.update(torch.cat(losses))

    def update_weights(self) -> float:
        """Update eta once (eqs. 6-10). Return the loss of the simulated model."""
        batches = [self.draw_related() for _ in range(self.recipe.steps)]
        grads, outer = meta.meta_gradient(
            self.model.losses,
            self.losses,
            lambda eta: [self.weights(eta, step) for step in batches],
            self.theta,
            self.eta,
            batches,
            self.draw(self.judge),
            self.recipe.rule(),
            touched=self.related_names(),
        )
        for name, p in self.eta.items():
            p.grad = grads.get(name)
        assert self.eta_optimizer, 'weights are learned without eta'
        self.eta_optimizer.step()  # eq. 9
        return outer.item()

    # ----------------------------------------------------------------------------- related examples

    def losses(self, theta: meta.Params, batches: Sequence[Batch]) -> Tensor:
        """Return the losses of the examples of all batches."""
        return torch.cat([self.model.losses(theta, batch) for batch in batches])

    def weights(self, eta: meta.Params, batches: Sequence[Batch]) -> Tensor:
        """Return their weights (eq. 3)."""
        return torch.cat([self.weigher.weights(eta, batch) for batch in batches])

    def related_weights(self, batches: Sequence[Batch]) -> Tensor:
        """Return the weights of step 2, as the mode has them."""
        count = sum(len(batch.index) for batch in batches)
        if self.recipe.mode == 'learned':
            with torch.no_grad():
                return self.weights(self.eta, batches)
        if self.recipe.mode == 'random_fixed':
            weights = np.concatenate([self.fixed[batch.table.head][batch.index] for batch in batches])
        elif self.recipe.mode == 'random_changing':
            weights = self.rng.random(count, np.float32)
        else:
            weights = np.ones(count, np.float32)
        return torch.from_numpy(weights).to(self.device)

    def related_names(self) -> frozenset[str]:
        """Return the names of the parameters that the related loss depends on."""
        if self.touched is None:
            loss = self.losses(self.theta, self.draw_related()).sum()
            self.touched = frozenset(meta.gradients(loss, self.theta))
        return self.touched

    def draw(self, pool: Pool) -> Batch:
        return pool.draw(self.recipe.batch, self.device)

    def draw_related(self) -> list[Batch]:
        return [self.draw(pool) for pool in self.related]

    # ----------------------------------------------------------------------------- what was learned

    @torch.no_grad()
    def all_weights(self, number: int = 0, chunk: int = 512) -> np.ndarray:
        """Return the weights of every example of a related task."""
        table = self.related[number].table
        places = [np.arange(start, min(start + chunk, len(table))) for start in range(0, len(table), chunk)]
        return np.concatenate([self.weigher.weights(self.eta, table.batch(at, self.device)).cpu() for at in places])

    def histogram(self, number: int = 0) -> list[int]:
        """Return how many examples of a related task have a weight in each of equal bins."""
        return np.histogram(self.all_weights(number), BINS, (0, 1))[0].tolist()

    # --------------------------------------------------------------------------------------- saving

    def pools(self) -> list[Pool]:
        own_judge = [self.judge] if self.judge is not self.primary else []
        return [self.primary, *self.related, *own_judge]

    def state_dict(self) -> dict[str, Any]:
        """Return everything except theta, eta and the optimiser of theta, which the agent saves."""
        return {
            'eta_optimizer': self.eta_optimizer.state_dict() if self.eta_optimizer else None,
            'iteration': self.iteration,
            'touched': sorted(self.touched) if self.touched else None,
            'rng': self.rng.bit_generator.state,
            'pools': [pool.state_dict() for pool in self.pools()],
            'fixed': {head: torch.from_numpy(weights) for head, weights in self.fixed.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.eta_optimizer:
            self.eta_optimizer.load_state_dict(state['eta_optimizer'])
        self.iteration = state['iteration']
        self.touched = frozenset(state['touched']) if state['touched'] else None
        self.rng.bit_generator.state = state['rng']
        for pool, kept in zip(self.pools(), state['pools'], strict=True):
            pool.load_state_dict(kept)
        self.fixed |= {head: weights.numpy() for head, weights in state.get('fixed', {}).items()}
