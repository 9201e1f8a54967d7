"""How fast and how big learning with learned weights is: against a textbook implementation, and ParlAI's `memnn`.

    python -m benchmarks.meta_memnn.speed --datapath data              # about eight minutes on a core of its own
    python -m benchmarks.meta_memnn.speed --only iteration memnn      # some of: iteration memnn related cost

iteration   an iteration of the paper (50 dialogues of task 3, all of bAbI task 5) against `meta_memnn_textbook.py`:
            first that the numbers are the same, then time and memory
memnn       an epoch of the plain memory network against ParlAI's `memnn` agent (`meta_memnn_peer.py`)
related     time of an iteration with 1,000, 5,000 and 20,000 related dialogues
cost        what the paper's 15 runs with learned weights take

The arms take turns in one process and thread, and who goes first alternates, so that what else the machine does hits
all alike; reported are medians. Rows go to results/meta_memnn_speed.csv. Exit status 1 if a target is missed.
"""

import os

os.environ['OMP_NUM_THREADS'] = '1'  # before torch is loaded; child processes inherit it

import argparse
import ctypes
import gc
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from benchmarks.common.record import RESULTS, Row, append, hardware
from benchmarks.meta_memnn import peer as meta_memnn_peer
from benchmarks.meta_memnn.data import Data, prepare
from benchmarks.meta_memnn.textbook import Textbook, parameters, textbook, twin
from parlai_persona.agents.meta_memnn.learner import Learner, Recipe
from parlai_persona.agents.meta_memnn.model import DialogModel, WeightModel
from parlai_persona.data.dialogue import Dialogue, Turn

ROOT = Path(__file__).resolve().parents[2]
CHILD = (sys.executable, '-m', 'benchmarks.meta_memnn.speed', '--child')
SEEDS = (1, 2, 3, 4, 5)
SIZES = (50, 100, 150)
RELATED = (1000, 5000, 20000)
ITERATIONS, PAPER_HOURS = 4000, 15  # of a run; hours on a GTX 1080 Ti (appendix B.2)
TEXTBOOK_FASTER, MEMNN_FASTER, FLAT = 5, 3, 1.2  # targets
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
DATA = 'personalized_babi:3, 50 dialogues, with babi:5'
NAME = re.compile(r'resto_\S+')
CHOICE = {'fixed': 'the same replies to choose from', 'batch': 'the 32 replies of the batch'}


@dataclass(frozen=True)
class Time:
    """Seconds."""

    wall: float
    cpu: float

    def __truediv__(self, count: float) -> 'Time':
        return Time(self.wall / count, self.cpu / count)

    def __mul__(self, count: float) -> 'Time':
        return Time(self.wall * count, self.cpu * count)

    def __str__(self) -> str:
        return f'{self.wall:9.4g} s wall {self.cpu:9.4g} s CPU'


@dataclass
class Report:
    """What is printed and written."""

    command: str
    path: Path
    missed: list[str] = field(default_factory=list)

    def add(self, method: str, what: str, data: str, how: str, values: Mapping[str, float]) -> None:
        rows = [
            Row(method, what, data, how, 0, metric, float(value), self.command, hardware=hardware(1))
            for metric, value in values.items()
        ]
        append(rows, self.path, replace=True)

    def time(self, method: str, what: str, data: str, how: str, taken: Time, ours: Mapping[str, Time]) -> None:
        """`ours` names times of ours that this peer's are divided by."""
        values, line = {'wall_s': taken.wall, 'cpu_s': taken.cpu}, f'  {method:46} {taken}'
        for name, own in ours.items():
            values |= {f'wall_ratio{name}': taken.wall / own.wall, f'cpu_ratio{name}': taken.cpu / own.cpu}
            line += f'   {taken.wall / own.wall:5.1f}x {taken.cpu / own.cpu:5.1f}x{name.replace("_", " ")}'
        self.add(method, what, data, how, values)
        print(line, flush=True)

    def expect(self, good: bool, what: str) -> None:
        print(f'  {"ok" if good else "MISSED"}: {what}', flush=True)
        if not good:
            self.missed.append(what)


def progress(text: str, last: bool = False) -> None:
    if sys.stderr.isatty():
        print(f'\r{text:100}', end='\\n' if last else '', file=sys.stderr, flush=True)
    elif last:
        print(text, file=sys.stderr, flush=True)


def interleave(arms: Mapping[str, Callable[[], object]], turns: int, warm: int = 1) -> dict[str, Time]:
    """The median times of each arm; `warm` turns before do not count."""
    walls: dict[str, list[float]] = {name: [] for name in arms}
    cpus: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(warm + turns):
        for name in list(arms) if turn % 2 else reversed(list(arms)):
            wall, cpu = time.perf_counter(), time.process_time()
            arms[name]()
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(time.process_time() - cpu)
        progress(f'  turn {turn + 1} of {warm + turns}', turn + 1 == warm + turns)
    return {name: Time(statistics.median(walls[name][warm:]), statistics.median(cpus[name][warm:])) for name in arms}


