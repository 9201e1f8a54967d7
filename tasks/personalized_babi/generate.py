"""Files of plain bAbI dialogues -> files of personalised ones, which `-t persona:personalized_babi` reads.

Each dialogue is drawn with a generator of its own, seeded by the seed, the task, the split and its number: the same
on every machine, and not another one when more dialogues are asked for or fewer files.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path

from parlai_persona.data.dialogue import DataError, Dialogue
from parlai_persona.data.text_format import Line, read_episodes, shorten
from parlai_persona.files import draft
from parlai_persona.tasks.personalized_babi.build import PLAIN_TASKS, RELEASES, TASKS
from parlai_persona.tasks.personalized_babi.parse import API_CALL, SPLITS, Facts, fact, read_dialogues, read_kb
from parlai_persona.tasks.personalized_babi.personalize import personalize, plain_act
from parlai_persona.tasks.personalized_babi.restaurants import (
    IN_KB,
    NUMBERS,
    PRICES,
    Knowledge,
    personalized_kb,
    variants,
)
from parlai_persona.tasks.personalized_babi.simulate import Topics, first_wish, simulate
from parlai_persona.tasks.personalized_babi.styles import AGES, GENDERS, WORDINGS, Profile, split_reply, styled

FRESH_DIALOGUES = 1000  # as many as the released files have
PATIENCE = 5  # seconds without a message


@dataclass(frozen=True)
class Request:
    """What to generate. `dialogues`: in each file; None: as many as the plain file has, or 1,000 fresh ones."""

    plain: Path
    output: Path
    tasks: tuple[int, ...] = tuple(TASKS)
    splits: tuple[str, ...] = tuple(SPLITS.values())
    dialogues: int | None = None
    seed: int = 0
    fresh: bool = False
    kb: Path | None = None
    kb_seed: int = 0
    lists: bool = True

    def check(self) -> None:
        for name, values, known in (('task', self.tasks, tuple(TASKS)), ('split', self.splits, tuple(SPLITS.values()))):
            for value in values:
                if value not in known:
                    raise DataError(f'saw the {name} {value!r}, expected some of {", ".join(map(str, known))}')
        if self.dialogues is not None and self.dialogues < 1:
            raise DataError(f'--dialogues is {self.dialogues}; it has to be 1 or more')
        if not self.plain.is_dir():
            raise DataError(f'--babi {self.plain}: no such folder; expected the plain bAbI dialog tasks in it')

    def path(self, task: int, split: str, personalized: bool) -> Path:
        folder, names = (self.output, TASKS) if personalized else (self.plain, PLAIN_TASKS)
        suffix = next(suffix for suffix, name in SPLITS.items() if name == split)
        return folder / f'{RELEASES[personalized][2]}-task{task}-{names[task]}-{suffix}.txt'

    def common(self, name: str, personalized: bool) -> Path:
        return (self.output if personalized else self.plain) / f'{RELEASES[personalized][2]}-{name}.txt'


def generate(request: Request, report: Callable[[str], None] = lambda message: None) -> list[Path]:
    """Write the files; the paths of those written. All input is read and checked before the first one is begun."""
    request.check()
    knowledge = Knowledge(read_knowledge(request))
    files = {request.path(task, split, True): (task, split) for task in request.tasks for split in request.splits}
    lists = (
        {
            request.common('kb-all', True): ''.join(kb_lines(knowledge.facts)),
            request.common('candidates', True): ''.join(candidate_lines(knowledge)),
        }
        if request.lists
        else {}
    )
    check_output(files, lists)
    sizes = {job: check_source(request, *job, knowledge) for job in files.values()}
    request.output.mkdir(parents=True, exist_ok=True)
    for number, (path, job) in enumerate(files.items(), 1):
        size = request.dialogues or sizes[job]
        label = f'[{number}/{len(files)}] {path.name}'
        write(path, watched(islice(dialogues(request, *job, knowledge), size), size, label, report))
        report(f'{label}: {size:,} dialogues')
    for path, text in lists.items():
        write(path, [text])
        report(f'{path.name}: {text.count(chr(10)):,} lines')
    return [*files, *lists]


def read_knowledge(request: Request) -> Facts:
    path = request.common('kb-all', False)
    if not path.is_file():
        raise DataError(f'--babi {request.plain}: no {path.name} in it; expected the knowledge base of the plain tasks')
    if request.kb and not request.kb.is_file():
        raise DataError(f'--kb {request.kb}: no such file; expected a personalised knowledge base')
    plain, known = read_kb(path), read_kb(request.kb) if request.kb else None
    try:
        return personalized_kb(plain, request.kb_seed, known)
    except DataError as error:
        raise DataError(f'{path}: {error}') from None


def check_output(files: Iterable[Path], lists: dict[Path, str]) -> None:
    """Nothing is overwritten; lists that are there already have to be the same."""
    for path in files:
        if path.exists():
            raise DataError(f'{path} is there already; remove it or choose another --output')
    for path, text in lists.items():
        if path.exists() and path.read_text(encoding='utf-8') != text:
            raise DataError(
                f'{path} is there already, and of other restaurants: choose another --output, or the --kb and '
                '--kb-seed that it was written with'
            )


def check_source(request: Request, task: int, split: str, knowledge: Knowledge) -> int:
    """How many dialogues there are to personalise; an error in them comes up here, before anything is written."""
    if request.fresh:
        next(fresh(request, task, split, knowledge))
        return FRESH_DIALOGUES
    path = request.path(task, split, False)
    if not path.is_file():
        there = ', '.join(sorted(found.name for found in request.plain.glob(f'*-task{task}-*.txt')))
        raise DataError(
            f'--babi {request.plain}: no {path.name} in it; of task {task} it has {there or "nothing"}: choose '
            'other --tasks or --splits, or --fresh true'
        )
    return check_plain(path, knowledge)


def dialogues(request: Request, task: int, split: str, knowledge: Knowledge) -> Iterator[Dialogue]:
    """Personalised dialogues without end: those of the plain file, in its order and from the top again, or new ones."""
    if request.fresh:
        plains = fresh(request, task, split, knowledge)
    else:
        plains = again_and_again(request.path(task, split, False))
    for number, plain in enumerate(plains):
        rng = random.Random(f'{request.seed}/{"fresh" if request.fresh else "plain"}/{task}/{split}/{number}')
        yield personalize(replace(plain, id=f'{split}-{number}'), knowledge, rng)


def again_and_again(path: Path) -> Iterator[Dialogue]:
    while True:
        yield from read_dialogues(path, personalized=False)


def fresh(request: Request, task: int, split: str, knowledge: Knowledge) -> Iterator[Dialogue]:
    """The users of the plain file's dialogues, if it is there, say which wishes come first in this split."""
    path = request.path(task, split, False)
    plain = read_dialogues(path, personalized=False) if path.is_file() else ()
    first = {first_wish(dialogue, knowledge) for dialogue in plain}
    topics = Topics.of(knowledge, split.endswith('OOV'), first)
    for number in count():
        rng = random.Random(f'{request.seed}/wishes/{task}/{split}/{number}')
        yield simulate(f'{split}-{number}', task, topics, rng)


