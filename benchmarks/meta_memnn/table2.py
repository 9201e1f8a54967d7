"""Table 2 of Rajendran et al.: per-turn accuracy on personalised-bAbI task 3 with 50, 100 or 150 dialogues.

    python -m benchmarks.meta_memnn.table2 --datapath data                  # everything, learned weights first
    python -m benchmarks.meta_memnn.table2 --datapath data --modes learned  # the 15 runs with learned weights
    python -m benchmarks.meta_memnn.table2 --modes learned --variant "3 slower updates" \
        --meta-memnn-updates 3 --meta-memnn-gamma 0.0003                    # options of the agent

Each run is `-o persona:meta_memnn`: the agent reads the tasks, and its learner draws batches and iterates. Only the
optimiser differs: ParlAI's "adam" is AMSGrad. Figures are added to results/meta_memnn.csv as they come in. Ctrl-C at
any time; the same line goes on exactly from the last checkpoint, at most a minute old.
"""

import argparse
import itertools
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parlai.core.agents import create_agent
from parlai.scripts.train_model import TrainModel
from tqdm import tqdm

from benchmarks.common import record
from parlai_persona.agents.meta_memnn.learner import MODES, PRIMARY
from parlai_persona.agents.meta_memnn.meta_memnn import MetaMemnnAgent
from parlai_persona.files import draft

SIZES, VALIDATE = (50, 100, 150), 50  # dialogues; iterations from one validation to the next
RUNS = record.ROOT / 'runs' / 'meta_memnn_table2'
READING = 'words of training alone'  # rows without this name counted the words of the test set as well


def paper_agent(datapath: str, dialogues: int, seed: int, *options: str) -> MetaMemnnAgent:
    """Return the agent of the paper's preset with these dialogues and options, before its first iteration."""
    setting = ['--babi-dialogues', str(dialogues), '--babi-seed', str(seed), '--datapath', os.path.abspath(datapath)]
    torch.manual_seed(seed)
    with_model = ['--dict-file', 'unused', '--loglevel', 'warn', *options]  # the dictionary is not written
    agent = create_agent(TrainModel.setup_args().parse_args(['-o', 'persona:meta_memnn', *setting, *with_model]))
    for group in agent.optimizer.param_groups:
        group['amsgrad'] = False
    return agent


