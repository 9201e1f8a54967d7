"""Make Markdown tables of rows, with the published figures of the same measure beside them."""

import math
import re
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import NamedTuple, TypeVar

from benchmarks.common.judges import earlier_judge
from benchmarks.common.record import Row, command_id, read_cells

T = TypeVar('T')
K = TypeVar('K')
DAGGER = ' †'  # marks what was measured with uncommitted changes in the code
EARLIER = ' ‡'  # marks what an earlier judge said
PAPER = ', *paper*'  # ends the heading of a column of published figures


@dataclass(frozen=True)
class Published:
    """A figure from a paper: it stands beside rows of the same method, task and metric."""

    method: str
    task: str
    data: str  # '' for any
    split: str  # '' for any
    metric: str
    value: str
    deviation: str  # '' if the paper has none
    source: str

    def same_measure(self, row: Row) -> bool:
        same = (self.method, self.task, self.metric) == (row.method, row.task, row.metric)
        return same and self.data in ('', row.data) and self.split in ('', row.split)

    @property
    def shown(self) -> str:
        return f'{self.value} ± {self.deviation}' if self.deviation else self.value


def read_published(path: Path) -> list[Published]:
    return [Published(*cells) for cells, _ in read_cells(path, [column.name for column in fields(Published)])]


@dataclass(frozen=True)
class Table:
    """Rows of one CSV file as a Markdown table.

    `where` says which rows: regular expressions that whole cells have to match. Their named groups are columns, too.
    Rows with equal `columns` share a line; values of several seeds become mean and deviation. There is a column for
    each metric, or one 'value' if 'metric' is among `columns`; with `across`, there is one for each value of `across`.
    An empty value adds nothing to the heading.
    """

    file: str  # without .csv
    columns: tuple[str, ...] = ('method',)
    where: dict[str, str] = field(default_factory=dict)
    methods: tuple[str, ...] = ()  # only these, in this order
    metrics: tuple[str, ...] = ()  # only these, in this order
    across: str = ''
    heading: str = '{}'  # of a column, from the value of `across`
    paper: bool = True  # put published figures beside ours
    title: str = ''


class Selected(NamedTuple):
    """A row that belongs to a table, with the cells that it can show."""

    row: Row
    cells: dict[str, str]


def select(rows: Iterable[Row], table: Table) -> list[Selected]:
    """Return a table's rows in its order."""
    chosen = []
    for row in rows:
        matches = [re.fullmatch(pattern, str(getattr(row, column))) for column, pattern in table.where.items()]
        wanted = not table.metrics or row.metric in table.metrics
        if all(matches) and wanted and (not table.methods or row.method in table.methods):
            groups = {name: text or '' for match in matches if match for name, text in match.groupdict().items()}
            chosen.append(Selected(row, {name: str(value) for name, value in vars(row).items()} | groups))
    if table.methods:
        chosen.sort(key=lambda one: table.methods.index(one.row.method))
    return chosen


def grouped(things: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = {}
    for thing in things:
        groups.setdefault(key(thing), []).append(thing)
    return groups


def markdown(table: Table, rows: Iterable[Row], published: list[Published], digits: int) -> list[str]:
    """Return the lines of a table, with the sources of its published figures below; none if it has no rows."""
    selected = select(rows, table)
    body = []
    sources: dict[str, None] = {}
    for labels, own in grouped(selected, lambda one: tuple(one.cells[name] for name in table.columns)).items():
        cells = dict(zip(table.columns, labels, strict=True))
        cells[table.columns[0]] += DAGGER * any(one.row.dirty for one in own)
        cells[table.columns[0]] += EARLIER * any(earlier_judge(one.row) for one in own)
        seeds = grouped(own, lambda one: heading_of(one, table))
        cells['seeds'] = count_range([len(values) for values in seeds.values()])
        for heading, values in seeds.items():
            cells[heading] = mean_and_deviation([one.row.value for one in values], digits)
            for figure in published if table.paper else ():
                if figure.same_measure(values[0].row):
                    cells[heading + PAPER] = figure.shown
                    sources[figure.source] = None
        body.append(cells)
    columns = [*table.columns, 'seeds', *(name for one in headings(selected, table) for name in (one, one + PAPER))]
    notes = [f'*paper*: {source}' for source in sources]
    return [*grid(columns, body), *(['', '  \n'.join(notes)] if notes else [])]


def between(text: str, start: str, end: str, lines: Iterable[str]) -> str:
    """Return a text with these lines between two marks, instead of what was there."""
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f'saw no {start} and {end} after it; expected both marks')
    return before + '\n'.join([start, *lines, end]) + after


