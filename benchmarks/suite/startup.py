"""What the plugin adds to the start of a `parlai` command.

    python -m benchmarks.suite.startup                  # about two minutes; rows go to results/startup.csv
    python -m benchmarks.suite.startup --repeat 31

Both arms run the same interpreter with the same packages; in the arm without the plugin, `parlai_internal`, the door
by which ParlAI finds it, cannot be imported. The arms take turns, and who goes first alternates, so that what else
the machine does hits both alike. Reported are medians of wall time and of CPU time; CPU time is the steadier one on a
machine that is shared. The script fails if `parlai --help` gets more than 10 % slower or the import loads torch.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.record import RESULTS, Row, append, hardware

ALLOWED = 10.0  # percent, for `parlai --help`
ARMS = {'without': 'parlai_internal', 'with': 'parlai_without_such_a_module'}  # what cannot be imported
COMMANDS = ('parlai --help', 'parlai train_model --help')
PARLAI = """\
import sys
sys.modules[{blocked!r}] = None  # its import fails from now on
sys.argv = {words!r}
from parlai.__main__ import main
main()
"""
COUNT_TORCH = 'import sys, parlai_persona; print(sum(name.split(".")[0] == "torch" for name in sys.modules))'


@dataclass(frozen=True)
class Sample:
    wall: float  # seconds
    cpu: float  # seconds, user and system, of the command and its children


def run(code: str) -> Sample:
    """Time a program in a fresh interpreter."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f'exit status {process.returncode} of: {sys.executable} -c {code!r}')
    return Sample(time.perf_counter() - start, usage.ru_utime + usage.ru_stime)


def interleave(programs: dict[str, str], repeat: int) -> dict[str, list[Sample]]:
    """Time each program `repeat` times, in turns; one more turn before that warms the disk cache."""
    samples: dict[str, list[Sample]] = {name: [] for name in programs}
    for turn in range(repeat + 1):
        order = list(programs) if turn % 2 else list(reversed(programs))
        for name in order:
            sample = run(programs[name])
            if turn:
                samples[name].append(sample)
        print(f'\r{turn} of {repeat} turns ', end='', file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return samples


def summary(arms: dict[str, list[Sample]]) -> dict[str, float]:
    """Medians and interquartile ranges, in seconds, and by how many percent the plugin makes it slower."""
    figures: dict[str, float] = {}
    for clock in ('wall', 'cpu'):
        times = {name: [getattr(sample, clock) for sample in samples] for name, samples in arms.items()}
        for name, seconds in times.items():
            low, median, high = statistics.quantiles(seconds, n=4)
            figures |= {f'{clock}_{name}_s': median, f'{clock}_{name}_iqr_s': high - low}
        figures[f'{clock}_slower_percent'] = 100 * (figures[f'{clock}_with_s'] / figures[f'{clock}_without_s'] - 1)
    return figures


def measure(repeat: int) -> dict[str, dict[str, float]]:
    results = {}
    for command in COMMANDS:
        print(command, file=sys.stderr)
        programs = {name: PARLAI.format(blocked=module, words=command.split()) for name, module in ARMS.items()}
        results[command] = summary(interleave(programs, repeat))
    print('import parlai_persona', file=sys.stderr)
    figures = summary(interleave({'without': 'pass', 'with': 'import parlai_persona'}, repeat))
    del figures['wall_slower_percent'], figures['cpu_slower_percent']  # against an interpreter that does nothing
    loaded = subprocess.run([sys.executable, '-c', COUNT_TORCH], capture_output=True, check=True, text=True).stdout
    results['import parlai_persona'] = figures | {'torch_modules': float(loaded)}
    return results


def show(results: dict[str, dict[str, float]]) -> None:
    print(f'{"median (interquartile range)":30}{"without":>17}{"with":>17}{"slower":>9}')
    for command, figures in results.items():
        for clock in ('wall', 'cpu'):
            medians, spreads = ([figures[f'{clock}_{arm}_{unit}'] for arm in ARMS] for unit in ('s', 'iqr_s'))
            cells = [f'{median:.3f} ({spread:.3f}) s' for median, spread in zip(medians, spreads, strict=True)]
            slower = figures.get(f'{clock}_slower_percent')
            change = '' if slower is None else f'{slower:+.1f} %'
            print(f'{f"{command}, {clock}":30}{cells[0]:>17}{cells[1]:>17}{change:>9}')
    print(f'torch modules loaded by the import: {results["import parlai_persona"]["torch_modules"]:.0f}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeat', type=int, default=15, help='timed runs of each arm (default: %(default)s)')
    parser.add_argument('--results', type=Path, default=RESULTS / 'startup.csv', help='CSV file to write rows to')
    args = parser.parse_args()
    results = measure(args.repeat)
    show(results)
    command = f'python -m benchmarks.suite.startup --repeat {args.repeat}'
    append(
        (
            Row(
                method,
                'start of a command',
                'stock ParlAI 1.7.2, with and without the plugin',
                f'{args.repeat} interleaved runs',
                0,
                metric,
                value,
                command,
                hardware=hardware(),
            )
            for method, figures in results.items()
            for metric, value in figures.items()
        ),
        args.results,
        replace=True,
    )
    if results['parlai --help']['cpu_slower_percent'] > ALLOWED or results['import parlai_persona']['torch_modules']:
        sys.exit(f'expected at most {ALLOWED:.0f} % on `parlai --help`, and no torch from the import')


if __name__ == '__main__':
    main()