class Run:
    """The training of one agent, and its best parameters on validation so far."""

    KEPT = ('options', 'best', 'when')

    def __init__(self, agent: MetaMemnnAgent, checkpoint: Path, options: Sequence[str] = ()):
        """`options` are what is trained: no other training goes on from its checkpoint."""
        self.agent, self.checkpoint, self.options = agent, checkpoint, list(options)
        self.valid = agent.corpus.table(PRIMARY, (one.example for one in self.read('valid')))
        self.best, self.when = -1.0, 0
        self.kept = self.parameters()
        if checkpoint.exists():
            self.resume()

    def read(self, fold: str) -> list:
        return self.agent.read_task(self.agent.opt['task'], True, fold)

    def parameters(self) -> dict[str, torch.Tensor]:
        return {name: p.clone() for name, p in self.agent.model.state_dict().items()}

    def save(self) -> None:
        agent = {'model': self.agent.model, 'optimizer': self.agent.optimizer, 'learner': self.agent.learner}
        state: dict[str, Any] = {name: part.state_dict() for name, part in agent.items()}
        with draft(self.checkpoint) as part:
            torch.save({**state, 'kept': self.kept, **{name: getattr(self, name) for name in self.KEPT}}, part)

    def resume(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        if state['options'] != self.options:
            sys.exit(
                f'{self.checkpoint} is a training with {state["options"]}, expected {self.options}: '
                'name this one with --variant, or remove it'
            )
        for name in ('model', 'optimizer', 'learner'):
            getattr(self.agent, name).load_state_dict(state[name])
        self.kept = state['kept']
        for name in self.KEPT:
            setattr(self, name, state[name])

    @torch.no_grad()
    def correct(self, table: Any, chunk: int = 512) -> np.ndarray:
        """Return whether the best candidate is the reply, for each example of a table."""
        theta, found = dict(self.agent.model['theta'].named_parameters()), []
        for start in range(0, len(table), chunk):
            batch = table.batch(np.arange(start, min(start + chunk, len(table))))
            found.append(self.agent.dialog_model.scores(theta, batch).argmax(-1) == batch.target)
        return torch.cat(found).numpy()

    def validate(self) -> None:
        accuracy = float(self.correct(self.valid).mean())
        if accuracy > self.best:
            self.best, self.when, self.kept = accuracy, self.agent.learner.iteration, self.parameters()

    def train(self, iterations: int, every: int, title: str) -> None:
        learner, saved = self.agent.learner, time.monotonic()
        start = learner.iteration
        progress = tqdm(range(start, iterations), title, initial=start, total=iterations, mininterval=5)
        for done in progress:
            learner.iterate()
            if (done + 1) % every == 0 or done + 1 == iterations:
                self.validate()
                progress.set_postfix_str(f'best valid {self.best:.3f}')
            if time.monotonic() > saved + 60:
                self.save()
                saved = time.monotonic()
        self.save()

    def test(self) -> dict[tuple[str, str], float]:
        """Return per-turn and per-dialogue accuracy of the best parameters on validation."""
        self.agent.model.load_state_dict(self.kept)
        examples = self.read('test')
        right = self.correct(self.agent.corpus.table(PRIMARY, (one.example for one in examples)))
        wrong = {one.dialogue for one, good in zip(examples, right, strict=True) if not good}
        whole = 1 - len(wrong) / len({one.dialogue for one in examples})
        return {
            ('valid', 'accuracy'): self.best,
            ('test', 'accuracy'): right.mean(),
            ('test', 'dialogue_accuracy'): whole,
        }


def measure(mode: str, size: int, seed: int, args: argparse.Namespace, options: Sequence[str]) -> None:
    method = f'{mode} ({", ".join(filter(None, (args.variant, READING)))})'
    agent = paper_agent(args.datapath, size, seed, '--meta-memnn-mode', mode, *options)
    name = f'{mode}-{args.variant.replace(" ", "_")}-{size}-{seed}.pt'
    run = Run(agent, RUNS / name, options)
    # pre-training comes on top; joint batches hold 3 to 9 % of primary examples, so they get ten times the number
    iterations = args.iterations * (10 if mode == 'joint' else 1)
    iterations += agent.recipe.pretraining if mode == 'pretrain' else 0
    title = f'{method}, {size} dialogues, seed {seed}'
    run.train(iterations, VALIDATE, title)
    figures = run.test()
    found = ', '.join(f'{" ".join(name)} {value:.4f}' for name, value in figures.items())
    print(f'{title}: best at {run.when}; {found}', flush=True)
    command = f'python -m benchmarks.meta_memnn.table2 --modes {mode} --sizes {size} --seeds {seed}'
    command = ' '.join([f'{command} --iterations {args.iterations}', *options])
    command += f' --variant "{args.variant}"' if args.variant else ''
    key = (f'meta_memnn {method}', 'personalized_babi:3', f'{size} dialogues')
    rows = [
        record.Row(*key, split, seed, metric, float(value), command, hardware=record.hardware(1))
        for (split, metric), value in figures.items()
    ]
    record.append(rows, args.results, allow_dirty=args.allow_dirty)


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--datapath', default='data')
    parser.add_argument('--modes', nargs='+', choices=MODES, default=MODES)
    parser.add_argument('--sizes', nargs='+', type=int, default=SIZES, help='dialogues of train and of valid')
    parser.add_argument('--seeds', nargs='+', type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument('--iterations', type=int, default=2000)
    parser.add_argument('--variant', default='', help='a name for runs with other options of the agent')
    parser.add_argument('--results', type=Path, default=record.RESULTS / 'meta_memnn.csv')
    args, options = record.parse_known_arguments(parser)
    if options and not args.variant:
        sys.exit(f'name runs with {" ".join(options)} by --variant: their rows stand beside those of the paper')
    torch.set_num_threads(1)
    try:
        for mode, size, seed in itertools.product(args.modes, args.sizes, args.seeds):
            measure(mode, size, seed, args, options)
    except KeyboardInterrupt:
        sys.exit('\nStopped. The same line goes on from the last checkpoint.')


if __name__ == '__main__':
    main()
