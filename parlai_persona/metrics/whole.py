"""Whole dialogues: what a metric of dialogues needs from an evaluation, which sees one turn after the other."""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from parlai_persona.fields import DIALOGUE_ID, TURN, TURNS

Item = TypeVar('Item')


class WholeDialogue(Generic[Item]):
    """Collects an item for each turn of a dialogue. A dialogue with a missing turn or item is left out.

    Turns are missing if a mutator dropped them, or if the evaluation stopped before the end (`--num-examples`).
    Otherwise a teacher sees whole dialogues: each row of a batch and each worker has a teacher of its own.
    """

    def __init__(self) -> None:
        self.id: str | None = None
        self.items: list[Item] = []

    def add(self, message: Mapping[str, Any], item: Item | None) -> list[Item] | None:
        """Return the items of all turns if this is the last one and none is missing. None is a missing item."""
        id, turn = message.get(DIALOGUE_ID), message.get(TURN)
        if turn == 0:
            self.id, self.items = id, []
        if item is None or id is None or (id, turn) != (self.id, len(self.items)):
            self.id = None
            return None
        self.items.append(item)
        return self.items if len(self.items) == message.get(TURNS) else None