# ------------------------------------------------------------------------------------------ iteration


def converted(learner: Learner, dtype: torch.dtype = torch.float32, fast: bool = True) -> Learner:
    """A learner of its own that starts where this one stands and draws what it draws."""
    theta, eta = (
        {name: p.detach().to(dtype, copy=True) for name, p in params.items()} for params in (learner.theta, learner.eta)
    )
    shape, known = learner.model.shape, learner.model.known
    model = DialogModel(shape, learner.model.heads, {head: far.to(dtype) for head, far in known.items()}, fast)
    pools = [twin(pool) for pool in (learner.primary, *learner.related)]
    return Learner(learner.recipe, model, WeightModel(shape, fast), theta, eta, pools[0], pools[1:], SEEDS[:1])


def difference(ours: Learner, theirs: Textbook, iterations: int = 3) -> float:
    """The largest difference of a loss in any of the iterations, or of a parameter after the last."""
    worst = 0.0
    for _ in range(iterations):
        seen, expected = ours.iterate(), theirs.iterate()
        worst = max([worst, *(abs(seen[name].item() - loss.item()) for name, loss in expected.items())])
    for mine, others in ((ours.theta, theirs.theta), (ours.eta, theirs.eta)):
        worst = max([worst, *((mine[name] - p).abs().max().item() for name, p in parameters(others).items())])
    return worst


def iteration(report: Report, data: Data, options: argparse.Namespace) -> None:
    print('ITERATION: 1 primary, 1 related, 10 weight updates of 5 simulated steps each; batch 32; for one run')
    learner = prepare(data, Recipe(), 50, SEEDS[:1]).learner
    for dtype, tolerance in TOLERANCE.items():
        ours, name = converted(learner, dtype), str(dtype).removeprefix('torch.')
        worst = difference(ours, textbook(ours))
        report.add('meta_memnn - textbook', 'same numbers', DATA, '3 iterations', {f'largest_difference_{name}': worst})
        report.expect(
            worst < tolerance,
            f"losses and parameters are the textbook's after 3 iterations in {name}: "
            f'they differ by {worst:.1e}, at most {tolerance:.0e} is allowed',
        )
    several = prepare(data, Recipe(), 50, SEEDS).learner
    times = interleave(
        {
            'meta_memnn': learner.iterate,
            'meta_memnn, 5 side by side': several.iterate,
            'meta_memnn without numba': converted(learner, fast=False).iterate,
            'textbook': textbook(converted(learner)).iterate,
            'textbook, padded to the longest of all': textbook(converted(learner), trim=False).iterate,
        },
        options.repeat,
    )
    times['meta_memnn, 5 side by side'] /= len(SEEDS)
    one, many = times['meta_memnn'], times['meta_memnn, 5 side by side']
    how = f'median of {options.repeat} interleaved'
    for name, taken in times.items():
        ours = {} if taken in (one, many) else {'_to_1_run': one, '_to_5_runs': many}
        report.time(name, 'one iteration', DATA, how, taken, ours)
    for name, own in (('one run', one), ('a run of five', many)):
        faster = times['textbook'].cpu / own.cpu
        report.expect(
            faster >= TEXTBOOK_FASTER,
            f'{name}: {faster:.1f} times as fast as the textbook, at least {TEXTBOOK_FASTER} times',
        )
    memory(report, options)


def memory(report: Report, options: argparse.Namespace) -> None:
    """Each arm in a process of its own."""
    peaks = {}
    for name, arm in (('textbook', 'textbook'), ('meta_memnn', '1'), ('meta_memnn, 5 side by side', '5')):
        progress(f'  memory of {name}', True)
        found = json.loads(child('memory', arm, options))
        if not found:
            print('  memory: not measured, /proc/self is not there')
            return
        peaks[name] = found['more'] / (len(SEEDS) if arm == '5' else 1)
        report.add(name, 'memory', DATA, '3 iterations', {'peak_MB': peaks[name], 'process_MB': found['all']})
        print(f'  {name:46} {peaks[name]:6.1f} MB a run, beyond the {found["before"]:.0f} MB of programs and data')
    most = peaks.pop('textbook')
    for name, peak in peaks.items():
        report.expect(peak <= most, f'{name}: no more memory than the textbook')


