"""Which dialogues are of one person? Pure: persona descriptions in, numbers of groups out.

Crowd workers on Persona-Chat were often given nearly the same description: a sentence more, one left out. Madotto et
al. 2019 (sec. 3) speak of 1155/100/100 personas; their maps are clusters of K-means. The rule here needs no such
number.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from parlai_persona.data.dialogue import DataError

Persona = frozenset[str]
WORDS = re.compile(r'[^\W_]+')
CONTRACTIONS = [
    (re.compile(short), long)
    for short, long in (
        (r"\bwon't\b", 'will not'),
        (r"\bcan't\b|\bcannot\b", 'can not'),
        (r"n't\b", ' not'),
        (r"'m\b", ' am'),
        (r"'re\b", ' are'),
        (r"'ve\b", ' have'),
        (r"'ll\b", ' will'),
        (r"'d\b", ' would'),
        (r"'s\b", ' is'),
    )
]
SUBSET, SHARED = 3, 4  # sentences: of a persona that is part of another; in common, if neither is


def persona(sentences: Iterable[str]) -> Persona:
    """A description as a set of sentences: order, case, punctuation and contractions make no other person. (Half of the
    releases write "i am" for "i'm".)"""
    return frozenset(map(plain, sentences))


def plain(sentence: str) -> str:
    sentence = sentence.lower()
    for short, long in CONTRACTIONS:
        sentence = short.sub(long, sentence)
    return ' '.join(WORDS.findall(sentence))


def join(personas: Sequence[Persona]) -> list[int]:
    """The group of each description, numbered in order of appearance: two are one person if one has all of the
    other's sentences, `SUBSET` at least, or if they share `SHARED`; and so are those that a third one joins."""
    parent = list(range(len(personas)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    having: dict[str, list[int]] = defaultdict(list)  # sentence -> earlier descriptions with it
    for place, one in enumerate(personas):
        common = Counter(other for sentence in sorted(one) for other in having[sentence])
        for other, shared in common.items():
            smaller = min(len(one), len(personas[other]))
            if shared >= SHARED or (shared == smaller and shared >= SUBSET) or one == personas[other]:
                parent[root(place)] = root(other)
        for sentence in one:
            having[sentence].append(place)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(place), len(numbers)) for place in range(len(personas))]


def read_map(path: Path) -> dict[Persona, str]:
    """A map as the authors released it: {"cluster": [[sentence, …], …], …} -> description -> cluster."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        found = {persona(sentences): cluster for cluster, members in content.items() for sentences in members}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(
            f'{path}: expected JSON of the form {{"cluster": [["sentence", …], …], …}}; {type(error).__name__}: {error}'
        ) from None
    if not found:
        raise DataError(f'{path} maps no persona')
    return found


def mapped(personas: Sequence[Persona], clusters: Mapping[Persona, str], where: str) -> list[int]:
    """The group of each description by a map; all have to be in it."""
    missing = [one for one in personas if one not in clusters]
    if missing:
        raise DataError(
            f'{where} lacks {len(missing)} of {len(personas)} descriptions, among them {sorted(missing[0])}: is it the '
            'map of another split or another persona form?'
        )
    numbers: dict[str, int] = {}
    return [numbers.setdefault(clusters[one], len(numbers)) for one in personas]
