"""How fast and how big learning with learned weights is: against a textbook implementation, and ParlAI's `memnn`.

    python -m benchmarks.meta_memnn.speed --datapath data        # about five minutes on a core of its own
    python -m benchmarks.meta_memnn.speed --only iteration       # some of: iteration memory memnn

iteration   an iteration of the paper (50 dialogues of task 3, all of bAbI task 5) against `textbook.py`: first that the
            numbers are the same, then the time
memory      how much both grow in three iterations
memnn       an epoch of the plain memory network against ParlAI's `memnn` agent (`peer.py`)

The arms take turns in one process and thread, and who goes first alternates, so that what else the machine does hits
all of them. Medians are reported. Rows go to results/meta_memnn_speed.csv. Exit status 1 if a target is missed.
"""

import os

os.environ['OMP_NUM_THREADS'] = '1'  # before torch is loaded; child processes inherit it

import argparse
import ctypes
import gc
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.common.arms import child
from benchmarks.common.record import RESULTS, Row, append, hardware
from benchmarks.meta_memnn import peer as memnn_peer
from benchmarks.meta_memnn.table2 import ROOT, paper_agent
from benchmarks.meta_memnn.textbook import Textbook, parameters, twin
from parlai_persona.agents.meta_memnn.learner import Learner
from parlai_persona.agents.meta_memnn.model import DialogModel, WeightModel

SEED, ALPHA, BATCH = 1, 1e-3, 32
TEXTBOOK_FASTER, MEMNN_FASTER = 5, 3  # targets
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
DATA = 'personalized_babi:3, 50 dialogues, with babi:5'


@dataclass(frozen=True)
class Time:
    """Seconds."""

    wall: float
    cpu: float


@dataclass
class Report:
    """Prints figures and writes them as rows."""

    command: str
    path: Path
    missed: list[str] = field(default_factory=list)

    def add(self, method: str, what: str, data: str, how: str, values: Mapping[str, float]) -> None:
        rows = [
            Row(method, what, data, how, 0, metric, float(value), self.command, hardware=hardware(1))
            for metric, value in values.items()
        ]
        append(rows, self.path, replace=True)
        print(
            f'  {method:50} {what:16}' + ''.join(f' {name} {value:.4g}' for name, value in values.items()), flush=True
        )

    def times(self, times: Mapping[str, Time], what: str, data: str, how: str) -> None:
        """Report all arms; the others also as ratios to the first, which is ours."""
        ours = next(iter(times.values()))
        for name, one in times.items():
            values = {'wall_s': one.wall, 'cpu_s': one.cpu}
            if one is not ours:
                values |= {'wall_ratio': one.wall / ours.wall, 'cpu_ratio': one.cpu / ours.cpu}
            self.add(name, what, data, how, values)

    def expect(self, good: bool, what: str) -> None:
        print(f'  {"ok" if good else "MISSED"}: {what}', flush=True)
        if not good:
            self.missed.append(what)


def interleave(arms: Mapping[str, Callable[[], object]], turns: int, warm: int = 1) -> dict[str, Time]:
    """Return the median times of each arm; `warm` turns before do not count."""
    taken: dict[str, list[Time]] = {name: [] for name in arms}
    for turn in range(warm + turns):
        for name in list(arms) if turn % 2 else reversed(list(arms)):
            wall, cpu = time.perf_counter(), time.process_time()
            arms[name]()
            taken[name].append(Time(time.perf_counter() - wall, time.process_time() - cpu))
        if sys.stderr.isatty():
            print(f'\r  turn {turn + 1} of {warm + turns}', end='\r', file=sys.stderr, flush=True)
    counted = {name: times[warm:] for name, times in taken.items()}
    return {
        name: Time(statistics.median(t.wall for t in times), statistics.median(t.cpu for t in times))
        for name, times in counted.items()
    }


def copied(learner: Learner, dtype: torch.dtype = torch.float32, fast: bool = True) -> Learner:
    """Return a learner that starts where this one stands and draws what it draws; theta goes down by torch's Adam."""
    theta, eta = ({n: p.detach().to(dtype, copy=True) for n, p in own.items()} for own in (learner.theta, learner.eta))
    shape = learner.model.shape
    model, weigher = DialogModel(shape, learner.model.heads, fast), WeightModel(shape, fast)
    adam = torch.optim.Adam(theta.values(), lr=ALPHA, fused=True)

    def descend(loss: torch.Tensor) -> None:
        adam.zero_grad()
        loss.backward()
        adam.step()

    primary, *related = (twin(pool) for pool in (learner.primary, *learner.related))
    return Learner(learner.recipe, model, weigher, theta, eta, primary, related, SEED, descend)


def difference(ours: Learner, theirs: Textbook, iterations: int = 3) -> float:
    """Return the largest difference of a loss in any of the iterations, or of a parameter after the last."""
    worst = 0.0
    for _ in range(iterations):
        seen, expected = ours.iterate(), theirs.iterate()
        worst = max([worst, *(abs(seen[name] - loss.item()) for name, loss in expected.items())])
    for mine, others in ((ours.theta, theirs.theta), (ours.eta, theirs.eta)):
        worst = max([worst, *((mine[name] - p).abs().max().item() for name, p in parameters(others).items())])
    return worst