def memory_of(arm: str, data: Data) -> dict[str, float]:
    """MB at the peak of three iterations: more than before them, and in all. Nothing where there is no /proc."""
    learner = prepare(data, Recipe(), 50, SEEDS if arm == '5' else SEEDS[:1]).learner
    subject: Learner | Textbook = textbook(learner) if arm == 'textbook' else learner
    for part in (data.train, data.valid, data.test, data.related):
        part.clear()
    status, refs = Path('/proc/self/status'), Path('/proc/self/clear_refs')
    if not refs.exists():
        return {}

    def mb(name: str) -> float:
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name)) / 1024

    subject.iterate()  # code and optimisers are loaded and made when they are first used
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    refs.write_text('5')  # forget the peak so far
    before = mb('VmRSS')
    for _ in range(3):
        subject.iterate()
    return {'more': mb('VmHWM') - before, 'all': mb('VmHWM'), 'before': before}


# ---------------------------------------------------------------------------------------------- memnn


def memnn(report: Report, data: Data, options: argparse.Namespace) -> None:
    learner = prepare(data, Recipe(mode='primary'), 1000, SEEDS[:1]).learner
    examples, replies = len(learner.primary.members[0]), list(learner.primary.table.candidates)
    label = f'personalized_babi:3, {examples:,} examples, {len(replies):,} replies'
    print(f'MEMNN: an epoch of {label}; batch 32')
    turns, steps = 8, -(-examples // Recipe.batch)

    def part(step: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(steps // turns):
                step()

        return run

    with tempfile.TemporaryDirectory() as folder:
        arms: dict[str, Callable[[], None]] = {'meta_memnn': part(learner.iterate)}
        arguments = {kind: meta_memnn_peer.arguments(kind, Path(folder), options.datapath, replies) for kind in CHOICE}
        for kind, name in CHOICE.items():
            progress(f'  ParlAI reads the task ({name})', True)
            peer = meta_memnn_peer.Peer(arguments[kind])
            arms |= {f'memnn, {name}': part(peer.step), f'memnn, {name}, padded before': part(peer.step_padded)}
        times = {name: taken * (steps / (steps // turns)) for name, taken in interleave(arms, turns).items()}
        ours = times['meta_memnn']
        for name, taken in times.items():
            report.time(
                name,
                'an epoch',
                label,
                f'median of {turns} interleaved parts',
                taken,
                {'': ours} if taken is not ours else {},
            )
        for name, taken in times.items():
            if taken is not ours:
                report.expect(
                    taken.cpu >= MEMNN_FASTER * ours.cpu,
                    f'{taken.cpu / ours.cpu:.1f} times as fast as {name}, at least {MEMNN_FASTER} times',
                )
        print('  everything counted: start, reading, building, an epoch')
        program = str(Path(sys.executable).with_name('parlai'))
        whole = {
            'meta_memnn': process(
                [
                    sys.executable,
                    '-m',
                    'benchmarks.meta_memnn.speed',
                    '--child',
                    'epoch',
                    '',
                    '--datapath',
                    options.datapath,
                ]
            ),
            'memnn, the same replies to choose from': process([program, 'train_model', *arguments['fixed']]),
        }
        for name, taken in whole.items():
            report.time(
                name,
                'an epoch, everything counted',
                label,
                'once',
                taken,
                {'': whole['meta_memnn']} if name != 'meta_memnn' else {},
            )


def epoch(data: Data) -> None:
    learner = prepare(data, Recipe(mode='primary'), 1000, SEEDS[:1]).learner
    for _ in range(-(-len(learner.primary.members[0]) // Recipe.batch)):
        learner.iterate()


def process(command: Sequence[str | Path]) -> Time:
    """Run a program; its children count."""
    progress(f'  running {Path(command[0]).name} {command[1]}', True)
    wall = time.perf_counter()
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        sys.exit(f'exit status {running.returncode} of: {" ".join(map(str, command))}')
    return Time(time.perf_counter() - wall, usage.ru_utime + usage.ru_stime)


# ---------------------------------------------------------------------------------------------- related


def related(report: Report, data: Data, options: argparse.Namespace) -> None:
    print('RELATED: an iteration of one run with more and more related dialogues')
    learners = {}
    for count in RELATED:
        progress(f'  {count:,} related dialogues are made and read', True)
        more = Data(data.train, data.valid, data.test, repeated(data.related, count))
        wall, cpu = time.perf_counter(), time.process_time()
        learners[count] = prepare(more, Recipe(), 50, SEEDS[:1]).learner
        learners[count].iterate()  # lays out the flat arrays
        took = Time(time.perf_counter() - wall, time.process_time() - cpu)
        report.time('meta_memnn', 'set-up', f'{count:,} related dialogues', 'once', took, {})
    times = interleave({str(count): learner.iterate for count, learner in learners.items()}, options.repeat)
    for count in RELATED:
        report.time(
            'meta_memnn',
            'one iteration',
            f'{count:,} related dialogues',
            f'median of {options.repeat} interleaved',
            times[str(count)],
            {f'_to_{RELATED[0]}': times[str(RELATED[0])]} if count > RELATED[0] else {},
        )
    slower = times[str(RELATED[-1])].cpu / times[str(RELATED[0])].cpu
    report.expect(
        slower < FLAT,
        f'{slower:.2f} times the time for {RELATED[-1] // RELATED[0]} times the dialogues, less than {FLAT}',
    )


def repeated(dialogues: Sequence[Dialogue], count: int) -> list[Dialogue]:
    """Copies of the dialogues. In copy k each restaurant that is spoken of, or listed, is the k-th after it in the
    alphabet, so that the lines are new ones; the bot's replies stay, as the number of candidates is to."""
    names = sorted({name for d in dialogues for turn in d.turns for name in NAME.findall(turn.text)})
    found: list[Dialogue] = []
    for shift in range(-(-count // len(dialogues))):
        other = dict(zip(names, names[shift:] + names[:shift], strict=True))
        found += [replace(d, turns=tuple(renamed(turn, other) for turn in d.turns)) for d in dialogues]
    return found[:count]


def renamed(turn: Turn, other: Mapping[str, str]) -> Turn:
    return replace(turn, text=NAME.sub(lambda name: other[name[0]], turn.text))


# ------------------------------------------------------------------------------------------------ cost


def cost(report: Report, data: Data, options: argparse.Namespace) -> None:
    runs = len(SIZES) * len(SEEDS)
    print(f"COST: the paper's {runs} runs with learned weights, without validation")
    arms = {str(size): prepare(data, Recipe(), size, SEEDS).learner.iterate for size in SIZES}
    total = Time(0, 0)
    for size, taken in interleave(arms, options.repeat).items():
        each = taken / len(SEEDS)
        report.time(
            'meta_memnn, 5 side by side',
            f'one iteration of the {runs} runs',
            DATA.replace('50', str(size)),
            f'median of {options.repeat} interleaved',
            each,
            {},
        )
        total = Time(total.wall + each.wall * len(SEEDS), total.cpu + each.cpu * len(SEEDS))
    hours = Time(total.wall * ITERATIONS / 3600, total.cpu * ITERATIONS / 3600)
    report.add(
        'meta_memnn, 5 side by side',
        f'{runs} runs of {ITERATIONS:,} iterations',
        'all three sizes',
        'computed',
        {'wall_hours': hours.wall, 'cpu_hours': hours.cpu, 'paper_gpu_hours': runs * PAPER_HOURS},
    )
    print(
        f'  {total.cpu / runs:.4f} s an iteration and run (CPU, mean of the sizes) x {ITERATIONS:,} iterations x '
        f'{runs} runs = {hours.cpu:.2f} hours on a core\n  of its own ({hours.wall:.2f} by the clock); the paper: '
        f'about {PAPER_HOURS} hours a run x {runs} runs = {PAPER_HOURS * runs} hours on a GTX 1080 Ti, '
        f'{PAPER_HOURS * runs / hours.cpu:.0f} times as long'
    )


# ------------------------------------------------------------------------------------------------- main


PARTS = {'iteration': iteration, 'memnn': memnn, 'related': related, 'cost': cost}


def child(job: str, arm: str, options: argparse.Namespace) -> str:
    command = [*CHILD, job, arm, '--datapath', options.datapath]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--datapath', type=Path, default=ROOT / 'data')
    parser.add_argument('--only', nargs='+', choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument('--repeat', type=int, default=15, help='timed turns of each arm (default: %(default)s)')
    parser.add_argument('--results', type=Path, default=RESULTS / 'meta_memnn_speed.csv', help='rows go there')
    parser.add_argument('--child', nargs=2, metavar=('JOB', 'ARM'), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    if options.child:
        job, arm = options.child
        data = Data.read(options.datapath)
        if job == 'memory':
            print(json.dumps(memory_of(arm, data)))
        else:
            epoch(data)
        return
    report = Report(f'python -m benchmarks.meta_memnn.speed --repeat {options.repeat}', options.results)
    try:
        data = Data.read(options.datapath)
        for name in options.only:
            start = time.perf_counter()
            PARTS[name](report, data, options)
            print(f'  ({name} took {time.perf_counter() - start:.0f} s)\n', flush=True)
    except KeyboardInterrupt:
        sys.exit('\nStopped; the figures above are kept.')
    if report.missed:
        sys.exit('Missed: ' + '; '.join(report.missed))


if __name__ == '__main__':
    main()
