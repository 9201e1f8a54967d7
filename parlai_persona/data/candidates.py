"""Label candidates whose order tells nothing, the same on every machine and for every number of workers."""

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

from parlai_persona.data.dialogue import DataError, Dialogue

T = TypeVar('T')


class Distractors:
    """The replies of one split, from which distractors for a reply are drawn.

    Drawing for an example depends on the seed, the dialogue and the turn alone, not on what was drawn before:
    workers, streams and resumed runs see the same candidates.
    """

    def __init__(self, dialogues: Iterable[Dialogue], seed: int):
        self.seed = seed
        self.replies: list[str] = []
        self.owners: list[str] = []  # dialogue id of each reply
        for dialogue in dialogues:
            for turn in dialogue.turns:
                self.replies.append(turn.reply)
                self.owners.append(dialogue.id)
        self.distinct = len(set(self.replies))

    def candidates(self, dialogue_id: str, turn: int, reply: str, count: int) -> list[str]:
        """`count` different replies: this one and others of other dialogues, in an order that tells nothing."""
        if self.distinct < count:
            raise DataError(
                f'{count} candidates asked for, but the split holds only {self.distinct} different replies: '
                'lower --persona-candidates-count'
            )
        rng = example_rng(self.seed, dialogue_id, turn)
        chosen = {reply: None}  # a dict keeps the order of drawing, which a set would not
        for _ in range(1000 * count):
            if len(chosen) == count:
                return shuffled(list(chosen), rng)
            drawn = rng.randrange(len(self.replies))
            if self.owners[drawn] != dialogue_id:
                chosen[self.replies[drawn]] = None
        raise DataError(
            f'dialogue {dialogue_id!r}, turn {turn}: found only {len(chosen)} different replies outside this dialogue, '
            f'{count} needed: lower --persona-candidates-count'
        )


def example_rng(seed: int, dialogue_id: str, turn: int) -> random.Random:
    """The randomness of one example, whatever was drawn for others before."""
    return random.Random(f'{seed}/{dialogue_id}/{turn}')


def shuffled(candidates: Sequence[T], rng: random.Random) -> list[T]:
    """The same candidates in a random order: in the released files the reply is always the last one."""
    mixed = list(candidates)
    rng.shuffle(mixed)
    return mixed
