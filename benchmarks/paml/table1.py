"""Table 1 and Figure 2 of Madotto et al. 2019 on the data at hand: a few dialogues of someone, and what they are worth.

    python -m benchmarks.paml.table1 --datapath data                     # all of it, about five hours of a core
    python -m benchmarks.paml.table1 --datapath data --only dialogue paml --seeds 1
    make results                                                         # RESULTS.md
    python -m benchmarks.paml.figure                                     # docs/images/paml_shots.png

Training: both sides of the 2,072 dialogues at hand (ConvAI2's form), grouped by person. Evaluation: the 100 people of
Persona-Chat's valid split, of each the first dialogue, answered after adapting to k of the others, ten at most.
Networks are small (2 + 2 layers of 128 numbers). Meta-learning goes on from the Dialogue of the same seed, where the
paper starts from nothing, and exchanges words of people (`--few-shot-swap`): after ten epochs the people of the
training split are known by heart, and nothing is to be learned from adapting to them (`no-swaps` shows it). The rate of
fine-tuning with full steps and that of PAML were chosen by perplexity on valid with five dialogues; the paper's rate
and steps are there, too. Consistency needs the classifier of benchmarks/suite/nli.py.

Every step is a stock `parlai` command and stands in the row of what comes out of it. What is finished is skipped: after
Ctrl-C, run the same line again.
"""

import argparse
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.jobs import Job, run_all
from benchmarks.common.record import RESULTS, data_label

CSV = RESULTS / 'paml.csv'
METRICS = (
    'ppl_fold',
    'ppl',
    'bleu_fold',
    'bleu_corpus',
    'consistency_fold',
    'consistency',
    'persona_f1',
    'distinct_raw_2',
)
PLAIN, PEOPLE = 'persona:personachat', 'persona:few_shot'
SEEDS, SHOTS, ALL = (1, 2, 3), (1, 3, 5, 10), 10
BOTH = '--persona-source convai2 --persona-candidates none --persona-metrics false'
FULL = '--paml-eval-steps 5 --paml-inner-batch 0 --paml-prior 400'  # steps on all of the support
# One dialogue and one step in training, ten passes in the evaluation.
PAPER = (
    '-bs 16 --few-shot-support 1 --few-shot-query 1 --few-shot-swap 0 --paml-inner-lr 0.01 --paml-inner-batch 16 '
    '--paml-prior 0'
)
ADAPT = '--paml-inner-lr 0.01 --paml-eval-steps 10 --paml-inner-batch 16'
BEAM = '--inference beam --beam-size 5 --beam-length-penalty 0 --skip-generation false'


@dataclass(frozen=True)
class Maker:
    """Commands and folders."""

    datapath: str
    out: Path
    nli: str

    def model(self, name: str, seed: int) -> Path:
        return self.out / f'{name}-{seed}' / 'model'

    def where(self) -> str:
        return f'--datapath {shlex.quote(self.datapath)}'

    def plain(self, name: str, seed: int, flags: str) -> str:
        return (
            f'parlai train_model -o persona:paml/dialogue {self.where()} {BOTH} {flags} --paml-amp true --seed {seed} '
            f'-mf {self.model(name, seed)}'
        )

    def meta(self, name: str, seed: int, flags: str) -> str:
        start = self.model('dialogue', seed)
        return (
            f'parlai train_model -o persona:paml/people {self.where()} {BOTH} {flags} --paml-eval-steps 1 '
            f'--paml-amp true --seed {seed} --init-model {start} --dict-file {start}.dict '
            f'-mf {self.model(name, seed)}'
        )

    def evaluation(self, name: str, seed: int, shots: int) -> tuple[str, Path]:
        method = METHODS[name]
        model = self.model(method.folder, seed)
        report = model.with_name(f'{name}-{shots}-shots.json')
        return (
            f'parlai eval_model -t {PEOPLE} --few-shot-of {PLAIN} --few-shot-folds 1 --few-shot-shots {shots} '
            f'-dt valid {self.where()} --persona-candidates none -mf {model} '
            f'--persona-nli {self.nli} -bs 1 {BEAM} {method.flags} --report-filename {report}'
        ), report


