"""The table of the README, and docs/which_method.md: what results/table.csv says, on a screen.

Bold is the best of what can be compared: the highest (↑), the lowest (↓), or what is nearest to people (≈). Two that
look alike are both bold. People are the reference, so they are never bold. What cannot be compared is in italics and
does not compete: all of an agent with a note, what an agent has `apart`, and what earlier judges said.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.common.judges import earlier_judge
from benchmarks.common.record import Row
from benchmarks.common.tables import DAGGER, between, grid, mean_and_deviation, number
from benchmarks.suite.table import ARMS, CORPUS, DATA, EXAMPLES, SPLITS, Arm

START, END = '<!-- table -->', '<!-- end -->'
PEOPLE = 'people'
UNKNOWN = '–'  # not measured yet


class Column(NamedTuple):
    heading: str
    metric: str
    split: str  # a key of SPLITS; 'reply' is 'valid' for agents that do not choose among candidates
    best: str  # ↑, ↓, ≈, or nothing


COLUMNS = (
    Column('hits@1', 'hits@1', 'valid', '↑'),
    Column('perplexity', 'ppl_word', 'reply', '↓'),
    Column('F1', 'f1', 'reply', '↑'),
    Column('P-F1', 'persona_f1', 'reply', '≈'),
    Column('C', 'consistency', 'reply', '≈'),
    Column('recognised', 'persona_perception', 'self_chat', '≈'),
    Column('contradicts', 'contradiction', 'self_chat', '≈'),
    Column('repeats', 'repetition', 'self_chat', '≈'),
    Column('answers/s', 'answers_per_second', 'self_chat', '↑'),
)
CAPTION = f"""\
All agents on the same {EXAMPLES} examples ({CORPUS}, valid split, original personas); what is trained here saw the
{DATA.partition(', ')[2]} of Persona-Chat. `hits@1`: finds the reply among 20. In the other columns, retrievers choose
among all replies of the train split, as in a chat. Perplexity is per word, in italics where all unknown words are one:
that is easier. P-F1 and C say how much a reply has of the persona, and how well it agrees with it
([metrics](docs/metrics.md)). The last four columns are of self-chats: share of speakers whose persona a receiver
recognises; share of messages that contradict the persona or an earlier message; share of what a speaker says that they
have said before; answers a second of CPU time on one core. The classifier behind C and `contradicts` often errs (see
people). **Bold** is best: highest (↑), lowest (↓) or nearest to people (≈).
"""
GREY = 'Lines in *italics* do not compete:'
ABSENT = '`persona:meta_memnn` speaks the language of bAbI only ([its results](results/meta_memnn.md)).'
MORE = 'More columns and agents: [results/table.md](results/table.md); [which method for what](docs/which_method.md).'


def values(rows: Iterable[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """Return the rows of each method, split and metric: one for each seed."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.method, row.split, row.metric), []).append(row)
    return found


def rows_of(found: Mapping[tuple[str, str, str], list[Row]], method: str, split: str, metric: str) -> list[Row]:
    """Return the rows of one figure; what a retriever has under 'reply', another agent has under 'valid'."""
    names = ('reply', 'valid') if split == 'reply' else (split,)
    return next((own for name in names if (own := found.get((method, SPLITS[name], metric)))), [])


def mean(rows: Sequence[Row]) -> float:
    return sum(row.value for row in rows) / len(rows)


def is_apart(arm: Arm, column: Column, measured: Sequence[Row]) -> bool:
    """Tell whether a figure cannot be compared; what earlier judges said cannot."""
    return bool(arm.note) or column.metric in arm.apart or any(map(earlier_judge, measured))


def winners(column: Column, own: Mapping[str, Sequence[Row]], arms: Mapping[str, Arm]) -> set[str]:
    """Return the keys of the best agents of a column, as it is shown."""
    rivals = {key: mean(measured) for key, measured in own.items() if not is_apart(arms[key], column, measured)}
    people = rivals.pop(PEOPLE, None)
    if len(rivals) < 2 or not column.best or (column.best == '≈' and people is None):
        return set()
    badness = {
        key: {'↑': -value, '↓': value, '≈': abs(value - (people or 0))}[column.best] for key, value in rivals.items()
    }
    best = min(badness, key=badness.__getitem__)
    return {key for key in rivals if number(rivals[key], 3) == number(rivals[best], 3)}


def table(rows: Iterable[Row], arms: Mapping[str, Arm] = ARMS) -> list[str]:
    """Return the lines of the README's table: the agents that have rows."""
    found = values(rows)
    shown = {key: arm for key, arm in arms.items() if arm.front and any(arm.name == method for method, _, _ in found)}
    body: dict[str, dict[str, str]] = {key: {} for key in shown}
    for column in COLUMNS:
        own = {key: rows_of(found, arm.name, column.split, column.metric) for key, arm in shown.items()}
        own = {key: measured for key, measured in own.items() if measured}
        best = winners(column, own, arms)
        for key, measured in own.items():
            text = number(mean(measured), 3)
            text = f'**{text}**' if key in best else f'*{text}*' if is_apart(arms[key], column, measured) else text
            body[key][f'{column.heading} {column.best}'.strip()] = text
    for key, arm in shown.items():
        dirty = DAGGER if any(row.dirty for name, own in found.items() if name[0] == arm.name for row in own) else ''
        body[key]['agent'] = (f'*{arm.name}*' if arm.note else arm.name) + dirty
    headings = [f'{column.heading} {column.best}'.strip() for column in COLUMNS]
    return grid(['agent', *headings], [*body.values()])


def notes(rows: Iterable[Row], arms: Mapping[str, Arm] = ARMS) -> str:
    """Return why some lines of the README's table do not compete, and who is not in it."""
    methods = {row.method for row in rows}
    why = [f'- {arm.name}: {arm.note}.' for arm in arms.values() if arm.front and arm.note and arm.name in methods]
    return '\n'.join([*([GREY, '', *why, ''] if why else []), ABSENT, MORE])


def with_table(readme: str, rows: Sequence[Row], arms: Mapping[str, Arm] = ARMS) -> str:
    """Return the README with today's table between its marks; as it is, if it has no marks or there are no rows."""
    lines = table(rows, arms)
    if not lines or START not in readme:
        return readme
    return between(readme, START, END, [*lines, '', CAPTION, notes(rows, arms)])


def figure(rows: Iterable[Row], key: str, heading: str) -> str:
    """Return one figure of the table as it is shown in sentences."""
    column = next(one for one in COLUMNS if one.heading == heading)
    own = rows_of(values(rows), ARMS[key].name, column.split, column.metric)
    return mean_and_deviation([row.value for row in own], digits=3) if own else UNKNOWN
