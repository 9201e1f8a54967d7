"""Facts with triples -> pairs of sentences with their entailment label. Pure.

Welleck et al. 2019 made most of Dialogue NLI by these rules. The same triple entails. Another object of an exclusive
relation contradicts, and so does the opposite relation to the same object. Anything else is neutral.
"""

import hashlib
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from parlai_persona.tasks.nli.parse import Fact

ENTAILMENT, NEUTRAL, CONTRADICTION = LABELS = ('entailment', 'neutral', 'contradiction')
_ONCE = """
    has_age gender marital_status live_in_citystatecountry place_origin nationality name employed_by_company race
    favorite_animal favorite_book favorite_color favorite_drink favorite_food favorite_hobby favorite_movie
    favorite_music_artist favorite_place favorite_season favorite_show favorite_sport
"""
EXCLUSIVE = set(_ONCE.split())  # relations that a person has once at a time
COUNTED = {'have_pet', 'have_chidren', 'have_children', 'have_sibling'}  # (the data do say "chidren")
# relation -> relations that deny it
DENIALS = {
    relation: set(denials.split())
    for relation, denials in {
        'like_animal': 'dislike_animal dislike',
        'like_activity': 'dislike_activity dislike do_not_do',
        'like_color': 'dislike_color',
        'like_drink': 'dislike_drink dislike do_not_drink',
        'like_food': 'dislike_food dislike do_not_eat',
        'like_music': 'dislike_music',
        'like_sport': 'dislike_sport',
        'like_sports': 'dislike_sport',
        'like_subject': 'dislike_subject',
        'like_general': 'dislike',
        'have_pet': 'not_have have_no',
        'have_chidren': 'have_no_children not_have',
        'have_children': 'have_no_children not_have',
        'have_sibling': 'have_no_sibling not_have',
        'have_family': 'have_no_family',
        'have_vehicle': 'have_no',
        'have': 'have_no not_have',
        'own': 'have_no',
        'has_ability': 'weakness',
    }.items()
}
FIRST_PERSON = {'i', 'im', 'me', 'my', 'mine', 'myself', 'we', 'us', 'our', 'ours', 'ourselves'}
WORD = re.compile(r'[a-z]+')
TRIES = 200  # draws without a new pair before a label counts as used up
NUMBER = re.compile(r'^(\d+)\s+')
KINDS = {  # object -> objects of that kind: "no pets" denies "a dog"
    'pet': {'pet', 'dog', 'cat'},
    'sibling': {'sibling', 'brother', 'sister'},
    'child': {'child', 'children', 'kid', 'son', 'daughter'},
}


class Pair(NamedTuple):
    premise: str
    hypothesis: str
    label: str


class Meaning(NamedTuple):
    """A triple with its object split into number and noun."""

    head: str
    relation: str
    noun: str
    number: str


def meaning(triple: Sequence[str]) -> Meaning:
    head, relation, tail = (part.lower() for part in triple)
    number = NUMBER.match(tail)
    noun = singular(tail[number.end() :] if number else tail)
    return Meaning(head, relation, noun, number[1] if number else '')


def singular(noun: str) -> str:
    if noun == 'children':
        return 'child'
    return noun[:-1] if noun.endswith('s') and not noun.endswith('ss') and len(noun) > 3 else noun


def label(one: Meaning, other: Meaning) -> str:
    """Return the label of the first as premise and the second as hypothesis."""
    if one == other:
        return ENTAILMENT
    if one.head != other.head:
        return NEUTRAL
    if one.relation == other.relation:
        if one.relation in EXCLUSIVE and one.noun != other.noun:
            return CONTRADICTION
        differ = one.number and other.number and one.number != other.number
        return CONTRADICTION if one.relation in COUNTED and one.noun == other.noun and differ else NEUTRAL
    for yes, no in ((one, other), (other, one)):
        denied = yes.noun == no.noun or yes.noun in KINDS.get(no.noun, ())
        if denied and no.relation in DENIALS.get(yes.relation, ()):
            return CONTRADICTION
    return NEUTRAL


def fold(text: str) -> str:
    """Return the split of a sentence by its hash. Pairs are made within a split, so no sentence is in two splits."""
    place = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), 'little') % 20
    return {0: 'valid', 1: 'test'}.get(place, 'train')


def letters(text: str) -> str:
    """Return the letters and digits of a text: texts are equal whatever their case, spaces and punctuation."""
    return ''.join(filter(str.isalnum, text.casefold()))


def says_nothing(text: str) -> bool:
    """Tell whether the text says nothing about its speaker: no word of the first person is in it."""
    return not FIRST_PERSON & set(WORD.findall(text.lower()))


def pairs(
    premises: Iterable[Fact], hypotheses: Iterable[Fact], count: int, seed: int, chat: Iterable[str] = ()
) -> Iterator[Pair]:
    """Yield `count` different pairs, a third of each label, or fewer if there are no more.

    Half of the neutral pairs have a premise from `chat`, texts that say nothing about their speaker.
    """
    sampler = PairSampler(list(premises), list(hypotheses), random.Random(seed), list(chat))
    seen: set[tuple[str, str]] = set()
    left = [name for name in LABELS if sampler.premises[name]]
    for number in range(count):
        wanted = LABELS[number % len(LABELS)]
        if wanted not in left:
            continue
        for _ in range(TRIES):
            drawn = sampler.draw(wanted)
            if drawn is None:
                continue
            premise, hypothesis = drawn
            if (premise.text, hypothesis.text) not in seen and premise.text != hypothesis.text:
                seen.add((premise.text, hypothesis.text))
                yield Pair(premise.text, hypothesis.text, wanted)
                break
        else:
            left.remove(wanted)


class PairSampler:
    """Draws a premise, then a hypothesis. Half of the neutral pairs without chat share the relation, so that words do
    not give the label away."""

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
            for other in DENIALS.get(relation, ()):
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

    def draw(self, wanted: str) -> tuple[Fact, Fact] | None:
        """Return a pair with this label; None if many draws find none."""
        for _ in range(TRIES):
            if wanted == NEUTRAL and self.chat and self.rng.random() < 0.5:
                return Fact(self.rng.choice(self.chat), ('', '', '')), self.rng.choice(self.hypotheses)[0]
            premise, meant = self.rng.choice(self.premises[wanted])
            if wanted == ENTAILMENT:
                return premise, self.rng.choice(self.by_meaning[meant])
            for _ in range(20):
                hypothesis, other = self.rng.choice(self.near(meant, wanted))
                if label(meant, other) == wanted:
                    return premise, hypothesis
        return None

    def near(self, meant: Meaning, wanted: str) -> list[tuple[Fact, Meaning]]:
        if wanted == NEUTRAL:
            same = self.by_relation.get(meant.relation)
            return same if same and self.rng.random() < 0.5 else self.hypotheses
        relations = [name for name in sorted(self.denied[meant.relation]) if self.by_relation.get(name)]
        return self.by_relation[self.rng.choice(relations)]