def grid(columns: list[str], body: list[dict[str, str]]) -> list[str]:
    """Return a Markdown table; numbers stand to the right, and columns without any cell are left out."""
    if not body:
        return []
    columns = [name for name in columns if any(cells.get(name) for cells in body)]
    numeric = [all(re.match(r'\**[-\d.–]|inf|nan|$', cells.get(name, '')) for cells in body) for name in columns]
    marks = ['---:' if is_number else '---' for is_number in numeric]
    rows = [[cells.get(name, '').replace('|', '\\|') for name in columns] for cells in body]
    return [f'| {" | ".join(cells)} |' for cells in (columns, marks, *rows)]


def heading_of(one: Selected, table: Table) -> str:
    across = one.cells[table.across] if table.across else ''
    parts = [table.heading.format(across)] if across else []
    if 'metric' not in table.columns and (not table.across or len(table.metrics) != 1):
        parts.append(one.row.metric)
    return ', '.join(parts) or 'value'


def headings(selected: list[Selected], table: Table) -> list[str]:
    """Return the headings by value of `across` (as numbers where they are), then by the table's metrics."""

    def place(one: Selected) -> tuple[float, int]:
        across = one.cells[table.across].replace(',', '') if table.across else ''
        metric = table.metrics.index(one.row.metric) if table.metrics else 0
        return float(across) if across.isdigit() else 0.0, metric

    return [*grouped(sorted(selected, key=place), lambda one: heading_of(one, table))]


# ------------------------------------------------------------------------------------------------- numbers


def number(value: float, digits: int, decimals: int | None = None) -> str:
    """Write a value with so many significant digits, but no more decimals; tiny values as 1.2e-09."""
    if not math.isfinite(value):
        return str(value)
    if decimals is None and 0 < abs(value) < 0.5 * 10**-digits:
        return f'{value:.1e}'
    return f'{value:.{digits_after_point(value, digits) if decimals is None else decimals}f}'


def digits_after_point(value: float, digits: int) -> int:
    return max(0, min(digits, digits - 1 - math.floor(math.log10(abs(value))))) if value else digits


def mean_and_deviation(values: list[float], digits: int) -> str:
    mean = statistics.fmean(values)
    if len(values) == 1 or not math.isfinite(mean):
        return number(mean, digits)
    decimals = digits_after_point(mean, digits)
    return f'{number(mean, digits)} ± {number(statistics.stdev(values), digits, decimals)}'


def count_range(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f'{low}–{high}'


# ------------------------------------------------------------------------------------------------ provenance


def provenance(rows: Iterable[Row]) -> list[str]:
    """Return a table of how each method was measured: commands, commits, hardware and dates."""
    body = []
    for method, own in grouped(rows, lambda row: row.method).items():
        cells = {'method': method + (DAGGER if any(row.dirty for row in own) else '')}
        cells['seeds'] = ', '.join(sorted({str(row.seed) for row in own}))
        cells['commands'] = ' '.join(dict.fromkeys(command_id(row.command) for row in own))
        for name in ('commit', 'hardware', 'date'):
            cells[name] = '; '.join(sorted({getattr(row, name) for row in own}))
        body.append(cells)
    return grid(['method', 'seeds', 'commands', 'commit', 'hardware', 'date'], body)
