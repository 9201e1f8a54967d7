"""Check that two versions of the suite behave the same: training losses, evaluations and a Reddit build.

    python -m benchmarks.suite.same_behaviour --before ../before/.venv/bin/python --datapath data

`--before` and `--after` are the Pythons of two environments, each with its own version of the suite installed. Both
do the same work with the same seeds:

* the training losses of the first steps of each agent, on `persona:sample`;
* the metrics of each of these models, and of ParlAI's `repeat_label` on each task, on the valid split;
* the rows of `parlai persona_reddit build` from a small generated dump.

The script prints a line for each comparison, and ends with status 1 if one differs.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.reddit import dumps

SAMPLE = '-t persona:sample --persona-sample-dialogues 40'
TRAINING = (
    '--optimizer adam -lr 0.01 --lr-scheduler none --gradient-clip 1 -bs 8 --truncate 256 --label-truncate 24 --seed 1 '
    '--dict-tokenizer re --max-train-steps 10 --log-every-n-steps 1'
)
TRANSFORMER = '--n-layers 1 --n-heads 2 --embedding-size 16 --ffn-size 16'
RELATED = '--meta-memnn-related persona:sample:persona_sample_dialogues=4 --meta-memnn-updates 2'
PEOPLE = '-t persona:few_shot -bs 4 --max-train-steps 4 --paml-inner-lr 0.3 --dict-minfreq 5'
AGENTS = {
    'persona:memnet': '--memnet-embedding-size 16 --memnet-heads 2 --memnet-layers 1 --memnet-ffn-size 16',
    'persona:meta_memnn': RELATED,
    'persona:paml': TRANSFORMER,
    'persona:paml/seq2seq': '--hiddensize 16 --embeddingsize 16 --numlayers 1 --attention dot',
    'transformer/generator': TRANSFORMER,
}
MODES = ('primary', 'multitask', 'random_fixed', 'random_changing')  # of meta_memnn, besides 'learned'
TASKS = (
    'persona:sample',
    'persona:personachat',
    'persona:personachat --persona-source convai2 --persona-side both',
    'persona:personalized_babi --babi-task 3 --babi-dialogues 50',
    'persona:few_shot --few-shot-folds 1',
)
# Prints the losses of all steps of a training, or the metrics of an evaluation.
CHILD = """
import contextlib, io, json, sys
import parlai.utils.logging as logging
from parlai.scripts.eval_model import EvalModel
from parlai.scripts.train_model import TrainLoop, TrainModel
import parlai_persona
script, *flags = sys.argv[1:]
logging.set_log_level('ERROR')
with contextlib.redirect_stdout(io.StringIO()):
    if script == 'train':
        loop = TrainLoop(TrainModel.setup_args().parse_args(flags))
        logging.set_log_level('ERROR')
        found = {f'step {number}': float(log['loss']) for number, log in enumerate(loop.train_steps(), 1)}
        loop.save_model()
    else:
        found = {name: float(value) for name, value in EvalModel.main(*flags).items()}
print(json.dumps(found))
"""
SPEED = ('exps', 'gpu_mem', 'ltpb', 'ltps', 'tpb', 'tps', 'ctpb', 'ctps', 'clen', 'llen', 'ctrunc', 'ltrunc')  # ignored
Found = dict[str, float]


def run(python: str, folder: Path, *arguments: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([python, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f'{python} {" ".join(arguments)[-200:]}\n{done.stderr[-2000:]}\nexit status {done.returncode}')
    return done.stdout


def work(python: str, folder: Path, command: str) -> Found:
    """Train or evaluate in an environment; models are kept in its folder."""
    found = json.loads(run(python, folder, '-c', CHILD, *command.split(), '--loglevel', 'error').splitlines()[-1])
    return {name: value for name, value in found.items() if name not in SPEED}


def commands(datapath: str) -> Iterator[tuple[str, str]]:
    """Yield the trainings and evaluations to compare, with their titles."""
    for agent, flags in AGENTS.items():
        model = f'-mf {agent.replace("/", "_").replace(":", "_")}/model'
        yield f'{agent}: losses', f'train {SAMPLE} -m {agent} {TRAINING} {flags} {model}'
        yield f'{agent}: valid metrics', f'eval -t persona:sample -dt valid -bs 32 {model}'
    for mode in MODES:
        flags = f'{RELATED} --meta-memnn-mode {mode} -mf {mode}/model'
        yield f'meta_memnn, {mode}: losses', f'train {SAMPLE} -m persona:meta_memnn {TRAINING} {flags}'
    people = f'{TRANSFORMER} {PEOPLE} --datapath {datapath} -mf people/model'
    yield 'persona:paml on people: losses', f'train -m persona:paml {TRAINING} {people}'
    for task in TASKS:
        yield f'{task}: metrics of repeat_label', f'eval -m repeat_label -t {task} -dt valid --datapath {datapath}'


def reddit(python: str, folder: Path, dump: Path) -> Found:
    """Return the rows of all splits and how often each occurs: everything but the names of authors.

    Personas hold all sentences, because the secret numbers of authors decide which are drawn.
    """
    parlai, rows = str(Path(python).with_name('parlai')), []
    options = ('--valid', '0.1', '--test', '0.1', '--persona-size', '1000')
    run(parlai, folder, 'persona_reddit', 'build', '--input', str(dump), '--output', 'reddit', *options)
    for split in ('train', 'valid', 'test'):
        where = ('--input', 'reddit', '--output', f'{split}.jsonl', '--split', split)
        run(parlai, folder, 'persona_reddit', 'export', *where)
        for line in (folder / f'{split}.jsonl').read_text(encoding='utf-8').splitlines():
            row = json.loads(line)
            rows.append(json.dumps({**row, 'persona': sorted(row['persona']), 'speaker': ''}))
    return {row: float(count) for row, count in Counter(rows).items()}


def report(title: str, before: Found, after: Found) -> bool:
    """Print whether two results are the same, or where they differ; numbers may by a ten-thousandth."""

    def same(one: float, other: float) -> bool:
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6) or (math.isnan(one) and math.isnan(other))

    pairs = {name: (before.get(name), after.get(name)) for name in {**before, **after}}
    differ = [f'{name}: {a} -> {b}' for name, (a, b) in pairs.items() if a is None or b is None or not same(a, b)]
    print(f'{"DIFFERS" if differ else "same":8}{title}', *differ[:8], sep='\n        ', flush=True)
    return not differ


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--before', required=True, help='the Python of the older version')
    parser.add_argument('--after', default=sys.executable, help='the Python of the newer version')
    parser.add_argument('--datapath', default='data', help="ParlAI's data folder")
    parser.add_argument('--only', default='', help='compare only what has this in its title')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, good = Path(name), []
        # Absolute, but not resolved: the Python of an environment is a link.
        places = [(os.path.abspath(args.before), folder / 'before'), (os.path.abspath(args.after), folder / 'after')]
        for title, command in commands(os.path.abspath(args.datapath)):
            if args.only in title:
                good.append(report(title, *(work(*place, command) for place in places)))
        title, dump = 'persona:reddit: rows of a small build', folder / 'comments.zst'
        if args.only in title:
            dumps.write(dump, 4000, seed=0)
            good.append(report(title, *(reddit(*place, dump) for place in places)))
    sys.exit(not all(good))


if __name__ == '__main__':
    main()
