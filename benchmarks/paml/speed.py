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
from functools import partial
from pathlib import Path

from benchmarks.common import record
from benchmarks.common.arms import Figures, Report, child, dictionary, in_turns, medians, run_parts
from benchmarks.paml import speed_arms as arms
from benchmarks.paml.speed_arms import BFLOAT16, FOLDS, PEOPLE

CSV = record.RESULTS / 'paml_speed.csv'
TURNS = 3
LEARN2LEARN, SECOND_ORDER, FOLD_BY_FOLD, BECOMING = 2.0, 2.2, 5.0, 2.0  # targets: three ratios, and seconds
PRECISIONS = [f'{how}{amp}' for how in FOLDS for amp in ('', BFLOAT16)]
Found = dict[str, Figures]  # by 'arm/how'
Calls = dict[str, tuple[Callable[[argparse.Namespace, str], Figures], str]]  # by 'arm/how', too


def measure(calls: Calls, args: argparse.Namespace, threads: int = 1) -> Found:
    """Return the medians of arms, each with how it is measured."""
    dictionary(args.folder / 'dictionary', 'persona:personachat', args.datapath)
    children = {name: partial(child, arm, args, how, threads=threads) for name, (arm, how) in calls.items()}
    return medians(in_turns(children, TURNS))


def add(report: Report, found: Found, data: str, threads: int = 1) -> None:
    for arm, figures in found.items():
        report.add(arm, 'paml speed', data, 'all', figures, threads)


def learn(report: Report, args: argparse.Namespace) -> None:
    ways = ['second', 'first', f'second{BFLOAT16}']
    calls: Calls = {f'ours/{how}': (arms.learn_ours, how) for how in ways}
    calls |= {f'learn2learn/{how}': (arms.learn_peer, how) for how in ways}
    found = measure(calls, args)

    def times(ours: str, theirs: str, name: str = 'seconds') -> float:
        return found[theirs][name] / found[ours][name]

    half = f'ours/second{BFLOAT16}'
    slower, larger = (times('ours/second', 'learn2learn/second', name) for name in ('seconds', 'memory (GB)'))
    second_order = times('ours/first', 'ours/second')
    ratios = {
        'learn2learn, times slower': slower,
        'learn2learn, times slower (first order)': times('ours/first', 'learn2learn/first'),
        'learn2learn, times slower (both in bfloat16)': times(half, f'learn2learn/second{BFLOAT16}'),
        'learn2learn in 32 bits, times slower than ours in bfloat16': times(half, 'learn2learn/second'),
        'learn2learn, times the memory': larger,
        'second order, times first order': second_order,
    }
    add(report, {**found, 'ours': ratios}, f'meta-iteration of {PEOPLE} people')
    report.expect(slower >= LEARN2LEARN, f'learn2learn {slower:.2f} times slower (target {LEARN2LEARN})')
    report.expect(larger > 1, f'learn2learn {larger:.2f} times the memory (target 1)')
    report.expect(second_order <= SECOND_ORDER, f'second order {second_order:.2f} times first (target {SECOND_ORDER})')


def fold(report: Report, args: argparse.Namespace) -> None:
    """Compare losses, which have to be the same, and times."""
    calls: Calls = {f'ours/{how}': (arms.fold_ours, how) for how in PRECISIONS}
    calls |= {f'fold by fold/{how}': (arms.fold_peer, how) for how in FOLDS}
    found = measure(calls, args)
    for how in FOLDS:
        peer = found[f'fold by fold/{how}']
        for arm, tolerance in ((f'ours/{how}', 1e-3), (f'ours/{how}{BFLOAT16}', 1e-2)):
            mine = found[arm]
            if abs(mine['nll'] / peer['nll'] - 1) > tolerance:
                sys.exit(f'{arm} measures another loss: {mine["nll"]} and {peer["nll"]}')
            mine['fold by fold, times slower'] = times = peer['seconds'] / mine['seconds']
        report.expect(times >= FOLD_BY_FOLD, f'{arm}: fold by fold {times:.1f} times slower (target {FOLD_BY_FOLD})')
    add(report, found, 'a fold of leave-one-out')


def become(report: Report, args: argparse.Namespace) -> None:
    calls: Calls = {f'ours/{how}': (arms.become_ours, how) for how in PRECISIONS}
    found = measure(calls, args, threads=2)
    add(report, found, 'five dialogues of a new person', threads=2)
    seconds = found['ours/one step']['seconds']
    report.expect(seconds < BECOMING, f'{seconds:.2f} seconds to become someone (target {BECOMING})')


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--learn2learn', type=Path, default=Path('learn2learn-0.2.0'), help='its unpacked source')
    parser.add_argument('--folder', type=Path, default=Path('runs/paml_speed'), help='the dictionary goes there')
    parts, command = {'learn': learn, 'fold': fold, 'become': become}, 'python -m benchmarks.paml.speed --datapath data'
    run_parts(parts, parser, CSV, command)


if __name__ == '__main__':
    main()
