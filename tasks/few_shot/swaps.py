"""Replaces words of a person, in the same way in all of the person's dialogues, so that nobody can be memorised."""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from parlai_persona import fields

WORD = re.compile(r"[a-z]+(?:'[a-z]+)?", re.IGNORECASE)  # not numbers
COMMON = 300  # most frequent words, which are never replaced because they are grammar
NEAR = 50  # how far apart in frequency rank a word and its replacement may be


class Swaps:
    """Replaces words by others that are about as frequent in the task."""

    def __init__(self, dialogues: Iterable[dict[str, Any]], common: int = COMMON):
        counts = Counter(word for dialogue in dialogues for word in words(dialogue))
        self.ranked = [word for word, _ in counts.most_common()][common:]
        self.rank = {word: place for place, word in enumerate(self.ranked)}

    def swapped(self, dialogues: Sequence[dict[str, Any]], share: float, rng: random.Random) -> list[dict[str, Any]]:
        """Replace each of the person's rarer words with this probability."""
        own = sorted({word for dialogue in dialogues for word in words(dialogue)})
        new = {word: self.other(word, rng) for word in own if word in self.rank and rng.random() < share}
        return [replaced(dialogue, new) for dialogue in dialogues]

    def other(self, word: str, rng: random.Random) -> str:
        place = self.rank[word]
        return rng.choice(self.ranked[max(0, place - NEAR) : place + NEAR + 1])


def words(dialogue: dict[str, Any]) -> Iterator[str]:
    for text in texts(dialogue):
        yield from WORD.findall(text.lower())


def texts(dialogue: dict[str, Any]) -> Iterator[str]:
    for turn in dialogue[fields.MESSAGES]:
        yield from (turn['text'], *turn['labels'])


def replaced(dialogue: dict[str, Any], new: dict[str, str]) -> dict[str, Any]:
    def in_new_words(text: str) -> str:
        return WORD.sub(lambda word: new.get(word[0].lower(), word[0]), text)

    turns = [
        {'text': in_new_words(turn['text']), 'labels': [in_new_words(label) for label in turn['labels']]}
        for turn in dialogue[fields.MESSAGES]
    ]
    return {**dialogue, fields.MESSAGES: turns}