def watched(dialogues: Iterable[Dialogue], size: int, label: str, report: Callable[[str], None]) -> Iterator[str]:
    """The lines of the dialogues; every few seconds a message about how far it is."""
    last = time.monotonic()
    for number, dialogue in enumerate(dialogues):
        if time.monotonic() - last > PATIENCE:
            last = time.monotonic()
            report(f'{label}: {number:,} of {size:,} dialogues')
        yield from dialogue_lines(dialogue)


def write(path: Path, lines: Iterable[str]) -> None:
    with draft(path) as part, part.open('w', encoding='utf-8', newline='\n') as file:
        file.writelines(lines)


# ------------------------------------------------------------------------------------------------- what is read


def check_plain(path: Path, knowledge: Knowledge) -> int:
    """How many dialogues the file has; the first line that no plain bAbI dialogue would have is an error."""
    count = 0
    for lines in read_episodes(path):
        count += 1
        told: set[str] = set()
        acts: set[str] = set()
        for line in lines:
            known = fact(line.text)
            if known and not line.reply:
                if variants(known[0])[0] not in knowledge.facts:
                    raise DataError(f'{line.where}: saw {known[0]!r}, which is not in the knowledge base')
                told.add(known[0])
            else:
                acts.add(check_message(line, told))
                if 'inform' in acts and 'book' not in acts:
                    raise DataError(f'{line.where}: saw {shorten(line.reply)!r} before any reservation')
    if not count:
        raise DataError(f'{path}: saw no dialogue in it')
    return count


