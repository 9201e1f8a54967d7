"""Checks the rules of the personalised bAbI tasks: says what is wrong with a dialogue, rule by rule.

The dialogue may be released or generated. The check shares only the tables of wordings and of facts with the
generator.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest

from parlai_persona.data.dialogue import Dialogue
from parlai_persona.tasks.personalized_babi.parse import API_CALL, SILENCE, fact, write_facts
from parlai_persona.tasks.personalized_babi.restaurants import SLOTS, Knowledge, Query, bases, variants
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


def violations(dialogue: Dialogue, knowledge: Knowledge) -> list[str]:
    """Return what is wrong, each as `'<rule>: …'`; an empty list if the dialogue keeps all `RULES`."""
    line = ' '.join(dialogue.partner_persona)
    profile = read_profile(line)
    if profile is None:
        return [f'profile: saw {line!r}']
    check = Check(profile, knowledge)
    wrong: list[str] = []
    for number, turn in enumerate(dialogue.turns):
        *before, user = turn.text.split('\n')
        told = [line for line in (*before, user) if fact(line)]
        if told:
            wrong += check.facts(told)
        check.wishes |= knowledge.wishes(user)
        wrong += [f'{violation} (turn {number})' for violation in check.reply(user, turn.reply)]
    return [*wrong, *check.end()]


@dataclass
class Check:
    """Reads a dialogue turn by turn; each method yields violations and notes what the dialogue has said so far."""

    profile: Profile
    knowledge: Knowledge
    wishes: dict[str, str] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)
    suggested: list[str] = field(default_factory=list)
    booked: str = ''

    def facts(self, told: list[str]) -> Iterator[str]:
        known = self.knowledge.facts
        self.shown = list(dict.fromkeys(line.split()[0] for line in told))
        unknown = [name for name in self.shown if name not in known]
        if unknown:
            yield f'facts: saw {", ".join(unknown)}, not in the knowledge base'
            self.shown = [name for name in self.shown if name in known]
        expected = [line for name in self.shown for line in write_facts(name, known[name])]
        if told != expected and not unknown:
            saw, right = next(pair for pair in zip_longest(told, expected) if pair[0] != pair[1])
            yield f'facts: saw {saw!r}, expected {right!r}'

    def reply(self, user: str, said: str) -> Iterator[str]:
        if said.split(' ')[0] == API_CALL:
            expected = ' '.join([API_CALL, *self.wished()])
            if said != expected:
                yield f'call: saw {said!r}, expected {expected!r}'
            return
        wording, slot = split_reply(said)
        act = self.profile.wordings.get(wording)
        missing = [slot for slot in SLOTS if slot not in self.wishes]
        if act is None:
            yield f'style: saw {said!r}, which is not said to {self.profile.gender} {self.profile.age} users'
        elif act.startswith('ask ') and missing[:1] != [act.removeprefix('ask ')]:
            yield f'question: saw {said!r}, expected a question for {missing[0] if missing else "nothing"}'
        elif act == 'search' and missing:
            yield f'call: saw {said!r} without {", ".join(missing)}'
        elif act == 'suggest':
            yield from self.suggestion(user, slot)
        elif act == 'another':
            yield from self.refusal(user)
        elif act == 'book':
            yield from self.reservation(user)
        elif act == 'inform':
            yield from self.information(user, slot)

    def suggestion(self, user: str, name: str) -> Iterator[str]:
        if user != SILENCE or self.booked:
            yield f'acceptance: saw {name} suggested {"after the reservation" if self.booked else f"after {user!r}"}'
        ranked = self.knowledge.ranked(self.shown, self.profile.diet, self.profile.favourite)
        expected = ranked[len(self.suggested)] if len(self.suggested) < len(ranked) else 'no further suggestion'
        if name != expected:
            yield f'order: saw {name}, expected {expected}'
        self.suggested.append(name)

    def refusal(self, user: str) -> Iterator[str]:
        if user not in REFUSES:
            yield f'acceptance: saw {user!r} taken for a refusal'
        elif len(self.suggested) >= len(self.shown):
            yield 'acceptance: saw the last suggestion refused'

    def reservation(self, user: str) -> Iterator[str]:
        if self.suggested:
            self.booked = self.suggested[-1]
            if user not in ACCEPTS:
                yield f'acceptance: saw {user!r} taken for an acceptance'
        else:
            self.booked = split_reply(user)[1]
            if [self.booked] != self.shown:
                shown = ', '.join(self.shown) or 'none'
                yield f'variants: saw {self.booked or "nothing"} booked, the facts are about {shown}'

    def information(self, user: str, answer: str) -> Iterator[str]:
        wish = next((wish for wish, questions in QUESTIONS.items() if user in questions), None)
        if wish is None or self.booked not in self.knowledge.facts:
            yield f'information: saw {answer} after {user!r}, with {self.booked or "nothing"} booked'
            return
        contact = wish == 'contact'
        right = (
            self.knowledge.contact(self.booked, self.profile.age) if contact else self.knowledge.direction(self.booked)
        )
        if answer != right:
            yield f'information: saw {answer}, expected {right}'

    def end(self) -> Iterator[str]:
        """Check what only shows at the end of a dialogue."""
        profile, shown = self.profile, self.shown
        if bool(self.suggested) != bool(profile.diet):
            yield f'profile: saw {profile.line!r} with {len(self.suggested)} suggestions'
        if not self.suggested:
            if len(shown) > 1:
                yield f'variants: saw facts about {len(shown)} restaurants and no suggestion'
            return
        if not self.booked:
            yield 'acceptance: saw no reservation after the suggestions'
        if sorted(shown) != sorted(name for base in bases(shown) for name in variants(base)):
            yield f'variants: saw {", ".join(shown)}'
        if profile.favourite not in {self.knowledge.facts[name]['R_speciality'] for name in shown}:
            yield f'profile: saw {profile.favourite!r}, which none of the restaurants has'
        wished = self.wished()
        offered = {self.knowledge.query(name) for name in shown}
        if any(query[slot] != wished[slot] for query in offered for slot in (0, 1, 3)):
            yield f'offer: saw {sorted(offered)}, the wish is {wished}'
        elif sorted(shown) != sorted(self.knowledge.answers.get(wished, [])):
            yield f'party: saw {len(shown)} restaurants for {wished}, the knowledge base has other ones'

    def wished(self) -> Query:
        return tuple(self.wishes.get(slot, '?') for slot in SLOTS)
