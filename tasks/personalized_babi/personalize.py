"""Plain bAbI dialogues -> personalised ones: the user's profile decides how the bot talks, suggests and informs.

The user's wishes stay those of the plain dialogue. Drawn anew are the profile, the order of the facts, the answers to
suggestions, the questions for information, and in dialogues about one restaurant its variant.
"""

import random

from parlai_persona.data.dialogue import DataError, Dialogue, Turn
from parlai_persona.data.text_format import shorten
from parlai_persona.tasks.personalized_babi.parse import (
    API_CALL,
    SILENCE,
    fact,
    put_before,
    restaurants_told,
    with_kinds,
    write_facts,
)
from parlai_persona.tasks.personalized_babi.restaurants import SLOTS, Knowledge, variants
from parlai_persona.tasks.personalized_babi.styles import (
    ACCEPTS,
    AGES,
    DIETS,
    GENDERS,
    PLAIN_ACTS,
    QUESTIONS,
    REFUSES,
    WORDINGS,
    Profile,
    split_reply,
    styled,
)

ACCEPTANCE = 0.25  # probability that the user accepts a suggestion; they always accept the last one
NEGOTIATION = ('suggest', 'another', 'book')


def personalize(plain: Dialogue, knowledge: Knowledge, rng: random.Random) -> Dialogue:
    """Draw a profile of the user; return the dialogue with this user."""
    bases = restaurants_told(plain)
    chooses = any(turn.kind == 'option' for turn in plain.turns)
    if chooses and not bases:
        raise DataError(f'dialogue {plain.id}: saw a suggestion of a restaurant, expected facts about some before it')
    shown = show(bases, chooses, rng)
    profile = draw_profile(shown if chooses else [], knowledge, rng)
    told = [line for name in shown for line in write_facts(name, knowledge.facts[name])]
    turns: list[Turn] = []
    booked = '' if chooses or not shown else shown[0]
    for turn in plain.turns:
        lines = turn.text.split('\n')
        if any(map(fact, lines)):
            lines, told = told + [line for line in lines if not fact(line)], []
        act, slot = plain_act(turn.reply)
        if chooses and act in NEGOTIATION:
            if not booked:
                booked, suggested = negotiate(profile, shown, knowledge, rng)
                turns += [put_before(lines[:-1], suggested[0]), *suggested[1:]]
        elif act == 'inform':
            turns.append(inform(slot, profile, booked, knowledge, rng))
        else:
            if booked and not chooses:
                lines[-1] = lines[-1].replace(bases[0], booked)
            turns.append(Turn('\n'.join(lines), styled(act, profile) if act in WORDINGS else turn.reply))
    return Dialogue(plain.id, with_kinds(turns), partner_persona=(profile.line,))


def plain_act(reply: str) -> tuple[str, str]:
    """Return the act of a reply of the plain tasks, and the restaurant or property in it."""
    if reply.startswith(f'{API_CALL} ') and len(reply.split()) == 1 + len(SLOTS):
        return API_CALL, ''
    wording, slot = split_reply(reply)
    if wording not in PLAIN_ACTS:
        raise DataError(f'saw the reply {shorten(reply)!r}, expected {API_CALL} or one of {", ".join(PLAIN_ACTS)}')
    return PLAIN_ACTS[wording], slot


def show(bases: list[str], chooses: bool, rng: random.Random) -> list[str]:
    """Return the restaurants to show: both variants of each, mixed, if the user chooses; else one of each."""
    if not chooses:
        return [rng.choice(variants(base)) for base in bases]
    shown = [name for base in bases for name in variants(base)]
    rng.shuffle(shown)
    return shown


def draw_profile(offered: list[str], knowledge: Knowledge, rng: random.Random) -> Profile:
    """Draw one of the six users; if restaurants are offered, also a diet and one of their specialities."""
    gender, age = rng.choice(GENDERS), rng.choice(AGES)
    if not offered:
        return Profile(gender, age)
    specialities = sorted({knowledge.facts[name]['R_speciality'] for name in offered})
    return Profile(gender, age, rng.choice(DIETS), rng.choice(specialities))


def negotiate(profile: Profile, offered: list[str], knowledge: Knowledge, rng: random.Random) -> tuple[str, list[Turn]]:
    """Suggest from the best downwards until the user accepts; return that restaurant and the turns."""
    turns = []
    ranked = knowledge.ranked(offered, profile.diet, profile.favourite)
    for name in ranked:
        turns.append(Turn(SILENCE, styled('suggest', profile, name)))
        if name == ranked[-1] or rng.random() < ACCEPTANCE:
            break
        turns.append(Turn(rng.choice(REFUSES), styled('another', profile)))
    turns.append(Turn(rng.choice(ACCEPTS), styled('book', profile)))
    return name, turns


def inform(slot: str, profile: Profile, booked: str, knowledge: Knowledge, rng: random.Random) -> Turn:
    """Return a question for contact details or directions, where the plain tasks have phone number or address."""
    wish = 'contact' if slot.endswith('_phone') else 'direction'
    answer = knowledge.contact(booked, profile.age) if wish == 'contact' else knowledge.direction(booked)
    return Turn(rng.choice(QUESTIONS[wish]), styled('inform', profile, answer))
