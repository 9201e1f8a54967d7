"""The restaurants of the personalised bAbI tasks: their facts, and which ones are suggested to a user in what order.

Each restaurant of the plain tasks exists twice: `…_1` is vegetarian, `…_2` is not. Everything here was found in the
released files and holds in all of their dialogues (docs/babi_generator.md has the counts).
"""

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from parlai_persona.data.dialogue import DataError
from parlai_persona.tasks.personalized_babi.parse import Facts

SLOTS = ('cuisine', 'location', 'number', 'price')  # in the order of an api_call, and of the bot's questions
NUMBERS = ('two', 'four', 'six', 'eight')
PRICES = ('cheap', 'moderate', 'expensive')
TYPE_OF_VARIANT = {'1': 'veg', '2': 'non-veg'}
_IN_DIALOGUES = """
    R_phone R_cuisine R_address R_location R_number R_price R_rating
    R_type R_speciality R_social_media R_parking R_public_transport
"""
_IN_KB = """
    R_cuisine R_location R_price R_rating R_phone R_address R_number
    R_type R_speciality R_social_media R_parking R_public_transport
"""
# The order of the twelve facts about a restaurant, in the dialogues and in the knowledge base.
IN_DIALOGUES, IN_KB = tuple(_IN_DIALOGUES.split()), tuple(_IN_KB.split())
# The value of these facts is the name of the restaurant with an ending, such as `resto_x_1_parking`.
NAMED = ('R_phone', 'R_address', 'R_social_media', 'R_parking', 'R_public_transport')
FROM_PLAIN = ('R_cuisine', 'R_location', 'R_number', 'R_price', 'R_rating')
SPECIALITIES = {
    'british': ('fish_and_chips', 'shepherds_pie', 'english_breakfast'),
    'cantonese': ('dumplings', 'fried_noodles', 'hainanese_rice'),
    'french': ('souffle', 'tart', 'ratatouille'),
    'indian': ('biryani', 'curry', 'tikka'),
    'italian': ('pasta', 'pizza', 'risotto'),
    'japanese': ('soba', 'sushi', 'tonkatsu'),
    'korean': ('bibimbap', 'bulgogi', 'ramen'),
    'spanish': ('omlette', 'paella', 'tapas'),
    'thai': ('fried_rice', 'pad_thai', 'red_curry'),
    'vietnamese': ('banh_mi', 'pho', 'spring_roll'),
}
# Only in the test-OOV files; so are the cuisines of these locations.
OOV_LOCATIONS = ('bangkok', 'beijing', 'hanoi', 'seoul', 'tokyo')
DIET_BONUS = 8.0
FAVOURITE_BONUS = 2.5

Query = tuple[str, ...]  # values of SLOTS


def variants(base: str) -> tuple[str, str]:
    return f'{base}_1', f'{base}_2'


def bases(names: Iterable[str]) -> list[str]:
    """Return what the plain tasks call these restaurants: `resto_x` for `resto_x_1` and `resto_x_2`."""
    return list(dict.fromkeys(name.rpartition('_')[0] for name in names))


@dataclass(frozen=True)
class Knowledge:
    """A personalised knowledge base (restaurant -> relation -> value) with indexes."""

    facts: Facts

    @cached_property
    def answers(self) -> dict[Query, list[str]]:
        """Map a query to the restaurants that an api_call with it returns, in the order of the knowledge base."""
        answers = defaultdict(list)
        for name in self.facts:
            answers[self.query(name)].append(name)
        return dict(answers)

    @cached_property
    def slots(self) -> dict[str, str]:
        """Map each value that a user can wish for to its slot."""
        words = dict.fromkeys(NUMBERS, 'number') | dict.fromkeys(PRICES, 'price')
        for known in self.facts.values():
            words |= {known['R_cuisine']: 'cuisine', known['R_location']: 'location'}
        return words

    @cached_property
    def menus(self) -> dict[str, list[str]]:
        """Map each location to its cuisines, both in alphabetical order."""
        cuisines = defaultdict(set)
        for known in self.facts.values():
            cuisines[known['R_location']].add(known['R_cuisine'])
        return {location: sorted(cuisines[location]) for location in sorted(cuisines)}

    def wishes(self, text: str) -> dict[str, str]:
        """Return the wishes (slot -> value) in what a user says."""
        return {self.slots[word]: word for word in text.split() if word in self.slots}

    def query(self, name: str) -> Query:
        return tuple(self.facts[name][f'R_{slot}'] for slot in SLOTS)

    def score(self, name: str, diet: str, favourite: str) -> float:
        """Return the score that orders suggestions: rating, plus bonuses for the user's diet and favourite food."""
        known = self.facts[name]
        return (
            int(known['R_rating'])
            + DIET_BONUS * (known['R_type'] == diet)
            + FAVOURITE_BONUS * (known['R_speciality'] == favourite)
        )

    def ranked(self, names: list[str], diet: str, favourite: str) -> list[str]:
        """Return the names, best first.

        Ratings are whole numbers from 1 to 8 and differ within a query, so no two scores are the same. In another
        knowledge base, ties go in alphabetical order.
        """
        return sorted(names, key=lambda name: (-self.score(name, diet, favourite), name))

    def contact(self, name: str, age: str) -> str:
        """Return the answer to a question for contact details."""
        return self.facts[name]['R_social_media' if age == 'young' else 'R_phone']

    def direction(self, name: str) -> str:
        """Return the answer to a question for directions: public transport for cheap restaurants, else parking."""
        known = self.facts[name]
        second = 'R_public_transport' if known['R_price'] == 'cheap' else 'R_parking'
        return f'{known["R_address"]} {known[second]}'


def personalized_kb(plain: Facts, seed: int, known: Facts | None = None) -> Facts:
    """Return every restaurant of a plain knowledge base in its two variants, in alphabetical order.

    Specialities come from `known`, another personalised knowledge base. Without it, one of the cuisine's is drawn for
    each variant, by seed and name.
    """
    facts = {}
    for base in sorted(plain):
        require(base, plain[base], FROM_PLAIN)
        for name in variants(base):
            if known is None:
                speciality = draw_speciality(name, plain[base]['R_cuisine'], seed)
            elif 'R_speciality' in known.get(name, {}):
                speciality = known[name]['R_speciality']
            else:
                raise DataError(f'the other, personalised knowledge base tells no R_speciality of {name}')
            facts[name] = complete(name, plain[base], speciality)
    return facts


def complete(name: str, plain: dict[str, str], speciality: str) -> dict[str, str]:
    """Return all facts about a variant, in the order of the dialogues."""
    facts = {
        **{relation: name + relation[1:] for relation in NAMED},
        **{relation: plain[relation] for relation in FROM_PLAIN},
        'R_type': TYPE_OF_VARIANT[name[-1]],
        'R_speciality': speciality,
    }
    return {relation: facts[relation] for relation in IN_DIALOGUES}


def draw_speciality(name: str, cuisine: str, seed: int) -> str:
    if cuisine not in SPECIALITIES:
        raise DataError(f'{name}: no specialities of cuisine {cuisine!r} are known, only of {", ".join(SPECIALITIES)}')
    return random.Random(f'{seed}/{name}').choice(SPECIALITIES[cuisine])


def require(name: str, known: dict[str, str], relations: tuple[str, ...]) -> None:
    missing = [relation for relation in relations if relation not in known]
    if missing:
        raise DataError(f'the knowledge base does not tell {", ".join(missing)} of {name}')
    if not known['R_rating'].isdecimal():
        raise DataError(f'the knowledge base rates {name} {known["R_rating"]!r}, expected a whole number')
