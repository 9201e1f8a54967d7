"""persona:memnet on the data at hand: beside ParlAI's biencoder, and tables 1, 3 and 4 of Mazaré et al. 2018.

    python -m benchmarks.memnet.quality --datapath data                       # all of it, about two hours of a core
    python -m benchmarks.memnet.quality --datapath data --only personachat sample
    make results                                                              # RESULTS.md

The Reddit tables use comments of December 2005 to March 2006, 6,233 pairs (the paper has 700 million), so networks are
small. Each checkpoint is chosen on valid; Reddit's figures are of test. Every step is a stock `parlai` command and
stands in the row of what comes out of it. What is finished is skipped: after Ctrl-C, run the same line again.
"""

import argparse
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.commands import Progress, execute
from benchmarks.common.jobs import Job, run_all
from benchmarks.common.record import RESULTS, data_label
from benchmarks.suite.baselines import BASELINES, SCHEDULE, training_dialogues

CSV = RESULTS / 'memnet.csv'
METRICS = ('hits@1', 'hits@3', 'hits@10', 'mrr', 'hits@1_persona', 'hits@1_history')
PERSONACHAT, REDDIT, SAMPLE = 'persona:personachat', 'persona:reddit', 'persona:sample'
DUMP = 'reddit/rc_2005-12_to_2006-03.jsonl.gz'
DATA = 'comments of 2005-12 to 2006-03'
SEEDS = (1, 2, 3)
MINUTES = 10  # of training, at most; as in baselines.py

# The size and the training of baselines.py's biencoder. Comments write names and half of their words once.
SIZE = '--memnet-embedding-size 128 --memnet-layers 1 --memnet-heads 2 --memnet-ffn-size 256 --memnet-dropout 0.2'
LEARN = '--optimizer adam -lr 0.0005 --gradient-clip 1 -bs 128 --dict-tokenizer re -vmt hits@1 -vmm max'
WORDS = ' --dict-lower true --dict-minfreq 2 -lr 0.001'
ENCODERS = {
    'transformer': '',
    'lstm': ' --memnet-encoder lstm --memnet-layers 2 --memnet-hidden-size 32',  # 128 numbers a text, too
    'bow': ' --memnet-encoder bow',
}


@dataclass(frozen=True)
class Maker:
    """Commands and folders."""

    datapath: str
    out: Path

    def model(self, name: str, seed: int) -> Path:
        return self.out / f'{name}-{seed}' / 'model'

    def task(self, task: str, selection: str = 'rules') -> str:
        data = f' --reddit-data {shlex.quote(str(self.out / "data" / selection))}' if task == REDDIT else ''
        return f'-t {task} --datapath {shlex.quote(self.datapath)}{data}'

    def trained(self, name: str, seed: int, where: str, flags: str, epochs: int) -> str:
        return (
            f'parlai train_model {where} {flags} --num-epochs {epochs} --seed {seed} '
            f'--max-train-time {60 * MINUTES} {SCHEDULE} -mf {self.model(name, seed)}'
        )

    def job(
        self, method: str, task: str, data: str, split: str, name: str, seed: int, train: str, selection: str = 'rules'
    ) -> Job:
        model = self.model(name, seed)
        report = model.with_name(f'{task.split(":")[1]}.json')
        command = (
            f'parlai eval_model {self.task(task, selection)} -dt {split} -mf {model} -bs 64 --report-filename {report}'
        )
        return Job(method, task, data, split, seed, (train,), (Path(f'{model}.valid'),), command, report)

    def build(self, selection: str, size: int = 100) -> str:
        folder, datapath = self.out / 'data' / name_of(selection, size), shlex.quote(self.datapath)
        return (
            f'parlai persona_reddit build --input {datapath}/{DUMP} --output {folder} --datapath {datapath} '
            f'--selection {selection} --persona-size {size} --valid 0.1 --test 0.2 --tagger lexicon --parts 1'
        )


def name_of(selection: str, size: int) -> str:
    return selection if size == 100 else f'{selection}-{size}'


