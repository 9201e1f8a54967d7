"""What `parlai persona_reddit build` costs: against pandas, per comment from one to twenty million, and on Spark.

    python -m benchmarks.reddit.pipeline                    # about 30 minutes and 15 GB of disk
    python -m benchmarks.reddit.pipeline --only peer        # 5 million comments, against pandas, same rows

Costs are seconds of CPU time, so that other processes on the machine matter less; a run uses one core (a process with a
thread of DuckDB). The cost per comment is without the start, which is the cost of a dump of 1,000 comments. Spark's
Java process is not counted by the system: its cost is the time that it takes on one core. Memory and disk are the most
that the run and its children have at once. Rows go to results/reddit_pipeline.csv; what is there is not measured again.
"""

import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common.record import RESULTS, Row, append, find, parse_arguments, parser

CSV = RESULTS / 'reddit_pipeline.csv'
FEW, MILLION, PEER, MOST = 1000, 1_000_000, 5_000_000, 20_000_000  # comments
EXAMPLES = {
    'order': pa.int64(),
    'persona_id': pa.int64(),
    'context': pa.large_string(),
    'response': pa.large_string(),
    'without': pa.list_(pa.int64()),
}
PERSONAS = {'persona_id': pa.int64(), 'persona': pa.list_(pa.large_string())}
EACH = 'microseconds of CPU/comment, without start'
SIZE, SHARE, KEY = '20', '0.01', 'benchmark'  # sentences of a persona; valid and test; of the hash of authors
BUILD = f'--persona-size {SIZE} --valid {SHARE} --test {SHARE} --tagger lexicon --workers 1 --memory 2GB'.split()


@dataclass
class Cost:
    cpu: float  # seconds
    wall: float
    memory: float  # GB
    disk: float  # GB, of the unfinished and the finished output

    def figures(self, count: int) -> dict[str, float]:
        return {
            'comments/s/core': count / self.cpu,
            'CPU seconds': self.cpu,
            'seconds': self.wall,
            'memory (GB)': self.memory,
            'disk (GB)': self.disk,
        }


def measure(command: Sequence[str], output: Path, one_core: bool = False) -> Cost:
    """Run a command to its end."""
    for folder in (output, unfinished(output)):
        shutil.rmtree(folder, ignore_errors=True)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(
        command,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=(lambda: os.sched_setaffinity(0, {0})) if one_core else None,
    )
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(process.stderr or ()))
    reader.start()
    most = space = 0.0
    while process.poll() is None:
        most, space = max(most, memory(process.pid)), max(space, disk(output))
        time.sleep(0.2)
    reader.join()
    if process.returncode:
        sys.exit(f'{" ".join(command)} failed:\n{"".join(said[-20:])}')
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu, time.monotonic() - start, most, space)


def unfinished(output: Path) -> Path:
    return Path(f'{output}.building')


def disk(output: Path) -> float:
    total = 0
    for path in (*unfinished(output).rglob('*'), *output.rglob('*')):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total / 1e9


def memory(pid: int) -> float:
    """Return the GB that a process and its children hold, without files that are only mapped."""
    total = 0
    try:
        for line in Path(f'/proc/{pid}/status').read_text().splitlines():
            if line.startswith('RssAnon'):
                total += int(line.split()[1]) * 1024
        children = Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return total / 1e9 + sum(memory(int(child)) for child in children)


def module(name: str, *arguments: object) -> list[str]:
    return [sys.executable, '-m', f'benchmarks.reddit.{name}', *map(str, arguments)]


def dump(folder: Path, count: int) -> Path:
    path = folder / f'{count // 1000}k.zst'
    if not path.exists():
        subprocess.run(module('dumps', '--comments', count, '--output', path), check=True)
    return path


def build(source: Path, output: Path, *more: str, one_core: bool = False) -> Cost:
    key = source.with_name('key')
    key.write_text(KEY)
    command = [str(Path(sys.executable).with_name('parlai')), 'persona_reddit', 'build', '--input', str(source)]
    command += ['--output', str(output), '--author-key', str(key), *BUILD, *more]
    return measure(command, output, one_core)


