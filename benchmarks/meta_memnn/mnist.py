r"""Table 1 of Rajendran et al.: digits, learned from labels (75 % of them wrong) and a flag that says which are wrong.

    python -m benchmarks.meta_memnn.mnist                                   # all rows, five runs each
    python -m benchmarks.meta_memnn.mnist --modes learned oracle --images centred --alpha 5e-5 --gamma 1e-2 \
        --beta 4e-6 --iterations 5000 --figure w.png                        # and the weights as histograms

M_theta is a logistic regression, P_eta a perceptron (sec. 4.1, appendix A). Theta learns from the related data alone
(steps 2 and 3 of the method); the primary data are the same images with right labels. With few images other rates than
the paper's tell right labels from wrong ones better (benchmarks/README.md has the reasons). Ctrl-C at any time; the
same line goes on with the first run that has no rows. Without --folder and without data/mnist, scikit-learn's digits
stand in for MNIST, 8 x 8 pixels.
"""

import argparse
import itertools
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from benchmarks.common import record
from benchmarks.meta_memnn import digits as data
from benchmarks.meta_memnn.digits import Batch, Digits, Tasks, random
from parlai_persona.agents.meta_memnn import meta
from parlai_persona.agents.meta_memnn.weights import draw, pyplot

MODES = ('learned', 'oracle', 'ones', 'random_fixed', 'random_changing')
MOMENTS = (0, 1 / 10, 1 / 3, 1)  # of the training at which the weights are counted


@dataclass(frozen=True)
class Recipe:
    """How to learn; the paper's values (appendix A.1). Losses are sums over a batch, as in eqs. 4, 6 and 8."""

    mode: str = 'learned'
    batch: int = 256
    iterations: int = 15_000
    alpha: float = 1e-3  # rate of the updates of theta (Adam)
    gamma: float = 1e-3  # rate of the updates of eta (Adam)
    beta: float = 1e-3  # rate of the simulated step (gradient descent)
    images: str = 'raw'  # what P_eta sees: 'raw', or 'centred', without the mean of the training images

    def method(self) -> str:
        """Return the mode and what differs from the paper's recipe."""
        changed = ', '.join(f'{name} {value}' for name, value in self.changes().items())
        return f'{self.mode} ({changed})' if changed else self.mode

    def changes(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if k != 'mode' and v != getattr(Recipe, k)}


def start(seed: int, use: int, inputs: int, **shapes: tuple[int, ...]) -> dict[str, Tensor]:
    """Draw the parameters of a linear map: uniform within 1 / sqrt(number of inputs)."""
    drawn = {
        name: random(seed, data.START, use, n).uniform(-1, 1, shape) for n, (name, shape) in enumerate(shapes.items())
    }
    return {name: torch.tensor(values / inputs**0.5, dtype=torch.float32) for name, values in drawn.items()}


def start_theta(seed: int, pixels: int) -> dict[str, Tensor]:
    return start(seed, 0, pixels, W=(pixels, data.CLASSES), b=(1, data.CLASSES))


def start_eta(seed: int, pixels: int) -> dict[str, Tensor]:
    return start(seed, 1, pixels + data.CLASSES + 2, image=(pixels, 1), label=(data.CLASSES,), right=(2,), b=(1,))


def accuracy(theta: meta.Params, x: Tensor, y: Tensor) -> float:
    return ((x @ theta['W'] + theta['b']).argmax(-1) == y).double().mean().item()


def losses(theta: meta.Params, batch: Batch) -> Tensor:
    """Return L(M_theta(c_i), a_i), the cross-entropy of each example, (B,)."""
    return F.cross_entropy(batch.x @ theta['W'] + theta['b'], batch.label, reduction='none')


def weights(eta: meta.Params, batch: Batch, mean: Tensor) -> Tensor:
    """Return w_i = sigma(P_eta(c_i, a_i)) (eq. 3), (B,). Label and flag enter as one-hot vectors."""
    p = ((batch.x - mean) @ eta['image']).squeeze(-1) + eta['b']
    return torch.sigmoid(p + eta['label'][batch.label] + eta['right'][batch.right])


