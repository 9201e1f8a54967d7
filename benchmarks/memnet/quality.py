"""Measure persona:memnet beside ParlAI's biencoder, and tables 1, 3 and 4 of Mazaré et al. 2018 on the data at hand.

    python -m benchmarks.memnet.quality --datapath data                       # all of it, about two hours on one core
    python -m benchmarks.memnet.quality --datapath data --only personachat sample
    make results                                                              # RESULTS.md

The Reddit tables use comments of December 2005 to March 2006: 6,233 pairs, where the paper has 700 million. So networks
are small. Each checkpoint is chosen on valid; Reddit's figures are of test.

Every step is a stock `parlai` command, and each row names its commands. After Ctrl-C, run the same line again: it skips
what is finished.
"""

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.common import record
from benchmarks.common.commands import Progress, execute
from benchmarks.common.jobs import Job, model_file, run_all, training
from benchmarks.common.record import RESULTS, data_label
from benchmarks.suite.baselines import BASELINES, training_dialogues

CSV = RESULTS / 'memnet.csv'
METRICS = ('hits@1', 'hits@3', 'hits@10', 'mrr', 'hits@1_persona', 'hits@1_history')
PERSONACHAT, REDDIT, SAMPLE = 'persona:personachat', 'persona:reddit', 'persona:sample'
DUMP = 'reddit/rc_2005-12_to_2006-03.jsonl.gz'
SEEDS = (1, 2, 3)
MINUTES = 10  # of training, at most; as in baselines.py

# Size and training of the biencoder in baselines.py.
MEMNET = (
    '-m persona:memnet{start} --memnet-embedding-size 128 --memnet-layers 1 --memnet-heads 2 --memnet-ffn-size 256 '
    '--memnet-dropout 0.2 --optimizer adam -lr 0.0005 --gradient-clip 1 -bs 128 --dict-tokenizer re -vmt hits@1 '
    '-vmm max'
)
TINY = (
    '-m persona:memnet --memnet-embedding-size 64 --memnet-layers 1 --memnet-heads 2 --memnet-ffn-size 128 '
    '--optimizer adam -lr 0.002 -bs 32 --dict-tokenizer re -vmt hits@1 -vmm max'
)
COMMENTS = ' --dict-lower true --dict-minfreq 2 -lr 0.001'  # comments write names, and use half of their words once
NO_PERSONA = ' --memnet-persona false'
ENCODERS = {
    'transformer': '',
    'lstm': ' --memnet-encoder lstm --memnet-layers 2 --memnet-hidden-size 32',  # 128 numbers a text, too
    'bow': ' --memnet-encoder bow',
}


@dataclass(frozen=True)
class Network:
    """What to train: the name of its folder, the task, flags, and the folder of Reddit data."""

    name: str
    task: str
    flags: str
    epochs: int
    selection: str = 'rules'
    start: str = ''  # name of the network that training begins with


@dataclass(frozen=True)
class Measurement:
    """A network evaluated on a task; the method is its name in RESULTS.md."""

    method: str
    network: Network
    task: str


def personachat(persona: bool = True) -> Network:
    return Network(f'personachat-{side(persona)}', PERSONACHAT, MEMNET + NO_PERSONA * (not persona), 10)


def reddit(encoder: str = 'transformer', persona: bool = True, selection: str = 'rules') -> Network:
    flags = f'{MEMNET}{COMMENTS}{ENCODERS[encoder]}{NO_PERSONA * (not persona)}'
    return Network(f'reddit-{encoder}-{selection}-{side(persona)}', REDDIT, flags, 12, selection)


def side(persona: bool) -> str:
    return 'self' if persona else 'none'


def named(method: str, persona: bool) -> str:
    return method if persona else f'{method}, no persona'


# ---------------------------------------------------------------------------------------------- the tables


def table_personachat() -> Iterator[Measurement]:
    """Compare with the biencoder of the same size and training, with and without the persona."""
    for persona in (True, False):
        yield Measurement(named('memnet transformer', persona), personachat(persona), PERSONACHAT)
    peer = next(one for one in BASELINES if one.name == 'biencoder')
    network = Network('biencoder', PERSONACHAT, f'-m {peer.agent} {peer.train}', 10)
    yield Measurement('biencoder', network, PERSONACHAT)


def table_ablation() -> Iterator[Measurement]:
    """Show what helps on little data."""
    for kind, flags in (('random start', '--memnet-persona-start random'), ('dropout 0.4', '--memnet-dropout 0.4')):
        network = Network(f'personachat-{kind.replace(" ", "-")}', PERSONACHAT, f'{MEMNET} {flags}', 10)
        yield Measurement(f'memnet transformer, {kind}', network, PERSONACHAT)


def table_sample() -> Iterator[Measurement]:
    """Compare with the known best score without the persona. Candidates of a question differ in one word, which
    responses of a batch seldom do."""
    for kind, flags, epochs in (('', '', 40), (', inline candidates', ' --candidates inline', 10)):
        for persona in (True, False):
            name = f'sample{kind and "-inline"}-{side(persona)}'
            network = Network(name, SAMPLE, f'{TINY}{flags}{NO_PERSONA * (not persona)}', epochs)
            yield Measurement(named(f'memnet transformer{kind}', persona), network, SAMPLE)


def table1() -> Iterator[Measurement]:
    """Choose among 100 candidates: three encoders with and without the persona (TF-IDF: see `tf_idf`)."""
    for encoder in ENCODERS:
        for persona in (True, False):
            yield Measurement(named(f'memnet {encoder}', persona), reddit(encoder, persona), REDDIT)


