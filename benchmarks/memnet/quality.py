"""Measure persona:memnet beside ParlAI's biencoder, and tables 1, 3 and 4 of Mazaré et al. 2018 on the data at hand.

    python -m benchmarks.memnet.quality --datapath data                       # all of it, about five hours on one core
    python -m benchmarks.memnet.quality --datapath data --only personachat sample
    make results                                                              # RESULTS.md

The Reddit tables use comments of December 2005 to March 2006: 6,233 pairs, where the paper has 700 million. So networks
are small. Each checkpoint is chosen on valid; Reddit's figures are of test.

Every step is a stock `parlai` command, and each row names its commands. After Ctrl-C, run the same line again: it skips
what is finished.
"""

import shlex
from functools import cache
from pathlib import Path
from typing import NamedTuple

from benchmarks.common.jobs import Job, arguments, execute, model_file, run_all, training
from benchmarks.common.record import RESULTS, data_label
from benchmarks.suite.baselines import BASELINES, training_dialogues

CSV, OUT = RESULTS / 'memnet.csv', Path('runs/memnet')
METRICS = ('hits@1', 'hits@3', 'hits@10', 'mrr', 'hits@1_persona', 'hits@1_history')
PERSONACHAT, REDDIT, SAMPLE = 'persona:personachat', 'persona:reddit', 'persona:sample'
DUMP = 'reddit/rc_2005-12_to_2006-03.jsonl.gz'

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
PRETRAINED = '-o persona:memnet/minilm'  # 222 steps
# Candidates are ranked by the lexical term: against its weight, the dot products of a network do not count.
TF_IDF = (
    '-m persona:memnet --memnet-encoder bow --memnet-embedding-size 2 --memnet-lexical 1e6 --optimizer sgd -lr 0 '
    '-bs 64 --dict-tokenizer re --dict-lower true'
)
COMMENTS = ' --dict-lower true --dict-minfreq 2 -lr 0.001'  # comments write names, and use half of their words once
ENCODERS = {
    'transformer': '',
    'lstm': ' --memnet-encoder lstm --memnet-layers 2 --memnet-hidden-size 32',  # 128 numbers a text, too
    'bow': ' --memnet-encoder bow',
}
SIDES = {'self': ('', ''), 'none': (', no persona', ' --memnet-persona false')}  # what methods are called, and flags


class Network(NamedTuple):
    """What to train: the name of its folder, the task, flags, and the folder of Reddit data."""

    name: str
    task: str
    flags: str
    epochs: int
    selection: str = 'rules'
    start: str = ''  # name of the network that training begins with
    preset: bool = False  # whether the flags say how long to train, and when to validate


# ------------------------------------------------------------------------------------------------ networks


def personachat(side: str = 'self') -> Network:
    return Network(f'personachat-{side}', PERSONACHAT, MEMNET + SIDES[side][1], 10)


def ablated(kind: str, flags: str) -> Network:
    return Network(f'personachat-{kind.replace(" ", "-")}', PERSONACHAT, f'{MEMNET} {flags}', 10)


def pretrained(name: str, flags: str) -> Network:
    return Network(f'personachat-{name}', PERSONACHAT, PRETRAINED + flags, 1, preset=True)


def biencoder() -> Network:
    peer = next(one for one in BASELINES if one.name == 'biencoder')
    return Network('biencoder', PERSONACHAT, f'-m {peer.agent} {peer.train}', 10)


def sample(side: str, inline: bool = False) -> Network:
    """Return a tiny network. Candidates of a question differ in one word, which responses of a batch seldom do."""
    name = f'sample{"-inline" * inline}-{side}'
    flags = f'{TINY}{" --candidates inline" * inline}{SIDES[side][1]}'
    return Network(name, SAMPLE, flags, 10 if inline else 40)


def reddit(encoder: str = 'transformer', side: str = 'self', selection: str = 'rules') -> Network:
    flags = f'{MEMNET}{COMMENTS}{ENCODERS[encoder]}{SIDES[side][1]}'
    return Network(f'reddit-{encoder}-{selection}-{side}', REDDIT, flags, 12, selection)


def data_folder(selection: str, size: int) -> str:
    return selection if size == 100 else f'{selection}-{size}'


