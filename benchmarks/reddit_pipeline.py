"""What `parlai persona_reddit build` costs: against pandas, per comment from one to twenty million, and on Spark.

    python benchmarks/reddit_pipeline.py                    # about 25 minutes and 15 GB of disk
    python benchmarks/reddit_pipeline.py --only peer        # 5 million comments, against reddit_pandas.py, same rows

Costs are seconds of CPU time, so that other processes on the machine matter less; a run uses one core (a process with a
thread of DuckDB). Start-up, the cost of a dump of 1,000 comments, is in the figures against pandas; that per comment
is without it. Spark's Java process is not counted by the system: its cost is the time that it takes on one core.
Memory is the most that the run and its children have at once. Rows go to results/reddit_pipeline.csv; what is there is
not measured again. Exit status 1 if a target is missed.
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
from record import RESULTS, Row, append, find

HERE = Path(__file__).resolve().parent
CSV = RESULTS / 'reddit_pipeline.csv'
PEER, MOST = 5_000_000, 20_000_000  # comments
SIZES = (1_000_000, PEER, MOST)
FEW = 1000  # what a build costs before it reads much
EXAMPLES = {
    'order': pa.int64(), 'persona_id': pa.int64(), 'context': pa.large_string(), 'response': pa.large_string(),
    'without': pa.list_(pa.int64()),
}  # fmt: skip
PERSONAS = {'persona_id': pa.int64(), 'persona': pa.list_(pa.large_string())}
N, SHARE = 20, 0.01  # sentences of a persona, valid and test
FASTER, MEMORY, FLAT = 10, 4.0, 0.2  # targets: times, GB, share


@dataclass
class Cost:
    cpu: float  # seconds
    wall: float
    memory: float  # GB


def measured(command: list[str], cores: set[int] | None = None) -> Cost:
    """Run a command to its end, perhaps on some cores alone."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
    )  # fmt: skip
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(process.stderr or ()))
    reader.start()
    most = 0.0
    while process.poll() is None:
        most = max(most, memory(process.pid))
        time.sleep(0.1)
    reader.join()
    if process.returncode:
        sys.exit(f'{" ".join(command)} failed:\n{"".join(said[-20:])}')
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu, time.monotonic() - start, most)


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
        subprocess.run(
            [sys.executable, HERE / 'reddit_dumps.py', '--comments', str(count), '--output', path], check=True
        )
    return path


def ours(source: Path, output: Path, *more: str, cores: set[int] | None = None) -> Cost:
    shutil.rmtree(output, ignore_errors=True)
    shutil.rmtree(f'{output}.building', ignore_errors=True)
    key = source.with_name('key')
    key.write_bytes(b'benchmark')
    command = [
        str(Path(sys.executable).with_name('parlai')), 'persona_reddit', 'build', '--input', str(source), '--output',
        str(output), '--persona-size', str(N), '--valid', str(SHARE), '--test', str(SHARE), '--tagger', 'lexicon',
        '--workers', '1', '--memory', '2GB', '--author-key', str(key), *more,
    ]  # fmt: skip
    return measured(command, cores)


def pandas(source: Path, output: Path) -> Cost:
    shutil.rmtree(output, ignore_errors=True)
    arguments = [str(source), str(output), str(N), str(SHARE), 'benchmark']
    return measured([sys.executable, str(HERE / 'reddit_pandas.py'), *arguments])


def table(folder: Path, kind: str) -> pa.Table:
    """All shards of a split, in the order of their first column."""
    names = PERSONAS if kind == 'personas' else EXAMPLES
    tables = [pq.read_table(path, columns=[*names]).cast(pa.schema(names)) for path in folder.glob(f'{kind}-*.parquet')]
    return pa.concat_tables(tables).sort_by(next(iter(names))).combine_chunks()


def same_rows(one: Path, other: Path) -> bool:
    return all(table(one, kind).equals(table(other, kind)) for kind in ('train', 'valid', 'test', 'personas'))


def record(method: str, count: int, figures: dict[str, float]) -> None:
    append([
        Row(method, 'reddit pipeline', f'{count:,} synthetic comments', 'all', 0, metric, value,
            'python benchmarks/reddit_pipeline.py') for metric, value in figures.items()
    ], CSV)  # fmt: skip


def known(method: str, count: int, metric: str) -> float | None:
    found = find(CSV, method=method, data=f'{count:,} synthetic comments', metric=metric)
    return found[0].value if found else None


def figures(cost: Cost, count: int) -> dict[str, float]:
    speed = count / cost.cpu
    return {'comments/s/core': speed, 'CPU seconds': cost.cpu, 'seconds': cost.wall, 'memory (GB)': cost.memory}


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


PARTS = {'peer': peer, 'cost': cost, 'spark': spark}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--folder', type=Path, default=Path('runs/reddit_pipeline'), help='dumps and results go there')
    parser.add_argument('--only', choices=[*PARTS], nargs='+', default=[*PARTS])
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    good = [PARTS[part](args.folder) for part in args.only]
    sys.exit(not all(good))


if __name__ == '__main__':
    main()
