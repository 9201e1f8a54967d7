"""Measure what the plugin adds to the start of a `parlai` command.

    python -m benchmarks.suite.startup                  # about two minutes; rows go to results/startup.csv

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
from functools import partial

from benchmarks.common import record
from benchmarks.common.arms import Figures, Report, in_turns

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


def run(code: str) -> Figures:
    """Return seconds of a program in a fresh interpreter; CPU time includes its children."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f'exit status {process.returncode} of: {sys.executable} -c {code!r}')
    return {'wall': time.perf_counter() - start, 'cpu': usage.ru_utime + usage.ru_stime}


def compare(programs: dict[str, str], repeat: int) -> Figures:
    """Return medians, interquartile ranges, and by how many percent the program 'with' is slower."""
    figures: Figures = {}
    samples = in_turns({name: partial(run, code) for name, code in programs.items()}, repeat, warm=1)
    for clock in ('wall', 'cpu'):
        for name, times in samples.items():
            low, median, high = statistics.quantiles([one[clock] for one in times], n=4)
            figures |= {f'{clock}_{name}_s': median, f'{clock}_{name}_iqr_s': high - low}
        figures[f'{clock}_slower_percent'] = 100 * (figures[f'{clock}_with_s'] / figures[f'{clock}_without_s'] - 1)
    return figures


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--repeat', type=int, default=15, help='timed runs of each arm (default: %(default)s)')
    args = record.parse_arguments(parser)
    command = f'python -m benchmarks.suite.startup --repeat {args.repeat}'
    report = Report(record.RESULTS / 'startup.csv', command, args.allow_dirty)
    results = {}
    for command in COMMANDS:
        programs = {name: PARLAI.format(blocked=module, words=command.split()) for name, module in ARMS.items()}
        results[command] = compare(programs, args.repeat)
    against_nothing = compare({'without': 'pass', 'with': IMPORT}, args.repeat)
    results[IMPORT] = {name: value for name, value in against_nothing.items() if 'percent' not in name}
    loaded = subprocess.run([sys.executable, '-c', COUNT_TORCH], capture_output=True, check=True, text=True).stdout
    results[IMPORT]['torch_modules'] = float(loaded)
    data, split = 'stock ParlAI 1.7.2, with and without the plugin', f'{args.repeat} interleaved runs'
    for method, figures in results.items():
        report.add(method, 'start of a command', data, split, figures, threads=None)
    slower = results['parlai --help']['cpu_slower_percent']
    report.expect(slower <= ALLOWED, f'{slower:.1f} % slower `parlai --help`, at most {ALLOWED:.0f} % are allowed')
    report.expect(not results[IMPORT]['torch_modules'], 'no torch from the import')
    report.exit()


if __name__ == '__main__':
    main()
