"""Other words for someone's own, the same in all of their dialogues, so that nobody is known by heart."""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from parlai_persona import fields

WORD = re.compile(r"[a-z]+(?:'[a-z]+)?", re.IGNORECASE)  # numbers stay
COMMON = 300  # the most frequent words are grammar, and stay
NEAR = 50  # ranks of frequency between a word and another for it


class Swaps:
    """Words of a task by frequency; a word may become another of about the same."""

    def __init__(self, dialogues: Iterable[dict[str, Any]], common: int = COMMON):
        counts = Counter(word for dialogue in dialogues for word in words(dialogue))
        self.ranked = [word for word, _ in counts.most_common()][common:]
        self.rank = {word: place for place, word in enumerate(self.ranked)}

    def swapped(self, dialogues: Sequence[dict[str, Any]], share: float, rng: random.Random) -> list[dict[str, Any]]:
        """Each of the person's rarer words is exchanged with this probability."""
        own = sorted({word for dialogue in dialogues for word in words(dialogue)})
        new = {word: self.other(word, rng) for word in own if word in self.rank and rng.random() < share}
        return [exchanged(dialogue, new) for dialogue in dialogues]

    def other(self, word: str, rng: random.Random) -> str:
        place = self.rank[word]
        return rng.choice(self.ranked[max(0, place - NEAR) : place + NEAR + 1])


def words(dialogue: dict[str, Any]) -> Iterator[str]:
    for text in texts(dialogue):
        yield from WORD.findall(text.lower())


def texts(dialogue: dict[str, Any]) -> Iterator[str]:
    for turn in dialogue[fields.MESSAGES]:
        yield from (turn['text'], *turn['labels'])


def exchanged(dialogue: dict[str, Any], new: dict[str, str]) -> dict[str, Any]:
    def say(text: str) -> str:
        return WORD.sub(lambda found: new.get(found[0].lower(), found[0]), text)

    turns = [
        {'text': say(turn['text']), 'labels': [say(label) for label in turn['labels']]}
        for turn in dialogue[fields.MESSAGES]
    ]
    return {**dialogue, fields.MESSAGES: turns}
