"""Measure Table 1 and Figure 2 of Madotto et al. 2019 on the data at hand: what a few dialogues of a person are worth.

    python -m benchmarks.paml.table1 --datapath data                     # all of it, about five hours on one core
    python -m benchmarks.paml.table1 --datapath data --only dialogue paml --seeds 1
    python -m benchmarks.paml.table1 --datapath data --only trials       # what chose the rates
    make results                                                         # RESULTS.md
    python -m benchmarks.paml.figure                                     # docs/images/paml_shots.png

Training: both sides of the 2,072 dialogues at hand (ConvAI2's form), grouped by person. Evaluation: the 100 people of
Persona-Chat's valid split, in two halves. `trials` choose the rate of fine-tuning with full steps and of PAML: the one
with the lowest perplexity on the first half, after five dialogues, seed 1. The table reports the second half. The model
adapts to k of a person's dialogues, ten at most, and answers the first one.

Networks are small (2 + 2 layers of 128 numbers). Meta-learning starts from the Dialogue model of the same seed, where
the paper starts from nothing. It exchanges words of people (`--few-shot-swap`): after ten epochs the model knows the
people of the training split by heart, and adapting to them teaches nothing (`no-swaps` shows it). The paper's rate
and steps are measured, too.

Rows without a half in their split are older: all 100 people, and the rates were chosen on them too. C comes from the
classifier that a command names.

Every step is a stock `parlai` command, and each row names its commands. After Ctrl-C, run the same line again: it skips
what is finished.
"""

import shlex
from pathlib import Path
from typing import NamedTuple

from benchmarks.common.jobs import Job, arguments, model_file, run_all
from benchmarks.common.judges import ASK_NLI
from benchmarks.common.record import RESULTS, data_label

CSV = RESULTS / 'paml.csv'
METRICS = (
    *('ppl_fold', 'ppl', 'bleu_fold', 'bleu_corpus', 'consistency_fold', 'consistency'),
    *('persona_f1', 'distinct_raw_2'),
)
OUT = Path('runs/paml')
JUDGED = 'C without utterances of NLI cases'  # in the pairs that its classifier learned from
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


# Rates to try, and the one that was best on the first half.
TRIED = {'full': (0.1, 0.2, 0.3, 0.45, 0.6), 'paml': (0.2, 0.3, 0.45, 0.6)}
CHOSEN = {'full': 0.3, 'paml': 0.3}
TRIAL_SHOTS, TRIAL_SEED = 5, 1


class Method(NamedTuple):
    name: str  # as in RESULTS.md
    folder: str
    shots: tuple[int, ...]
    flags: str = f'{FULL} --paml-inner-lr {CHOSEN["paml"]}'
    meta: str | None = None  # flags of meta-learning, from Dialogue; None: no meta-learning


METHODS = {
    'dialogue': Method('Dialogue', 'dialogue', (0,), ADAPT),
    'fine-tuning': Method('Dialogue+Fine-tuning', 'dialogue', SHOTS, ADAPT),
    'full': Method('Dialogue+Fine-tuning, full steps', 'dialogue', SHOTS, f'{FULL} --paml-inner-lr {CHOSEN["full"]}'),
    'paml': Method('PAML', 'paml', (0, *SHOTS), meta=''),
    'full-strong': Method(
        'Dialogue+Fine-tuning, full steps, α = 0.45', 'dialogue', (ALL,), f'{FULL} --paml-inner-lr 0.45'
    ),
    'paml-as-trained': Method('PAML, α = 0.45', 'paml', (ALL,), f'{FULL} --paml-inner-lr 0.45', meta=''),
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


def evaluation(model: Path, name: str, shots: int, half: str, flags: str, datapath: str) -> tuple[str, Path]:
    """Return the command that evaluates on half of the people after adapting to so many dialogues, and its report."""
    report = model.with_name(f'{name}-{shots}-shots-{half}.json')
    task = f'-t {PEOPLE} --few-shot-of {PLAIN} --few-shot-folds 1 --few-shot-shots {shots} --few-shot-half {half}'
    where = f'-dt valid --datapath {shlex.quote(datapath)} --persona-candidates none'
    return f'parlai eval_model {task} {where} -mf {model} -bs 1 {flags} --report-filename {report}', report


def split(half: str) -> str:
    return f'valid, first dialogue of each person, {half} half'


def job(name: str, seed: int, shots: int, datapath: str) -> Job:
    """Return what measures a method for the table; without k in its title: as in Table 1."""
    method = METHODS[name]
    model = model_file(OUT, method.folder, seed)
    flags = f'{ASK_NLI} {BEAM} {method.flags}'
    evaluate, report = evaluation(model, name, shots, 'second', flags, datapath)
    title = method.name if shots == method.shots[-1] else f'{method.name}, k = {shots}'
    return Job(title, PEOPLE, DATA, split('second'), seed, training(method, seed, datapath), evaluate, report, METRICS)


def trial(name: str, rate: float, datapath: str) -> Job:
    """Return what measures the perplexity of a method with some rate on the other half."""
    method = METHODS[name]
    model = model_file(OUT, method.folder, TRIAL_SEED)
    flags = f'--skip-generation true {FULL} --paml-inner-lr {rate}'
    evaluate, report = evaluation(model, f'{name}-{rate}', TRIAL_SHOTS, 'first', flags, datapath)
    title = f'{method.name}, α = {rate}, k = {TRIAL_SHOTS}'
    train = training(method, TRIAL_SEED, datapath)
    return Job(title, PEOPLE, DATA, split('first'), TRIAL_SEED, train, evaluate, report, ('ppl_fold', 'ppl'))


def human(datapath: str) -> Job:
    report = OUT / 'human.json'
    evaluate = (
        f'parlai eval_model -m repeat_label -t {PLAIN} -dt valid --datapath {shlex.quote(datapath)} '
        f'--persona-candidates none {ASK_NLI} --report-filename {report}'
    )
    return Job('Human', PLAIN, DATA, f'valid, {JUDGED}', 0, {}, evaluate, report, METRICS)


def main() -> None:
    args = arguments(__doc__, ['human', 'trials', *METHODS], SEEDS)
    jobs = [human(args.datapath)] if 'human' in args.only else []
    if 'trials' in args.only:
        jobs += [trial(name, rate, args.datapath) for name, rates in TRIED.items() for rate in rates]
    jobs += [
        job(name, seed, shots, args.datapath)
        for seed in args.seeds
        for name in METHODS
        if name in args.only
        for shots in reversed(METHODS[name].shots)
    ]
    run_all(jobs, CSV, args.allow_dirty)


if __name__ == '__main__':
    main()
