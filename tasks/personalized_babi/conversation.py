"""A conversation in which a person books a table.

It plays the parts of the dialogues that no person would: it says `<SILENCE>` where users of the training data never
say anything, and looks up restaurants when the bot calls for them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from parlai_persona.chat.context import TaskContext
from parlai_persona.chat.conversation import HELP, PERSON, Conversation, Event, Note
from parlai_persona.data.dialogue import DataError, Dialogue, NoSplit
from parlai_persona.data.personas import Persona
from parlai_persona.tasks.personalized_babi.build import kb_path
from parlai_persona.tasks.personalized_babi.parse import API_CALL, SILENCE, Facts, fact, kind, read_kb, write_facts

CALL = ('R_cuisine', 'R_location', 'R_number', 'R_price')  # what the words of a call are about
SHOWN = ('R_rating', 'R_type', 'R_speciality')  # the facts about a restaurant that a person sees
ON_ITS_OWN = 10  # messages in a row that are sent without the person


@dataclass
class Customs:
    """The habits of the dialogues in the data that need no person."""

    silent: set[str] = field(default_factory=set)  # replies of the bot that the user never answers
    looks_up: bool = False  # facts follow a call
    relations: list[str] = field(default_factory=list)  # the order of the facts about a restaurant
    openings: dict[Persona, list[list[str]]] = field(default_factory=dict)  # facts before the first message

    @classmethod
    def of(cls, dialogues: Iterable[Dialogue]) -> 'Customs':
        customs = cls()
        spoken: set[str] = set()  # replies after which the user spoke at least once
        for dialogue in dialogues:
            before = ''
            for turn in dialogue.turns:
                *facts, said = turn.text.split('\n')
                customs.relations = customs.relations or relations(facts)
                if not before:
                    customs.openings.setdefault(dialogue.partner_persona, []).append(facts)
                elif kind(before) == API_CALL:
                    customs.looks_up |= bool(facts)
                else:
                    (customs.silent if said == SILENCE else spoken).add(before)
                before = turn.reply
        customs.silent -= spoken
        return customs

    def openings_for(self, profile: Persona) -> list[list[str]]:
        """Return the facts that dialogues of this profile begin with, or those of all dialogues if it has none."""
        return self.openings.get(profile) or [facts for each in self.openings.values() for facts in each]


class BookingContext(TaskContext):
    @cached_property
    def customs(self) -> Customs:
        """Return those of the training split, or of the first split that the user's own folder has."""
        for fold in ('train', 'valid', 'test'):
            try:
                return Customs.of(self.teacher.dialogues(fold))
            except NoSplit:
                continue
        return Customs()

    @cached_property
    def kb(self) -> Facts:
        return read_kb(kb_path(self.teacher.opt))


class BookingConversation(Conversation):
    """A conversation to book a table. The persona is the person's own profile, because the bot has none."""

    CONTEXT = BookingContext
    EMPTY = SILENCE
    COMMANDS = {
        **Conversation.COMMANDS,
        'persona': '[WHICH]  show your profile, or give yourself another one and start again',
        'me': '[WHICH]  the same as /persona',
    }
    ARGUMENTS = f'{Conversation.ARGUMENTS}\nAn empty line says nothing ({SILENCE}).'
    context: BookingContext

    def start(self) -> list[Event]:
        option = 'partner_persona' if self.context.opt.get('partner_persona') else 'persona'
        self.personas[PERSON] = self.context.pick(option, 'random')
        return [self.shown(PERSON), HELP, *self.begin()]

    def begin(self) -> list[Event]:
        """Draw what the dialogue begins with: in tasks 3 and 4 facts are known before the first word is said."""
        self.restart()
        openings = self.context.customs.openings_for(self.personas[PERSON])
        self.opening = self.context.rng.choice(openings) if openings else []
        return [Note(offer(facts_by_restaurant(self.opening)))]

    def converse(self, text: str, extra: Mapping[str, Any]) -> list[Event]:
        events = super().converse('\n'.join([*self.opening, text]) if self.turn == 0 else text, extra)
        return events if extra.get('episode_done') else [*events, *self.follow_up(self.last['text'])]

    def follow_up(self, reply: str) -> list[Event]:
        """Say nothing or look restaurants up, as often as the bot's replies ask for it."""
        events: list[Event] = []
        for _ in range(ON_ITS_OWN):
            text = SILENCE if reply in self.context.customs.silent else None
            if text is None and kind(reply) == API_CALL:
                text, told = self.look_up(reply)
                events.append(Note(told))
            if text is None:
                break
            events += self.exchange(text, {})
            reply = self.last['text']
        return events

    def look_up(self, call: str) -> tuple[str | None, str]:
        """Return the text for the bot after a call, if there is one, and the text for the person.

        As in the dialogues the bot is sent all restaurants that fit, in random order.
        """
        values = call.split()[1:]
        if len(values) != len(CALL):
            terms = ', '.join(relation[2:] for relation in CALL)
            return None, f'{call}: expected {API_CALL} and {terms}; nothing is looked up.'
        try:
            wanted = dict(zip(CALL, values, strict=True)).items()
            found = {name: facts for name, facts in self.context.kb.items() if wanted <= facts.items()}
        except DataError as error:
            return None, f'{call}: nothing is looked up: {error}'
        if not found:
            return None, f'{call}: there is no such restaurant. Ask for something else, or /reset.'
        told = f'{len(found)} restaurants fit this call:\n{table(found)}'
        if not self.context.customs.looks_up:
            return None, told  # the dialogues of this task end with the call, or go on without an answer to it
        names = self.context.rng.sample(list(found), len(found))
        return '\n'.join([line for name in names for line in self.facts_of(name)] + [SILENCE]), told

    def facts_of(self, name: str) -> list[str]:
        known = self.context.kb[name]
        order = dict.fromkeys([*self.context.customs.relations, *known])  # as in the dialogues, then any others
        return write_facts(name, {relation: known[relation] for relation in order if relation in known})

    def do_persona(self, which: str, speaker: int = PERSON) -> list[Event]:
        return super().do_persona(which, speaker)

    def shown(self, speaker: int) -> Note:
        return Note(f'Your profile: {", ".join(self.personas[speaker]) or "none"}')


def offer(restaurants: Facts) -> str:
    if not restaurants:
        return 'Book a table.'
    first = next(iter(restaurants.values()))
    common = [r for r in CALL if r in first and len({facts.get(r) for facts in restaurants.values()}) == 1]
    return f'On offer ({", ".join(f"{r[2:]} {first[r]}" for r in common)}):\n{table(restaurants)}'


def table(restaurants: Facts) -> str:
    """Return a line for each restaurant, for a person to read."""
    rows = []
    for name, facts in restaurants.items():
        shown = [f'{relation[2:]} {facts[relation]}' for relation in SHOWN if relation in facts]
        rows.append(f'  - {name}: {", ".join(shown)}')
    return '\n'.join(rows)


def relations(facts: list[str]) -> list[str]:
    """Return what a block of facts tells of each restaurant, in its order."""
    return list(dict.fromkeys(known[1] for known in map(fact, facts) if known))


def facts_by_restaurant(lines: list[str]) -> Facts:
    facts: Facts = {}
    for name, relation, value in filter(None, map(fact, lines)):
        facts.setdefault(name, {})[relation] = value
    return facts