def table(folder: Path, kind: str) -> pa.Table:
    """Return all shards of a split, sorted by their first column."""
    names = PERSONAS if kind == 'personas' else EXAMPLES
    tables = [pq.read_table(path, columns=[*names]).cast(pa.schema(names)) for path in folder.glob(f'{kind}-*.parquet')]
    return pa.concat_tables(tables).sort_by(next(iter(names))).combine_chunks()


def check_rows(one: Path, other: Path) -> None:
    for kind in ('train', 'valid', 'test', 'personas'):
        if not table(one, kind).equals(table(other, kind)):
            sys.exit(f'{one} and {other}: saw different rows of {kind}, expected the same')


def record(method: str, count: int, figures: dict[str, float]) -> None:
    data, command = f'{count:,} synthetic comments', 'python -m benchmarks.reddit.pipeline'
    rows = [Row(method, 'reddit pipeline', data, 'all', 0, name, value, command) for name, value in figures.items()]
    append(rows, CSV, allow_dirty=True)  # without --allow-dirty `parse_arguments` has refused already


def known(method: str, count: int, metric: str) -> float | None:
    found = find(CSV, method=method, data=f'{count:,} synthetic comments', metric=metric)
    return found[0].value if found else None


def per_comment(method: str, count: int, metric: str) -> float:
    """Return microseconds a comment, without the start."""
    start, whole = (known(method, size, metric) or 0 for size in (FEW, count))
    return 1e6 * (whole - start) / count


def peer(folder: Path) -> None:
    """Measure pandas and ours on the same dump, one after the other."""
    if known('pandas', PEER, 'times slower') is None:
        source = dump(folder, PEER)
        mine = build(source, folder / 'ours')
        theirs = measure(module('pandas_pipeline', source, folder / 'pandas', SIZE, SHARE, KEY), folder / 'pandas')
        check_rows(folder / 'ours', folder / 'pandas')
        record('persona_reddit', PEER, mine.figures(PEER))
        record('pandas', PEER, {**theirs.figures(PEER), 'times slower': theirs.cpu / mine.cpu})
    print(f'{known("pandas", PEER, "times slower"):.1f} times as many comments per second of a core as pandas')


def cost(folder: Path) -> None:
    """Measure the cost per comment of small and large dumps."""
    for count in (FEW, MILLION, PEER, MOST):
        if known('persona_reddit', count, 'seconds') is None:
            record('persona_reddit', count, build(dump(folder, count), folder / 'ours').figures(count))
    for count in (MILLION, PEER, MOST):
        each = known('persona_reddit', count, EACH)
        if each is None:
            each = per_comment('persona_reddit', count, 'CPU seconds')
            record('persona_reddit', count, {EACH: each})
        print(
            f'{count:,} comments: {each:.2f} us each, {known("persona_reddit", count, "memory (GB)"):.2f} GB of memory'
        )


def spark(folder: Path) -> None:
    """Measure the same on Spark, on one core; the same rows."""
    name = 'persona_reddit, Spark'
    if known(name, MILLION, 'seconds') is None:
        for size in (FEW, MILLION):
            engine = ('--engine', 'spark', '--master', 'local[1]', '--parts', '1')
            found = build(dump(folder, size), folder / 'spark', *engine, one_core=True)
            record(name, size, {'seconds': found.wall, 'memory (GB)': found.memory})
        build(dump(folder, MILLION), folder / 'ours', '--parts', '1')
        check_rows(folder / 'ours', folder / 'spark')
    print(f'Spark: {per_comment(name, MILLION, "seconds"):.2f} us of a core a comment')


PARTS = {'peer': peer, 'cost': cost, 'spark': spark}


def main() -> None:
    options = parser(__doc__)
    options.add_argument('--folder', type=Path, default=Path('runs/reddit_pipeline'), help='dumps and results go there')
    options.add_argument('--only', choices=[*PARTS], nargs='+', default=[*PARTS])
    args = parse_arguments(options)
    args.folder.mkdir(parents=True, exist_ok=True)
    for part in args.only:
        PARTS[part](args.folder)


if __name__ == '__main__':
    main()