def iteration(report: Report, options: argparse.Namespace) -> None:
    print('ITERATION: 1 primary, 1 related, 10 weight updates of 5 simulated steps each; batch 32')
    learner = paper_agent(options.datapath, 50, SEED).learner
    for dtype, tolerance in TOLERANCE.items():
        ours, name = copied(learner, dtype), str(dtype).removeprefix('torch.')
        worst = difference(ours, Textbook(ours, ALPHA))
        report.add('meta_memnn - textbook', 'same numbers', DATA, '3 iterations', {f'largest_difference_{name}': worst})
        report.expect(worst < tolerance, f'they differ by {worst:.1e}, at most {tolerance:.0e} is allowed in {name}')
    arms = {
        'meta_memnn': copied(learner).iterate,
        'meta_memnn without numba': copied(learner, fast=False).iterate,
        'textbook': Textbook(copied(learner), ALPHA).iterate,
    }
    times = interleave(arms, options.repeat)
    report.times(times, 'one iteration', DATA, f'median of {options.repeat} interleaved')
    faster = times['textbook'].cpu / times['meta_memnn'].cpu
    report.expect(faster >= TEXTBOOK_FASTER, f'{faster:.1f} times as fast as the textbook, {TEXTBOOK_FASTER} wanted')


def memory(report: Report, options: argparse.Namespace) -> None:
    """Measure each arm in a process of its own."""
    print('MEMORY: growth in three iterations after a first')
    peaks = {}
    for name in ('meta_memnn', 'textbook'):
        values = child('benchmarks.meta_memnn.speed', '--child', name, '--datapath', str(options.datapath))
        report.add(name, 'memory', DATA, '3 iterations', values)
        peaks[name] = values['peak_MB']
    report.expect(peaks['meta_memnn'] <= peaks['textbook'], 'no more memory than the textbook')


def memory_of(name: str, datapath: Path) -> dict[str, float]:
    """Return MB at the peak of three iterations: more than before them, and in all. Linux only."""
    learner = copied(paper_agent(datapath, 50, SEED).learner)
    subject: Learner | Textbook = Textbook(learner, ALPHA) if name == 'textbook' else learner
    subject.iterate()  # loads code and makes the optimisers' moments
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path('/proc/self/clear_refs').write_text('5')  # forget the peak so far
    before = status_mb('VmRSS')
    for _ in range(3):
        subject.iterate()
    return {'peak_MB': status_mb('VmHWM') - before, 'process_MB': status_mb('VmHWM')}


def status_mb(name: str) -> float:
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def memnn(report: Report, options: argparse.Namespace) -> None:
    learner = paper_agent(options.datapath, 1000, SEED, '--meta-memnn-mode', 'primary').learner
    examples, replies = len(learner.primary.members), list(learner.primary.table.places)
    label, turns, steps = (
        f'personalized_babi:3, {examples:,} examples, {len(replies):,} replies',
        8,
        -(-examples // BATCH),
    )
    print(f'MEMNN: an epoch of {label}; batch {BATCH}; ParlAI reads the task first')

    def eighth(step: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(steps // turns):
                step()

        return run

    with tempfile.TemporaryDirectory() as folder:
        peer = memnn_peer.Peer(memnn_peer.arguments(Path(folder), options.datapath, replies))
        name = 'memnn, the same replies to choose from'
        arms = {'meta_memnn': learner.iterate, name: peer.step, f'{name}, padded before': peer.step_padded}
        parts = interleave({name: eighth(step) for name, step in arms.items()}, turns)
    scale = steps / (steps // turns)
    times = {name: Time(one.wall * scale, one.cpu * scale) for name, one in parts.items()}
    report.times(times, 'an epoch', label, f'median of {turns} interleaved parts')
    for name in list(times)[1:]:
        faster = times[name].cpu / times['meta_memnn'].cpu
        report.expect(faster >= MEMNN_FASTER, f'{faster:.1f} times as fast as {name}, {MEMNN_FASTER} wanted')


PARTS = {'iteration': iteration, 'memory': memory, 'memnn': memnn}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--datapath', type=Path, default=ROOT / 'data')
    parser.add_argument('--only', nargs='+', choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument('--repeat', type=int, default=15, help='timed turns of each arm (default: %(default)s)')
    parser.add_argument('--results', type=Path, default=RESULTS / 'meta_memnn_speed.csv', help='rows go there')
    parser.add_argument('--child', help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.child:
        print(json.dumps(memory_of(options.child, options.datapath)))
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    report = Report(f'python -m benchmarks.meta_memnn.speed --repeat {options.repeat}', options.results)
    try:
        for name in options.only:
            PARTS[name](report, options)
    except KeyboardInterrupt:
        sys.exit('\nStopped; the figures above are kept.')
    if report.missed:
        sys.exit('Missed: ' + '; '.join(report.missed))


if __name__ == '__main__':
    main()
