"""Any ParlAI dialogue task -> people with several dialogues each."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from parlai.core.teachers import FixedDialogTeacher
from parlai.utils.distributed import is_distributed, num_workers

from parlai_persona import fields
from parlai_persona.data.dialogue import DataError
from parlai_persona.data.other_task import episodes, turn
from parlai_persona.tasks.few_shot.groups import join, mapped, persona, read_map

PERSONA_RULE = 'persona'


@dataclass(frozen=True)
class Person:
    id: str
    dialogues: tuple[dict[str, Any], ...]  # as they stand in `fields.DIALOGUES`


def dialogues(below: FixedDialogTeacher, key: str) -> Iterator[tuple[dict[str, Any], Any]]:
    """Dialogues with what says whose they are."""
    for number, messages in enumerate(episodes(below)):
        first = messages[0]
        if key not in first:
            known = ', '.join(sorted(name for name in first if isinstance(first[name], str | int | list | tuple)))
            raise DataError(
                f'{below.id}: its messages have no field {key!r} that says who replies; they have {known}. Choose one '
                'with --few-shot-by'
            )
        turns = [turn(message) for message in messages]
        dialogue = {
            fields.DIALOGUE_ID: str(first.get(fields.DIALOGUE_ID, number)),
            fields.PERSONA: list(first.get(fields.PERSONA) or ()),
            fields.MESSAGES: [one for one in turns if one['labels']],
        }
        if dialogue[fields.MESSAGES]:
            yield dialogue, first[key]


def from_all_workers(found: list) -> list:
    """Evaluating teachers share out what they read, one by one; but a person's dialogues belong together."""
    if not is_distributed():
        return found
    shares: list = [None] * num_workers()
    torch.distributed.all_gather_object(shares, found)
    return [one for row in zip_longest(*shares) for one in row if one is not None]


def people(below: FixedDialogTeacher, by: str, least: int) -> list[Person]:
    """Everyone with `least` dialogues or more, in order of appearance; nobody if the task has no dialogues and says
    that this is no error (a test split that nobody asked for)."""
    by_persona = by == PERSONA_RULE or by.endswith('.json')
    found = from_all_workers(list(dialogues(below, fields.PERSONA if by_persona else by)))
    if not found:
        return []
    keys = [key for _, key in found]
    if by_persona:
        descriptions = [persona(key) for key in keys]
        if by != PERSONA_RULE:
            numbers = mapped(descriptions, read_map(Path(by).expanduser()), by)
        else:
            numbers = join(descriptions)
    else:
        places: dict[Any, int] = {}
        numbers = [places.setdefault(str(key), len(places)) for key in keys]
    groups: dict[int, list[dict[str, Any]]] = {}
    for (dialogue, _), number in zip(found, numbers, strict=True):
        groups.setdefault(number, []).append(dialogue)
    enough = [Person(str(number), tuple(group)) for number, group in groups.items() if len(group) >= least]
    if not enough:
        most = max(map(len, groups.values()))
        raise DataError(
            f'{below.id}: of {len(groups)} people nobody has {least} dialogues, the most are {most}: lower '
            '--few-shot-least, or group otherwise (--few-shot-by)'
        )
    return enough
