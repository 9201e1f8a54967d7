"""Checks the rules of the personalised bAbI tasks: says what is wrong with a dialogue, rule by rule.

The dialogue may be released or generated. The check shares only the tables of wordings and of facts with the
generator.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest

from parlai_persona.data.dialogue import Dialogue
from parlai_persona.tasks.personalized_babi.parse import API_CALL, SILENCE, fact, write_facts
from parlai_persona.tasks.personalized_babi.restaurants import SLOTS, Knowledge, bases, variants
from parlai_persona.tasks.personalized_babi.styles import (
    ACCEPTS,
    QUESTIONS,
    REFUSES,
    Profile,
    read_profile,
    split_reply,
)

RULES = {
    'profile': 'gender and age; in dialogues with suggestions also a diet and the speciality of a restaurant in them',
    'facts': 'twelve facts about a restaurant, in order, as in the knowledge base',
    'variants': 'both variants of each restaurant in dialogues with suggestions, else one variant of one restaurant',
    'offer': 'restaurants with the cuisine, location and price of the last wish',
    'party': 'exactly the restaurants that the knowledge base has for that wish and its number of people',
    'style': "every reply is a wording for this user's gender and age, or an api_call",
    'question': 'the bot asks for the first slot that is missing: cuisine, location, number, price',
    'call': 'the bot searches when it has all four; the api_call has the last wish',
    'order': 'suggestions go down in score and leave none out',
    'acceptance': 'a refusal is followed by a search, an acceptance by the reservation; the last is accepted',
    'information': 'phone or, for the young, social media; address and parking or, if cheap, public transport',
}


@dataclass
class State:
    """What the dialogue has said so far."""

    profile: Profile
    wishes: dict[str, str] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)
    suggested: list[str] = field(default_factory=list)
    booked: str = ''


def violations(dialogue: Dialogue, knowledge: Knowledge) -> list[str]:
    """Return what is wrong, each as `'<rule>: …'`; an empty list if the dialogue keeps all `RULES`."""
    line = ' '.join(dialogue.partner_persona)
    profile = read_profile(line)
    if profile is None:
        return [f'profile: saw {line!r}']
    state = State(profile)
    wrong: list[str] = []
    for number, turn in enumerate(dialogue.turns):
        lines = turn.text.split('\n')
        told = [line for line in lines if fact(line)]
        if told:
            wrong += check_facts(told, state, knowledge)
        user = lines[-1]
        state.wishes |= knowledge.wishes(user)
        wrong += [f'{violation} (turn {number})' for violation in check_reply(user, turn.reply, state, knowledge)]
    return [*wrong, *check_end(state, knowledge)]


def check_facts(told: list[str], state: State, knowledge: Knowledge) -> Iterator[str]:
    state.shown = list(dict.fromkeys(line.split()[0] for line in told))
    unknown = [name for name in state.shown if name not in knowledge.facts]
    if unknown:
        yield f'facts: saw {", ".join(unknown)}, not in the knowledge base'
        state.shown = [name for name in state.shown if name in knowledge.facts]
    expected = [line for name in state.shown for line in write_facts(name, knowledge.facts[name])]
    if told != expected and not unknown:
        saw, right = next(pair for pair in zip_longest(told, expected) if pair[0] != pair[1])
        yield f'facts: saw {saw!r}, expected {right!r}'


def check_reply(user: str, said: str, state: State, knowledge: Knowledge) -> Iterator[str]:
    if said.split(' ')[0] == API_CALL:
        expected = ' '.join([API_CALL, *(state.wishes.get(slot, '?') for slot in SLOTS)])
        if said != expected:
            yield f'call: saw {said!r}, expected {expected!r}'
        return
    wording, slot = split_reply(said)
    act = state.profile.wordings.get(wording)
    if act is None:
        yield f'style: saw {said!r}, which is not said to {state.profile.gender} {state.profile.age} users'
    elif act.startswith('ask '):
        missing = [slot for slot in SLOTS if slot not in state.wishes]
        if missing[:1] != [act.removeprefix('ask ')]:
            yield f'question: saw {said!r}, missing is {missing or "nothing"}'
    elif act == 'search' and len(state.wishes) < len(SLOTS):
        yield f'call: saw {said!r} without {", ".join(slot for slot in SLOTS if slot not in state.wishes)}'
    elif act in CHECKS:
        yield from CHECKS[act](user, slot, state, knowledge)


def check_suggestion(user: str, name: str, state: State, knowledge: Knowledge) -> Iterator[str]:
    if user != SILENCE or state.booked:
        yield f'acceptance: saw {name} suggested {"after the reservation" if state.booked else f"after {user!r}"}'
    ranked = knowledge.ranked(state.shown, state.profile.diet, state.profile.favourite)
    expected = ranked[len(state.suggested)] if len(state.suggested) < len(ranked) else 'no further suggestion'
    if name != expected:
        yield f'order: saw {name}, expected {expected}'
    state.suggested.append(name)


def check_refusal(user: str, slot: str, state: State, knowledge: Knowledge) -> Iterator[str]:
    if user not in REFUSES:
        yield f'acceptance: saw {user!r} taken for a refusal'
    elif len(state.suggested) >= len(state.shown):
        yield 'acceptance: saw the last suggestion refused'


def check_reservation(user: str, slot: str, state: State, knowledge: Knowledge) -> Iterator[str]:
    if state.suggested:
        state.booked = state.suggested[-1]
        if user not in ACCEPTS:
            yield f'acceptance: saw {user!r} taken for an acceptance'
    else:
        state.booked = split_reply(user)[1]
        if [state.booked] != state.shown:
            yield f'variants: saw {state.booked or "nothing"} booked, told of were {", ".join(state.shown) or "none"}'


def check_information(user: str, answer: str, state: State, knowledge: Knowledge) -> Iterator[str]:
    wish = next((wish for wish, questions in QUESTIONS.items() if user in questions), None)
    if wish is None or state.booked not in knowledge.facts:
        yield f'information: saw {answer} after {user!r}, booked is {state.booked or "nothing"}'
        return
    booked, age = state.booked, state.profile.age
    right = knowledge.contact(booked, age) if wish == 'contact' else knowledge.direction(booked)
    if answer != right:
        yield f'information: saw {answer}, expected {right}'


CHECKS = {'suggest': check_suggestion, 'another': check_refusal, 'book': check_reservation, 'inform': check_information}


def check_end(state: State, knowledge: Knowledge) -> Iterator[str]:
    """Check what only shows at the end of a dialogue."""
    profile, shown = state.profile, state.shown
    if bool(state.suggested) != bool(profile.diet):
        yield f'profile: saw {profile.line!r} with {len(state.suggested)} suggestions'
    if not state.suggested:
        if len(shown) > 1:
            yield f'variants: saw facts about {len(shown)} restaurants and no suggestion'
        return
    if not state.booked:
        yield 'acceptance: saw no reservation after the suggestions'
    if sorted(shown) != sorted(name for base in bases(shown) for name in variants(base)):
        yield f'variants: saw {", ".join(shown)}'
    if profile.favourite not in {knowledge.facts[name]['R_speciality'] for name in shown}:
        yield f'profile: saw {profile.favourite!r}, which none of the restaurants has'
    wished = tuple(state.wishes.get(slot, '?') for slot in SLOTS)
    offered = {knowledge.query(name) for name in shown}
    if any(query[slot] != wished[slot] for query in offered for slot in (0, 1, 3)):
        yield f'offer: saw {sorted(offered)}, wished was {wished}'
    elif sorted(shown) != sorted(knowledge.answers.get(wished, [])):
        yield f'party: saw {len(shown)} restaurants for {wished}, the knowledge base has others'
