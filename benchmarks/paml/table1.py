"""Measure Table 1 and Figure 2 of Madotto et al. 2019 on the data at hand: what a few dialogues of a person are worth.

    python -m benchmarks.paml.table1 --datapath data                     # all of it, about five hours on one core
    python -m benchmarks.paml.table1 --datapath data --only dialogue paml --seeds 1
    make results                                                         # RESULTS.md
    python -m benchmarks.paml.figure                                     # docs/images/paml_shots.png

Training: both sides of the 2,072 dialogues at hand (ConvAI2's form), grouped by person. Evaluation: the 100 people of
Persona-Chat's valid split. The model adapts to k of a person's dialogues, ten at most, and answers the first one.

Networks are small (2 + 2 layers of 128 numbers). Meta-learning starts from the Dialogue model of the same seed, where
the paper starts from nothing. It exchanges words of people (`--few-shot-swap`): after ten epochs the model knows the
people of the training split by heart, and adapting to them teaches nothing (`no-swaps` shows it). The rates of
fine-tuning with full steps and of PAML were chosen by perplexity on valid with five dialogues. The paper's rate and
steps are measured, too. Consistency needs the classifier of benchmarks/suite/nli.py.

Every step is a stock `parlai` command, and each row names its commands. After Ctrl-C, run the same line again: it skips
what is finished.
"""

import shlex
from pathlib import Path
from typing import NamedTuple

from benchmarks.common.jobs import Job, arguments, model_file, run_all
from benchmarks.common.record import RESULTS, data_label

CSV = RESULTS / 'paml.csv'
METRICS = (
    *('ppl_fold', 'ppl', 'bleu_fold', 'bleu_corpus', 'consistency_fold', 'consistency'),
    *('persona_f1', 'distinct_raw_2'),
)
OUT, NLI = Path('runs/paml'), 'runs/nli/minilm'
DATA = data_label('Persona-Chat', 2072)
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


class Method(NamedTuple):
    name: str  # as in RESULTS.md
    folder: str
    shots: tuple[int, ...]
    flags: str = f'{FULL} --paml-inner-lr 0.45'
    meta: str | None = None  # flags of meta-learning, from Dialogue; None: no meta-learning


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


def training(method: Method, seed: int, datapath: str) -> dict[str, Path]:
    """Return the commands that train the model of a method, and the file that each leaves."""
    where = f'--datapath {shlex.quote(datapath)} {BOTH}'
    start = model_file(OUT, 'persona' if method.folder == 'persona' else 'dialogue', seed)
    side = '--persona-side self --text-truncate 160' if method.folder == 'persona' else '--persona-side none'
    options = f'--paml-amp true --seed {seed}'
    plain = f'parlai train_model -o persona:paml/dialogue {where} {side} {options} -mf {start}'
    commands = {plain: Path(f'{start}.valid')}
    if method.meta is not None:
        model = model_file(OUT, method.folder, seed)
        options = f'--paml-eval-steps 1 {options} --init-model {start} --dict-file {start}.dict'
        meta = f'parlai train_model -o persona:paml/people {where} {method.meta} {options} -mf {model}'
        commands[meta] = Path(f'{model}.valid')
    return commands


def job(name: str, seed: int, shots: int, datapath: str) -> Job:
    """Return what evaluates a method after adapting to so many dialogues; without k in its title: as in Table 1."""
    method = METHODS[name]
    model = model_file(OUT, method.folder, seed)
    report = model.with_name(f'{name}-{shots}-shots.json')
    evaluate = (
        f'parlai eval_model -t {PEOPLE} --few-shot-of {PLAIN} --few-shot-folds 1 --few-shot-shots {shots} '
        f'-dt valid --datapath {shlex.quote(datapath)} --persona-candidates none -mf {model} '
        f'--persona-nli {NLI} -bs 1 {BEAM} {method.flags} --report-filename {report}'
    )
    title = method.name if shots == method.shots[-1] else f'{method.name}, k = {shots}'
    split, train = 'valid, first dialogue of each person', training(method, seed, datapath)
    return Job(title, PEOPLE, DATA, split, seed, train, evaluate, report, METRICS)


def human(datapath: str) -> Job:
    report = OUT / 'human.json'
    evaluate = (
        f'parlai eval_model -m repeat_label -t {PLAIN} -dt valid --datapath {shlex.quote(datapath)} '
        f'--persona-candidates none --persona-nli {NLI} --report-filename {report}'
    )
    return Job('Human', PLAIN, DATA, 'valid', 0, {}, evaluate, report, METRICS)


def main() -> None:
    args = arguments(__doc__, ['human', *METHODS], SEEDS)
    jobs = [human(args.datapath)] if 'human' in args.only else []
    jobs += [
        job(name, seed, shots, args.datapath)
        for seed in args.seeds
        for name in args.only
        if name != 'human'
        for shots in reversed(METHODS[name].shots)
    ]
    run_all(jobs, CSV, args.allow_dirty)


if __name__ == '__main__':
    main()
