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

os.environ['OMP_NUM_THREADS'] = '1'  # before torch is loaded

import argparse
import ctypes
import gc
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.common import record
from benchmarks.common.arms import Figures, Report, child, in_turns, medians, memory, run_parts
from benchmarks.meta_memnn import peer as memnn_peer
from benchmarks.meta_memnn.table2 import paper_agent
from benchmarks.meta_memnn.textbook import Textbook, parameters, twin
from parlai_persona.agents.meta_memnn.learner import Learner
from parlai_persona.agents.meta_memnn.model import DialogModel, WeightModel

SEED, ALPHA, BATCH, TURNS = 1, 1e-3, 32, 15
TEXTBOOK_FASTER, MEMNN_FASTER = 5, 3  # targets
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
DATA = 'personalized_babi:3, 50 dialogues, with babi:5'


def timed(work: Callable[[], object], repeat: int = 1) -> Figures:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeat):
        work()
    return {'wall_s': time.perf_counter() - wall, 'cpu_s': time.process_time() - cpu}


def add_times(report: Report, found: dict[str, Figures], what: str, data: str, how: str) -> None:
    """Report all arms; the others also as ratios to the first, which is ours."""
    ours = next(iter(found.values()))
    for name, one in found.items():
        ratios = {f'{clock}_ratio': one[f'{clock}_s'] / ours[f'{clock}_s'] for clock in ('wall', 'cpu')}
        report.add(name, what, data, how, one if one is ours else one | ratios)


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
    """Time 1 primary, 1 related, and 10 weight updates of 5 simulated steps each; batch 32."""
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
    found = medians(in_turns({name: partial(timed, work) for name, work in arms.items()}, TURNS, warm=1))
    add_times(report, found, 'one iteration', DATA, f'median of {TURNS} interleaved')
    faster = found['textbook']['cpu_s'] / found['meta_memnn']['cpu_s']
    report.expect(faster >= TEXTBOOK_FASTER, f'{faster:.1f} times as fast as the textbook, {TEXTBOOK_FASTER} wanted')


def growth(report: Report, options: argparse.Namespace) -> None:
    """Measure each arm in a process of its own."""
    peaks = {}
    for name in ('meta_memnn', 'textbook'):
        figures = child(memory_of, name, options.datapath)
        report.add(name, 'memory', DATA, '3 iterations', figures)
        peaks[name] = figures['peak_MB']
    report.expect(peaks['meta_memnn'] <= peaks['textbook'], 'no more memory than the textbook')


def memory_of(name: str, datapath: str) -> dict[str, float]:
    """Return MB at the peak of three iterations: more than before them, and in all. Linux only."""
    torch.set_num_threads(1)
    learner = copied(paper_agent(datapath, 50, SEED).learner)
    subject: Learner | Textbook = Textbook(learner, ALPHA) if name == 'textbook' else learner
    subject.iterate()  # loads code and makes the optimisers' moments
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path('/proc/self/clear_refs').write_text('5')  # forget the peak so far
    before = memory('VmRSS')
    for _ in range(3):
        subject.iterate()
    peak = memory('VmHWM')
    return {'peak_MB': (peak - before) / 1024, 'process_MB': peak / 1024}


def memnn(report: Report, options: argparse.Namespace) -> None:
    """Time an eighth of an epoch at a time; ParlAI reads the task first."""
    learner = paper_agent(options.datapath, 1000, SEED, '--meta-memnn-mode', 'primary').learner
    examples, replies = len(learner.primary.members), list(learner.primary.table.places)
    parts, steps = 8, -(-examples // BATCH)
    with tempfile.TemporaryDirectory() as folder:
        peer = memnn_peer.Peer(memnn_peer.arguments(Path(folder), options.datapath, replies))
        name = 'memnn, the same replies to choose from'
        arms = {'meta_memnn': learner.iterate, name: peer.step, f'{name}, padded before': peer.step_padded}
        timers = {name: partial(timed, step, repeat=steps // parts) for name, step in arms.items()}
        found = medians(in_turns(timers, parts, warm=1))
    scale = steps / (steps // parts)
    epochs = {name: {clock: scale * value for clock, value in one.items()} for name, one in found.items()}
    data = f'personalized_babi:3, {examples:,} examples, {len(replies):,} replies'
    add_times(report, epochs, 'an epoch', data, f'median of {parts} interleaved parts')
    for name in list(epochs)[1:]:
        faster = epochs[name]['cpu_s'] / epochs['meta_memnn']['cpu_s']
        report.expect(faster >= MEMNN_FASTER, f'{faster:.1f} times as fast as {name}, {MEMNN_FASTER} wanted')


def main() -> None:
    torch.set_num_threads(1)
    parts = {'iteration': iteration, 'memory': growth, 'memnn': memnn}
    csv, command = record.RESULTS / 'meta_memnn_speed.csv', 'python -m benchmarks.meta_memnn.speed --datapath data'
    run_parts(parts, record.parser(__doc__), csv, command)


if __name__ == '__main__':
    main()
