"""How fast `persona:memnet` learns, against ParlAI's biencoder, and answers out of a million candidates.

    python -m benchmarks.memnet.speed --datapath data                # 15 minutes, two cores of its own
    python -m benchmarks.memnet.speed --datapath data --only train   # or: index

Training: examples a second of CPU time of one core, ParlAI's own training loop, batches of 64 of Persona-Chat, all of
the paper's size (4 layers, 300 numbers, 6 heads, feed-forward 1200); turn by turn in processes of their own.

Index: the time from a context to its answer out of a million responses of ten words at most, made by joining halves of
Persona-Chat's replies; a bag of words of 300 numbers that has learned for some hundred steps, so that vectors are what
such models make. Rows go to results/memnet_speed.csv. Exit status 1 if a target is missed.
"""

import argparse
import json
import random
import statistics
import sys
import time
from pathlib import Path

from benchmarks.common.arms import child, dictionary, in_turns, parlai
from benchmarks.common.record import RESULTS, Row, append, hardware

CSV = RESULTS / 'memnet_speed.csv'
TASK = 'persona:personachat'
COUNT, QUERIES = 1_000_000, 200
WARM, STEPS, TURNS = 3, 12, 3
FASTER, MILLISECONDS = 2.0, 50.0  # targets
COMMON = {
    'task': TASK,
    'batchsize': 64,
    'dict_tokenizer': 're',
    'dict_lower': True,
    'optimizer': 'adamax',
    'learningrate': 8e-4,
    'lr_scheduler': 'none',
    'gradient_clip': 1.0,
    'candidates': 'batch',
    'eval_candidates': 'inline',
    'seed': 1,
    'persona_candidates': 'none',
    'loglevel': 'error',
}
BIENCODER = {
    'model': 'transformer/biencoder',
    'embedding_size': 300,
    'ffn_size': 1200,
    'n_layers': 4,
    'n_heads': 6,
    'share_encoders': False,
    'reduction_type': 'mean',
    'label_truncate': 100,
}
ARMS = {
    'persona:memnet': {'model': 'persona:memnet', 'persona_side': 'none'},
    'biencoder': {**BIENCODER, 'text_truncate': 360},
    'biencoder, last message': {**BIENCODER, 'text_truncate': 100, 'history_size': 1, 'persona_side': 'none'},
}
READS = {
    'persona:memnet': 'persona and last message',
    'biencoder': 'persona and all messages',
    'biencoder, last message': 'last message',
}


def options(arm: str, folder: Path, datapath: str) -> dict:
    """The dictionary is that of the first arm to need one."""
    return {**COMMON, **ARMS[arm], 'datapath': datapath, 'dict_file': str(folder / 'dictionary')}


def train_arm(arm: str, folder: Path, datapath: str) -> dict[str, float]:
    """Of CPU time, in this process."""
    from parlai.scripts.train_model import TrainLoop, TrainModel

    import parlai_persona  # noqa: F401

    opt = TrainModel.setup_args().parse_kwargs(**options(arm, folder, datapath))
    loop = TrainLoop(opt)
    for step in range(WARM + STEPS):
        if step == WARM:
            start = time.process_time()
        loop.world.parley()
    return {'examples/s/core': STEPS * opt['batchsize'] / (time.process_time() - start)}


def train(folder: Path, datapath: str) -> bool:
    dictionary(folder / 'dictionary', TASK, datapath)
    where = ('--folder', str(folder), '--datapath', datapath)
    found = in_turns(list(ARMS), TURNS, lambda arm: child('benchmarks.memnet.speed', '--arm', arm, *where, threads=1))
    rates = {arm: figures['examples/s/core'] for arm, figures in found.items()}
    mine = rates['persona:memnet']
    for arm, rate in rates.items():
        record(arm, f'reads {READS[arm]}', {'examples/s/core': rate, 'times slower than memnet': mine / rate})
    times = mine / rates['biencoder']
    print(f'{times:.1f} times as many examples a second as the biencoder (target {FASTER})')
    return times >= FASTER


# ------------------------------------------------------------------------------------------------- index


