"""Make Markdown tables of rows, with the published figures of the same measure beside them."""

import csv
import math
import re
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path

from benchmarks.common.record import Row

DAGGER = ' †'  # marks what was measured with uncommitted changes in the code
ORDER = (  # of metrics; others follow in the order of the file
    *('hits@1', 'hits@3', 'hits@5', 'hits@10', 'mrr', 'ppl', 'ppl_word', 'f1', 'bleu-4'),
    *('persona_recall', 'persona_precision', 'persona_f1', 'persona_f1_mean', 'persona_used', 'persona_cover_train'),
    *('distinct_raw_1', 'distinct_raw_2', 'interdistinct-1', 'interdistinct-2'),
)


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
    if not path.exists():
        return []
    columns = [column.name for column in fields(Published)]
    with path.open(encoding='utf-8', newline='') as lines:
        table = csv.DictReader(lines)
        if table.fieldnames != columns:
            raise ValueError(f'{path}: saw the columns {table.fieldnames}, expected {columns}')
        return [Published(**cells) for cells in table]


@dataclass(frozen=True)
class Table:
    """Rows of one CSV file as a Markdown table.

    `where` says which rows: regular expressions that whole cells have to match. Their named groups are columns, too.
    Rows with equal `columns` share a line; values of several seeds become mean and deviation. There is a column for
    each metric, or one 'value' if 'metric' is among `columns`; with `across`, there is one for each value of `across`.
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


@dataclass(frozen=True)
class Selected:
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
            chosen.append(Selected(row, {name: str(getattr(row, name)) for name in ('seed', *TEXTS)} | groups))
    if table.methods:
        chosen.sort(key=lambda one: table.methods.index(one.row.method))
    return chosen


TEXTS = ('method', 'task', 'data', 'split', 'metric')


def markdown(table: Table, rows: Iterable[Row], published: list[Published], digits: int) -> list[str]:
    """Return the lines of a table, with the sources of its published figures below; none if it has no rows."""
    selected = select(rows, table)
    if not selected:
        return []
    headings = ordered_headings(selected, table)
    lines: dict[tuple[str, ...], list[Selected]] = {}
    for one in selected:
        lines.setdefault(tuple(one.cells[name] for name in table.columns), []).append(one)
    body = []
    sources: dict[str, None] = {}
    beside = set()  # headings with a published figure
    for labels, own in lines.items():
        cells = dict(zip(table.columns, labels, strict=True))
        cells[table.columns[0]] += DAGGER if any(one.row.dirty for one in own) else ''
        cells['seeds'] = count_range([len(values) for values in by_heading(own, table).values()])
        for heading, values in by_heading(own, table).items():
            cells[heading] = mean_and_deviation([one.row.value for one in values], digits)
            for figure in published if table.paper else ():
                if figure.same_measure(values[0].row):
                    cells[f'{heading}, *paper*'] = figure.shown
                    sources[figure.source] = None
                    beside.add(heading)
        body.append(cells)
    columns = [*table.columns, 'seeds']
    columns += [name for one in headings for name in (one, f'{one}, *paper*') if name == one or one in beside]
    notes = [f'*paper*: {source}' for source in sources]
    return [*grid(columns, body), *([''] + ['  \n'.join(notes)] if notes else [])]


def grid(columns: list[str], body: list[dict[str, str]]) -> list[str]:
    """Return a Markdown table; numbers stand to the right, and columns without any cell are left out."""
    columns = [name for name in columns if any(cells.get(name) for cells in body)]
    numeric = [all(re.match(r'[-\d.–]|inf|nan|$', cells.get(name, '')) for cells in body) for name in columns]
    marks = ['---:' if is_number else '---' for is_number in numeric]
    rows = [[cells.get(name, '').replace('|', '\\|') for name in columns] for cells in body]
    return [f'| {" | ".join(cells)} |' for cells in (columns, marks, *rows)]


def heading_of(one: Selected, table: Table) -> str:
    parts = [table.heading.format(one.cells[table.across])] if table.across else []
    if 'metric' not in table.columns and (not table.across or len(table.metrics) != 1):
        parts.append(one.row.metric)
    return ', '.join(parts) or 'value'


def by_heading(selected: Iterable[Selected], table: Table) -> dict[str, list[Selected]]:
    groups: dict[str, list[Selected]] = {}
    for one in selected:
        groups.setdefault(heading_of(one, table), []).append(one)
    return groups


def ordered_headings(selected: list[Selected], table: Table) -> list[str]:
    """Return the headings by value of `across` (as numbers where they are), then by metric."""
    order = table.metrics or ORDER

    def key(one: Selected) -> tuple[float, int]:
        across = one.cells[table.across].replace(',', '') if table.across else ''
        metric = order.index(one.row.metric) if one.row.metric in order else len(order)
        return float(across) if across.isdigit() else 0.0, metric

    return [*by_heading(sorted(selected, key=key), table)]


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


def provenance(rows: Iterable[Row], command_id: Callable[[str], str]) -> list[str]:
    """Return a table of how each method was measured: commands, commits, hardware and dates."""
    methods: dict[str, list[Row]] = {}
    for row in rows:
        methods.setdefault(row.method, []).append(row)
    body = []
    for method, own in methods.items():
        cells = {'method': method + (DAGGER if any(row.dirty for row in own) else '')}
        cells['seeds'] = ', '.join(sorted({str(row.seed) for row in own}))
        cells['commands'] = ' '.join(dict.fromkeys(command_id(row.command) for row in own))
        for name in ('commit', 'hardware', 'date'):
            cells[name] = '; '.join(sorted({getattr(row, name) for row in own}))
        body.append(cells)
    return grid(['method', 'seeds', 'commands', 'commit', 'hardware', 'date'], body)