@dataclass(frozen=True)
class Method:
    name: str  # as in RESULTS.md
    folder: str
    shots: tuple[int, ...]
    flags: str = f'{FULL} --paml-inner-lr 0.45'
    meta: str | None = None  # how it goes on from Dialogue


METHODS = {
    'dialogue': Method('Dialogue', 'dialogue', (0,), ADAPT),
    'fine-tuning': Method('Dialogue+Fine-tuning', 'dialogue', SHOTS, ADAPT),
    'full': Method('Dialogue+Fine-tuning, full steps', 'dialogue', SHOTS, f'{FULL} --paml-inner-lr 0.3'),
    'paml': Method('PAML', 'paml', (0, *SHOTS), meta=''),
    'full-strong': Method(
        'Dialogue+Fine-tuning, full steps, α = 0.45', 'dialogue', (ALL,), f'{FULL} --paml-inner-lr 0.45'
    ),
    'paml-strong': Method('PAML, α = 0.6', 'paml', (ALL,), f'{FULL} --paml-inner-lr 0.6', meta=''),
    'paml-first': Method('PAML, first order', 'paml-first', (ALL,), meta='--paml-order first'),
    'persona': Method('Dialogue+Persona', 'persona', (0,), '--persona-side self'),
    'no-swaps': Method('PAML, no words exchanged', 'no-swaps', (ALL,), meta='--few-shot-swap 0'),
    'paml-paper': Method("PAML, the paper's rates and steps", 'paml-paper', (ALL,), ADAPT, PAPER),
}


def commands(make: Maker, method: Method, seed: int) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """What trains the model of a method, and what that leaves."""
    if method.folder == 'persona':
        names, found = ['persona'], [make.plain('persona', seed, '--persona-side self --text-truncate 160')]
    else:
        names, found = ['dialogue'], [make.plain('dialogue', seed, '--persona-side none')]
    if method.meta is not None:
        names.append(method.folder)
        found.append(make.meta(method.folder, seed, method.meta))
    return tuple(found), tuple(Path(f'{make.model(name, seed)}.valid') for name in names)


def jobs(make: Maker, names: list[str], seeds: list[int], data: str) -> Iterator[Job]:
    """A method without k in its name has the most shots it can have, as in Table 1."""
    for seed in seeds:
        for name in names:
            method = METHODS[name]
            train, ready = commands(make, method, seed)
            for shots in reversed(method.shots):
                evaluate, report = make.evaluation(name, seed, shots)
                title = method.name if shots == method.shots[-1] else f'{method.name}, k = {shots}'
                split = 'valid, first dialogue of each person'
                yield Job(title, PEOPLE, data, split, seed, train, ready, evaluate, report)


def human(make: Maker, data: str) -> Job:
    report = make.out / 'human.json'
    evaluate = (
        f'parlai eval_model -m repeat_label -t {PLAIN} -dt valid {make.where()} --persona-candidates none '
        f'--persona-nli {make.nli} --report-filename {report}'
    )
    return Job('Human', PLAIN, data, 'valid', 0, (), (), evaluate, report)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--datapath', required=True, help="ParlAI's data folder")
    parser.add_argument('--only', nargs='+', choices=['human', *METHODS], default=['human', *METHODS])
    parser.add_argument('--seeds', type=int, nargs='+', default=SEEDS, help='these alone (default: %(default)s)')
    parser.add_argument('--threads', type=int, default=1, help='CPU threads (default: %(default)s)')
    parser.add_argument('--nli', default='runs/nli/minilm', help='classifier (default: %(default)s)')
    parser.add_argument('--out', type=Path, default=Path('runs/paml'), help='for models (default: %(default)s)')
    args = parser.parse_args()
    make = Maker(args.datapath, args.out, args.nli)
    data = data_label('Persona-Chat', 2072)
    found = [human(make, data)] if 'human' in args.only else []
    found += jobs(make, [name for name in args.only if name != 'human'], args.seeds, data)
    run_all(found, CSV, METRICS, args.threads, minutes=15)


if __name__ == '__main__':
    sys.exit(main())