SELECTIONS = (  # ways to choose persona sentences, and how many of them
    ('rules', 20),
    ('rules+classifier', 20),
    ('rules+classifier', 100),
    ('random-user', 100),
    ('random-dataset', 100),
)


def data_folder(selection: str, size: int) -> str:
    return selection if size == 100 else f'{selection}-{size}'


def table3() -> Iterator[Measurement]:
    """Compare ways to choose the sentences of a persona."""
    for selection, size in SELECTIONS:
        network = reddit(selection=data_folder(selection, size))
        yield Measurement(f'memnet transformer, {selection}, N = {size}', network, REDDIT)


def table4() -> Iterator[Measurement]:
    """Train on one corpus, evaluate on the other; and train on Reddit first, then on Persona-Chat."""
    yield Measurement('memnet trained on Persona-Chat', personachat(), REDDIT)
    yield Measurement('memnet trained on Reddit', reddit(), PERSONACHAT)
    both = Network('transfer', PERSONACHAT, f'{MEMNET} --dict-lower true', 10, start=reddit().name)
    for task in (PERSONACHAT, REDDIT):
        yield Measurement('memnet trained on Reddit, then Persona-Chat', both, task)


TABLES = {
    'personachat': table_personachat,
    'ablation': table_ablation,
    'sample': table_sample,
    'table1': table1,
    'table3': table3,
    'table4': table4,
}


# ------------------------------------------------------------------------------------------------ commands


def task_flags(task: str, selection: str, args: argparse.Namespace) -> str:
    data = f' --reddit-data {shlex.quote(str(args.out / "data" / selection))}' if task == REDDIT else ''
    return f'-t {task} --datapath {shlex.quote(args.datapath)}{data}'


def columns(task: str, args: argparse.Namespace) -> tuple[str, str, str]:
    """Return what a row says of the task: its name, data and split."""
    if task == REDDIT:
        return task, 'comments of 2005-12 to 2006-03', 'test'
    return task, 'sample' if task == SAMPLE else personachat_label(args.datapath), 'valid'


@cache
def personachat_label(datapath: str) -> str:
    return data_label('Persona-Chat', training_dialogues(datapath))


def job(measurement: Measurement, seed: int, args: argparse.Namespace) -> Job:
    network = measurement.network
    model = model_file(args.out, network.name, seed)
    start = f' --init-model {model_file(args.out, network.start, seed)}' if network.start else ''
    flags = f'{network.flags.replace("{start}", start)} --num-epochs {network.epochs}'
    train = training(task_flags(network.task, network.selection, args), flags, seed, MINUTES, model)
    task, data, split = columns(measurement.task, args)
    report = model.with_name(f'{task.split(":")[1]}.json')
    where = task_flags(task, network.selection, args)
    evaluate = f'parlai eval_model {where} -dt {split} -mf {model} -bs 64 --report-filename {report}'
    return Job(measurement.method, task, data, split, seed, (train,), (Path(f'{model}.valid'),), evaluate, report)


def tf_idf(persona: bool, args: argparse.Namespace) -> Job:
    model = model_file(args.out, f'reddit-ir-{side(persona)}', 0)
    where = f'{task_flags(REDDIT, "rules", args)} --persona-side {side(persona)}'
    train = f'parlai build_dict {where} --dict-tokenizer re --dict-file {model}.dict'
    report = model.with_name('reddit.json')
    evaluate = (
        f'parlai eval_model {where} -dt test -m ir_baseline --history_size 100 --dict-file {model}.dict -bs 64 '
        f'--report-filename {report}'
    )
    method = named('ir_baseline', persona)
    return Job(method, *columns(REDDIT, args), 0, (train,), (Path(f'{model}.dict'),), evaluate, report)


def build_reddit(args: argparse.Namespace) -> None:
    """Build the Reddit data sets that are not there yet."""
    progress = Progress(1, lambda: MINUTES)
    datapath = shlex.quote(args.datapath)
    for selection, size in [('rules', 100), *(SELECTIONS if 'table3' in args.only else ())]:
        folder = args.out / 'data' / data_folder(selection, size)
        if not folder.exists():
            progress.begin(0, f'building {folder.name}')
            command = (
                f'parlai persona_reddit build --input {datapath}/{DUMP} --output {folder} --datapath {datapath} '
                f'--selection {selection} --persona-size {size} --valid 0.1 --test 0.2 --tagger lexicon --parts 1'
            )
            execute(command, args.out / 'data' / 'log.txt', 1, progress)
            progress.done('ready')


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--datapath', required=True, help="ParlAI's data folder")
    parser.add_argument('--only', nargs='+', choices=[*TABLES], default=[*TABLES])
    parser.add_argument('--seeds', type=int, nargs='+', default=SEEDS, help='these alone (default: %(default)s)')
    parser.add_argument('--threads', type=int, default=1, help='CPU threads (default: %(default)s)')
    parser.add_argument('--out', type=Path, default=Path('runs/memnet'), help='for models (default: %(default)s)')
    args = record.parse_arguments(parser)
    jobs = [tf_idf(persona, args) for persona in (False, True) if 'table1' in args.only]
    jobs += [job(one, seed, args) for name in args.only for seed in args.seeds for one in TABLES[name]()]
    if any(one.task == REDDIT for one in jobs):
        build_reddit(args)
    run_all(jobs, CSV, METRICS, args.threads, MINUTES, args.allow_dirty)


if __name__ == '__main__':
    main()