# ---------------------------------------------------------------------------------------------- the tables


def personachat(make: Maker) -> Iterator[Job]:
    """Beside the biencoder of the same size and training, with and without the persona."""
    data = data_label('Persona-Chat', training_dialogues(make.datapath))
    biencoder = next(one for one in BASELINES if one.name == 'biencoder')
    for seed in SEEDS:
        for persona in (True, False):
            yield memnet_on_personachat(make, data, seed, persona)
    for seed in SEEDS:
        train = make.trained('biencoder', seed, make.task(PERSONACHAT), f'-m {biencoder.agent} {biencoder.train}', 10)
        yield make.job('biencoder', PERSONACHAT, data, 'valid', 'biencoder', seed, train)


def ablation(make: Maker) -> Iterator[Job]:
    """What helps on small data."""
    data = data_label('Persona-Chat', training_dialogues(make.datapath))
    for kind, flags in ABLATIONS.items():
        for seed in SEEDS:
            name = f'personachat-{kind.replace(" ", "-")}'
            train = make.trained(name, seed, make.task(PERSONACHAT), f'-m persona:memnet {SIZE} {LEARN} {flags}', 10)
            yield make.job(f'memnet transformer, {kind}', PERSONACHAT, data, 'valid', name, seed, train)


ABLATIONS = {'random start': '--memnet-persona-start random', 'dropout 0.4': '--memnet-dropout 0.4'}


def memnet_on_personachat(make: Maker, data: str, seed: int, persona: bool) -> Job:
    name = f'personachat-{"self" if persona else "none"}'
    flags = f'-m persona:memnet {SIZE} {LEARN}{without(persona)}'
    train = make.trained(name, seed, make.task(PERSONACHAT), flags, 10)
    return make.job(named('memnet transformer', persona), PERSONACHAT, data, 'valid', name, seed, train)


def table1(make: Maker) -> Iterator[Job]:
    """Retrieval among 100 candidates, three encoders with and without the persona, and TF-IDF."""
    for persona in (False, True):
        yield ir(make, persona)
    for seed in SEEDS:
        for encoder in ENCODERS:
            for persona in (True, False):
                yield reddit(make, encoder, seed, persona)


def reddit(make: Maker, encoder: str, seed: int, persona: bool = True, selection: str = 'rules', n: int = 100) -> Job:
    built = name_of(selection, n)
    name = f'reddit-{encoder}-{built}-{"self" if persona else "none"}'
    flags = f'-m persona:memnet {SIZE} {LEARN}{WORDS}{ENCODERS[encoder]}{without(persona)}'
    train = make.trained(name, seed, make.task(REDDIT, built), flags, 12)
    method = named(f'memnet {encoder}', persona)
    if persona and (selection, n) != ('rules', 100):
        method += f', {selection}, N = {n}'
    return make.job(method, REDDIT, DATA, 'test', name, seed, train, selection=built)


def ir(make: Maker, persona: bool) -> Job:
    side = 'self' if persona else 'none'
    model = make.model(f'reddit-ir-{side}', 0)
    where = f'{make.task(REDDIT)} --persona-side {side}'
    train = f'parlai build_dict {where} --dict-tokenizer re --dict-file {model}.dict'
    report = model.with_name('reddit.json')
    evaluate = (
        f'parlai eval_model {where} -dt test -m ir_baseline --history_size 100 --dict-file {model}.dict -bs 64 '
        f'--report-filename {report}'
    )
    method = named('ir_baseline', persona)
    return Job(method, REDDIT, DATA, 'test', 0, (train,), (Path(f'{model}.dict'),), evaluate, report)


def table3(make: Maker) -> Iterator[Job]:
    """Ways to choose the sentences of a persona."""
    for seed in SEEDS:
        for selection, n in SELECTIONS:
            yield reddit(make, 'transformer', seed, selection=selection, n=n)


