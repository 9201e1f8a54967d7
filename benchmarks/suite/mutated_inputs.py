"""Damage small sound files at random, and read them with every parser.

    python -m benchmarks.suite.mutated_inputs                             # 1,500 files of each parser
    python -m benchmarks.suite.mutated_inputs --only 'word vectors' --cases 200 --first-seed 7

A parser passes if it refuses a file with one of our own errors, or returns everything that the file has and that was
not damaged, as text that can be written. It has 10 seconds of the processor and 4 GB for each file, and ten minutes in
all, because the machine may be busy with other things. Rows of results/robustness.csv count the files of a parser
(tried), and those that it failed (lost).
"""

import json
import random
import re
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common import record
from benchmarks.common.arms import Report
from benchmarks.common.record import RESULTS
from benchmarks.suite.mutations import mutated
from parlai_persona.data.dialogue import Dialogue
from parlai_persona.errors import UserError

SECONDS, MEMORY = 10, 4 << 30  # seconds of the processor
PATIENCE = 60  # times as many seconds until a reader that waits is stopped
Records = Iterable[Hashable]


@dataclass(frozen=True)
class Parser:
    """A reader of files, and a sound file: a header and units, each of which can stand alone behind the header."""

    name: str  # of the file
    units: tuple[bytes, ...]
    read: Callable[[Path], Records]
    header: bytes = b''
    before: bytes = rb'(?:\A|(?<=\n))'  # what stands before and after a unit, if it is whole
    after: bytes = b''
    exact: bool = False  # checksums protect the file: it is refused, or read as if it were sound
    beside: dict[str, bytes] = field(default_factory=dict)  # other files that it needs
    cost: int = 1  # how many times fewer files a slow reader gets

    @property
    def content(self) -> bytes:
        return self.header + b''.join(self.units)

    def read_bytes(self, content: bytes, folder: Path) -> list[Hashable]:
        for name, other in self.beside.items():
            (folder / name).write_bytes(other)
        path = folder / self.name
        path.write_bytes(content)
        return list(self.read(path))


@dataclass(frozen=True)
class Case:
    """A parser and what it makes of its sound file."""

    parser: Parser
    folder: Path
    all: list[Hashable]
    of_units: list[tuple[re.Pattern[bytes], list[Hashable]]]

    @classmethod
    def of(cls, parser: Parser, folder: Path) -> 'Case':
        def records(unit: bytes) -> list[Hashable]:
            return parser.read_bytes(parser.header + unit, folder)

        patterns = [re.compile(parser.before + re.escape(unit) + parser.after) for unit in parser.units]
        of_units = [(pattern, records(unit)) for pattern, unit in zip(patterns, parser.units, strict=True)]
        return cls(parser, folder, parser.read_bytes(parser.content, folder), of_units)

    def failure(self, content: bytes) -> str | None:
        """Return what the parser does wrong with a damaged file; None if nothing."""
        try:
            found = self.parser.read_bytes(content, self.folder)
            ''.join(texts(found)).encode()
        except UserError:
            return None
        except Exception as error:  # noqa: BLE001  this is what is looked for
            last = traceback.extract_tb(error.__traceback__)[-1]
            return f'{type(error).__name__}: {str(error)[:150]} ({Path(last.filename).name}:{last.lineno})'
        if self.parser.exact:
            return None if set(found) == set(self.all) else f'damage went unnoticed: {str(found)[:150]}'
        if not content.startswith(self.parser.header):
            return None
        for pattern, wanted in self.of_units:
            lost = [one for one in wanted if one not in found]
            if lost and pattern.search(content):
                return f'lost: {str(lost[0])[:150]}'
        return None


def of(dialogues: Iterable[Dialogue]) -> Iterator[tuple]:
    """Yield what dialogues contain, without their ids, which count them."""
    for dialogue in dialogues:
        yield astuple(dialogue)[1:]


def frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((key, frozen(one)) for key, one in value.items())
    return tuple(map(frozen, value)) if isinstance(value, tuple | list | set | frozenset) else value


def whole_file(name: str, files: dict[str, bytes], read: Callable[[Path], Any], **options: Any) -> Parser:
    """Return the parser of one of these files, which is a single unit; the others lie beside it."""
    beside = {other: content for other, content in files.items() if other != name}
    return Parser(name, (files[name],), read, before=rb'\A', after=rb'\Z', beside=beside, **options)


def json_lines(*rows: dict) -> tuple[bytes, ...]:
    return tuple(json.dumps(row).encode() + b'\n' for row in rows)


def texts(found: Any) -> Iterator[str]:
    """Yield the texts in records."""
    if isinstance(found, str):
        yield found
    elif isinstance(found, tuple | list):
        for one in found:
            yield from texts(one)


def failures(parser: Parser, cases: int, first_seed: int = 0) -> dict[int, str]:
    """Damage the file so many times; return the seeds of those that the parser fails, and how."""
    with tempfile.TemporaryDirectory() as folder:
        case = Case.of(parser, Path(folder))
        found = {}
        for seed in range(first_seed, first_seed + cases // parser.cost):
            failure = case.failure(mutated(parser.content, random.Random(seed)))
            if failure:
                found[seed] = failure
        return found


@contextmanager
def limits(memory: int) -> Iterator[None]:
    """Raise a TimeoutError or a MemoryError within a case that takes too much."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f'more than {SECONDS} seconds')

    signal.signal(signal.SIGPROF, stop)
    signal.signal(signal.SIGALRM, stop)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, before[1]))
    try:
        yield
    finally:
        set_alarms(0)
        resource.setrlimit(resource.RLIMIT_DATA, before)


def set_alarms(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE * seconds)


def with_alarm(parser: Parser) -> Parser:
    def read(path: Path) -> list[Hashable]:
        set_alarms(SECONDS * parser.cost)
        try:
            return list(parser.read(path))
        finally:
            set_alarms(0)

    return Parser(**{**vars(parser), 'read': read})


def main() -> None:
    from benchmarks.suite.parsers import PARSERS

    arguments = record.parser(__doc__)
    arguments.add_argument('--only', nargs='+', choices=PARSERS, default=[*PARSERS])
    arguments.add_argument('--cases', type=int, default=1500, help='of each parser')
    arguments.add_argument('--first-seed', type=int, default=0)
    args = record.parse_arguments(arguments)
    command = f'python -m benchmarks.suite.mutated_inputs --cases {args.cases}'
    report = Report(RESULTS / 'robustness.csv', command, args.allow_dirty, args.first_seed)
    for name in args.only:
        with limits(MEMORY):
            parser = with_alarm(PARSERS[name]())
            found = failures(parser, args.cases, args.first_seed)
        for seed, failure in [*found.items()][:5]:
            print(f'{name}, seed {seed}: {failure}', file=sys.stderr)
        report.add(
            name, 'mutated inputs', 'small sound files', 'all', {'tried': args.cases // parser.cost, 'lost': len(found)}
        )
        report.expect(not found, f'{name}: no damaged file ends in another error or loses sound lines')
    report.exit()


if __name__ == '__main__':
    main()
