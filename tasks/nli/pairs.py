"""Facts with triples -> pairs that entail, contradict or do not touch each other. Pure.

The rules are those by which Welleck et al. 2019 made most of Dialogue NLI: the same triple entails; another object of a
relation that has one at a time, and the opposite relation to the same object, contradict; anything else is neutral.
"""

import hashlib
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from parlai_persona.tasks.nli.parse import Fact

ENTAILMENT, NEUTRAL, CONTRADICTION = LABELS = ('entailment', 'neutral', 'contradiction')
FAVOURITES = (
    'animal',
    'book',
    'color',
    'drink',
    'food',
    'hobby',
    'movie',
    'music_artist',
    'place',
    'season',
    'show',
    'sport',
)
LIKED = ('animal', 'activity', 'color', 'drink', 'food', 'music', 'sport', 'subject')
# Of these a person has one at a time.
EXCLUSIVE = {
    'has_age',
    'gender',
    'marital_status',
    'live_in_citystatecountry',
    'place_origin',
    'nationality',
    'name',
    'employed_by_company',
    'race',
    *(f'favorite_{what}' for what in FAVOURITES),
}
COUNTED = {'have_pet', 'have_chidren', 'have_children', 'have_sibling'}  # (sic) of these, one number
# Relation -> the one that denies it.
OPPOSITES = {
    **{f'like_{what}': f'dislike_{what}' for what in LIKED},
    'like_general': 'dislike',
    'like_sports': 'dislike_sport',
    'have_pet': 'not_have',
    'have_chidren': 'have_no_children',
    'have_children': 'have_no_children',
    'have_sibling': 'have_no_sibling',
    'have_family': 'have_no_family',
    'have_vehicle': 'have_no',
    'have': 'have_no',
    'own': 'have_no',
    'has_ability': 'weakness',
}
ALSO = {  # further ways to deny
    'like_food': ('dislike', 'do_not_eat'),
    'like_drink': ('dislike', 'do_not_drink'),
    'like_animal': ('dislike',),
    'like_activity': ('dislike', 'do_not_do'),
    'have_pet': ('have_no',),
    'have_chidren': ('not_have',),
    'have_children': ('not_have',),
    'have_sibling': ('not_have',),
    'have': ('not_have',),
}
FIRST_PERSON = {'i', 'im', 'me', 'my', 'mine', 'myself', 'we', 'us', 'our', 'ours', 'ourselves'}
WORD = re.compile(r'[a-z]+')
TRIES = 200  # draws of a pair that is new, before there seem to be no more
NUMBER = re.compile(r'^(\d+)\s+')
KINDS = {  # objects that stand for a kind: "no pets" denies "a dog"
    'pet': {'pet', 'dog', 'cat'},
    'sibling': {'sibling', 'brother', 'sister'},
    'child': {'child', 'children', 'kid', 'son', 'daughter'},
}


class Pair(NamedTuple):
    premise: str
    hypothesis: str
    label: str


class Meaning(NamedTuple):
    """A triple, its object apart from its number."""

    head: str
    relation: str
    noun: str
    number: str


def meaning(triple: Sequence[str]) -> Meaning:
    head, relation, tail = (part.lower() for part in triple)
    found = NUMBER.match(tail)
    noun = singular(tail[found.end() :] if found else tail)
    return Meaning(head, relation, noun, found[1] if found else '')


def singular(noun: str) -> str:
    if noun == 'children':
        return 'child'
    return noun[:-1] if noun.endswith('s') and not noun.endswith('ss') and len(noun) > 3 else noun


def denials(relation: str) -> set[str]:
    return {other for other in (OPPOSITES.get(relation), *ALSO.get(relation, ())) if other}


def alike(noun: str, denied: str) -> bool:
    return noun == denied or noun in KINDS.get(denied, ())


def label(one: Meaning, other: Meaning) -> str:
    """What the first says about the second."""
    if one == other:
        return ENTAILMENT
    if one.head != other.head:
        return NEUTRAL
    if one.relation == other.relation:
        if one.relation in EXCLUSIVE and one.noun != other.noun:
            return CONTRADICTION
        numbers = one.number and other.number and one.number != other.number
        return CONTRADICTION if one.relation in COUNTED and one.noun == other.noun and numbers else NEUTRAL
    for yes, no in ((one, other), (other, one)):
        if no.relation in denials(yes.relation) and alike(yes.noun, no.noun):
            return CONTRADICTION
    return NEUTRAL


