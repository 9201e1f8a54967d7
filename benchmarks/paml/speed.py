"""Measure what learning and becoming people costs, against learn2learn and against the loop of the PAML authors.

    pip download --no-deps --no-binary :all: learn2learn && tar xzf learn2learn-*.tar.gz
    python -m benchmarks.paml.speed --datapath data --learn2learn learn2learn-0.2.0     # an hour, on an idle machine

The paper's size (6 + 6 layers, 300 numbers, 4 heads), Persona-Chat, one thread, 32 bits unless bfloat16 is named. Parts
(`--only`):

learn    A meta-iteration of 16 people with one dialogue to learn from and one to answer, second and first order. The
         peer is the same loop with learn2learn's `MAML`; only its algorithms are imported, because the package itself
         needs gym and torchvision. Both also in bfloat16 (`--paml-amp`, torch.autocast).
fold     Leave-one-out evaluation of a person, loss only. The peer works fold by fold, as the authors do: it copies the
         weights, takes SGD steps on mini-batches of a DataLoader, and puts the weights back. One step and five steps on
         all of the support, and ten passes in mini-batches of 16.
become   From five dialogues to the first answer, on two threads.

Arms take turns, each in its own process. Rows go to results/paml_speed.csv. Exit status 1 if a target is missed.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.common import record
from benchmarks.common.arms import Figures, child, dictionary, in_turns
from benchmarks.common.record import RESULTS, Row, append, hardware
from benchmarks.paml.speed_arms import BFLOAT16, FOLDS, PEOPLE

CSV = RESULTS / 'paml_speed.csv'
TURNS = 3
TARGETS = {'learn2learn': 2.0, 'second order': 2.2, 'fold by fold': 5.0, 'seconds to become someone': 2.0}
DATA = {
    'learn': f'meta-iteration of {PEOPLE} people',
    'fold': 'a fold of leave-one-out',
    'become': 'five dialogues of a new person',
}
Arms = dict[str, Figures]


def compare_learning(found: Arms) -> tuple[Arms, bool]:
    """Return ratios to add to the measured figures, and whether targets are met."""

    def times(ours: str, theirs: str, name: str = 'seconds') -> float:
        return found[theirs][name] / found[ours][name]

    ratios = {
        'learn2learn, times slower': times('ours/second', 'learn2learn/second'),
        'learn2learn, times slower (first order)': times('ours/first', 'learn2learn/first'),
        'learn2learn, times slower (both in bfloat16)': times(
            f'ours/second{BFLOAT16}', f'learn2learn/second{BFLOAT16}'
        ),
        'learn2learn in 32 bits, times slower than ours in bfloat16': times(
            f'ours/second{BFLOAT16}', 'learn2learn/second'
        ),
        'learn2learn, times the memory': times('ours/second', 'learn2learn/second', 'memory (GB)'),
        'second order, times first order': times('ours/first', 'ours/second'),
    }
    good = ratios['learn2learn, times slower'] >= TARGETS['learn2learn'] and ratios['learn2learn, times the memory'] > 1
    return {'ours': ratios}, good and ratios['second order, times first order'] <= TARGETS['second order']


def compare_folds(found: Arms) -> tuple[Arms, bool]:
    ratios, good = {}, True
    for steps in FOLDS:
        peer = found[f'fold by fold/{steps}']
        for arm, tolerance in ((f'ours/{steps}', 1e-3), (f'ours/{steps}{BFLOAT16}', 1e-2)):
            if abs(found[arm]['nll'] / peer['nll'] - 1) > tolerance:
                sys.exit(f'{arm} measures another loss: {found[arm]["nll"]} and {peer["nll"]}')
            times = peer['seconds'] / found[arm]['seconds']
            ratios[arm] = {'fold by fold, times slower': times}
            good = good and (not arm.endswith(BFLOAT16) or times >= TARGETS['fold by fold'])
    return ratios, good


def compare_becoming(found: Arms) -> tuple[Arms, bool]:
    return {}, found['ours/one step']['seconds'] < TARGETS['seconds to become someone']


EACH = [f'{name}{amp}' for name in FOLDS for amp in ('', BFLOAT16)]
PARTS: dict[str, tuple[list[str], Callable[[Arms], tuple[Arms, bool]]]] = {
    'learn': (
        [f'{name}/{how}' for name in ('ours', 'learn2learn') for how in ('second', 'first', f'second{BFLOAT16}')],
        compare_learning,
    ),
    'fold': ([*(f'ours/{how}' for how in EACH), *(f'fold by fold/{name}' for name in FOLDS)], compare_folds),
    'become': ([f'ours/{how}' for how in EACH], compare_becoming),
}


def measure(part: str, args: argparse.Namespace) -> bool:
    """Measure the arms of a part, write rows, and return whether its targets are met."""
    arms, compare = PARTS[part]
    where = ('--datapath', args.datapath, '--folder', str(args.folder), '--learn2learn', str(args.learn2learn))
    threads = 2 if part == 'become' else 1
    module, command = 'benchmarks.paml.speed_arms', 'python -m benchmarks.paml.speed --datapath data'
    found = in_turns(arms, TURNS, lambda arm: child(module, '--part', part, '--arm', arm, *where, threads=threads))
    ratios, good = compare(found)
    rows = [
        Row(arm, 'paml speed', DATA[part], 'all', 0, metric, value, command, hardware=hardware(threads))
        for arm, figures in (*found.items(), *ratios.items())
        for metric, value in figures.items()
    ]
    for row in rows:
        print(f'{row.method}: {row.metric} {row.value:.4g}')
    append(rows, CSV, replace=True, allow_dirty=args.allow_dirty)
    return good


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--datapath', default='data')
    parser.add_argument('--learn2learn', type=Path, default=Path('learn2learn-0.2.0'), help='its unpacked source')
    parser.add_argument('--folder', type=Path, default=Path('runs/paml_speed'))
    parser.add_argument('--only', choices=[*PARTS], nargs='+', default=[*PARTS])
    args = record.parse_arguments(parser)
    args.folder.mkdir(parents=True, exist_ok=True)
    dictionary(args.folder / 'dictionary', 'persona:personachat', args.datapath)
    met = [measure(part, args) for part in args.only]
    sys.exit(not all(met))


if __name__ == '__main__':
    main()
