"""Distractors for replies and for personas, in an order that gives nothing away.

They are the same on every machine and for any number of workers.
"""

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

from parlai_persona.data.dialogue import DataError, Dialogue

T = TypeVar('T')


class Distractors:
    """Draws distractors for a reply from the replies of one split.

    A draw depends only on the seed, the dialogue and the turn, not on earlier draws. So workers, streams and resumed
    runs see the same candidates.
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
        """Return `count` different replies in a random order: this one, and others from other dialogues."""
        if self.distinct < count:
            raise DataError(
                f'{count} candidates asked for, but the split holds only {self.distinct} different replies: '
                'lower --persona-candidates-count'
            )
        rng = example_rng(self.seed, dialogue_id, turn)
        chosen = {reply: None}  # a dict, because a set would lose the order of the draws
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


class OtherPersonas:
    """Draws personas of one split that have no sentence in common with what is known of a speaker.

    Personas with the same sentences in another order count as one.
    """

    def __init__(self, personas: Iterable[Sequence[str]]):
        distinct: dict[frozenset[str], tuple[str, ...]] = {}
        for persona in personas:
            distinct.setdefault(frozenset(persona), tuple(persona))
        distinct.pop(frozenset(), None)
        self.personas, self.sets = list(distinct.values()), list(distinct)

    def draw(self, known: Iterable[str], count: int, rng: random.Random) -> list[tuple[str, ...]]:
        """Return `count` different personas without any of the `known` sentences, in a random order."""
        known = frozenset(known)
        others = [one for one, sentences in zip(self.personas, self.sets, strict=True) if known.isdisjoint(sentences)]
        if len(others) < count:
            raise DataError(
                f'saw {len(others)} personas without a sentence of this one among the {len(self.personas)} of the '
                f'split, expected {count} or more'
            )
        return rng.sample(others, count)


def example_rng(seed: int, dialogue_id: str, turn: int) -> random.Random:
    """Return the random generator of one example, independent of draws for other examples."""
    return random.Random(f'{seed}/{dialogue_id}/{turn}')


def shuffled(candidates: Sequence[T], rng: random.Random) -> list[T]:
    """Return the candidates in a random order. (In the released files the reply is always the last one.)"""
    mixed = list(candidates)
    rng.shuffle(mixed)
    return mixed
