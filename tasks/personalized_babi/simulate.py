"""New plain bAbI dialogues about the restaurants of a knowledge base, with the distributions of the released ones.

In the first request each number of slots is equally likely, then each choice of that many, then each order. The same
holds for changes of mind, questions and wordings. Here the first suggestion is accepted, because `personalize` draws
the answers to suggestions anew.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass

from parlai_persona.data.dialogue import DataError, Dialogue, Turn
from parlai_persona.tasks.personalized_babi.parse import (
    API_CALL,
    SILENCE,
    put_before,
    restaurants_told,
    with_kinds,
    write_facts,
)
from parlai_persona.tasks.personalized_babi.restaurants import (
    NUMBERS,
    OOV_LOCATIONS,
    PRICES,
    SLOTS,
    Knowledge,
    Query,
    bases,
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
FEWEST_OPTIONS = 3  # a query with suggestions returns at least this many restaurants


@dataclass(frozen=True)
class Topics:
    """The wishes and restaurants that the dialogues of a split can be about."""

    knowledge: Knowledge
    first: list[Query]  # first wishes; in the released files training has others than valid and test
    last: dict[int, list[Query]]  # task -> last wishes

    @classmethod
    def of(cls, knowledge: Knowledge, oov: bool, first: Iterable[Query] = ()) -> 'Topics':
        """Collect the wishes for the locations of test-OOV (`oov`) or the others; `first` limits the first wishes."""
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
    """Return the last wishes that are a number of changes in the range `sizes` away from a first wish."""
    low, high = sizes
    return [last for last in lasts if any(low <= sum(differences(first, last)) <= high for first in firsts)]


def differences(one: Query, other: Query) -> list[bool]:
    return [a != b for a, b in zip(one, other, strict=True)]


def first_wish(plain: Dialogue, knowledge: Knowledge) -> Query:
    """Return the first wish of the user; if they name a restaurant, the wish that this restaurant meets."""
    wishes: dict[str, str] = {}
    for turn in plain.turns:
        wishes |= knowledge.wishes(turn.text.split('\n')[-1])
        if len(wishes) == len(SLOTS):
            return tuple(wishes[slot] for slot in SLOTS)
    told = restaurants_told(plain)
    return knowledge.query(variants(told[0])[0]) if told else ()


def simulate(id: str, task: int, topics: Topics, rng: random.Random) -> Dialogue:
    """Return a new dialogue of one of the five tasks."""
    turns = [Turn(rng.choice(GREETINGS), plain('greet'))]
    query = rng.choice(topics.last[task])
    if task == 4:
        base = rng.choice(bases(topics.knowledge.answers[query]))
        turns = tell([base], topics.knowledge, turns)
        turns += [Turn(f'{rng.choice(REQUESTS)} at {base}', plain('book')), *ask(base, rng)]
        return Dialogue(id, with_kinds(turns))
    if task in CHANGED:
        first, changed = change_of_mind(query, CHANGED[task], topics, rng)
        turns += request(first, IN_REQUEST[task], rng)
        turns += [Turn(SILENCE, api_call(first)), *changes(query, changed, rng)]
    else:
        turns += request(query, IN_REQUEST[task], rng)
    if task != 3:
        turns.append(Turn(SILENCE, api_call(query)))
    if task in (3, 5):
        offered = bases(topics.knowledge.answers[query])
        choice = [Turn(SILENCE, plain('suggest', offered[0])), Turn(rng.choice(ACCEPTS), plain('book'))]
        if task == 3:
            turns = [*tell(offered, topics.knowledge, turns), *choice]
        else:
            turns += tell(offered, topics.knowledge, choice)
    if task == 5:
        turns += [
            *ask(offered[0], rng),
            Turn(rng.choice(THANKS), plain('more')),
            Turn(rng.choice(NO_MORE), plain('end')),
        ]
    if task == 2:
        turns.append(Turn(rng.choice(THANKS), plain('end')))
    return Dialogue(id, with_kinds(turns))


def change_of_mind(query: Query, sizes: tuple[int, int], topics: Topics, rng: random.Random) -> tuple[Query, list[str]]:
    """Return another query to begin with, and the slots that the user changes, in order."""
    while True:
        changed = rng.sample(SLOTS, rng.randint(*sizes))
        differs = [slot in changed for slot in SLOTS]
        others = [first for first in topics.first if differences(first, query) == differs]
        if others:
            return rng.choice(others), changed


def request(query: Query, sizes: tuple[int, int], rng: random.Random) -> list[Turn]:
    """Return the request with some of the slots, the bot's questions for the others, and the search."""
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
    """Return the turns with facts before them: those of the first variants, since `personalize` draws the variants."""
    facts = [line for name in names for line in write_facts(name, knowledge.facts[variants(name)[0]])]
    return [put_before(facts, turns[0]), *turns[1:]]


def ask(base: str, rng: random.Random) -> list[Turn]:
    """Return questions for phone number and address: one or both, in either order."""
    wishes = rng.choice((('phone',), ('address',), ('phone', 'address'), ('address', 'phone')))
    return [Turn(rng.choice(PLAIN_QUESTIONS[wish]), plain('inform', f'{base}_{wish}')) for wish in wishes]
