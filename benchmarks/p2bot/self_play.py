"""Measure what self-play adds to the transmitter of P2Bot: the variants of Table 3 of the paper, and ours.

    python -m benchmarks.p2bot.self_play --datapath data                         # use a GPU: days on one core
    python -m benchmarks.p2bot.self_play --datapath data --only short --seeds 1  # 25 meetings
    make results                                                                 # RESULTS.md

Each arm holds 400 meetings of the train split, six times each, sixteen meetings at once; three seeds. All begin with
the same transmitter S, and the same receiver hears them: those of the zoo. `full` holds 2,000, as in the paper.
`choice` learns nothing: the receiver chooses among the replies of a beam of eight. `single` and `short` hold 100 and
25 meetings, one at a time. `no-style` is `short` without R1, which pays for length (`style.py`). The arms `kl…` have a
KL penalty, the baseline leave-one-out, and the reward of consistency. Evaluation: the first examples of ConvAI2's valid
split, as in `transmitter`, with the perception of each reply.

Every step is a stock `parlai` command. After Ctrl-C, run the same line again: it skips what is finished, and resumes a
training from its last checkpoint.
"""

import shlex
from pathlib import Path
from typing import NamedTuple

from benchmarks.common.jobs import Job, arguments, model_file, run_all
from benchmarks.common.judges import JUDGES, NLI, RECEIVER
from benchmarks.common.record import split_label
from benchmarks.p2bot import transmitter
from benchmarks.p2bot.transmitter import BASE, CORPUS, CSV, DATA, FORMS, OUT, TASK

START = 'zoo:persona/p2bot'
EXAMPLES = 256
TOGETHER = '--batchsize 16 --lm-checkpointing true'
METRICS = (*transmitter.METRICS, 'persona_perception*', 'repetition')
SEEDS = (1, 2, 3)


class Arm(NamedTuple):
    name: str  # as in RESULTS.md
    flags: str | None = None  # of the training; None: nothing is trained
    evaluation: str = ''
    seeds: tuple[int, ...] = SEEDS
    steps: int = 25
    forms: tuple[str, ...] = FORMS


def held(kl: float) -> Arm:
    """Return the arm with our other options and a weight of the KL penalty, which allows a higher rate."""
    options = f'--p2bot-baseline leave-one-out --p2bot-consistency 0.5 --p2bot-nli {NLI} --p2bot-kl {kl}'
    name = f'P²Bot, leave-one-out, NLI reward, KL {kl:g}, rate 0.0001'
    return Arm(name, f'{TOGETHER} {options} --learningrate 0.0001', seeds=(1,), forms=('original',))


ARMS = {
    's': Arm('S, with perception', seeds=(1,)),
    'rs1': Arm('S + RS1', f'{TOGETHER} --p2bot-coherence 0 --p2bot-perception 0'),
    'rs2': Arm('S + RS1 + RS2', f'{TOGETHER} --p2bot-perception 0'),
    'rs3': Arm('S + RS1 + RS2 + RS3 (P²Bot)', TOGETHER),
    'choice': Arm('S, best of eight', None, f'--lm-receiver {RECEIVER} --beam-size 8', (1,)),
    'full': Arm('P²Bot, 2,000 meetings', TOGETHER, seeds=(1,), steps=125),
    **{f'kl{kl:g}-0.0001': held(kl) for kl in (10.0, 30.0)},
    'single': Arm('P²Bot, 100 meetings, one at a time', '', seeds=(1,), steps=100),
    'short': Arm('P²Bot, 25 meetings, one at a time', '', seeds=(1,)),
    'no-style': Arm('P²Bot, 25 meetings, one at a time, no R1', '--p2bot-style 0', seeds=(1,)),
}


def job(key: str, seed: int, form: str, datapath: str) -> Job:
    """Return what trains an arm and evaluates it with one form of the personas."""
    arm, where = ARMS[key], f'--datapath {shlex.quote(datapath)}'
    own = model_file(OUT, key, seed)
    model = START if arm.flags is None else own
    report = own.with_name(f'{form}-{EXAMPLES}-perception.json')
    train = {}
    if arm.flags is not None:
        command = (
            f'parlai train_model -o persona:p2bot/cpu {BASE} --lm-amp true {where} --init-model {START} '
            f'--p2bot-receiver {RECEIVER} {arm.flags} --max-train-steps {arm.steps} --validation-every-n-steps -1 '
            f'--validation-max-exs 64 --seed {seed} -mf {model}'
        )
        train[' '.join(command.split())] = Path(f'{own}.valid')
    evaluate = (
        f'parlai eval_model -mf {model} {arm.evaluation} -t {TASK} {where} --persona-source convai2 --persona-form '
        f'{form} -dt valid -bs 8 --num-examples {EXAMPLES} --lm-amp true {JUDGES} '
        f'--skip-generation false --report-filename {report}'
    )
    split = f'{split_label(CORPUS, "valid", EXAMPLES)}, {form}'
    return Job(arm.name, TASK, DATA, split, seed, train, ' '.join(evaluate.split()), report, METRICS, EXAMPLES)


def main() -> None:
    args = arguments(__doc__, ARMS, SEEDS)
    jobs = [
        job(key, seed, form, args.datapath)
        for key in args.only
        for seed in ARMS[key].seeds
        if seed in args.seeds
        for form in ARMS[key].forms
    ]
    run_all(jobs, CSV, args.allow_dirty)


if __name__ == '__main__':
    main()
