"""Any ParlAI dialogue task -> people with several dialogues each."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parlai.core.teachers import FixedDialogTeacher

from parlai_persona import fields
from parlai_persona.data.dialogue import DataError
from parlai_persona.data.dialogue_file import read_dialogues
from parlai_persona.data.other_task import episodes, from_all_workers, whole_dialogue
from parlai_persona.files import typed_path
from parlai_persona.tasks.few_shot.groups import join, mapped, numbered, persona, read_map

PERSONA_RULE = 'persona'


@dataclass(frozen=True)
class Person:
    id: str
    dialogues: tuple[dict[str, Any], ...]  # in the form of `fields.DIALOGUES`


def people(other: FixedDialogTeacher, by: str, least: int) -> list[Person]:
    """Return everyone with at least `least` dialogues, in order of appearance.

    Return an empty list if the task has no dialogues; it raises an error itself if it should have some.
    """
    by_persona = by == PERSONA_RULE or by.endswith('.json')
    dialogues = from_all_workers(list(keyed_dialogues(other, fields.PERSONA if by_persona else by)))
    if not dialogues:
        return []
    groups: dict[int, list[dict[str, Any]]] = {}
    for number, (dialogue, _) in zip(person_numbers([key for _, key in dialogues], by), dialogues, strict=True):
        groups.setdefault(number, []).append(dialogue)
    enough = [Person(str(number), tuple(group)) for number, group in groups.items() if len(group) >= least]
    if not enough:
        most = max(map(len, groups.values()))
        raise DataError(
            f'{other.id}: none of {len(groups)} people has {least} dialogues, the most are {most}: '
            f'{"lower --few-shot-least, or " if least > 2 else ""}group in another way (--few-shot-by)'
        )
    return enough


def read_file(path: Path) -> list[dict[str, Any]]:
    """Read a person's dialogues from a file of lines `them: …` and `me: …`."""
    dialogues = read_dialogues(path)
    return [
        {
            fields.DIALOGUE_ID: dialogue.id,
            fields.PERSONA: list(dialogue.persona),
            fields.MESSAGES: [{'text': turn.text, 'labels': [turn.reply]} for turn in dialogue.turns],
        }
        for dialogue in dialogues
    ]


def keyed_dialogues(other: FixedDialogTeacher, key: str) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield dialogues, each with the value of the field that says who replies."""
    for number, messages in enumerate(episodes(other)):
        first = messages[0]
        if key not in first:
            known = ', '.join(sorted(name for name in first if isinstance(first[name], str | int | list | tuple)))
            raise DataError(
                f'{other.id}: its messages have no field {key!r} that says who replies; they have {known}. Choose one '
                'with --few-shot-by'
            )
        dialogue = whole_dialogue(messages, number)
        if dialogue[fields.MESSAGES]:
            yield dialogue, first[key]


def person_numbers(keys: list[Any], by: str) -> list[int]:
    """Return the number of the person behind each key: a description, or the value of another field."""
    if by == PERSONA_RULE:
        return join([persona(key) for key in keys])
    if by.endswith('.json'):
        return mapped([persona(key) for key in keys], read_map(typed_path(by)), by)
    return numbered(map(str, keys))
