"""Decides which dialogues belong to one person. Pure: persona descriptions in, numbers of people out.

Crowd workers on Persona-Chat often got nearly the same description, with a sentence more or less. Madotto et al. 2019
(sec. 3) speak of 1155/100/100 personas; their maps are clusters of K-means. The rule here does not need the number of
people.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path

from parlai_persona.data.dialogue import DataError
from parlai_persona.files import parse_json, read_text

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
SUBSET = 3  # sentences that a description needs to be joined to one that contains it
SHARED = 4  # sentences that two other descriptions need in common to be joined


def persona(sentences: Iterable[str]) -> Persona:
    """Return a description as a set of sentences, in which order, case, punctuation and contractions do not matter.

    (Half of the releases write "i am" for "i'm".)
    """
    return frozenset(map(plain, sentences))


def plain(sentence: str) -> str:
    sentence = sentence.lower()
    for short, long in CONTRACTIONS:
        sentence = short.sub(long, sentence)
    return ' '.join(WORDS.findall(sentence))


def join(personas: Sequence[Persona]) -> list[int]:
    """Return the number of the person behind each description.

    Two descriptions are one person's if one has all sentences of the other, at least `SUBSET`, or if they share
    `SHARED`. Two that a third one joins are one person's too.
    """
    parent = list(range(len(personas)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    places: dict[str, list[int]] = defaultdict(list)  # sentence -> earlier descriptions with it
    for place, one in enumerate(personas):
        common = Counter(other for sentence in sorted(one) for other in places[sentence])
        for other, shared in common.items():
            smaller = min(len(one), len(personas[other]))
            if shared >= SHARED or (shared == smaller and shared >= SUBSET) or one == personas[other]:
                parent[root(place)] = root(other)
        for sentence in one:
            places[sentence].append(place)
    return numbered(map(root, range(len(personas))))


def numbered(keys: Iterable[Hashable]) -> list[int]:
    """Return the number of each key; different keys are numbered in order of appearance."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def read_map(path: Path) -> dict[Persona, str]:
    """Read a map as the authors released it, {"cluster": [[sentence, …], …], …}, into description -> cluster."""
    try:
        content = parse_json(read_text(path))
        clusters = {persona(sentences): cluster for cluster, members in content.items() for sentences in members}
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(
            f'{path}: expected JSON of the form {{"cluster": [["sentence", …], …], …}}; {type(error).__name__}: {error}'
        ) from None
    if not clusters:
        raise DataError(f'{path} maps no persona')
    return clusters


def mapped(personas: Sequence[Persona], clusters: Mapping[Persona, str], where: str) -> list[int]:
    """Return the number of the person behind each description by a map, which has to contain all of them."""
    missing = [one for one in personas if one not in clusters]
    if missing:
        raise DataError(
            f'{where} lacks {len(missing)} of {len(personas)} descriptions, among them {sorted(missing[0])}: is it the '
            'map of another split or another persona form?'
        )
    return numbered(clusters[one] for one in personas)
