"""Kill trainings at random moments, resume them, and compare the weights with those of a training left alone.

    python -m benchmarks.suite.kills --datapath data                      # 20 kills of each agent, five hours
    python -m benchmarks.suite.kills --datapath data --only persona:memnet --kills 5

Each training is killed twice (SIGKILL), then it runs to its end. Trainings are short, save every half second, and
validate on the way. Agents on a pretrained model stand on a tiny one, which the tests make. Rows of
results/robustness.csv count the kills of an agent (tried), and the trainings whose weights differ in any bit (lost).
"""

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.common import record
from benchmarks.common.arms import Report
from benchmarks.common.record import RESULTS, ROOT

sys.path.append(str(ROOT / 'tests'))
import tiny_bert  # noqa: E402
import tiny_lm  # noqa: E402

OUT = ROOT / 'runs' / 'kills'
PER_TRAINING = 2  # kills
ADAM = '--optimizer adam -lr 0.001'
TINY = '--n-layers 1 --n-heads 2 --embedding-size 32 --ffn-size 32'
VALID = '--validation-every-n-steps 25 --validation-max-exs 64 --short-final-eval true'
RANKER = f'-m persona:memnet --memnet-encoder bow --memnet-embedding-size 32 --dict-tokenizer re {ADAM}'
LM = f'--lm-model {{lm}} --lm-rank 2 --label-truncate 8 -bs 2 {VALID} --validation-max-exs 16'
DIALOGUES = '-t persona:dialogues --dialogues-of persona:sample -et persona:sample --max-train-steps 60'


def recurrent(name: str, task: str) -> str:
    """Return the command that trains one of the recurrent generators, small."""
    sizes = f'--{name}-hidden 16 --{name}-embedding 16 --{name}-layers 2 --dict-tokenizer re -bs 8 {ADAM}'
    return f'train_model -m persona:{name} -t {task} {sizes} --max-train-steps 80 {VALID}'


TRAININGS = {
    'persona:memnet': f'train_model -o persona:memnet/small --num-epochs -1 --max-train-steps 60 -bs 32 {VALID}',
    'persona:memnet, two tasks': f'train_model {RANKER} -t persona:personachat,persona:sample -bs 16 '
    f'--max-train-steps 60 {VALID}',
    'persona:memnet, two processes': f'multiprocessing_train --distributed-world-size 2 {RANKER} -t persona:sample '
    f'-bs 16 --max-train-steps 100 {VALID}',
    'persona:meta_memnn': f'train_model -o persona:meta_memnn --max-train-steps 80 {VALID} '
    '--validation-every-n-steps 30',
    'persona:paml': f'train_model -o persona:paml/people {TINY} --max-train-steps 24 -bs 4 {VALID} '
    '--validation-max-exs 8',
    'persona:paml, turns': f'train_model -o persona:paml/dialogue {TINY} --num-epochs -1 -veps -1 '
    f'--max-train-steps 80 {VALID}',
    'persona:paml/seq2seq': 'train_model -m persona:paml/seq2seq -t persona:sample -hs 32 -esz 32 -bs 8 '
    f'--max-train-steps 60 {ADAM} {VALID}',
    'persona:seq2seq': recurrent('seq2seq', 'persona:sample'),
    'persona:gpmn': recurrent('gpmn', 'persona:sample'),
    'persona:postks': recurrent('postks', 'persona:sample'),
    'persona:pednet': recurrent('pednet', 'persona:congeneric --congeneric-of persona:sample'),
    'persona:lm': f'train_model -m persona:lm {DIALOGUES} {LM}',
    'persona:p2bot/transmitter': f'train_model -m persona:p2bot/transmitter {DIALOGUES} {LM}',
    'persona:p2bot': f'train_model -m persona:p2bot --p2bot-perception 0 --p2bot-coherence 0 {DIALOGUES} {LM}',
    'persona:p2bot/receiver': 'train_model -m persona:p2bot/receiver --p2bot-receiver-encoder {bert} '
    f'-t persona:perception --perception-of persona:sample -bs 4 --max-train-steps 80 {ADAM} {VALID}',
    'persona:memnet/pretrained': 'train_model -m persona:memnet/pretrained --memnet-pretrained-model {bert} '
    f'-t persona:sample -bs 8 --max-train-steps 80 {ADAM} {VALID}',
    'transformer/generator, dynamic batches': f'train_model -m transformer/generator -t persona:personachat {TINY} '
    '-bs 16 --max-train-steps 60 --text-truncate 96 --label-truncate 32 --dynamic-batching full '
    f'--skip-generation true -vmt ppl {ADAM} {VALID}',
}


def train(arguments: str, model: Path, seconds: float | None = None) -> bool:
    """Train until the end, or kill the training after so many seconds; return whether it ended."""
    model.parent.mkdir(parents=True, exist_ok=True)
    command = f'{arguments} --persona-metrics false --seed 1 --save-every-n-secs 0.5 -mf {model}'
    program = Path(sys.executable).with_name('parlai')
    with (model.parent / 'log.txt').open('a', encoding='utf-8') as log:
        process = subprocess.Popen(
            [program, *shlex.split(command)],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return False
    if status:
        sys.exit(f'{command}\nended with status {status}; its output: {model.parent / "log.txt"}')
    return True


def weights(model: Path) -> dict[str, torch.Tensor]:
    return torch.load(model, map_location='cpu', weights_only=True)['model']


def measure(name: str, arguments: str, kills: int, out: Path) -> dict[str, float]:
    """Kill trainings so many times in all; return what came of it."""
    start = time.monotonic()
    train(arguments, out / 'whole' / 'model')
    duration, rng = time.monotonic() - start, random.Random(name)
    expected, killed, different, trained = weights(out / 'whole' / 'model'), 0, 0, 0
    while killed < kills:
        model, own = out / f'{trained}' / 'model', 0
        while not train(arguments, model, rng.uniform(0.2, 1) * duration if own < PER_TRAINING else None):
            own += 1
        found = weights(model)
        equal = all(torch.equal(expected[one], found[one]) for one in expected)
        killed, trained, different = killed + own, trained + 1, different + (not equal)
        print(f'{name}: {own} kills, weights {"equal" if equal else "DIFFERENT"} ({killed} of {kills})', flush=True)
    return {'tried': killed, 'lost': different}


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--datapath', default='data')
    parser.add_argument('--only', nargs='+', choices=TRAININGS, default=[*TRAININGS])
    parser.add_argument('--kills', type=int, default=20, help='of each agent')
    args = record.parse_arguments(parser)
    command = f'python -m benchmarks.suite.kills --datapath data --kills {args.kills}'
    report = Report(RESULTS / 'robustness.csv', command, args.allow_dirty)
    for name in args.only:
        out = OUT / name.replace(':', '-').replace('/', '-').replace(', ', '-').replace(' ', '-')
        shutil.rmtree(out, ignore_errors=True)
        arguments = TRAININGS[name].format(lm=tiny_lm.folder(), bert=tiny_bert.folder())
        figures = measure(name, f'{arguments} --datapath {shlex.quote(args.datapath)}', args.kills, out)
        report.add(name, 'trainings', 'killed at random moments and resumed', 'train', figures)
        report.expect(not figures['lost'], f'{name}: killed and resumed equals uninterrupted')
    report.exit()


if __name__ == '__main__':
    main()