SELECTIONS = (
    ('rules', 20),
    ('rules+classifier', 20),
    ('rules+classifier', 100),
    ('random-user', 100),
    ('random-dataset', 100),
)


def table4(make: Maker) -> Iterator[Job]:
    """Trained on one, measured on the other; and on Reddit first, then on Persona-Chat."""
    data = data_label('Persona-Chat', training_dialogues(make.datapath))
    for seed in SEEDS:
        there = memnet_on_personachat(make, data, seed, True)
        yield make.job('memnet trained on Persona-Chat', REDDIT, DATA, 'test', 'personachat-self', seed, *there.train)
        here = reddit(make, 'transformer', seed)
        name = 'reddit-transformer-rules-self'
        yield make.job('memnet trained on Reddit', PERSONACHAT, data, 'valid', name, seed, *here.train)
        before = make.model(name, seed)
        flags = f'-m persona:memnet --init-model {before} {SIZE} {LEARN} --dict-lower true'
        train = make.trained('transfer', seed, make.task(PERSONACHAT), flags, 10)
        both = 'memnet trained on Reddit, then Persona-Chat'
        yield make.job(both, PERSONACHAT, data, 'valid', 'transfer', seed, train)
        yield make.job(both, REDDIT, DATA, 'test', 'transfer', seed, train)


def sample(make: Maker) -> Iterator[Job]:
    """The embedded sample, where what can be known without the persona has a ceiling. Its candidates differ in one
    word, which responses of a batch seldom do."""
    for kind, flags, epochs in (('', '', 40), (', inline candidates', ' --candidates inline', 10)):
        for seed in SEEDS:
            for persona in (True, False):
                name = f'sample{kind and "-inline"}-{"self" if persona else "none"}'
                whole = f'-m persona:memnet {SMALL}{flags}{without(persona)}'
                train = make.trained(name, seed, make.task(SAMPLE), whole, epochs)
                method = named(f'memnet transformer{kind}', persona)
                yield make.job(method, SAMPLE, 'sample', 'valid', name, seed, train)


SMALL = (
    '--memnet-embedding-size 64 --memnet-layers 1 --memnet-heads 2 --memnet-ffn-size 128 --optimizer adam -lr 0.002 '
    '-bs 32 --dict-tokenizer re -vmt hits@1 -vmm max'
)


def named(method: str, persona: bool) -> str:
    return method if persona else f'{method}, no persona'


def without(persona: bool) -> str:
    return '' if persona else ' --memnet-persona false'


TABLES = {
    'personachat': personachat,
    'ablation': ablation,
    'sample': sample,
    'table1': table1,
    'table3': table3,
    'table4': table4,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--datapath', required=True, help="ParlAI's data folder")
    parser.add_argument('--only', nargs='+', choices=[*TABLES], default=[*TABLES])
    parser.add_argument('--seeds', type=int, nargs='+', default=SEEDS, help='these alone (default: %(default)s)')
    parser.add_argument('--threads', type=int, default=1, help='CPU threads (default: %(default)s)')
    parser.add_argument('--out', type=Path, default=Path('runs/memnet'), help='for models (default: %(default)s)')
    args = parser.parse_args()
    make = Maker(args.datapath, args.out)
    jobs = [job for name in args.only for job in TABLES[name](make) if job.seed in (0, *args.seeds)]
    if any(name in args.only for name in ('table1', 'table3', 'table4')):
        build(make, args.only, Progress(1, lambda: MINUTES))
    run_all(jobs, CSV, METRICS, args.threads, MINUTES)


def build(make: Maker, tables: list[str], progress: Progress) -> None:
    """The data sets that are not there yet."""
    wanted = [('rules', 100), *(SELECTIONS if 'table3' in tables else ())]
    for selection, n in wanted:
        folder = make.out / 'data' / name_of(selection, n)
        if not folder.exists():
            progress.begin(0, f'building {folder.name}')
            execute(make.build(selection, n), make.out / 'data' / 'log.txt', 1, progress)
            progress.done('ready')


if __name__ == '__main__':
    sys.exit(main())