def fold(text: str) -> str:
    """The split of a sentence, by its hash: pairs are made within a split, so that no sentence is in two."""
    place = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), 'little') % 20
    return {0: 'valid', 1: 'test'}.get(place, 'train')


def says_nothing(text: str) -> bool:
    """Of its speaker: no word of the first person is in it."""
    return not FIRST_PERSON & set(WORD.findall(text.lower()))


def pairs(
    premises: Iterable[Fact], hypotheses: Iterable[Fact], count: int, seed: int, chat: Iterable[str] = ()
) -> Iterator[Pair]:
    """`count` different pairs, a third of each label; fewer, where there are no more. `chat`: texts that say nothing of
    their speaker, for half of the neutral pairs."""
    made = Maker(list(premises), list(hypotheses), random.Random(seed), list(chat))
    seen: set[tuple[str, str]] = set()
    left = [name for name in LABELS if made.premises[name]]
    for number in range(count):
        wanted = LABELS[number % len(LABELS)]
        if wanted not in left:
            continue
        for _ in range(TRIES):
            premise, hypothesis = made.draw(wanted)
            if (premise.text, hypothesis.text) not in seen and premise.text != hypothesis.text:
                seen.add((premise.text, hypothesis.text))
                yield Pair(premise.text, hypothesis.text, wanted)
                break
        else:
            left.remove(wanted)


class Maker:
    """Draws a hypothesis for a drawn premise. Half of the neutral ones share the relation, so that words alone do not
    tell."""

    def __init__(self, premises: list[Fact], hypotheses: list[Fact], rng: random.Random, chat: list[str]):
        self.rng, self.chat = rng, chat
        self.by_relation: dict[str, list[tuple[Fact, Meaning]]] = defaultdict(list)
        self.by_meaning: dict[Meaning, list[Fact]] = defaultdict(list)
        self.hypotheses = [(fact, meaning(fact.triple)) for fact in hypotheses]
        for fact, meant in self.hypotheses:
            self.by_relation[meant.relation].append((fact, meant))
            self.by_meaning[meant].append(fact)
        self.denied: dict[str, set[str]] = defaultdict(set)  # relation -> relations that may contradict it
        relations = set(self.by_relation) | {meaning(fact.triple).relation for fact in premises}
        for relation in relations:
            if relation in EXCLUSIVE | COUNTED:
                self.denied[relation].add(relation)
            for other in denials(relation):
                self.denied[relation].add(other)
                self.denied[other].add(relation)
        self.premises: dict[str, list[tuple[Fact, Meaning]]] = {name: [] for name in LABELS}
        for fact in premises:
            meant = meaning(fact.triple)
            self.premises[NEUTRAL].append((fact, meant))
            if meant in self.by_meaning:
                self.premises[ENTAILMENT].append((fact, meant))
            if any(self.by_relation.get(other) for other in self.denied[meant.relation]):
                self.premises[CONTRADICTION].append((fact, meant))

    def draw(self, wanted: str) -> tuple[Fact, Fact]:
        while True:
            if wanted == NEUTRAL and self.chat and self.rng.random() < 0.5:
                return Fact(self.rng.choice(self.chat), ('', '', '')), self.rng.choice(self.hypotheses)[0]
            premise, meant = self.rng.choice(self.premises[wanted])
            if wanted == ENTAILMENT:
                return premise, self.rng.choice(self.by_meaning[meant])
            for _ in range(20):
                hypothesis, other = self.rng.choice(self.near(meant, wanted))
                if label(meant, other) == wanted:
                    return premise, hypothesis

    def near(self, meant: Meaning, wanted: str) -> list[tuple[Fact, Meaning]]:
        if wanted == NEUTRAL:
            same = self.by_relation.get(meant.relation)
            return same if same and self.rng.random() < 0.5 else self.hypotheses
        relations = [name for name in sorted(self.denied[meant.relation]) if self.by_relation.get(name)]
        return self.by_relation[self.rng.choice(relations)]
