"""Table 2 of Rajendran et al.: per-turn accuracy on personalised-bAbI task 3 with 50, 100 or 150 dialogues.

    python -m benchmarks.meta_memnn.table2 --datapath data                  # everything, learned weights first
    python -m benchmarks.meta_memnn.table2 --datapath data --modes learned  # the 15 runs with learned weights
    python -m benchmarks.meta_memnn.table2 --modes learned --sizes 100 --figure docs/images/meta_memnn_weights.png

The seeds of a row and size train side by side as one computation. Figures are added to results/meta_memnn.csv as
they come in; Ctrl-C at any time, the same line goes on from the last checkpoint (at most a minute old).
"""

import argparse
import signal
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import record
from benchmarks.common.commands import clock
from benchmarks.meta_memnn.data import Data, Runs, prepare
from parlai_persona.agents.meta_memnn.learner import MODES, Recipe
from parlai_persona.agents.meta_memnn.model import Shape
from parlai_persona.agents.meta_memnn.weights import draw
from parlai_persona.files import draft

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'results' / 'meta_memnn.csv'
SIZES = (50, 100, 150)


class Experiment:
    """One row of the table at one size: all seeds, with the best parameters on validation so far."""

    def __init__(self, runs: Runs, checkpoint: Path, identity: dict[str, Any]):
        """`identity`: what is trained, so that no other training goes on from its checkpoint."""
        self.runs, self.checkpoint, self.identity = runs, checkpoint, identity
        count = len(runs.learner.rngs)
        self.best = np.full(count, -1.0)
        self.kept = {name: p.clone() for name, p in runs.learner.view.items()}
        self.when = np.zeros(count, int)
        self.curve: list[dict] = []
        self.seconds = 0.0
        if checkpoint.exists():
            state = torch.load(checkpoint, weights_only=False)
            if state['identity'] != identity:
                other = {key: value for key, value in state['identity'].items() if value != identity.get(key)}
                sys.exit(
                    f'{checkpoint} is a training with {other}, not with '
                    f'{ {key: identity.get(key) for key in other} }: name this one with --variant, or remove it'
                )
            runs.learner.load_state_dict(state['learner'])
            for name in ('best', 'kept', 'when', 'curve', 'seconds'):
                setattr(self, name, state[name])

    def save(self) -> None:
        state = {name: getattr(self, name) for name in ('identity', 'best', 'kept', 'when', 'curve', 'seconds')}
        with draft(self.checkpoint) as part:
            torch.save({**state, 'learner': self.runs.learner.state_dict()}, part)

    def validate(self, seen: dict[str, torch.Tensor]) -> None:
        learner, runs = self.runs.learner, self.runs
        longest = max(len(v) for v in runs.valid)
        index = np.stack([np.resize(v, longest) for v in runs.valid])
        inside = np.arange(longest) < np.array([[len(v)] for v in runs.valid])
        right = learner.correct(runs.table, index)
        accuracy = (right * inside).sum(1) / inside.sum(1)
        for run in np.flatnonzero(accuracy > self.best):
            for name, p in learner.view.items():
                self.kept[name][run] = p[run]
            self.best[run], self.when[run] = accuracy[run], learner.iteration
        entry = {'iteration': learner.iteration, 'valid': accuracy.tolist()}
        entry |= {name: value.tolist() for name, value in seen.items()}
        if learner.recipe.mode == 'learned' and learner.iteration % 500 == 0:
            entry['weights'] = learner.histogram().tolist()
        self.curve.append(entry)

    def train(self, iterations: int, every: int, title: str) -> None:
        learner, saved = self.runs.learner, time.monotonic()
        while learner.iteration < iterations:
            start = time.monotonic()
            seen = learner.iterate()
            if learner.iteration % every == 0 or learner.iteration == iterations:
                self.validate(seen)
            now = time.monotonic()
            self.seconds += now - start
            if learner.iteration % every == 0 and (sys.stdout.isatty() or learner.iteration % (5 * every) == 0):
                left = self.seconds / learner.iteration * (iterations - learner.iteration)
                shown = ' '.join(f'{name} {value.mean():.3f}' for name, value in seen.items())
                print(
                    f'{title}: {learner.iteration}/{iterations} valid {np.mean(self.curve[-1]["valid"]):.3f} '
                    f'(best {self.best.mean():.3f}) {shown} · {clock(self.seconds)}, {clock(left)} to go',
                    flush=True,
                )
            if now > saved + 60:
                self.save()
                saved = now
        self.save()

    def histograms(self) -> list[dict]:
        """Of the weights of all runs together, over training (the paper's figure 2)."""
        return [
            {'iteration': entry['iteration'], 'head': 'related', 'counts': np.sum(entry['weights'], 0).tolist()}
            for entry in self.curve
            if 'weights' in entry
        ]

    def test(self) -> tuple[np.ndarray, np.ndarray]:
        """Per-turn and per-dialogue accuracy of each run, of its best parameters on validation."""
        learner, runs = self.runs.learner, self.runs
        current, learner.view = learner.view, self.kept
        right = learner.correct(runs.table, np.tile(runs.test, (len(self.best), 1)))
        learner.view = current
        whole = np.stack([np.bincount(runs.dialogues, weights=~row) == 0 for row in right])
        return right.mean(1), whole.mean(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--datapath', type=Path, default=ROOT / 'data')
    parser.add_argument('--modes', nargs='+', choices=MODES, default=MODES)
    parser.add_argument(
        '--sizes', nargs='+', type=int, default=SIZES, help='dialogues of train and of valid, 1 to 1,000'
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument('--iterations', type=int, default=2000)
    parser.add_argument('--validate-every', type=int, default=50)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--variant', default='', help='a name for a changed recipe, e.g. "inner adam"')
    for kind in (Recipe, Shape):
        for name, value in own(kind()).items():
            how = {'action': 'store_true'} if value is False else {'type': type(value), 'default': value}
            parser.add_argument(f'--{name}', **how, help=f'see {kind.__name__}')
    parser.add_argument('--back', action='store_true', help='time tokens count from the query back')
    parser.add_argument('--held-out', action='store_true', help='the valid dialogues judge the weights (eq. 8)')
    parser.add_argument('--figure', type=Path, help='PNG: histograms of the learned weights, of all seeds together')
    parser.add_argument('--no-test', action='store_true', help='stop after training: no look at the test set, no rows')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    recipe, shape = (kind(**{name: getattr(args, name) for name in own(kind())}) for kind in (Recipe, Shape))
    data = Data.read(args.datapath)
    try:
        for mode in args.modes:
            for size in args.sizes:
                run(data, replace(recipe, mode=mode), shape, size, args)
    except KeyboardInterrupt:
        sys.exit('\nStopped. The same line goes on from the last checkpoint.')


def own(kind: Recipe | Shape) -> dict[str, Any]:
    """What flags set."""
    return {name: value for name, value in asdict(kind).items() if name != 'mode'}


def length(recipe: Recipe, iterations: int) -> int:
    """Pre-training comes on top. Joint batches hold 3 to 9 % of primary examples: they get ten times the number."""
    return {'pretrain': iterations + recipe.pretraining, 'joint': 10 * iterations}.get(recipe.mode, iterations)


def run(data: Data, recipe: Recipe, shape: Shape, size: int, args: argparse.Namespace) -> None:
    name = f'{recipe.mode}{"-" + args.variant.replace(" ", "_") if args.variant else ""}'
    title = f'{name}, {size} dialogues'
    experiment = Experiment(
        prepare(data, recipe, size, args.seeds, shape, args.back, args.held_out),
        ROOT / 'runs' / 'meta_memnn' / f'{name}-{size}-{"_".join(map(str, args.seeds))}.pt',
        {**asdict(recipe), **asdict(shape), 'back': args.back, 'held_out': args.held_out},
    )
    experiment.train(length(recipe, args.iterations), args.validate_every, title)
    print(f'{title}: best valid {experiment.best.round(4)} at {experiment.when}', flush=True)
    if args.figure and recipe.mode == 'learned':
        draw(experiment.histograms(), args.figure)
    if args.no_test:
        return
    turns, dialogues = experiment.test()
    print(
        f'{title}: test {100 * turns.mean():.1f} ± {100 * turns.std(ddof=1):.1f} per turn, '
        f'{100 * dialogues.mean():.1f} per dialogue',
        flush=True,
    )
    method = f'{recipe.mode} ({args.variant})' if args.variant else recipe.mode
    flags = {**own(recipe), **own(shape), 'back': args.back, 'held-out': args.held_out}
    usual = {**own(Recipe()), **own(Shape()), 'back': False, 'held-out': False}
    command = ' '.join(
        [
            'python -m benchmarks.meta_memnn.table2',
            f'--modes {recipe.mode}',
            f'--sizes {size}',
            f'--seeds {" ".join(map(str, args.seeds))}',
            f'--iterations {args.iterations}',
            *(f'--{k}' if v is True else f'--{k} {v}' for k, v in flags.items() if v != usual[k]),
            *([f'--variant "{args.variant}"'] if args.variant else []),
        ]
    )
    values = zip(args.seeds, experiment.best, turns, dialogues, strict=True)
    record.append(
        [
            record.Row(
                f'meta_memnn {method}',
                'personalized_babi:3',
                f'{size} dialogues',
                split,
                seed,
                metric,
                float(value),
                command,
                hardware=record.hardware(args.threads),
            )
            for seed, best, turn, dialogue in values
            for split, metric, value in (
                ('valid', 'accuracy', best),
                ('test', 'accuracy', turn),
                ('test', 'dialogue_accuracy', dialogue),
            )
        ],
        RESULTS,
    )


if __name__ == '__main__':
    main()