def write_candidates(path: Path, messages: list[dict]) -> None:
    """A million different lines of ten words at most."""
    rng = random.Random(0)
    words = [text.split() for text in {message['labels'][0] for message in messages}]
    made: dict[str, None] = {}
    while len(made) < COUNT:
        one, other = rng.choice(words), rng.choice(words)
        line = one[: rng.randint(2, 6)] + other[-rng.randint(1, 4) :]
        made[' '.join(line)] = None
    path.write_text('\n'.join(made) + '\n', encoding='utf-8')


def messages(datapath: str, fold: str) -> list[dict]:
    from parlai.core.params import ParlaiParser
    from parlai.core.teachers import create_task_agent_from_taskname

    import parlai_persona  # noqa: F401

    line = ['-t', TASK, '-dt', fold, '--datapath', datapath, '--persona-side', 'none', '--loglevel', 'error']
    teacher = create_task_agent_from_taskname(ParlaiParser(True, False).parse_args(line))[0]
    return [teacher.act() for _ in range(teacher.num_examples())]


def index_arm(kind: str, folder: Path, datapath: str) -> dict[str, float]:
    """Milliseconds from a message to its answer, and how often the answer is the exact one."""
    from parlai.core.agents import create_agent_from_model_file

    import parlai_persona  # noqa: F401

    start = time.monotonic()
    agent = create_agent_from_model_file(
        str(folder / 'model'),
        {
            'memnet_candidates': str(folder / 'candidates.txt'),
            'memnet_index': kind,
            'datatype': 'valid',
            'interactive_mode': True,
            'loglevel': 'error',
        },
    )
    built = time.monotonic() - start
    asked = random.Random(1).sample(messages(datapath, 'valid'), QUERIES)
    taken, said = [], []
    for message in asked:
        message.force_set('label_candidates', None)
        agent.reset()
        agent.observe({**message, 'episode_done': True})
        start = time.perf_counter()
        said.append(agent.act()['text'])
        taken.append(1000 * (time.perf_counter() - start))
    known = folder / 'exact.json'
    if kind == 'exact':
        known.write_text(json.dumps(said))
    same = statistics.mean(a == b for a, b in zip(said, json.loads(known.read_text()), strict=True))
    return {
        'ms, median': statistics.median(taken),
        'ms, 95 %': sorted(taken)[int(0.95 * len(taken))],
        'same answer as exact': same,
        'seconds to start': built,
    }


def index(folder: Path, datapath: str) -> bool:
    if not (folder / 'model').exists():
        parlai(
            'train_model',
            '-m',
            'persona:memnet',
            '-t',
            TASK,
            '--datapath',
            datapath,
            '--memnet-encoder',
            'bow',
            '--persona-side',
            'none',
            '--dict-tokenizer',
            're',
            '--dict-lower',
            'true',
            '-bs',
            '128',
            '--max-train-steps',
            '400',
            '-mf',
            str(folder / 'model'),
        )
    if not (folder / 'candidates.txt').exists():
        write_candidates(folder / 'candidates.txt', messages(datapath, 'train:ordered'))
    good = True
    for kind in ('exact', 'approximate'):
        figures = child('benchmarks.memnet.speed', '--index', kind, '--folder', str(folder), '--datapath', datapath)
        record(f'persona:memnet, {kind}', f'{COUNT:,} candidates', figures)
        print(f'{kind}: {figures}')
        good = good and (kind != 'exact' or figures['ms, median'] <= MILLISECONDS)
    return good


def record(method: str, data: str, figures: dict[str, float]) -> None:
    append(
        [
            Row(
                method,
                'memnet speed',
                data,
                'all',
                0,
                metric,
                value,
                'python -m benchmarks.memnet.speed --datapath data',
                hardware=hardware(2 if 'candidates' in data else 1),
            )
            for metric, value in figures.items()
        ],
        CSV,
        replace=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--datapath', default='data')
    parser.add_argument('--folder', type=Path, default=Path('runs/memnet_speed'), help='models and candidates go there')
    parser.add_argument('--only', choices=('train', 'index'), nargs='+', default=['train', 'index'])
    parser.add_argument('--arm', choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument('--index', choices=('exact', 'approximate'), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.arm:
        print(json.dumps(train_arm(args.arm, args.folder, args.datapath)))
    elif args.index:
        print(json.dumps(index_arm(args.index, args.folder, args.datapath)))
    else:
        good = [{'train': train, 'index': index}[part](args.folder, args.datapath) for part in args.only]
        sys.exit(not all(good))


if __name__ == '__main__':
    main()
