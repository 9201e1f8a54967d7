r"""Table 1 of Rajendran et al.: digits, learned from labels of which 75 % are wrong and a flag that says which.

    python -m benchmarks.meta_memnn.mnist                                   # all rows, five runs each
    python -m benchmarks.meta_memnn.mnist --modes learned --figure w.png    # one row, and its weights as histograms

M_theta is a logistic regression, P_eta a perceptron (sec. 4.1, appendix A). Only steps 2 and 3 of the method are
made: theta never sees the primary data (the same images, labels right), which serve the outer loss of eta alone.
On 10,000 images the paper's rates find the wrong labels, but weigh the right ones little, too: all pixels of P_eta
move together, and a hundred of them outrun the flag. Rates that let eta learn before theta has, and images without
their mean, separate the two (benchmarks/README.md has the reasons):

    python -m benchmarks.meta_memnn.mnist --modes learned oracle --images centred --alpha 5e-5 --gamma 1e-2 \
        --beta 4e-6 --iterations 5000

The runs of a row train side by side as one computation. Ctrl-C at any time; the same line goes on from the last
checkpoint. MNIST is read from --folder (its four idx files, gzipped or not); without --folder and without
data/mnist it is scikit-learn's digits, 8 x 8 pixels.
"""

import argparse
import gzip
import signal
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import record
from benchmarks.common.commands import clock
from parlai_persona.agents.meta_memnn import meta
from parlai_persona.files import draft

ROOT = Path(__file__).resolve().parents[2]
MODES = ('learned', 'oracle', 'ones', 'random_fixed', 'random_changing')
CLASSES = 10
SHARE = 0.75  # of the labels are wrong
BINS = 20
MOMENTS = (0, 1 / 30, 1 / 10, 1 / 3, 1)  # of the training at which the weights are counted
SPLIT, WRONG, START, STEP_2, STEP_3, HELD, FIXED, CHANGING = range(8)  # uses of randomness, for `random`


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


def random(*key: int) -> np.random.Generator:
    """Randomness that depends on the key alone, (seed, use, ...): nothing of it has to be saved to go on later."""
    return np.random.default_rng(key)


# -------------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class Digits:
    name: str
    x: Tensor  # (N, pixels), in [0, 1]
    y: Tensor  # (N,)
    test_x: Tensor
    test_y: Tensor


def read_idx(path: Path) -> np.ndarray:
    """The array in an idx file of bytes; `path`, or the same with .gz."""
    found = [p for p in (path, path.with_name(f'{path.name}.gz')) if p.exists()]
    if not found:
        raise FileNotFoundError(f'{path.parent} has neither {path.name} nor {path.name}.gz: put one of MNIST there')
    raw = found[0].read_bytes()
    try:
        raw = gzip.decompress(raw) if found[0].suffix == '.gz' else raw
    except (EOFError, OSError) as error:
        raise ValueError(f'{found[0]}: not a whole gzip file ({error}): fetch it again') from None
    if len(raw) < 4 or raw[:3] != b'\0\0\x08':  # 8: unsigned bytes; the fourth byte is the number of dimensions
        raise ValueError(f'{found[0]}: begins with {raw[:4].hex(" ")}, expected 00 00 08: not an idx file of bytes')
    start = 4 + 4 * raw[3]
    shape = struct.unpack(f'>{raw[3]}I', raw[4:start]) if len(raw) >= start else ()
    if not shape or len(raw) != start + np.prod(shape):
        raise ValueError(f'{found[0]}: saw {len(raw)} bytes, expected {start + np.prod(shape):.0f}: fetch it again')
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def read_mnist(folder: Path) -> Digits:
    parts = []
    for name in ('train', 't10k'):
        images, labels = (read_idx(folder / f'{name}-{kind}-ubyte') for kind in ('images-idx3', 'labels-idx1'))
        if len(images) != len(labels):
            raise ValueError(f'{folder}: saw {len(images)} images and {len(labels)} labels in {name}, expected as many')
        parts.append(torch.from_numpy(images.reshape(len(images), -1) / np.float32(255)))
        parts.append(torch.from_numpy(labels.astype(np.int64)))
    count = len(parts[1])
    return Digits('MNIST' if count == 60_000 else f'MNIST, {count:,} training images', *parts)