class Training:
    """One run of one row of the table."""

    def __init__(self, recipe: Recipe, tasks: Tasks):
        self.recipe, self.tasks, pixels = recipe, tasks, tasks.digits.x.shape[1]
        self.theta = {name: p.requires_grad_() for name, p in start_theta(tasks.seed, pixels).items()}
        self.eta = start_eta(tasks.seed, pixels)
        self.theta_optimizer = torch.optim.Adam(self.theta.values(), lr=recipe.alpha)
        self.eta_optimizer = torch.optim.Adam(self.eta.values(), lr=recipe.gamma)
        self.mean = tasks.digits.x.mean(0) * float(recipe.images == 'centred')
        self.fixed = torch.from_numpy(random(tasks.seed, data.FIXED).random(len(tasks.train), np.float32))
        self.given = torch.zeros(recipe.iterations, 2, 2)  # in step 2: [wrong, right][sum of weights, number]
        self.histograms: list[dict[str, Any]] = []
        self.best, self.kept = -1.0, self.theta  # the best theta on validation

    def train(self, every: int = 50) -> 'Training':
        recipe, tasks, total = self.recipe, self.tasks, self.recipe.iterations
        draws = zip(*(tasks.batches(use, recipe.batch) for use in (data.STEP_2, data.STEP_3, data.HELD)), strict=True)
        moments = {round(part * total) for part in MOMENTS if recipe.mode == 'learned'}
        for number in tqdm(range(total + 1), f'{recipe.mode}, seed {tasks.seed}', mininterval=5):
            if number in moments:
                self.histograms += self.count_weights(number)
            if number % every == 0 or number == total:
                self.validate()
            if number < total:
                self.iterate(number, *next(draws))
        return self

    def iterate(self, number: int, places: np.ndarray, related: np.ndarray, held: np.ndarray) -> None:
        batch = self.tasks.related(places)
        w = self.related_weights(number, places, batch)
        grads = meta.gradients((w * losses(self.theta, batch)).sum(), self.theta)  # step 2, eq. 4
        step(self.theta_optimizer, self.theta, grads)  # eq. 5
        if self.recipe.mode == 'learned':
            kinds = torch.stack([1 - batch.right, batch.right])  # (2, B)
            self.given[number] = torch.stack([(kinds * w).sum(-1), kinds.sum(-1)], -1)
            self.update_eta(self.tasks.related(related), self.tasks.primary(held))

    def update_eta(self, related: Batch, held: Batch) -> None:
        """Do step 3 on new batches of both tasks."""
        models, rule = (self.theta, self.eta), meta.SGD(self.recipe.beta)
        grads, _ = meta.meta_gradient(  # eqs. 6-8 and 10
            losses, losses, lambda eta: [weights(eta, related, self.mean)], *models, [related], held, rule
        )
        step(self.eta_optimizer, self.eta, grads)  # eq. 9

    def related_weights(self, number: int, places: np.ndarray, batch: Batch) -> Tensor:
        """Return the weights of the related examples in step 2, (B,)."""
        mode = self.recipe.mode
        if mode == 'learned':
            return weights(self.eta, batch, self.mean)
        if mode == 'random_fixed':
            return self.fixed[places]
        if mode == 'random_changing':
            return torch.from_numpy(random(self.tasks.seed, data.CHANGING, number).random(len(places), np.float32))
        return batch.right.float() if mode == 'oracle' else torch.ones(len(places))

    def validate(self) -> None:
        valid, digits = self.tasks.valid, self.tasks.digits
        found = accuracy(self.theta, digits.x[valid], digits.y[valid])
        if found > self.best:
            self.best, self.kept = found, {name: p.detach().clone() for name, p in self.theta.items()}

    def count_weights(self, number: int) -> list[dict[str, Any]]:
        """Return histograms of the weights of all related examples with right and with wrong labels."""
        batch = self.tasks.related(np.arange(len(self.tasks.train)))
        w = weights(self.eta, batch, self.mean)
        counts = {name: torch.histc(w[batch.right == kind], 20, 0, 1) for kind, name in enumerate(('wrong', 'right'))}
        return [{'iteration': number, 'head': name, 'counts': found.tolist()} for name, found in counts.items()]

    def figures(self) -> dict[str, float]:
        digits = self.tasks.digits
        found = {'accuracy': accuracy(self.kept, digits.test_x, digits.test_y), 'valid_accuracy': self.best}
        if self.recipe.mode == 'learned':
            epoch = max(1, len(self.tasks.train) // self.recipe.batch)  # iterations in a pass over the related data
            for name, given in (('', self.given[-epoch:].sum(0)), ('_whole_training', self.given.sum(0))):
                wrong, right = (given[:, 0] / given[:, 1]).tolist()
                found |= {f'weight_right{name}': right, f'weight_wrong{name}': wrong}
        return found


def step(optimizer: torch.optim.Optimizer, params: dict[str, Tensor], grads: dict[str, Tensor]) -> None:
    for name, p in params.items():
        p.grad = grads[name]
    optimizer.step()


def run(digits: Digits, recipe: Recipe, seed: int, args: argparse.Namespace) -> None:
    corpus = digits.name + (', a wrong label is the next digit' if args.wrong == 'next' else '')
    key = (f'meta_memnn mnist {recipe.method()}', 'mnist', corpus, 'test', seed)
    if not args.figure and any(row.key[:5] == key for row in record.read(args.results)):
        return
    training = Training(recipe, Tasks(digits, seed, args.wrong)).train()
    figures = training.figures()
    print(f'{key[0]}, seed {seed}: ' + ', '.join(f'{name} {value:.4f}' for name, value in figures.items()), flush=True)
    if args.figure and recipe.mode == 'learned':
        draw(training.histograms, args.figure)
    options = {'modes': recipe.mode, 'seeds': seed, **recipe.changes()}
    options |= {'wrong': args.wrong} if args.wrong != 'any' else {}
    command = ' '.join(['python -m benchmarks.meta_memnn.mnist', *(f'--{k} {v}' for k, v in options.items())])
    rows = [record.Row(*key, *figure, command, hardware=record.hardware(1)) for figure in figures.items()]
    record.append(rows, args.results, allow_dirty=args.allow_dirty)


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--folder', type=Path, help="of MNIST's idx files; if not given, data/mnist")
    parser.add_argument('--modes', nargs='+', choices=MODES, default=MODES)
    parser.add_argument('--seeds', nargs='+', type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument('--wrong', choices=('any', 'next'), default='any', help='which digit a wrong label is')
    for name, value in asdict(Recipe()).items():
        if name != 'mode':
            parser.add_argument(f'--{name}', type=type(value), default=value, help='see Recipe')
    parser.add_argument('--figure', type=Path, help='PNG: histograms of the learned weights of the last seed')
    parser.add_argument('--results', type=Path, default=record.RESULTS / 'meta_memnn_mnist.csv')
    args = record.parse_arguments(parser)
    torch.set_num_threads(1)
    recipe = Recipe(**{name: getattr(args, name) for name in asdict(Recipe()) if name != 'mode'})
    try:
        if args.figure:
            pyplot()  # says so at once if it is not installed
        digits = data.read_digits(args.folder)
        for mode, seed in itertools.product(args.modes, args.seeds):
            run(digits, replace(recipe, mode=mode), seed, args)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit('\nStopped. The same line goes on with the first run that has no rows.')


if __name__ == '__main__':
    main()
