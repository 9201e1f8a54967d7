"""Measure training steps of PEDNet at the paper's sizes against the loop of its authors.

    python -m benchmarks.pednet.speed --datapath data        # half an hour, on an idle machine

2 x 800, vocabulary up to 20,000, batches of 128 examples of the training split, one thread, 32 bits. The peer is the
same network with the same weights, trained as the authors' code does: each persona sentence is read anew for each
example, the K contexts are read and attended to one after another, attention projects what was read again at each word
(their module with the paper's attention, Bahdanau's; their script has a plain product), and the output is computed word
by word. Its loss has to be the same. Arms take turns, each in its own process. Rows go to results/pednet_speed.csv.
Exit status 1 if a target is missed.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from benchmarks.common import record
from benchmarks.common.arms import Report, child, dictionary, in_turns, medians, run_parts
from benchmarks.pednet import speed_arms as arms
from benchmarks.pednet.speed_arms import BATCH

CSV = record.RESULTS / 'pednet_speed.csv'
TURNS = 3
GAMMA, MANY = 0.5, 15  # as in the paper
FASTER, DEARER = 2.0, 4.0  # targets: times faster than the loop; times K = 1 that K = 15 costs
TASKS = {'CDNet': 0, 'PDNet, K = 1': 1, f'PDNet, K = {MANY}': MANY}


def steps(report: Report, args: argparse.Namespace) -> None:
    dictionary(args.folder / 'dictionary', 'persona:personachat', args.datapath)
    calls = {f'ours/{name}': partial(child, arms.ours, args, k) for name, k in TASKS.items()}
    calls |= {f'loop/{name}': partial(child, arms.loop, args, k) for name, k in TASKS.items()}
    found = medians(in_turns(calls, TURNS))
    for name in TASKS:
        ours, loop = found[f'ours/{name}'], found[f'loop/{name}']
        if abs(ours['loss'] / loop['loss'] - 1) > 1e-4:
            sys.exit(f'{name}: ours has the loss {ours["loss"]}, the loop {loop["loss"]}')
        ours['examples/s'] = BATCH / ours['seconds']
        ours['loop, times slower'] = loop['seconds'] / ours['seconds']

    def training(arm: str, k: int) -> float:
        """Return the seconds of a mean step of a training."""
        return sum(found[f'{arm}/{name}']['seconds'] for name in ('CDNet', f'PDNet, K = {k}')) * GAMMA

    faster = training('loop', MANY) / training('ours', MANY)
    dearer = training('ours', MANY) / training('ours', 1)
    ratios = {
        f'training with K = {MANY}: loop, times slower': faster,
        f'training: K = {MANY}, times K = 1': dearer,
        f'PDNet: K = {MANY}, times K = 1': found[f'ours/PDNet, K = {MANY}']['seconds']
        / found['ours/PDNet, K = 1']['seconds'],
    }
    for arm, figures in {**found, 'ours': ratios}.items():
        report.add(arm, 'pednet speed', f'a step of {BATCH} examples', 'all', figures)
    report.expect(faster >= FASTER, f'the loop {faster:.2f} times slower (target {FASTER})')
    report.expect(dearer < DEARER, f'K = {MANY} costs {dearer:.2f} times K = 1 (target {DEARER})')


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--folder', type=Path, default=Path('runs/pednet_speed'), help='the dictionary goes there')
    run_parts({'steps': steps}, parser, CSV, 'python -m benchmarks.pednet.speed --datapath data')


if __name__ == '__main__':
    main()
