"""Measure Table 2 and Figure 2 of Jiang et al. 2020: PEDNet with K contexts and share γ of PDNet, and its baselines.

    python -m benchmarks.pednet.table2 --datapath data                         # all of it, about three days on one core
    python -m benchmarks.pednet.table2 --datapath data --only k15 --seeds 1    # one training
    make results                                                               # RESULTS.md, results/pednet.md

All agents have the sizes of their preset `small` and see the 2,072 training dialogues at hand. After each epoch they
reply to the first 1,000 examples of the valid split. The rows "best epoch of each metric" are from there: as in the
paper, each metric chooses the parameters that yield its highest score, and so is too good. The other rows are of the
checkpoint with the lowest perplexity, on all examples. How well replies agree with the persona, and how much of it a
listener hears in a reply, is in results/table.md; the zoo's judges say it, who take as long as a training.

The sweeps over K and γ use the output that is tied to the embeddings, which turned out better. The arms g0-tied to
g9-tied are PEDNet with K = 15 and γ = 0 to .9; `tied` is that with γ = .5. Figure 2 is drawn at the end, to
docs/images/pednet_gamma.png (needs matplotlib, extra `plots`). The arms k1-glove and k1-all read the vector file in
<datapath>/models/glove_vectors/; the rows had 8,453 words of glove.6B.50d.

Every step is a stock `parlai` command, and each row names its commands. After Ctrl-C, run the same line again: it skips
what is finished, and resumes a training from its last checkpoint.
"""

import json
import shlex
from pathlib import Path
from typing import NamedTuple

from benchmarks.common.jobs import Job, arguments, model_file, run_all
from benchmarks.common.judges import JUDGES
from benchmarks.common.record import RESULTS, Row, append, data_label, hardware, split_label
from benchmarks.pednet.figure2 import AS_TIED, draw

CSV = RESULTS / 'pednet.csv'
OUT = Path('runs/pednet')
TASK = 'persona:congeneric'
CORPUS = 'Persona-Chat'
DATA = data_label(CORPUS, 2072)
SEEDS = (1, 2, 3)
VALIDATED, EXAMPLES = 1000, 7801
BEST = f'{split_label(CORPUS, "valid", VALIDATED)}, best epoch of each metric'
TABLE = (
    *('distinct_raw_1', 'distinct_raw_2', 'persona_recall', 'persona_precision', 'persona_f1', 'persona_cover_train'),
    *('f1', 'bleu-4'),
)
METRICS = (
    *(*TABLE, 'ppl_word', 'consistency', 'persona_perception_score', 'persona_perception_score_gold', 'choice_acc'),
    *('choice_chance', 'prior_agrees', 'gen_n_toks', 'repetition'),
)


class Arm(NamedTuple):
    name: str  # as in RESULTS.md
    agent: str = 'pednet'
    flags: str = ''
    reply: str = ''  # to every message; nothing is trained then


