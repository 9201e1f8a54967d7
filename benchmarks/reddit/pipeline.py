"""What `parlai persona_reddit build` costs: against pandas, per comment from one to twenty million, and on Spark.

    python -m benchmarks.reddit.pipeline                    # about 25 minutes and 15 GB of disk
    python -m benchmarks.reddit.pipeline --only peer        # 5 million comments, against reddit_pandas.py, same rows

Costs are seconds of CPU time, so that other processes on the machine matter less; a run uses one core (a process with a
thread of DuckDB). Start-up, the cost of a dump of 1,000 comments, is in the figures against pandas; that per comment
is without it. Spark's Java process is not counted by the system: its cost is the time that it takes on one core.
Memory and disk are the most that the run and its children have at once. Rows go to results/reddit_pipeline.csv; what is
there is not measured again; docs/reddit_costs.md is written when all are there. Exit status 1 if a target is missed.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common.record import RESULTS, Row, append, find

HERE = Path(__file__).resolve().parent
CSV = RESULTS / 'reddit_pipeline.csv'
PEER, MOST = 5_000_000, 20_000_000  # comments
SIZES = (1_000_000, PEER, MOST)
FEW = 1000  # what a build costs before it reads much
EXAMPLES = {
    'order': pa.int64(),
    'persona_id': pa.int64(),
    'context': pa.large_string(),
    'response': pa.large_string(),
    'without': pa.list_(pa.int64()),
}
PERSONAS = {'persona_id': pa.int64(), 'persona': pa.list_(pa.large_string())}
N, SHARE = 20, 0.01  # sentences of a persona, valid and test
FASTER, MEMORY, FLAT = 10, 4.0, 0.2  # targets: times, GB, share


@dataclass
class Cost:
    cpu: float  # seconds
    wall: float
    memory: float  # GB
    disk: float = 0.0  # GB, of the unfinished and the finished output


def measured(command: list[str], output: Path, cores: set[int] | None = None) -> Cost:
    """Run a command to its end, perhaps on some cores alone."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
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


def disk(output: Path) -> float:
    """GB of a build that is under way, or done."""
    total = 0
    for folder in (Path(f'{output}.building'), output):
        for path in folder.rglob('*'):
            try:
                total += path.stat().st_size
            except FileNotFoundError:
                continue
    return total / 1e9


def memory(pid: int) -> float:
    """GB that a process and its children hold, without files that are only mapped."""
    total = 0
    try:
        for line in Path(f'/proc/{pid}/status').read_text().splitlines():
            if line.startswith('RssAnon'):
                total += int(line.split()[1]) * 1024
        children = Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return total / 1e9 + sum(memory(int(child)) for child in children)


def dump(folder: Path, count: int) -> Path:
    path = folder / f'{count // 1000}k.zst'
    if not path.exists():
        subprocess.run([sys.executable, HERE / 'dumps.py', '--comments', str(count), '--output', path], check=True)
    return path


def ours(source: Path, output: Path, *more: str, cores: set[int] | None = None) -> Cost:
    shutil.rmtree(output, ignore_errors=True)
    shutil.rmtree(f'{output}.building', ignore_errors=True)
    key = source.with_name('key')
    key.write_bytes(b'benchmark')
    command = [
        str(Path(sys.executable).with_name('parlai')),
        'persona_reddit',
        'build',
        '--input',
        str(source),
        '--output',
        str(output),
        '--persona-size',
        str(N),
        '--valid',
        str(SHARE),
        '--test',
        str(SHARE),
        '--tagger',
        'lexicon',
        '--workers',
        '1',
        '--memory',
        '2GB',
        '--author-key',
        str(key),
        *more,
    ]
    return measured(command, output, cores)


def pandas(source: Path, output: Path) -> Cost:
    shutil.rmtree(output, ignore_errors=True)
    arguments = [str(source), str(output), str(N), str(SHARE), 'benchmark']
    return measured([sys.executable, str(HERE / 'pandas_pipeline.py'), *arguments], output)


