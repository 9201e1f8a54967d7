"""New plain bAbI dialogues on the restaurants of a knowledge base, with the distributions of the released ones.

Each number of slots in the first request is equally likely, then each choice of that many, then each order; and so
for changes of mind, questions and wordings. What is said about suggestions is left to `generate.personalize`, which
draws it in any case: here the first one is taken.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

from parlai_persona.data.dialogue import DataError, Dialogue, Turn
from parlai_persona.tasks.personalized_babi.parse import API_CALL, SILENCE, fact, kind, write_facts
from parlai_persona.tasks.personalized_babi.restaurants import (
    NUMBERS,
    OOV_LOCATIONS,
    PRICES,
    SLOTS,
    Knowledge,
    Query,
    variants,
)
from parlai_persona.tasks.personalized_babi.styles import ACCEPTS, ASKS, plain

GREETINGS = ('hi', 'hello', 'good morning')
REQUESTS = (
    'may i have a table',
    'can you book a table',
    'can you make a restaurant reservation',
    "i'd like to book a table",
)
PHRASES = {
    'cuisine': ('with {} cuisine', 'with {} food'),
    'location': ('in {}',),
    'number': ('for {}', 'for {} people'),
    'price': ('in a {} price range',),
}
ANSWERS = {
    'cuisine': ('with {} cuisine', 'with {} food', 'i love {} food'),
    'location': ('in {}', '{} please'),
    'number': ('for {} please', 'for {} people please', 'we will be {}'),
    'price': ('in a {} price range please', 'i am looking for a {} restaurant'),
}
CHANGES = ('actually i would prefer', 'instead could it be')
THANKS = ('thanks', 'thank you', 'you rock')
NO_MORE = ('no thanks', 'no thank you')
PLAIN_QUESTIONS = {
    'phone': (
        'may i have the phone number of the restaurant',
        'do you have its phone number',
        'what is the phone number of the restaurant',
    ),
    'address': ('may i have the address of the restaurant', 'do you have its address', 'can you provide the address'),
}
IN_REQUEST = {1: (0, 4), 2: (4, 4), 3: (0, 4), 5: (1, 3)}  # task -> fewest and most slots in the first request
CHANGED = {2: (1, 4), 5: (1, 3)}  # task -> fewest and most changes of mind
FEWEST_OPTIONS = 3  # restaurants that a query with suggestions returns at least


@dataclass(frozen=True)
class Topics:
    """What the dialogues of a split can be about."""

    knowledge: Knowledge
    first: list[Query]  # what users wish at first; in the released files something else in training than later
    last: dict[int, list[Query]]  # task -> what they wish at last

    @classmethod
    def of(cls, knowledge: Knowledge, oov: bool, first: Iterable[Query] = ()) -> 'Topics':
        """`oov`: the locations of test-OOV, or the others; `first`: if any are given, only these come first."""
        menus = [menu for menu in knowledge.menus.items() if (menu[0] in OOV_LOCATIONS) == oov]
        everything = [
            (cuisine, location, number, price)
            for location, cuisines in menus
            for cuisine in cuisines
            for number in NUMBERS
            for price in PRICES
        ]
        choice = [query for query in everything if len(bases(knowledge.answers.get(query, []))) >= FEWEST_OPTIONS]
        if not choice:
            raise DataError(
                f'the knowledge base has no {FEWEST_OPTIONS} restaurants that meet the same wishes '
                f'{"in" if oov else "outside of"} {", ".join(OOV_LOCATIONS)}: nothing to make new dialogues of'
            )
        firsts = sorted(set(everything) & set(first)) or everything
        last = {
            1: firsts,
            2: reachable(firsts, everything, CHANGED[2]),
            3: [query for query in choice if query in firsts] or choice,
            4: [query for query in firsts if query in knowledge.answers] or choice,
            5: reachable(firsts, choice, CHANGED[5]),
        }
        return cls(knowledge, firsts, last) if all(last.values()) else cls.of(knowledge, oov)


def reachable(firsts: list[Query], lasts: list[Query], sizes: tuple[int, int]) -> list[Query]:
    """Those of the last wishes that are so many changes away from one of the first ones."""
    low, high = sizes
    return [last for last in lasts if any(low <= sum(differences(first, last)) <= high for first in firsts)]


def differences(one: Query, other: Query) -> list[bool]:
    return [a != b for a, b in zip(one, other, strict=True)]


def first_wish(plain: Dialogue, knowledge: Knowledge) -> Query:
    """What the user of a plain dialogue wishes at first; where they name a restaurant, what it is like."""
    wishes: dict[str, str] = {}
    for turn in plain.turns:
        user = turn.text.split('\n')[-1]
        wishes |= {knowledge.slots[word]: word for word in user.split() if word in knowledge.slots}
        if len(wishes) == len(SLOTS):
            return tuple(wishes[slot] for slot in SLOTS)
    told = [known[0] for turn in plain.turns for known in map(fact, turn.text.split('\n')) if known]
    return knowledge.query(variants(told[0])[0]) if told else ()


def bases(names: list[str]) -> list[str]:
    """`resto_x_1`, `resto_x_2` -> `resto_x`, which is what the plain tasks call the two."""
    return list(dict.fromkeys(name.rpartition('_')[0] for name in names))


def simulate(id: str, task: int, topics: Topics, rng: random.Random) -> Dialogue:
    """A dialogue of one of the five tasks."""
    turns = [Turn(rng.choice(GREETINGS), plain('greet'))]
    query = rng.choice(topics.last[task])
    if task == 4:
        base = rng.choice(bases(topics.knowledge.answers[query]))
        turns = tell([base], topics.knowledge, turns)
        turns += [Turn(f'{rng.choice(REQUESTS)} at {base}', plain('book')), *ask(base, rng)]
        return done(id, turns)
    if task in CHANGED:
        first, changed = change_of_mind(query, CHANGED[task], topics, rng)
        turns += request(first, IN_REQUEST[task], rng)
        turns += [Turn(SILENCE, api_call(first)), *changes(query, changed, rng)]
    else:
        turns += request(query, IN_REQUEST[task], rng)
    if task != 3:
        turns.append(Turn(SILENCE, api_call(query)))
    if task in (3, 5):
        found = bases(topics.knowledge.answers[query])
        choice = [Turn(SILENCE, plain('suggest', found[0])), Turn(rng.choice(ACCEPTS), plain('book'))]
        if task == 3:
            turns = [*tell(found, topics.knowledge, turns), *choice]
        else:
            turns += tell(found, topics.knowledge, choice)
    if task == 5:
        turns += [*ask(found[0], rng), Turn(rng.choice(THANKS), plain('more')), Turn(rng.choice(NO_MORE), plain('end'))]
    if task == 2:
        turns.append(Turn(rng.choice(THANKS), plain('end')))
    return done(id, turns)


def done(id: str, turns: list[Turn]) -> Dialogue:
    return Dialogue(id, tuple(replace(turn, kind=kind(turn.reply)) for turn in turns))


def change_of_mind(query: Query, sizes: tuple[int, int], topics: Topics, rng: random.Random) -> tuple[Query, list[str]]:
    """Another query for the user to begin with, and the slots that they change, in the order in which they do."""
    while True:
        changed = rng.sample(SLOTS, rng.randint(*sizes))
        differs = [slot in changed for slot in SLOTS]
        others = [first for first in topics.first if differences(first, query) == differs]
        if others:
            return rng.choice(others), changed


def request(query: Query, sizes: tuple[int, int], rng: random.Random) -> list[Turn]:
    """The request with some of the slots, the bot's questions for the others, the search."""
    wished = dict(zip(SLOTS, query, strict=True))
    named = rng.sample(SLOTS, rng.randint(*sizes))
    said = [rng.choice(PHRASES[slot]).format(wished[slot]) for slot in named]
    turns = [Turn(' '.join([rng.choice(REQUESTS), *said]), plain('start'))]
    user = SILENCE
    for slot in SLOTS:
        if slot not in named:
            turns.append(Turn(user, plain(ASKS[slot])))
            user = rng.choice(ANSWERS[slot]).format(wished[slot])
    return [*turns, Turn(user, plain('search'))]


def changes(query: Query, changed: list[str], rng: random.Random) -> list[Turn]:
    wished = dict(zip(SLOTS, query, strict=True))
    said = [f'{rng.choice(CHANGES)} {rng.choice(PHRASES[slot]).format(wished[slot])}' for slot in changed]
    return [*(Turn(wish, plain('update')) for wish in said), Turn('no', plain('search'))]


def api_call(query: Query) -> str:
    return ' '.join([API_CALL, *query])


def tell(names: list[str], knowledge: Knowledge, turns: list[Turn]) -> list[Turn]:
    """The turns with the facts before them. Which, and in what order, is drawn later: the first variant stands in."""
    facts = [line for name in names for line in write_facts(name, knowledge.facts[variants(name)[0]])]
    return [replace(turns[0], text='\n'.join([*facts, turns[0].text])), *turns[1:]]


def ask(base: str, rng: random.Random) -> list[Turn]:
    """Questions for phone number and address: one or both, in either order."""
    wishes = rng.choice((('phone',), ('address',), ('phone', 'address'), ('address', 'phone')))
    return [Turn(rng.choice(PLAIN_QUESTIONS[wish]), plain('inform', f'{base}_{wish}')) for wish in wishes]
