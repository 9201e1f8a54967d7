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
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

STEPS = 10
TINY = {
    'learningrate': 1e-2,
    'lr_scheduler': 'none',
    'gradient_clip': 1.0,
    'batchsize': 8,
    'truncate': 256,
    'label_truncate': 24,
}
TRANSFORMER = {'n_layers': 1, 'n_heads': 2, 'embedding_size': 16, 'ffn_size': 16}
RECURRENT = {'hiddensize': 16, 'embeddingsize': 16, 'numlayers': 1, 'attention': 'dot'}
MEMNET = {'memnet_embedding_size': 16, 'memnet_heads': 2, 'memnet_layers': 1, 'memnet_ffn_size': 16}
RELATED = {'meta_memnn_related': 'persona:sample:persona_sample_dialogues=4', 'meta_memnn_updates': 2}
PEOPLE = {'task': 'persona:few_shot', 'batchsize': 4, 'max_train_steps': 4, 'paml_inner_lr': 0.3, 'dict_minfreq': 5}
AGENTS: dict[str, dict[str, Any]] = {
    'persona:memnet': MEMNET,
    'persona:meta_memnn': RELATED,
    'persona:paml': TRANSFORMER,
    'persona:paml/seq2seq': RECURRENT,
    'transformer/generator': TRANSFORMER,
}
MODES = ('primary', 'multitask', 'random_fixed', 'random_changing')  # of meta_memnn, besides 'learned'
TASKS: dict[str, dict[str, Any]] = {
    'persona:sample': {},
    'persona:personachat': {},
    'persona:personachat, ConvAI2': {'persona_source': 'convai2', 'persona_side': 'both'},
    'persona:personalized_babi': {'babi_task': 3, 'babi_dialogues': 50},
    'persona:few_shot': {'few_shot_folds': 1},
}
CHILD = """
import json, sys
import parlai.utils.logging as logging
from parlai.scripts.eval_model import EvalModel
from parlai.scripts.train_model import TrainLoop, TrainModel
import contextlib, io
import parlai_persona
work = json.loads(sys.argv[1])
logging.set_log_level('ERROR')
with contextlib.redirect_stdout(io.StringIO()):
    if work['loss']:
        loop = TrainLoop(TrainModel.setup_args().parse_kwargs(**work['options']))
        logging.set_log_level('ERROR')
        found = [float(log[work['loss']]) for log in loop.train_steps()]
        loop.save_model()
    else:
        report = EvalModel.main(**work['options'])
        found = {name: float(value) for name, value in report.items() if name not in work['ignored']}
print(json.dumps(found))
"""
IGNORED = ('exps', 'gpu_mem', 'ltpb', 'ltps', 'tpb', 'tps', 'ctpb', 'ctps', 'clen', 'llen', 'ctrunc', 'ltrunc')  # speed


class Version:
    """One version of the suite: the Python that has it, and a folder for what it makes."""

    def __init__(self, python: Path, folder: Path):
        self.python, self.folder = python, folder

    def run(self, *arguments: str) -> str:
        # Absolute, but not resolved: the Python of an environment is a link.
        command = [os.path.abspath(self.python), *arguments]
        environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
        self.folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f'{" ".join(command)[:200]}\n{done.stderr[-2000:]}\nexit status {done.returncode}')
        return done.stdout

    def work(self, options: dict[str, Any], loss: str = '') -> Any:
        """Train and return the losses of all steps; without `loss`, evaluate and return the report."""
        options = {'loglevel': 'error', **options}
        work = {'options': options, 'loss': loss, 'ignored': IGNORED}
        return json.loads(self.run('-c', CHILD, json.dumps(work)).splitlines()[-1])

    def losses(self, agent: str, options: dict[str, Any], name: str) -> list[float]:
        task = {} if 'task' in options else {'task': 'persona:sample', 'persona_sample_dialogues': 40}
        training = {**task, 'optimizer': 'adam', 'seed': 1, **TINY}
        steps = {'max_train_steps': STEPS, 'log_every_n_steps': 1, 'model': agent, 'model_file': self.model(name)}
        return self.work({**training, **steps, 'dict_tokenizer': 're', **options}, 'loss')

    def model(self, name: str) -> str:
        return str(self.folder / name.replace(':', '_').replace('/', '_').replace(' ', '_') / 'model')

    def reddit(self, dump: Path) -> list[str]:
        """The rows of all splits, in an order of their own: a row is everything but the names of authors."""
        parlai = str(Path(os.path.abspath(self.python)).with_name('parlai'))
        built = self.folder / 'reddit'
        self.run(parlai, 'persona_reddit', 'build', '--input', str(dump), '--output', str(built))
        rows = []
        for split in ('train', 'valid', 'test'):
            lines = self.folder / f'{split}.jsonl'
            self.run(
                parlai, 'persona_reddit', 'export', '--input', str(built), '--output', str(lines), '--split', split
            )
            rows += lines.read_text(encoding='utf-8').splitlines()
        return sorted(rows)