def table(folder: Path, kind: str) -> pa.Table:
    """All shards of a split, in the order of their first column."""
    names = PERSONAS if kind == 'personas' else EXAMPLES
    tables = [pq.read_table(path, columns=[*names]).cast(pa.schema(names)) for path in folder.glob(f'{kind}-*.parquet')]
    return pa.concat_tables(tables).sort_by(next(iter(names))).combine_chunks()


def same_rows(one: Path, other: Path) -> bool:
    return all(table(one, kind).equals(table(other, kind)) for kind in ('train', 'valid', 'test', 'personas'))


def record(method: str, count: int, figures: dict[str, float]) -> None:
    append(
        [
            Row(
                method,
                'reddit pipeline',
                f'{count:,} synthetic comments',
                'all',
                0,
                metric,
                value,
                'python -m benchmarks.reddit.pipeline',
            )
            for metric, value in figures.items()
        ],
        CSV,
    )


def known(method: str, count: int, metric: str) -> float | None:
    found = find(CSV, method=method, data=f'{count:,} synthetic comments', metric=metric)
    return found[0].value if found else None


def figures(cost: Cost, count: int) -> dict[str, float]:
    speed = count / cost.cpu
    return {
        'comments/s/core': speed,
        'CPU seconds': cost.cpu,
        'seconds': cost.wall,
        'memory (GB)': cost.memory,
        'disk (GB)': cost.disk,
    }


def each(count: int) -> float:
    """Microseconds of CPU a comment, without the start."""
    start, whole = (known('persona_reddit', size, 'CPU seconds') or 0 for size in (FEW, count))
    return 1e6 * (whole - start) / count


def peer(folder: Path) -> bool:
    """Both on the same dump, one after the other."""
    if known('pandas', PEER, 'times slower') is None:
        source = dump(folder, PEER)
        mine = ours(source, folder / 'ours')
        theirs = pandas(source, folder / 'pandas')
        if not same_rows(folder / 'ours', folder / 'pandas'):
            sys.exit('the two made other rows')
        record('persona_reddit', PEER, figures(mine, PEER))
        record('pandas', PEER, {**figures(theirs, PEER), 'times slower': theirs.cpu / mine.cpu})
    times = known('pandas', PEER, 'times slower') or 0
    print(f'{times:.1f} times as many comments per second of a core as pandas (target {FASTER})')
    return times >= FASTER


def cost(folder: Path) -> bool:
    for count in (FEW, *SIZES):
        if known('persona_reddit', count, 'seconds') is None:
            record('persona_reddit', count, figures(ours(dump(folder, count), folder / 'ours'), count))
    found = [each(count) for count in SIZES]
    for count, one in zip(SIZES, found, strict=True):
        record('persona_reddit', count, {'microseconds of CPU/comment, without start': one})
    most = max(known('persona_reddit', count, 'memory (GB)') or 0 for count in SIZES[1:])
    shown = ', '.join(f'{one:.2f} at {count:,}' for one, count in zip(found, SIZES, strict=True))
    print(f'microseconds of CPU a comment: {shown}')
    print(f'memory: at most {most:.2f} GB (target {MEMORY})')
    return max(found) <= (1 + FLAT) * min(found) and most < MEMORY


def spark(folder: Path) -> bool:
    """The same on Spark, on one core; the same rows."""
    count = SIZES[0]
    if known('persona_reddit, Spark', count, 'seconds') is None:
        for size in (FEW, count):
            engine = ('--engine', 'spark', '--master', 'local[1]', '--parts', '1')
            found = ours(dump(folder, size), folder / 'spark', *engine, cores={0})
            record('persona_reddit, Spark', size, {'seconds': found.wall, 'memory (GB)': found.memory})
        ours(dump(folder, count), folder / 'ours', '--parts', '1')
        if not same_rows(folder / 'ours', folder / 'spark'):
            sys.exit('DuckDB and Spark made other rows')
    start, whole = (known('persona_reddit, Spark', size, 'seconds') or 0 for size in (FEW, count))
    print(f'Spark: {1e6 * (whole - start) / count:.2f} microseconds of a core a comment, {start:.0f} s to start')
    return True