SELECTIONS = (  # ways to choose persona sentences, and how many of them
    ('rules', 20),
    ('rules+classifier', 20),
    ('rules+classifier', 100),
    ('random-user', 100),
    ('random-dataset', 100),
)
BOTH = Network('transfer', PERSONACHAT, f'{MEMNET} --dict-lower true', 10, start=reddit().name)
# table -> the method as RESULTS.md calls it, what to train, the task to evaluate on
TABLES: dict[str, list[tuple[str, Network, str]]] = {
    'personachat': [
        *((f'memnet transformer{end}', personachat(side), PERSONACHAT) for side, (end, _) in SIDES.items()),
        ('biencoder', biencoder(), PERSONACHAT),
    ],
    'ablation': [  # what helps on little data
        ('memnet transformer, random start', ablated('random start', '--memnet-persona-start random'), PERSONACHAT),
        ('memnet transformer, dropout 0.4', ablated('dropout 0.4', '--memnet-dropout 0.4'), PERSONACHAT),
    ],
    'pretrained': [
        ('memnet MiniLM + TF-IDF', pretrained('minilm-self', ''), PERSONACHAT),
        ('memnet MiniLM + TF-IDF, no persona', pretrained('minilm-none', SIDES['none'][1]), PERSONACHAT),
        ('TF-IDF of memnet', Network('personachat-tfidf-self', PERSONACHAT, TF_IDF, 1), PERSONACHAT),
        (
            'TF-IDF of memnet, no persona',
            Network('personachat-tfidf-none', PERSONACHAT, TF_IDF + SIDES['none'][1], 1),
            PERSONACHAT,
        ),
        (
            'MiniLM as it is',
            pretrained('minilm-untrained', ' --memnet-lexical 0 -lr 0 --max-train-steps 1'),
            PERSONACHAT,
        ),
        ('memnet transformer + TF-IDF', ablated('tfidf', '--memnet-lexical 20'), PERSONACHAT),
        ('memnet MiniLM', pretrained('minilm-alone', ' --memnet-lexical 0'), PERSONACHAT),
        (
            'memnet MiniLM, no persona',
            pretrained('minilm-alone-none', f' --memnet-lexical 0{SIDES["none"][1]}'),
            PERSONACHAT,
        ),
    ],
    'sample': [
        (f'memnet transformer{", inline candidates" * inline}{end}', sample(side, inline), SAMPLE)
        for inline in (False, True)
        for side, (end, _) in SIDES.items()
    ],
    'table1': [  # three encoders; TF-IDF: see `tf_idf`
        (f'memnet {encoder}{end}', reddit(encoder, side), REDDIT)
        for encoder in ENCODERS
        for side, (end, _) in SIDES.items()
    ],
    'table3': [
        (f'memnet transformer, {selection}, N = {size}', reddit(selection=data_folder(selection, size)), REDDIT)
        for selection, size in SELECTIONS
    ],
    'table4': [  # train on one corpus, evaluate on the other; train on Reddit first, then on Persona-Chat
        ('memnet trained on Persona-Chat', personachat(), REDDIT),
        ('memnet trained on Reddit', reddit(), PERSONACHAT),
        ('memnet trained on Reddit, then Persona-Chat', BOTH, PERSONACHAT),
        ('memnet trained on Reddit, then Persona-Chat', BOTH, REDDIT),
    ],
}

# ------------------------------------------------------------------------------------------------ commands


def task_flags(task: str, selection: str, datapath: str) -> str:
    data = f' --reddit-data {shlex.quote(str(OUT / "data" / selection))}' if task == REDDIT else ''
    return f'-t {task} --datapath {shlex.quote(datapath)}{data}'


@cache
def columns(task: str, datapath: str) -> tuple[str, str, str]:
    """Return what a row says of the task: its name, data and split."""
    if task == REDDIT:
        return task, 'comments of 2005-12 to 2006-03', 'test'
    data = 'sample' if task == SAMPLE else data_label('Persona-Chat', training_dialogues(datapath))
    return task, data, 'valid'


def job(method: str, network: Network, task: str, seed: int, datapath: str) -> Job:
    model = model_file(OUT, network.name, seed)
    start = f' --init-model {model_file(OUT, network.start, seed)}' if network.start else ''
    source, flags = task_flags(network.task, network.selection, datapath), network.flags.replace('{start}', start)
    if network.preset:
        train = f'parlai train_model {source} {flags} --seed {seed} -mf {model}'
    else:
        train = training(source, f'{flags} --num-epochs {network.epochs}', seed, model)
    where, (_, data, split) = task_flags(task, network.selection, datapath), columns(task, datapath)
    report = model.with_name(f'{task.split(":")[1]}.json')
    evaluate = f'parlai eval_model {where} -dt {split} -mf {model} -bs 64 --report-filename {report}'
    return Job(method, task, data, split, seed, {train: Path(f'{model}.valid')}, evaluate, report, METRICS)


def tf_idf(side: str, datapath: str) -> Job:
    model = model_file(OUT, f'reddit-ir-{side}', 0)
    where = f'{task_flags(REDDIT, "rules", datapath)} --persona-side {side}'
    train = f'parlai build_dict {where} --dict-tokenizer re --dict-file {model}.dict'
    report = model.with_name('reddit.json')
    evaluate = (
        f'parlai eval_model {where} -dt test -m ir_baseline --history_size 100 --dict-file {model}.dict -bs 64 '
        f'--report-filename {report}'
    )
    method, ready = f'ir_baseline{SIDES[side][0]}', {train: Path(f'{model}.dict')}
    return Job(method, *columns(REDDIT, datapath), 0, ready, evaluate, report, METRICS)


def build_reddit(selection: str, size: int, datapath: str) -> None:
    """Build a Reddit data set, unless it is there."""
    folder, datapath = OUT / 'data' / data_folder(selection, size), shlex.quote(datapath)
    if not folder.exists():
        print(f'building {folder.name}', flush=True)
        command = (
            f'parlai persona_reddit build --input {datapath}/{DUMP} --output {folder} --datapath {datapath} '
            f'--selection {selection} --persona-size {size} --valid 0.1 --test 0.2 --tagger lexicon --parts 1'
        )
        execute(command, OUT / 'data' / 'log.txt')


def main() -> None:
    args = arguments(__doc__, TABLES, [1, 2, 3])
    jobs = [tf_idf(side, args.datapath) for side in ('none', 'self') if 'table1' in args.only]
    jobs += [job(*one, seed, args.datapath) for name in args.only for seed in args.seeds for one in TABLES[name]]
    if any(one.task == REDDIT for one in jobs):
        for selection, size in [('rules', 100), *(SELECTIONS if 'table3' in args.only else ())]:
            build_reddit(selection, size, args.datapath)
    run_all(jobs, CSV, args.allow_dirty)


if __name__ == '__main__':
    main()
