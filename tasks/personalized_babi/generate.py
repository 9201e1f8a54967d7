"""Files of plain bAbI dialogues -> files of personalised ones, which `-t persona:personalized_babi` reads.

Each dialogue has its own random generator, seeded by the seed, the task, the split and its number. So it is the same on
every machine, whatever else is generated.
"""

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from itertools import count, cycle, islice
from pathlib import Path

from parlai_persona.data.dialogue import DataError, Dialogue
from parlai_persona.data.text_format import Line, read_episodes, shorten
from parlai_persona.files import draft, read_json, write_json
from parlai_persona.tasks.personalized_babi.build import RELEASES, file_name
from parlai_persona.tasks.personalized_babi.options import Request
from parlai_persona.tasks.personalized_babi.parse import API_CALL, Facts, fact, read_dialogues, read_kb
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
NOTE = 'unfinished.json'  # in the output folder, until all files are there
PATIENCE = 5  # seconds between progress messages


def generate(request: Request, report: Callable[[str], None] = lambda message: None) -> list[Path]:
    """Write the files and return their paths. All input is read and checked before the first file is begun.

    A note says what a run that was stopped was asked for. The same request goes on with the files that are missing.
    """
    if not request.plain.is_dir():
        raise DataError(f'--babi {request.plain}: no such folder; expected the plain bAbI dialog tasks in it')
    knowledge = Knowledge(read_knowledge(request))
    jobs = [(task, split) for task in request.tasks for split in request.splits]
    files = {request.output / file_name(True, task, split): (task, split) for task, split in jobs}
    lists = list_files(request.output, knowledge) if request.lists else {}
    note, asked = request.output / NOTE, json.loads(json.dumps(asdict(request), default=str))
    resumed = note.is_file() and read_json(note) == asked
    check_output([] if resumed else files, lists)
    sizes = {job: check_source(request, *job, knowledge) for job in files.values()}
    write_json(note, asked)
    for path in (*files, *lists):
        for left in request.output.glob(f'.{path.name}.*.part'):  # by a run that was killed
            left.unlink()
    for number, (path, job) in enumerate(files.items(), 1):
        size = request.dialogues or sizes[job]
        label = f'[{number}/{len(files)}] {path.name}'
        if path.exists():
            report(f'{label}: there already')
            continue
        write(path, watched(islice(dialogues(request, *job, knowledge), size), size, label, report))
        report(f'{label}: {size:,} dialogues')
    for path, text in lists.items():
        write(path, [text])
        report(f'{path.name}: {text.count(chr(10)):,} lines')
    note.unlink()
    return [*files, *lists]


def list_files(folder: Path, knowledge: Knowledge) -> dict[Path, str]:
    """Return the files beside the dialogues with their contents: knowledge base and candidates."""
    contents = {'kb-all': kb_lines(knowledge.facts), 'candidates': candidate_lines(knowledge)}
    return {folder / f'{RELEASES[True][2]}-{name}.txt': ''.join(lines) for name, lines in contents.items()}


def read_knowledge(request: Request) -> Facts:
    path = request.plain / f'{RELEASES[False][2]}-kb-all.txt'
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
    """Raise an error if a file exists already, unless it is a list with the same contents."""
    for path in files:
        if path.exists():
            raise DataError(f'{path} exists already; remove it or choose another --output')
    for path, text in lists.items():
        if path.exists() and path.read_text(encoding='utf-8') != text:
            raise DataError(
                f'{path} exists already, with other restaurants: choose another --output, or the --kb and --kb-seed '
                'that it was written with'
            )


def check_source(request: Request, task: int, split: str, knowledge: Knowledge) -> int:
    """Return how many dialogues there are to personalise, after checking them: before anything is written."""
    if request.fresh:
        next(fresh(request, task, split, knowledge))
        return FRESH_DIALOGUES
    path = request.plain / file_name(False, task, split)
    if not path.is_file():
        there = ', '.join(sorted(other.name for other in request.plain.glob(f'*-task{task}-*.txt')))
        raise DataError(
            f'--babi {request.plain}: no {path.name} in it; of task {task} it has {there or "nothing"}: choose '
            'other --tasks or --splits, or --fresh true'
        )
    return check_plain(path, knowledge)


def dialogues(request: Request, task: int, split: str, knowledge: Knowledge) -> Iterator[Dialogue]:
    """Yield personalised dialogues without end: new ones, or those of the plain file in order and then from the top."""
    plains: Iterable[Dialogue]
    if request.fresh:
        plains = fresh(request, task, split, knowledge)
    else:
        plains = cycle(read_dialogues(request.plain / file_name(False, task, split), personalized=False))
    for number, plain in enumerate(plains):
        rng = random.Random(f'{request.seed}/{"fresh" if request.fresh else "plain"}/{task}/{split}/{number}')
        yield personalize(replace(plain, id=f'{split}-{number}'), knowledge, rng)


def fresh(request: Request, task: int, split: str, knowledge: Knowledge) -> Iterator[Dialogue]:
    """Yield new plain dialogues. The first wishes are those of the plain file of this split, if it exists."""
    path = request.plain / file_name(False, task, split)
    plain = read_dialogues(path, personalized=False) if path.is_file() else ()
    first = {first_wish(dialogue, knowledge) for dialogue in plain}
    topics = Topics.of(knowledge, split.endswith('OOV'), first)
    for number in count():
        rng = random.Random(f'{request.seed}/wishes/{task}/{split}/{number}')
        yield simulate(f'{split}-{number}', task, topics, rng)


def watched(dialogues: Iterable[Dialogue], size: int, label: str, report: Callable[[str], None]) -> Iterator[str]:
    """Yield the lines of the dialogues; report every few seconds how many are done."""
    last = time.monotonic()
    for number, dialogue in enumerate(dialogues):
        if time.monotonic() - last > PATIENCE:
            last = time.monotonic()
            report(f'{label}: {number:,} of {size:,} dialogues')
        yield from dialogue_lines(dialogue)


def write(path: Path, lines: Iterable[str]) -> None:
    with draft(path) as part, part.open('w', encoding='utf-8', newline='\n') as file:
        file.writelines(lines)


# ------------------------------------------------------------------------------------------------------- input


def check_plain(path: Path, knowledge: Knowledge) -> int:
    """Count the dialogues of the file; raise an error at the first line that is not in a plain bAbI dialogue."""
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
    """Return the act of the reply; raise an error if the plain tasks have none like it, or without facts before it."""
    if not line.reply:
        raise DataError(
            f'{line.where}: saw {shorten(line.text)!r} without reply, expected a fact about a restaurant or a '
            'message with a reply (only personalised files have profiles)'
        )
    try:
        act, slot = plain_act(line.reply)
    except DataError as error:
        raise DataError(f'{line.where}: {error}') from None
    for name in filter(None, (slot, split_reply(line.text)[1])):
        if not any(name in (known, f'{known}_phone', f'{known}_address') for known in told):
            raise DataError(f'{line.where}: saw {name!r}, but no fact about it before this line')
    if act == 'inform' and not slot.endswith(('_phone', '_address')):
        raise DataError(f'{line.where}: saw {shorten(line.reply)!r}, expected a phone number or an address')
    return act


# ------------------------------------------------------------------------------------------------------ output


def dialogue_lines(dialogue: Dialogue) -> Iterator[str]:
    """Yield the lines of a dialogue in the format of the released files, with the empty line after it."""
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
    """Yield, once each, all replies that the bot could give to anybody about any restaurant of the knowledge base."""
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