def page() -> None:
    """What a build of the paper's size costs, from the rows."""

    def of(method: str, size: int, metric: str) -> float:
        return known(method, size, metric) or 0

    start, whole = (of('persona_reddit, Spark', size, 'seconds') for size in (FEW, SIZES[0]))
    hours = {
        'DuckDB': each(MOST) * PAPER / 3.6e9,
        'Spark': (whole - start) / SIZES[0] * PAPER / 3600,
        'pandas': of('pandas', PEER, 'CPU seconds') / PEER * PAPER / 3600,
        'Beam': POLYAI_HOURS / POLYAI * PAPER,
    }
    disk = of('persona_reddit', MOST, 'disk (GB)') / MOST * PAPER / 1000
    memory = of('pandas', PEER, 'memory (GB)') / PEER * PAPER / 1000
    measured_rows = [
        f'| {size:,} | {each(size):.1f} | {of("persona_reddit", size, "memory (GB)"):.1f} |' for size in SIZES
    ]
    PAGE.write_text(
        TEXT.format(
            most=f'{MOST:,}',
            rows='\n'.join(measured_rows),
            duck=hours['DuckDB'],
            duck16=hours['DuckDB'] / 16,
            disk=disk,
            spark=hours['Spark'],
            spark256=hours['Spark'] / 256,
            size=f'{SIZES[0]:,}',
            pandas=hours['pandas'],
            memory=memory,
            beam=hours['Beam'],
        ),
        encoding='utf-8',
    )


PAGE = HERE.parents[1] / 'docs' / 'reddit_costs.md'
TEXT = """\
<!-- Written by benchmarks/reddit/pipeline.py from results/reddit_pipeline.csv. Do not edit. -->
# What a build of 1.7 billion comments costs

That is the size of the dump of Mazaré et al. 2018. Measured are builds of up to {most} synthetic comments, 500 bytes a
line, on one core; the rest is arithmetic. Commands and hardware stand in [RESULTS.md](../RESULTS.md).

| comments | microseconds of a core, each | memory, GB |
|---:|---:|---:|
{rows}

| 1.7 billion comments by | core-hours | |
|---|---:|---|
| `persona_reddit` on one machine, DuckDB | {duck:.1f} | {duck16:.1f} hours of 16 cores; {disk:.1f} TB of disk |
| `persona_reddit` on a cluster, Spark | {spark:.1f} | {spark256:.1f} hours of 256 cores; measured at {size} |
| pandas (`benchmarks/reddit/pandas_pipeline.py`) | {pandas:.0f} | and {memory:.1f} TB of memory |
| PolyAI's pipeline on Apache Beam, published | {beam:.0f} | 3.68 billion comments in 625 vCPU-hours |

PolyAI's pipeline makes other examples, on other machines, and a vCPU is half a core: its figure says what is usual.

What the arithmetic leaves out: disks that are slower than the cores, and what grows faster than the data. Lines are
read in pieces of 128 MB, computed in parts of 256 MB or, of large dumps, 1,024 parts; each part takes its slice from
every piece, a fraction of a millisecond each: less than an hour in all. One machine's first step runs in `--workers`
processes, the second in as many threads.
"""
LAST = (('pandas', PEER), ('persona_reddit', MOST), ('persona_reddit, Spark', SIZES[0]))  # each part's last figure
PARTS = {'peer': peer, 'cost': cost, 'spark': spark}
PAPER = 1_700_000_000  # comments of the dump (sec. 3)
POLYAI, POLYAI_HOURS = 3_680_000_000, 625  # github.com/PolyAI-LDN/conversational-datasets, reddit/README.md


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--folder', type=Path, default=Path('runs/reddit_pipeline'), help='dumps and results go there')
    parser.add_argument('--only', choices=[*PARTS], nargs='+', default=[*PARTS])
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    good = [PARTS[part](args.folder) for part in args.only]
    if all(known(*last, 'seconds') for last in LAST):
        page()
    sys.exit(not all(good))


if __name__ == '__main__':
    main()
