"""The restaurants of the personalised bAbI tasks: their facts, who is offered which, and in what order.

Each restaurant of the plain tasks is there twice: `…_1` is vegetarian, `…_2` is not. Everything here was found in the
released files and holds in all of their dialogues (docs/babi_generator.md has the counts).
"""

import random
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from parlai_persona.data.dialogue import DataError
from parlai_persona.tasks.personalized_babi.parse import Facts

SLOTS = ('cuisine', 'location', 'number', 'price')  # in the order of an api_call, and of the bot's questions
NUMBERS = ('two', 'four', 'six', 'eight')
PRICES = ('cheap', 'moderate', 'expensive')
TYPE_OF_VARIANT = {'1': 'veg', '2': 'non-veg'}
# The twelve facts about a restaurant, in the order of the dialogues and in that of the knowledge base.
IN_DIALOGUES = (
    'R_phone',
    'R_cuisine',
    'R_address',
    'R_location',
    'R_number',
    'R_price',
    'R_rating',
    'R_type',
    'R_speciality',
    'R_social_media',
    'R_parking',
    'R_public_transport',
)
IN_KB = (
    'R_cuisine',
    'R_location',
    'R_price',
    'R_rating',
    'R_phone',
    'R_address',
    'R_number',
    'R_type',
    'R_speciality',
    'R_social_media',
    'R_parking',
    'R_public_transport',
)
# Their values are the restaurant's name with an ending, as `resto_x_1_parking`.
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
# Of the test-OOV files and of no other; with it go the cuisines that are eaten there.
OOV_LOCATIONS = ('bangkok', 'beijing', 'hanoi', 'seoul', 'tokyo')
DIET_BONUS = 8.0
FAVOURITE_BONUS = 2.5

Query = tuple[str, ...]  # values of SLOTS


def variants(name: str) -> tuple[str, str]:
    return f'{name}_1', f'{name}_2'


@dataclass(frozen=True)
class Knowledge:
    """A personalised knowledge base with what is looked up in it: restaurant -> relation -> value."""

    facts: Facts

    @cached_property
    def answers(self) -> dict[Query, list[str]]:
        """Query -> the restaurants that an api_call with it returns, in the order of the knowledge base."""
        found = defaultdict(list)
        for name in self.facts:
            found[self.query(name)].append(name)
        return dict(found)

    @cached_property
    def slots(self) -> dict[str, str]:
        """Word -> the slot that it is a value of: how a user's wish is recognised."""
        words = dict.fromkeys(NUMBERS, 'number') | dict.fromkeys(PRICES, 'price')
        for known in self.facts.values():
            words |= {known['R_cuisine']: 'cuisine', known['R_location']: 'location'}
        return words

    @cached_property
    def menus(self) -> dict[str, list[str]]:
        """Location -> the cuisines that are eaten there, both in the order of the alphabet."""
        found = defaultdict(set)
        for known in self.facts.values():
            found[known['R_location']].add(known['R_cuisine'])
        return {location: sorted(found[location]) for location in sorted(found)}

    def query(self, name: str) -> Query:
        return tuple(self.facts[name][f'R_{slot}'] for slot in SLOTS)

    def score(self, name: str, diet: str, favourite: str) -> float:
        """What the bot orders its suggestions by: rating, a bonus for the user's diet, one for the favourite food."""
        known = self.facts[name]
        return (
            int(known['R_rating'])
            + DIET_BONUS * (known['R_type'] == diet)
            + FAVOURITE_BONUS * (known['R_speciality'] == favourite)
        )

    def ranked(self, names: list[str], diet: str, favourite: str) -> list[str]:
        """Best first. Ratings are whole numbers from 1 to 8 and differ within a query, so that no two scores are
        the same; in another knowledge base ties go in the order of the alphabet."""
        return sorted(names, key=lambda name: (-self.score(name, diet, favourite), name))

    def contact(self, name: str, age: str) -> str:
        """What the bot answers to a question for contact details."""
        return self.facts[name]['R_social_media' if age == 'young' else 'R_phone']

    def direction(self, name: str) -> str:
        """What the bot answers to a question for directions: who eats cheaply comes by bus."""
        known = self.facts[name]
        second = 'R_public_transport' if known['R_price'] == 'cheap' else 'R_parking'
        return f'{known["R_address"]} {known[second]}'


def personalized_kb(plain: Facts, seed: int, known: Facts | None = None) -> Facts:
    """Every restaurant of a plain knowledge base in its two variants, in the order of the alphabet.

    Specialities are those of `known`, another personalised knowledge base; without it one is drawn for each variant
    from those of the cuisine, by seed and name.
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
    own = {
        **{relation: name + relation[1:] for relation in NAMED},
        **{relation: plain[relation] for relation in FROM_PLAIN},
        'R_type': TYPE_OF_VARIANT[name[-1]],
        'R_speciality': speciality,
    }
    return {relation: own[relation] for relation in IN_DIALOGUES}


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