UNTIED, TIED = '--pednet-tied false', '--pednet-tied true'
LABELS, LABELLED = '--congeneric-labels encoder', '--pednet-choice label'
GLOVE, DROPOUT = '--embedding-type glove', '--pednet-read-dropout 0.3'
VARIANTS = {  # of K = 1 with a tied output
    'encoder': ('labels by MiniLM', LABELS),
    'label': ('labelled sentence while training', LABELLED),
    'listen': ('labels by MiniLM, labelled sentence while training', f'{LABELS} {LABELLED}'),
    'soft': ('all sentences while training', '--pednet-choice soft'),
    'glove': ('GloVe vectors', GLOVE),
    'dropout': ('dropout in reading', DROPOUT),
    'all': (
        'labels by MiniLM, labelled sentence while training, GloVe vectors, dropout in reading',
        f'{LABELS} {LABELLED} {GLOVE} {DROPOUT}',
    ),
}
ARMS = {
    'seq2seq': Arm('Seq2Seq', 'seq2seq'),
    'gpmn': Arm('GPMN', 'gpmn'),
    'postks': Arm('PostKS', 'postks'),
    **{f'k{k}': Arm(f'PEDNet (K = {k})', flags=f'--congeneric-k {k} {UNTIED}') for k in (1, 15)},
    'g0': Arm('PEDNet, γ = .0', flags=f'--pednet-gamma 0.0 {UNTIED}'),
    'seq2seq-tied': Arm(f'Seq2Seq{AS_TIED}', 'seq2seq', '--seq2seq-tied true'),
    'postks-tied': Arm(f'PostKS{AS_TIED}', 'postks', '--postks-tied true'),
    'tied': Arm(f'PEDNet (K = 15){AS_TIED}', flags=TIED),
    **{f'k{k}-tied': Arm(f'PEDNet (K = {k}){AS_TIED}', flags=f'--congeneric-k {k} {TIED}') for k in (1, 5, 10, 20)},
    **{
        f'g{n}-tied': Arm(f'PEDNet, γ = .{n}{AS_TIED}', flags=f'--pednet-gamma 0.{n} {TIED}')
        for n in (0, 1, 2, 3, 4, 6, 7, 8, 9)
    },
    **{
        f'k1-{key}': Arm(f'PEDNet (K = 1){AS_TIED}, {name}', flags=f'--congeneric-k 1 {TIED} {flags}')
        for key, (name, flags) in VARIANTS.items()
    },
    'constant': Arm('"i like to play ." to everybody', reply='i like to play .'),
}


def training(key: str, seed: int, datapath: str) -> tuple[str, Path]:
    """Return the command that trains an arm, and the model's file."""
    arm, model = ARMS[key], model_file(OUT, key, seed)
    command = (
        f'parlai train_model -o persona:{arm.agent}/small --datapath {shlex.quote(datapath)} {arm.flags} '
        f'--skip-generation false --validation-max-exs {VALIDATED} --eval-batchsize 64 --short-final-eval true '
        f'--seed {seed} -mf {model}'
    )
    return ' '.join(command.split()), model


def job(key: str, seed: int, datapath: str) -> Job:
    """Return what trains an arm and evaluates it."""
    train, model = training(key, seed, datapath)
    report = model.with_name('valid.json')
    arm = ARMS[key]
    agent = f'-m fixed_response --fixed-response {shlex.quote(arm.reply)}' if arm.reply else f'-mf {model}'
    labels = LABELS if LABELS in arm.flags else ''  # an evaluation has those of its own command
    evaluate = (
        f'parlai eval_model {agent} -t {TASK} {labels} --datapath {shlex.quote(datapath)} -dt valid -bs 64 '
        f'{JUDGES if arm.reply else ""} --report-filename {report}'
    )
    split = split_label(CORPUS, 'valid', EXAMPLES)
    trained = {} if arm.reply else {train: Path(f'{model}.valid')}
    return Job(arm.name, TASK, DATA, split, seed, trained, ' '.join(evaluate.split()), report, METRICS, EXAMPLES)


def best_epochs(key: str, seed: int, datapath: str) -> list[Row]:
    """Return the highest value that each metric of Table 2 has after any epoch."""
    train, model = training(key, seed, datapath)
    reports = json.loads(Path(f'{model}.trainstats').read_text(encoding='utf-8'))['valid_reports']
    columns = (ARMS[key].name, TASK, DATA, BEST, seed)
    highest = {metric: max(report[metric] for report in reports) for metric in TABLE}
    return [Row(*columns, *found, train, hardware=hardware(1)) for found in highest.items()]


def main() -> None:
    args = arguments(__doc__, ARMS, SEEDS)
    for seed in args.seeds:
        for key in args.only:
            run_all([job(key, seed, args.datapath)], CSV, args.allow_dirty)
            if Path(f'{model_file(OUT, key, seed)}.trainstats').exists():
                append(best_epochs(key, seed, args.datapath), CSV, allow_dirty=args.allow_dirty)
    draw()


if __name__ == '__main__':
    main()