def small_digits() -> Digits:
    """scikit-learn's digits; a fifth of them, drawn once for all seeds, is the test split."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = random(0, SPLIT).permutation(len(y))
    x, y = torch.from_numpy(x[order]).float() / 16, torch.from_numpy(y[order]).long()
    held = len(y) // 5
    return Digits("scikit-learn's digits", x[held:], y[held:], x[:held], y[:held])


def related_labels(y: np.ndarray, wrong: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which SHARE are wrong, and which are right. A wrong one is any other digit, or always the next."""
    changed = np.zeros(len(y), bool)
    changed[rng.permutation(len(y))[: round(SHARE * len(y))]] = True
    by = rng.integers(1, CLASSES, len(y)) if wrong == 'any' else 1
    return np.where(changed, (y + by) % CLASSES, y), ~changed


@dataclass(frozen=True)
class Batch:
    x: Tensor  # (R, B, pixels)
    label: Tensor  # (R, B)
    right: Tensor  # (R, B): 1 if the label is right, else 0


class Tasks:
    """For each seed: a split of the training images in train and validation, and the related task's labels."""

    def __init__(self, digits: Digits, seeds: Sequence[int], wrong: str = 'any'):
        self.digits, self.seeds = digits, list(seeds)
        held = min(10_000, len(digits.y) // 5)
        order = np.stack([random(seed, SPLIT).permutation(len(digits.y)) for seed in seeds])
        self.valid, self.train = order[:, :held], order[:, held:]
        y = digits.y.numpy()[self.train]
        made = [related_labels(own, wrong, random(seed, WRONG)) for seed, own in zip(seeds, y, strict=True)]
        self.label, self.right = (np.stack(part) for part in zip(*made, strict=True))
        self.held = self.images(self.valid)

    def images(self, index: np.ndarray) -> Batch:
        """Images (R, B) of the training file with their right labels."""
        which = torch.from_numpy(index)
        return Batch(self.digits.x[which], self.digits.y[which], torch.ones_like(which))

    def primary(self, places: np.ndarray) -> Batch:
        return self.images(np.take_along_axis(self.train, places, 1))

    def related(self, places: np.ndarray) -> Batch:
        label, right = (np.take_along_axis(part, places, 1) for part in (self.label, self.right))
        return Batch(self.primary(places).x, torch.from_numpy(label), torch.from_numpy(right).long())

    def draw(self, use: int, number: int, size: int) -> np.ndarray:
        """Places (R, size) of the batch of this number, in shuffled passes over the training images."""
        return np.stack([draw(seed, use, number, size, self.train.shape[1]) for seed in self.seeds])


def draw(seed: int, use: int, number: int, size: int, count: int) -> np.ndarray:
    """(size,)"""
    start, stop = number * size, (number + 1) * size
    passes = range(start // count, (stop - 1) // count + 1)
    places = np.concatenate([shuffled(seed, use, p, count) for p in passes])
    return places[start - passes[0] * count :][:size]


@cache
def shuffled(seed: int, use: int, number: int, count: int) -> np.ndarray:
    return random(seed, use, number).permutation(count)


# ------------------------------------------------------------------------------------------- models


def linear(seeds: Sequence[int], use: int, **shapes: tuple[int, ...]) -> dict[str, Tensor]:
    """First weights of a linear map for each seed, (R, *shape): uniform within 1 / sqrt(number of inputs)."""
    params = {}
    for place, (name, (inputs, *shape)) in enumerate(shapes.items()):
        drawn = [random(seed, START, use, place).uniform(-1, 1, shape) for seed in seeds]
        params[name] = torch.tensor(np.stack(drawn) / inputs**0.5, dtype=torch.float32)
    return params


def start_theta(seeds: Sequence[int], pixels: int) -> dict[str, Tensor]:
    return linear(seeds, 0, W=(pixels, pixels, CLASSES), b=(pixels, 1, CLASSES))


def start_eta(seeds: Sequence[int], pixels: int) -> dict[str, Tensor]:
    inputs = pixels + CLASSES + 2
    return linear(seeds, 1, image=(inputs, pixels, 1), label=(inputs, CLASSES), right=(inputs, 2), b=(inputs, 1))


def scores(theta: meta.Params, x: Tensor) -> Tensor:
    """M_theta: (R, B, classes)"""
    return x @ theta['W'] + theta['b']


def losses(theta: meta.Params, batch: Batch) -> Tensor:
    """L(M_theta(c_i), a_i): cross-entropy of each example, (R, B)."""
    s = scores(theta, batch.x)
    return torch.logsumexp(s, -1) - s.gather(-1, batch.label.unsqueeze(-1)).squeeze(-1)


def weights(eta: meta.Params, batch: Batch, mean: Tensor) -> Tensor:
    """w_i = sigma(P_eta(c_i, a_i)) (eq. 3) of each example, (R, B); label and flag enter as one-hot vectors."""
    p = (batch.x @ eta['image']).squeeze(-1) - mean @ eta['image'] + eta['b']  # `mean` (pixels,) of the images, or 0
    return torch.sigmoid(p + eta['label'].gather(-1, batch.label) + eta['right'].gather(-1, batch.right))


# ------------------------------------------------------------------------------------------ training


class Training:
    """R runs of one row of the table, with the best theta on validation so far."""

    KEPT = ('iteration', 'best', 'when', 'kept', 'given', 'counts', 'seconds')

    def __init__(self, recipe: Recipe, tasks: Tasks, checkpoint: Path | None = None):
        self.recipe, self.tasks, self.checkpoint = recipe, tasks, checkpoint
        runs, pixels = len(tasks.seeds), tasks.digits.x.shape[1]
        self.theta = {name: p.requires_grad_() for name, p in start_theta(tasks.seeds, pixels).items()}
        self.eta = start_eta(tasks.seeds, pixels)
        self.theta_optimizer = torch.optim.Adam(self.theta.values(), lr=recipe.alpha, eps=1e-8)
        self.eta_optimizer = torch.optim.Adam(self.eta.values(), lr=recipe.gamma, eps=1e-8)
        self.mean = tasks.digits.x.mean(0) * float(recipe.images == 'centred')
        self.fixed = np.stack([random(seed, FIXED).random(tasks.train.shape[1], np.float32) for seed in tasks.seeds])
        self.iteration, self.seconds = 0, 0.0
        self.best, self.when = np.full(runs, -1.0), np.zeros(runs, int)
        self.kept = {name: p.detach().clone() for name, p in self.theta.items()}
        self.given = np.zeros((recipe.iterations, runs, 2, 2))  # [wrong, right][sum of weights, number]
        self.counts: dict[int, np.ndarray] = {}  # iteration -> how many weights in each bin, (R, 2, BINS)
        self.validate()

    # -------------------------------------------------------------------------------- one iteration

    def iterate(self) -> None:
        places = self.tasks.draw(STEP_2, self.iteration, self.recipe.batch)
        batch = self.tasks.related(places)
        w = self.related_weights(places, batch)
        self.update_theta(batch, w)
        if self.recipe.mode == 'learned':
            kinds = torch.stack([1 - batch.right, batch.right], 1)  # (R, 2, B)
            self.given[self.iteration] = torch.stack([(kinds * w.unsqueeze(1)).sum(-1), kinds.sum(-1)], -1)
            self.update_eta()
        self.iteration += 1

    def related_weights(self, places: np.ndarray, batch: Batch) -> Tensor:
        """The weights of the related examples, (R, B)."""
        mode = self.recipe.mode
        if mode == 'learned':
            return weights(self.eta, batch, self.mean)
        if mode == 'oracle':
            return batch.right.float()
        if mode == 'random_fixed':
            return torch.from_numpy(np.take_along_axis(self.fixed, places, 1))
        if mode == 'random_changing':
            rngs = [random(seed, CHANGING, self.iteration) for seed in self.tasks.seeds]
            return torch.from_numpy(np.stack([rng.random(places.shape[1], np.float32) for rng in rngs]))
        return torch.ones(places.shape)

    def update_theta(self, batch: Batch, w: Tensor) -> None:
        """Step 2. The sum over the runs leaves each run its own gradient."""
        grads = meta.gradients((w * losses(self.theta, batch)).sum(), self.theta)  # eq. 4
        step(self.theta_optimizer, self.theta, grads)  # eq. 5

    def update_eta(self) -> None:
        """Step 3, on new batches of both tasks."""
        related = self.tasks.related(self.tasks.draw(STEP_3, self.iteration, self.recipe.batch))
        held = self.tasks.primary(self.tasks.draw(HELD, self.iteration, self.recipe.batch))
        grads, _ = meta.meta_gradient(  # eqs. 6-8 and 10
            losses,
            losses,
            lambda eta: [weights(eta, related, self.mean)],
            self.theta,
            self.eta,
            [related],
            held,
            meta.SGD(self.recipe.beta),
        )
        step(self.eta_optimizer, self.eta, grads)  # eq. 9

    # --------------------------------------------------------------------------------- whole training

    def train(self, every: int = 50, until: int | None = None) -> None:
        total, saved = self.recipe.iterations, time.monotonic()
        stop = total if until is None else until
        moments = {round(part * total) for part in MOMENTS} if self.recipe.mode == 'learned' else set()
        while True:
            if self.iteration in moments and self.iteration not in self.counts:
                self.counts[self.iteration] = self.count_weights()
            if self.iteration >= stop:
                break
            start = time.monotonic()
            self.iterate()
            if self.iteration % every == 0 or self.iteration == total:
                self.validate()
            now = time.monotonic()
            self.seconds += now - start
            if self.iteration % every == 0 and (sys.stdout.isatty() or self.iteration % (20 * every) == 0):
                print(self.progress(), end='\r' if sys.stdout.isatty() else '\n', flush=True)
            if now > saved + 10:
                self.save()
                saved = now
        self.save()

    def progress(self) -> str:
        done, total = self.iteration, self.recipe.iterations
        seen = f'{self.recipe.mode}: {done}/{total} best valid {self.best.mean():.4f}'
        if self.recipe.mode == 'learned':
            wrong, right = self.mean_weights(max(0, done - self.epoch), done).mean(0)
            seen += f', weights {right:.3f} right {wrong:.3f} wrong'
        return f'{seen} · {clock(self.seconds)}, {clock(self.seconds / done * (total - done))} to go '

    @torch.no_grad()
    def validate(self) -> None:
        found = scores(self.theta, self.tasks.held.x).argmax(-1) == self.tasks.held.label
        accuracy = found.double().mean(-1).numpy()
        for run in np.flatnonzero(accuracy > self.best):
            self.best[run], self.when[run] = accuracy[run], self.iteration
            for name, p in self.theta.items():
                self.kept[name][run] = p[run]

    @torch.no_grad()
    def test(self) -> np.ndarray:
        """The accuracy of each run's best theta, (R,)."""
        digits = self.tasks.digits
        return (scores(self.kept, digits.test_x).argmax(-1) == digits.test_y).double().mean(-1).numpy()

    # --------------------------------------------------------------------------------------- weights

    @property
    def epoch(self) -> int:
        """Iterations in a pass over the related data."""
        return max(1, self.tasks.train.shape[1] // self.recipe.batch)

    def mean_weights(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """What wrong and right labels were given in step 2 of these iterations, (R, 2)."""
        total = self.given[start:stop].sum(0)
        return total[..., 0] / total[..., 1]

    @torch.no_grad()
    def count_weights(self) -> np.ndarray:
        """How many related examples have a weight in each bin, (R, 2, BINS)."""
        runs, count = self.tasks.train.shape
        found = []
        for start in range(0, count, 2048):
            places = np.tile(np.arange(start, min(start + 2048, count)), (runs, 1))
            found.append(weights(self.eta, self.tasks.related(places), self.mean).numpy())
        w = np.concatenate(found, 1)
        return np.stack(
            [
                [np.histogram(own[right == kind], BINS, (0, 1))[0] for kind in (False, True)]
                for own, right in zip(w, self.tasks.right, strict=True)
            ]
        )

    # ---------------------------------------------------------------------------------------- saving

    def identity(self) -> dict[str, Any]:
        labels = int(self.tasks.label.sum())  # differs with the kind of wrong labels
        return {**asdict(self.recipe), 'data': self.tasks.digits.name, 'seeds': self.tasks.seeds, 'labels': labels}

    def save(self) -> None:
        if self.checkpoint is None:
            return
        state = {name: getattr(self, name) for name in self.KEPT}
        theta = {name: p.detach() for name, p in self.theta.items()}
        optimizers = [self.theta_optimizer.state_dict(), self.eta_optimizer.state_dict()]
        state |= {'identity': self.identity(), 'theta': theta, 'eta': self.eta, 'optimizers': optimizers}
        with draft(self.checkpoint) as part:
            torch.save(state, part)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, weights_only=False)
        if state['identity'] != self.identity():
            raise ValueError(
                f'{self.checkpoint} is a training with {state["identity"]}, expected {self.identity()}: '
                'remove it, or name another folder with --runs'
            )
        for name in self.KEPT:
            setattr(self, name, state[name])
        with torch.no_grad():
            for own, theirs in ((self.theta, state['theta']), (self.eta, state['eta'])):
                for name, p in own.items():
                    p.copy_(theirs[name])
        self.theta_optimizer.load_state_dict(state['optimizers'][0])
        self.eta_optimizer.load_state_dict(state['optimizers'][1])


def step(optimizer: torch.optim.Optimizer, params: dict[str, Tensor], grads: dict[str, Tensor]) -> None:
    for name, p in params.items():
        p.grad = grads[name]
    optimizer.step()


# -------------------------------------------------------------------------------------------- output


def rows(training: Training, data: str, command: str, hardware: str) -> list[record.Row]:
    measured = {'accuracy': training.test(), 'valid_accuracy': training.best}
    if training.recipe.mode == 'learned':
        total = training.recipe.iterations
        last, whole = training.mean_weights(max(0, total - training.epoch)), training.mean_weights()
        measured |= {'weight_right': last[:, 1], 'weight_wrong': last[:, 0]}
        measured |= {'weight_right_whole_training': whole[:, 1], 'weight_wrong_whole_training': whole[:, 0]}
    method = f'meta_memnn mnist {method_name(training.recipe)}'
    return [
        record.Row(method, 'mnist', data, 'test', seed, metric, float(values[run]), command, hardware=hardware)
        for run, seed in enumerate(training.tasks.seeds)
        for metric, values in measured.items()
    ]


def changes(recipe: Recipe) -> dict[str, Any]:
    """What differs from the paper's recipe."""
    return {k: v for k, v in asdict(recipe).items() if k != 'mode' and v != getattr(Recipe, k)}


def method_name(recipe: Recipe) -> str:
    changed = ', '.join(f'{name} {value}' for name, value in changes(recipe).items())
    return f'{recipe.mode} ({changed})' if changed else recipe.mode


def draw_figure(training: Training, path: Path) -> None:
    """Histograms of the weights at several points in training, as in the paper's figure 1: the mean of the runs."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    counts = dict(sorted(training.counts.items()))
    figure, axes = pyplot.subplots(1, len(counts), figsize=(2.4 * len(counts), 2.4), sharey=True, squeeze=False)
    for axis, (iteration, count) in zip(axes[0], counts.items(), strict=True):
        wrong, right = count.mean(0)  # (BINS,) each
        at = (np.arange(BINS) + 0.5) / BINS
        axis.bar(at, wrong, 1 / BINS, color='tab:red', alpha=0.7, label='wrong label')
        axis.bar(at, right, 1 / BINS, color='tab:blue', alpha=0.6, hatch='///', edgecolor='navy', label='right label')
        axis.set(xlim=(0, 1), xticks=(0, 0.5, 1), xlabel='weight')
        axis.set_title(f'iteration {iteration:,}', fontsize=10)
    axes[0][0].set_ylabel('examples')
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def load(folder: Path | None) -> Digits:
    usual = ROOT / 'data' / 'mnist'
    if folder is None and not usual.exists():
        print(f"{usual.relative_to(ROOT)} is not there: learning scikit-learn's digits instead of MNIST.", flush=True)
        return small_digits()
    return read_mnist(folder or usual)


def run(tasks: Tasks, recipe: Recipe, args: argparse.Namespace) -> None:
    data = tasks.digits.name + (', a wrong label is the next digit' if args.wrong == 'next' else '')
    seeds = ' '.join(map(str, tasks.seeds))
    name = f'{data} {method_name(recipe)} {seeds}'
    training = Training(recipe, tasks, args.runs / f'{"-".join(name.replace(",", "").split())}.pt')
    training.resume()
    training.train()
    print(f'{training.progress()}\n  best valid {training.best.round(4)} at {training.when}', flush=True)
    if args.figure and recipe.mode == 'learned':
        draw_figure(training, args.figure)
    if args.no_test:
        return
    options = {'modes': recipe.mode, 'seeds': seeds, **changes(recipe)}
    options |= {'wrong': args.wrong} if args.wrong != 'any' else {}
    command = ' '.join(['python -m benchmarks.meta_memnn.mnist', *(f'--{k} {v}' for k, v in options.items())])
    new = rows(training, data, command, record.hardware(args.threads))
    record.append(new, args.results)
    for metric in dict.fromkeys(row.metric for row in new):
        values = np.array([row.value for row in new if row.metric == metric])
        print(f'  {metric} {values.mean():.4f} ± {values.std(ddof=min(1, len(values) - 1)):.4f}', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--folder', type=Path, help="of MNIST's idx files; if not given, data/mnist")
    parser.add_argument('--modes', nargs='+', choices=MODES, default=MODES)
    parser.add_argument('--seeds', nargs='+', type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument(
        '--wrong',
        choices=('any', 'next'),
        default='any',
        help='a wrong label is any other digit, or always the next one',
    )
    for name, value in asdict(Recipe()).items():
        if name not in ('mode', 'images'):
            parser.add_argument(f'--{name}', type=type(value), default=value, help='see Recipe')
    parser.add_argument('--images', choices=('raw', 'centred'), default='raw', help='what P_eta sees of them')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--figure', type=Path, help='where to draw the learned weights (PNG; needs matplotlib)')
    parser.add_argument('--runs', type=Path, default=ROOT / 'runs' / 'meta_memnn_mnist', help='folder of checkpoints')
    parser.add_argument('--results', type=Path, default=record.RESULTS / 'meta_memnn_mnist.csv')
    parser.add_argument('--no-test', action='store_true', help='stop after training: no look at the test set, no rows')
    args = parser.parse_args()
    if args.figure and not find_spec('matplotlib'):
        sys.exit("--figure needs matplotlib: pip install 'parlai-persona[plots]', or leave --figure out")
    torch.set_num_threads(args.threads)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    recipe = Recipe(**{name: getattr(args, name) for name in asdict(Recipe()) if name != 'mode'})
    try:
        tasks = Tasks(load(args.folder), args.seeds, args.wrong)
        for mode in args.modes:
            run(tasks, replace(recipe, mode=mode), args)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit('\nStopped. The same line goes on from the last checkpoint.')


if __name__ == '__main__':
    main()
