"""Measure what the plugin adds to the start of a `parlai` command.

    python -m benchmarks.suite.startup                  # about two minutes; rows go to results/startup.csv
    python -m benchmarks.suite.startup --repeat 31

Both arms run the same interpreter with the same packages. In the arm without the plugin, `parlai_internal` cannot be
imported, the package by which ParlAI finds it. The arms take turns, and the first of them alternates, so that other
load of the machine affects both. Reported are medians of wall time and CPU time; on a shared machine CPU time is the
steadier one. The script fails if `parlai --help` gets more than 10 % slower or the import loads torch.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.common import record
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
IMPORT = 'import parlai_persona'
COUNT_TORCH = 'import sys, parlai_persona; print(sum(name.split(".")[0] == "torch" for name in sys.modules))'
Times = dict[str, float]  # seconds: 'wall', and 'cpu' (user and system) of the command and its children


def run(code: str) -> Times:
    """Time a program in a fresh interpreter."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f'exit status {process.returncode} of: {sys.executable} -c {code!r}')
    return {'wall': time.perf_counter() - start, 'cpu': usage.ru_utime + usage.ru_stime}


def interleave(programs: dict[str, str], repeat: int) -> dict[str, float]:
    """Time the programs in turns; return medians, interquartile ranges, and by how many percent 'with' is slower."""
    samples: dict[str, list[Times]] = {name: [] for name in programs}
    for turn in range(repeat + 1):  # the first turn warms the disk cache
        for name in list(programs) if turn % 2 else list(reversed(programs)):
            samples[name].append(run(programs[name]))
        print(f'\r{turn} of {repeat} turns ', end='', file=sys.stderr, flush=True)
    print(file=sys.stderr)
    figures: dict[str, float] = {}
    for clock in ('wall', 'cpu'):
        for name, times in samples.items():
            low, median, high = statistics.quantiles([one[clock] for one in times[1:]], n=4)
            figures |= {f'{clock}_{name}_s': median, f'{clock}_{name}_iqr_s': high - low}
        figures[f'{clock}_slower_percent'] = 100 * (figures[f'{clock}_with_s'] / figures[f'{clock}_without_s'] - 1)
    return figures


def measure(repeat: int) -> dict[str, dict[str, float]]:
    results = {}
    for command in COMMANDS:
        print(command, file=sys.stderr)
        programs = {name: PARLAI.format(blocked=module, words=command.split()) for name, module in ARMS.items()}
        results[command] = interleave(programs, repeat)
    print(IMPORT, file=sys.stderr)
    figures = interleave({'without': 'pass', 'with': IMPORT}, repeat)
    del figures['wall_slower_percent'], figures['cpu_slower_percent']  # against an interpreter that does nothing
    loaded = subprocess.run([sys.executable, '-c', COUNT_TORCH], capture_output=True, check=True, text=True).stdout
    results[IMPORT] = figures | {'torch_modules': float(loaded)}
    return results


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--repeat', type=int, default=15, help='timed runs of each arm (default: %(default)s)')
    parser.add_argument('--results', type=Path, default=RESULTS / 'startup.csv', help='CSV file to write rows to')
    args = record.parse_arguments(parser)
    results = measure(args.repeat)
    data, split = 'stock ParlAI 1.7.2, with and without the plugin', f'{args.repeat} interleaved runs'
    command = f'python -m benchmarks.suite.startup --repeat {args.repeat}'
    rows = [
        Row(method, 'start of a command', data, split, 0, metric, value, command, hardware=hardware())
        for method, figures in results.items()
        for metric, value in figures.items()
    ]
    for row in rows:
        print(f'{row.method:30}{row.metric:25}{row.value:9.3f}')
    append(rows, args.results, replace=True, allow_dirty=args.allow_dirty)
    if results['parlai --help']['cpu_slower_percent'] > ALLOWED or results[IMPORT]['torch_modules']:
        sys.exit(f'expected at most {ALLOWED:.0f} % on `parlai --help`, and no torch from the import')


if __name__ == '__main__':
    main()
