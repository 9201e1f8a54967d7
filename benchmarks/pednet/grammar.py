"""Measure PEDNet and its baselines on generated dialogues, where the message says which sentence answers.

    python -m benchmarks.pednet.grammar --datapath data                             # all of it, three hours on a core
    python -m benchmarks.pednet.grammar --datapath data --only k1-tied --seeds 1    # one training

On Persona-Chat, a message hardly says which sentence the reply will express, so a poor choice may be the data's fault
or the network's. In `persona:sample` all is known: the best possible hits@1 is .66 for an agent that reads the persona
and the last message, and .21 for one that reads the last message only (tasks/sample/README.md).

Every agent has the sizes of its preset `small`, and sees 300 dialogues eight times. The last epoch counts, or an
earlier one with a lower perplexity.
"""

import shlex
from pathlib import Path

from benchmarks.common.jobs import Job, arguments, model_file, run_all
from benchmarks.common.record import RESULTS
from benchmarks.pednet.table2 import ARMS as TABLE2
from benchmarks.pednet.table2 import SEEDS, TASK

CSV = RESULTS / 'pednet_grammar.csv'
OUT = Path('runs/pednet_grammar')
OF, DIALOGUES, EXAMPLES = 'persona:sample', 300, 800
DATA = f'{OF}, {DIALOGUES} generated dialogues'
METRICS = ('hits@1', 'ppl_word', 'f1', 'choice_acc', 'choice_chance', 'prior_agrees')
KEYS = (
    'seq2seq',
    'seq2seq-tied',
    'gpmn',
    'postks',
    'postks-tied',
    'k1',
    'k1-tied',
    'k15',
    'tied',
    'g0-tied',
    'k1-label',
)
ARMS = {key: TABLE2[key] for key in KEYS}


def job(key: str, seed: int, datapath: str) -> Job:
    """Return what trains an arm and evaluates it."""
    arm, model, where = ARMS[key], model_file(OUT, key, seed), f'--datapath {shlex.quote(datapath)}'
    train = (
        f'parlai train_model -o persona:{arm.agent}/small {where} --congeneric-of {OF} '
        f'--persona-sample-dialogues {DIALOGUES} {arm.flags} --num-epochs 8 --learningrate 0.003 --batchsize 32 '
        f'--eval-batchsize 64 --short-final-eval true --validation-max-exs {EXAMPLES} --seed {seed} -mf {model}'
    )
    report = model.with_name('valid.json')
    evaluate = (
        f'parlai eval_model -mf {model} -t {TASK} --congeneric-of {OF} {where} -dt valid -bs 64 '
        f'--skip-generation false --rank-candidates true --persona-candidates inline --report-filename {report}'
    )
    trained = {' '.join(train.split()): Path(f'{model}.valid')}
    return Job(arm.name, TASK, DATA, 'valid', seed, trained, evaluate, report, METRICS, EXAMPLES)


def main() -> None:
    args = arguments(__doc__, ARMS, SEEDS)
    run_all([job(key, seed, args.datapath) for seed in args.seeds for key in args.only], CSV, args.allow_dirty)


if __name__ == '__main__':
    main()