def dump(path: Path, count: int = 4000) -> Path:
    """Write a small dump in which a few authors say a lot."""
    rng = random.Random(0)
    words = ['tea', 'coffee', 'cats', 'dogs', 'trains', 'music', 'big', 'small', 'old', 'new', 'house', 'river']
    opinions = ('I like {}', 'my {} is old', 'I have a {} at home', 'I never eat {}', 'what about {}')
    known: list[tuple[str, str]] = []
    with path.open('w', encoding='utf-8') as file:
        for number in range(count):
            thread = f't3_{rng.randrange(20)}'
            answers = [name for name, where in known[-40:] if where == thread]
            comment = {
                'author': f'author{int(rng.paretovariate(0.8)) % 30}',
                'body': '. '.join(rng.choice(opinions).format(' '.join(rng.sample(words, 2))) for _ in range(3)) + '.',
                'created_utc': number,
                'id': f'{number:x}',
                'link_id': thread,
                'parent_id': f't1_{rng.choice(answers)}' if answers and rng.random() < 0.8 else thread,
                'subreddit': 'tea',
            }
            known.append((f'{number:x}', thread))
            file.write(json.dumps(comment) + '\n')
    return path


def differences(one: Any, other: Any) -> list[str]:
    """Where two results differ; numbers may by a millionth."""
    if isinstance(one, dict):
        pairs = [(name, one.get(name), other.get(name)) for name in sorted({*one, *other})]
    else:
        pairs = [
            ('length', len(one), len(other)),
            *((str(n), *both) for n, both in enumerate(zip(one, other, strict=False))),
        ]
    return [f'{name}: {before} -> {after}' for name, before, after in pairs if not same(before, after)]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6) or (math.isnan(one) and math.isnan(other))
    return one == other


def comparisons(datapath: str, folder: Path):
    """What to compare: a title, and how a version computes it."""
    for agent, options in AGENTS.items():
        yield f'{agent}: losses of {STEPS} steps', lambda v, a=agent, o=options: v.losses(a, o, a)
        valid = {'task': 'persona:sample', 'datatype': 'valid', 'batchsize': 32}
        yield f'{agent}: valid metrics', lambda v, a=agent, o=valid: v.work({**o, 'model_file': v.model(a)})
    for mode in MODES:
        options, name = {**RELATED, 'meta_memnn_mode': mode}, f'meta_memnn, {mode}'
        yield f'{name}: losses of {STEPS} steps', lambda v, o=options, n=name: v.losses('persona:meta_memnn', o, n)
    people = {**TRANSFORMER, **PEOPLE, 'datapath': datapath}
    yield 'persona:paml on people: losses of 4 steps', lambda v: v.losses('persona:paml', people, 'people')
    for task, options in TASKS.items():
        valid = {
            'model': 'repeat_label',
            'task': task.split(',')[0],
            'datatype': 'valid',
            'datapath': datapath,
            **options,
        }
        yield f'{task}: metrics of repeat_label', lambda v, o=valid: v.work(o)
    comments = dump(folder / 'comments.jsonl')
    yield 'persona:reddit: rows of a small build', lambda v: v.reddit(comments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--before', type=Path, required=True, help='the Python of the older version')
    parser.add_argument('--after', type=Path, default=Path(sys.executable), help='the Python of the newer version')
    parser.add_argument('--datapath', default='data', help="ParlAI's data folder")
    parser.add_argument('--only', default='', help='compare only what has this in its title')
    args = parser.parse_args()
    worst = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before, after = Version(args.before, folder / 'before'), Version(args.after, folder / 'after')
        for title, compute in comparisons(os.path.abspath(args.datapath), folder):
            if args.only not in title:
                continue
            found = differences(compute(before), compute(after))
            worst = max(worst, len(found))
            print(f'{"DIFFERS" if found else "same":8}{title}', *found[:8], sep='\n        ', flush=True)
    sys.exit(1 if worst else 0)


if __name__ == '__main__':
    main()
