"""Measure how fast `persona:memnet` learns beside ParlAI's biencoder, and answers out of a million candidates.

    python -m benchmarks.memnet.speed --datapath data                # 15 minutes on two idle cores
    python -m benchmarks.memnet.speed --datapath data --only train   # or: index

Training: examples a second of CPU time on one core, in ParlAI's own training loop, with batches of 64 of Persona-Chat.
All networks have the paper's size (4 layers, 300 numbers, 6 heads, feed-forward 1200). They take turns, each in a
process of its own.

Index: the time from a context to its answer out of a million responses of at most ten words, made by joining halves of
Persona-Chat's replies. The network is a bag of words of 300 numbers, trained for 400 steps, so that its vectors are
those of a trained model. Exit status 1 if a target is missed.
"""

import argparse
import json
import random
import statistics
import sys
import time
from pathlib import Path

from benchmarks.common import record
from benchmarks.common.arms import child, dictionary, in_turns, parlai
from benchmarks.common.record import RESULTS, Row, append, hardware

CSV = RESULTS / 'memnet_speed.csv'
TASK = 'persona:personachat'
COUNT, QUERIES = 1_000_000, 200
WARM, STEPS, TURNS = 3, 12, 3
FASTER, MILLISECONDS = 2.0, 50.0  # targets: times the biencoder's rate, median of a search
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


def train_arm(arm: str, folder: Path, datapath: str) -> dict[str, float]:
    """Train in this process; return examples a second of CPU time."""
    from parlai.scripts.train_model import TrainLoop, TrainModel

    import parlai_persona  # noqa: F401

    options = {**COMMON, **ARMS[arm], 'datapath': datapath, 'dict_file': str(folder / 'dictionary')}
    opt = TrainModel.setup_args().parse_kwargs(**options)
    loop = TrainLoop(opt)
    for step in range(WARM + STEPS):
        if step == WARM:
            start = time.process_time()
        loop.world.parley()
    return {'examples/s/core': STEPS * opt['batchsize'] / (time.process_time() - start)}


def train(args: argparse.Namespace) -> bool:
    """Compare the arms; return whether the target is met."""
    dictionary(args.folder / 'dictionary', TASK, args.datapath)
    where = ('--folder', str(args.folder), '--datapath', args.datapath)
    found = in_turns(list(ARMS), TURNS, lambda arm: child('benchmarks.memnet.speed', '--arm', arm, *where, threads=1))
    rates = {arm: figures['examples/s/core'] for arm, figures in found.items()}
    mine = rates['persona:memnet']
    for arm, rate in rates.items():
        figures = {'examples/s/core': rate, 'times slower than memnet': mine / rate}
        append_rows(arm, f'reads {READS[arm]}', figures, 1, args)
    times = mine / rates['biencoder']
    print(f'{times:.1f} times as many examples a second as the biencoder (target {FASTER})')
    return times >= FASTER


# ------------------------------------------------------------------------------------------------- index


def write_candidates(path: Path, messages: list[dict]) -> None:
    """Write a million different lines of at most ten words."""
    rng = random.Random(0)
    words = [text.split() for text in {message['labels'][0] for message in messages}]
    made: dict[str, None] = {}
    while len(made) < COUNT:
        first, second = rng.choice(words), rng.choice(words)
        line = first[: rng.randint(2, 6)] + second[-rng.randint(1, 4) :]
        made[' '.join(line)] = None
    path.write_text('\n'.join(made) + '\n', encoding='utf-8')


def messages(datapath: str, fold: str) -> list[dict]:
    from parlai.core.params import ParlaiParser
    from parlai.core.teachers import create_task_agent_from_taskname

    import parlai_persona  # noqa: F401

    line = ['-t', TASK, '-dt', fold, '--datapath', datapath, '--persona-side', 'none', '--loglevel', 'error']
    teacher = create_task_agent_from_taskname(ParlaiParser(True, False).parse_args(line))[0]
    return [teacher.act() for _ in range(teacher.num_examples())]


def index_arm(folder: Path, datapath: str) -> dict[str, float]:
    """Return the milliseconds from a message to its answer, and the seconds until the first question."""
    from parlai.core.agents import create_agent_from_model_file

    import parlai_persona  # noqa: F401

    start = time.monotonic()
    options = {'datatype': 'valid', 'interactive_mode': True, 'loglevel': 'error'}
    candidates = {'memnet_candidates': str(folder / 'candidates.txt')}
    agent = create_agent_from_model_file(str(folder / 'model'), {**options, **candidates})
    built = time.monotonic() - start
    taken = []
    for message in random.Random(1).sample(messages(datapath, 'valid'), QUERIES):
        message.force_set('label_candidates', None)
        agent.reset()
        agent.observe({**message, 'episode_done': True})
        start = time.perf_counter()
        agent.act()
        taken.append(1000 * (time.perf_counter() - start))
    return {
        'ms, median': statistics.median(taken),
        'ms, 95 %': sorted(taken)[int(0.95 * len(taken))],
        'seconds to start': built,
    }


def index(args: argparse.Namespace) -> bool:
    """Make the model and the candidates if they are not there, and ask; return whether the target is met."""
    model, candidates = args.folder / 'model', args.folder / 'candidates.txt'
    if not model.exists():
        flags = '--memnet-encoder bow --persona-side none --dict-tokenizer re --dict-lower true -bs 128'
        command = f'train_model -m persona:memnet -t {TASK} {flags} --max-train-steps 400'
        parlai(*command.split(), '--datapath', args.datapath, '-mf', str(model))
    if not candidates.exists():
        write_candidates(candidates, messages(args.datapath, 'train:ordered'))
    where = ('--folder', str(args.folder), '--datapath', args.datapath)
    figures = child('benchmarks.memnet.speed', '--arm', 'index', *where)
    append_rows('persona:memnet, exact', f'{COUNT:,} candidates', figures, 2, args)
    print(figures)
    return figures['ms, median'] <= MILLISECONDS


def append_rows(method: str, data: str, figures: dict[str, float], threads: int, args: argparse.Namespace) -> None:
    command = 'python -m benchmarks.memnet.speed --datapath data'
    columns = (method, 'memnet speed', data, 'all', 0)
    rows = [Row(*columns, name, value, command, hardware=hardware(threads)) for name, value in figures.items()]
    append(rows, CSV, replace=True, allow_dirty=args.allow_dirty)


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--datapath', default='data')
    parser.add_argument('--folder', type=Path, default=Path('runs/memnet_speed'), help='models and candidates go there')
    parser.add_argument('--only', choices=('train', 'index'), nargs='+', default=['train', 'index'])
    parser.add_argument('--arm', choices=(*ARMS, 'index'), help=argparse.SUPPRESS)  # measure in this process
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.arm:
        measure = (args.folder, args.datapath)
        print(json.dumps(index_arm(*measure) if args.arm == 'index' else train_arm(args.arm, *measure)))
        return
    record.parse_arguments(parser)
    met = [{'train': train, 'index': index}[part](args) for part in args.only]
    sys.exit(not all(met))


if __name__ == '__main__':
    main()