def check_message(line: Line, told: set[str]) -> str:
    """What the bot does by the reply; an error if it is none of the plain tasks, or about an unknown restaurant."""
    if not line.reply:
        raise DataError(
            f'{line.where}: saw {shorten(line.text)!r} without reply, expected a fact about a restaurant or a '
            'message with a reply (profiles stand in files that are personalised already)'
        )
    try:
        act, slot = plain_act(line.reply)
    except DataError as error:
        raise DataError(f'{line.where}: {error}') from None
    for name in filter(None, (slot, split_reply(line.text)[1])):
        if not any(name in (known, f'{known}_phone', f'{known}_address') for known in told):
            raise DataError(f'{line.where}: saw {name!r}, of which no fact stands before this line')
    if act == 'inform' and not slot.endswith(('_phone', '_address')):
        raise DataError(f'{line.where}: saw {shorten(line.reply)!r}, expected a phone number or an address')
    return act


# ---------------------------------------------------------------------------------------------- what is written


def dialogue_lines(dialogue: Dialogue) -> Iterator[str]:
    """A dialogue in the format of the released files, with the empty line after it."""
    for number, text in enumerate(messages(dialogue), 1):
        yield f'{number} {text}\n'
    yield '\n'


def messages(dialogue: Dialogue) -> Iterator[str]:
    yield from dialogue.partner_persona
    for turn in dialogue.turns:
        *before, last = turn.text.split('\n')
        yield from before
        yield f'{last}\t{turn.reply}'


def kb_lines(facts: Facts) -> Iterator[str]:
    for name, known in facts.items():
        for relation in IN_KB:
            yield f'1 {name} {relation}\t{known[relation]}\n'


def candidate_lines(knowledge: Knowledge) -> Iterator[str]:
    """All that the bot could say to anybody about any restaurant of the knowledge base, each reply once."""
    return (f'1 {reply}\n' for reply in dict.fromkeys(replies(knowledge)))


def replies(knowledge: Knowledge) -> Iterator[str]:
    profiles = [Profile(gender, age) for gender in GENDERS for age in AGES]
    for act in WORDINGS:
        if act not in ('suggest', 'inform'):
            yield from (styled(act, profile) for profile in profiles)
    yield from api_calls(knowledge.menus)
    for name, known in knowledge.facts.items():
        yield from (styled('suggest', profile, name) for profile in profiles)
        address = known['R_address']
        for answer in (
            known['R_phone'],
            known['R_social_media'],
            f'{address} {known["R_parking"]}',
            f'{address} {known["R_public_transport"]}',
        ):
            yield from (styled('inform', profile, answer) for profile in profiles)


def api_calls(menus: dict[str, list[str]]) -> Iterable[str]:
    return (
        f'{API_CALL} {cuisine} {location} {number} {price}'
        for location, cuisines in menus.items()
        for cuisine in cuisines
        for number in NUMBERS
        for price in PRICES
    )
