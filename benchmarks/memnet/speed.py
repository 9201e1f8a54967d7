"""Measure how fast `persona:memnet` learns beside ParlAI's biencoder, and answers out of a million candidates.

    python -m benchmarks.memnet.speed --datapath data                # 15 minutes on two idle cores
    python -m benchmarks.memnet.speed --datapath data --only train   # or: index

Training: examples a second of CPU time on one core, in ParlAI's own training loop, with batches of 64 of Persona-Chat.
All networks have the paper's size (4 layers, 300 numbers, 6 heads, feed-forward 1200). They take turns, each in a
process of its own.

Index: the time from a context to its answer out of a million responses of at most ten words, made by joining halves of
Persona-Chat's replies. The network is a bag of words of 300 numbers, trained for 400 steps, so that its vectors are
those of a trained model; once as in the paper, and once with a lexical term. Exit status 1 if a target is missed.
"""

import argparse
import random
import statistics
import time
from functools import partial
from pathlib import Path

from parlai.core.agents import create_agent_from_model_file
from parlai.core.message import Message
from parlai.core.params import ParlaiParser
from parlai.core.teachers import create_task_agent_from_taskname
from parlai.scripts.train_model import TrainLoop, TrainModel

import parlai_persona  # noqa: F401
from benchmarks.common import record
from benchmarks.common.arms import Figures, Report, child, dictionary, in_turns, medians, parlai, run_parts

CSV = record.RESULTS / 'memnet_speed.csv'
TASK = 'persona:personachat'
COUNT, QUERIES = 1_000_000, 200
WARM, STEPS, TURNS, BATCH = 3, 12, 3, 64
FASTER, MILLISECONDS = 2.0, 50.0  # targets: times the biencoder's rate, median of a search
TRAINING = (
    f'-t {TASK} -bs {BATCH} --dict-tokenizer re --dict-lower true --optimizer adamax -lr 8e-4 --lr-scheduler none '
    '--gradient-clip 1 --candidates batch --eval-candidates inline --seed 1 --persona-candidates none --loglevel error'
)
BIENCODER = (
    '-m transformer/biencoder --embedding-size 300 --ffn-size 1200 --n-layers 4 --n-heads 6 --share-encoders false '
    '--reduction-type mean --label-truncate 100'
)
MINE = 'persona:memnet'
ARMS = {  # what it reads, and its flags
    MINE: ('persona and last message', '-m persona:memnet --persona-side none'),
    'biencoder': ('persona and all messages', f'{BIENCODER} --text-truncate 360'),
    'biencoder, last message': (
        'last message',
        f'{BIENCODER} --text-truncate 100 --history-size 1 --persona-side none',
    ),
}
BAG_OF_WORDS = (
    f'train_model -m persona:memnet -t {TASK} --memnet-encoder bow --persona-side none --dict-tokenizer re '
    '--dict-lower true -bs 128 --max-train-steps 400 --validation-max-exs 100 --short-final-eval true'
)

INDEXED = {  # the name of its file, and flags
    'persona:memnet, exact': ('model', ''),
    'persona:memnet, exact, + TF-IDF': ('model-tfidf', ' --memnet-lexical 20'),
}


def learn(arm: str, folder: Path, datapath: str) -> Figures:
    """Return examples a second of CPU time."""
    flags = [
        *TRAINING.split(),
        *ARMS[arm][1].split(),
        '--datapath',
        datapath,
        '--dict-file',
        str(folder / 'dictionary'),
    ]
    loop = TrainLoop(TrainModel.setup_args().parse_args(flags))
    for step in range(WARM + STEPS):
        if step == WARM:
            start = time.process_time()
        loop.world.parley()
    return {'examples/s/core': STEPS * BATCH / (time.process_time() - start)}


def train(report: Report, args: argparse.Namespace) -> None:
    dictionary(args.folder / 'dictionary', TASK, args.datapath)
    arms = {arm: partial(child, learn, arm, args.folder, args.datapath) for arm in ARMS}
    rates = {arm: figures['examples/s/core'] for arm, figures in medians(in_turns(arms, TURNS)).items()}
    for arm, rate in rates.items():
        figures = {'examples/s/core': rate, 'times slower than memnet': rates[MINE] / rate}
        report.add(arm, 'memnet speed', f'reads {ARMS[arm][0]}', 'all', figures)
    times = rates[MINE] / rates['biencoder']
    report.expect(times >= FASTER, f'{times:.1f} times as many examples a second as the biencoder (target {FASTER})')


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


def messages(datapath: str, fold: str) -> list[Message]:
    line = ['-t', TASK, '-dt', fold, '--datapath', datapath, '--persona-side', 'none', '--loglevel', 'error']
    teacher = create_task_agent_from_taskname(ParlaiParser(True, False).parse_args(line))[0]
    return [teacher.act() for _ in range(teacher.num_examples())]


def answer(model: Path, candidates: Path, datapath: str) -> Figures:
    """Return the milliseconds from a message to its answer, and the seconds until the first question."""
    start = time.monotonic()
    options = {'datatype': 'valid', 'interactive_mode': True, 'loglevel': 'error'}
    agent = create_agent_from_model_file(str(model), {**options, 'memnet_candidates': str(candidates)})
    built = time.monotonic() - start
    taken = []
    for message in random.Random(1).sample(messages(datapath, 'valid'), QUERIES):
        message.force_set('label_candidates', None)
        agent.reset()
        agent.observe({**message, 'episode_done': True})
        start = time.perf_counter()
        agent.act()
        taken.append(1000 * (time.perf_counter() - start))
    slow = sorted(taken)[int(0.95 * len(taken))]
    return {'ms, median': statistics.median(taken), 'ms, 95 %': slow, 'seconds to start': built}


def index(report: Report, args: argparse.Namespace) -> None:
    """Make the models and the candidates if they are not there, and ask."""
    args.folder.mkdir(parents=True, exist_ok=True)
    candidates = args.folder / 'candidates.txt'
    if not candidates.exists():
        write_candidates(candidates, messages(args.datapath, 'train:ordered'))
    for method, (name, flags) in INDEXED.items():
        model = args.folder / name
        if not model.exists():
            parlai(BAG_OF_WORDS + flags, '--datapath', args.datapath, '-mf', str(model))
        figures = child(answer, model, candidates, args.datapath, threads=2)
        report.add(method, 'memnet speed', f'{COUNT:,} candidates', 'all', figures, threads=2)
        report.expect(figures['ms, median'] <= MILLISECONDS, f'{method}: a median of at most {MILLISECONDS} ms')


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--folder', type=Path, default=Path('runs/memnet_speed'), help='models and candidates go there')
    run_parts({'train': train, 'index': index}, parser, CSV, 'python -m benchmarks.memnet.speed --datapath data')


if __name__ == '__main__':
    main()
