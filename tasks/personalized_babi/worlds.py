"""`parlai interactive` and `parlai self_chat` with `-t persona:personalized_babi`.

At the keyboard a person books a table. The world plays the parts of the dialogues that no person would: it says
`<SILENCE>` where users of the training data never say anything, and looks restaurants up where the bot calls for them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from parlai.core.message import Message

from parlai_persona.chat.worlds import PersonaInteractiveWorld
from parlai_persona.chat.worlds import PersonaSelfChatWorld as SelfChatWorld
from parlai_persona.data.dialogue import DataError, Dialogue, NoSplit
from parlai_persona.data.personas import WAYS, Persona
from parlai_persona.tasks.personalized_babi.build import kb_path
from parlai_persona.tasks.personalized_babi.parse import API_CALL, SILENCE, Facts, fact, kind, read_kb, write_facts

__all__ = ['InteractiveWorld', 'SelfChatWorld']

CALL = ('R_cuisine', 'R_location', 'R_number', 'R_price')  # what the words of a call are about
SHOWN = ('R_rating', 'R_type', 'R_speciality')  # what a person is told of each restaurant
ON_ITS_OWN = 10  # messages in a row that the world may send without the person
HELP = f"""\
  /persona            show your profile
  /persona WHICH      give yourself another and start anew
  /list [WORDS]       profiles of the data with these words in them
  /reset              start anew with the same profile         /help        this list
WHICH is {WAYS}.
An empty line says nothing ({SILENCE}). [DONE] ends the chat, [EXIT] leaves."""


@dataclass
class Customs:
    """How the dialogues of the data go where a person has no part in them."""

    silent: set[str] = field(default_factory=set)  # replies of the bot after which the user never speaks
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


def relations(facts: list[str]) -> list[str]:
    """What a block of facts tells of each restaurant, in its order."""
    return list(dict.fromkeys(known[1] for known in map(fact, facts) if known))


def gathered(lines: list[str]) -> Facts:
    facts: Facts = {}
    for known in filter(None, map(fact, lines)):
        facts.setdefault(known[0], {})[known[1]] = known[2]
    return facts


def table(restaurants: Facts) -> str:
    """A line for each restaurant, for a person to read."""
    rows = []
    for name, facts in restaurants.items():
        shown = [f'{relation[2:]} {facts[relation]}' for relation in SHOWN if relation in facts]
        rows.append(f'  - {name}: {", ".join(shown)}')
    return '\n'.join(rows)


class InteractiveWorld(PersonaInteractiveWorld):
    """A person books a table; the persona is their own profile, as the bot has none."""

    HELP = HELP
    EMPTY = SILENCE

    def init_contexts(self, shared=None) -> None:
        super().init_contexts(shared)
        self.customs = Customs.of(self.example_dialogues())
        self.opening: list[str] | None = None  # facts to send before the first message, once they have been shown
        self.prompted: str | None = None  # what the world sends next, on its own
        self.on_its_own = 0

    def pick_personas(self) -> str:
        typed = 'partner_persona' if self.opt.get('partner_persona') else 'persona'
        self.model, self.human = (), self.personas.pick(typed, 'random')
        return self.profile()

    def profile(self) -> str:
        return f'Your profile: {", ".join(self.human) or "none"}'

    def example_dialogues(self) -> Iterable[Dialogue]:
        """Those of the training split; a folder of one's own may have another split only."""
        for fold in ('train', 'valid', 'test'):
            try:
                return list(self.personas.teacher.dialogues(fold))
            except NoSplit:
                continue
        return []

    @cached_property
    def kb(self) -> Facts:
        return read_kb(kb_path(self.personas.teacher.opt))

    # ---------------------------------------------------------------------------------------- conversation

    def parley(self) -> None:
        super().parley()
        self.prompted = self.response_to(self.acts[1].get('text', '')) if self.turn_cnt else None

    def next_message(self) -> Message:
        if self.prompted is not None:
            self.on_its_own += 1
            return Message({'id': self.agents[0].getID(), 'text': self.prompted, 'episode_done': False})
        self.on_its_own = 0
        if self.turn_cnt == 0 and self.opening is None:
            print(self.offer() or 'Book a table.')
        act = super().next_message()
        if self.turn_cnt == 0:
            act.force_set('text', '\n'.join([*(self.opening or []), act['text']]))
            self.opening = None
        return act

    def response_to(self, reply: str) -> str | None:
        """What follows a reply without the person's doing, if anything does."""
        if self.on_its_own >= ON_ITS_OWN:
            return None
        if reply in self.customs.silent:
            return SILENCE
        return self.look_up(reply) if kind(reply) == API_CALL else None

    def look_up(self, call: str) -> str | None:
        """What the dialogues hold after a call: all that fits, in random order; the person is told, too."""
        values = call.split()[1:]
        if len(values) != len(CALL):
            print(f'{call}: expected {API_CALL} and {", ".join(r[2:] for r in CALL)}; nothing is looked up.')
            return None
        try:
            wanted = dict(zip(CALL, values, strict=True)).items()
            found = {name: facts for name, facts in self.kb.items() if wanted <= facts.items()}
        except DataError as error:
            print(f'{call}: nothing is looked up: {error}')
            return None
        if not found:
            print(f'{call}: there is no such restaurant. Ask for something else, or /reset.')
            return None
        print(f'{len(found)} restaurants fit this call:\n{table(found)}')
        if not self.customs.looks_up:
            return None  # the dialogues of this task end with the call, or go on without an answer to it
        names = self.personas.rng.sample(list(found), len(found))
        return '\n'.join([line for name in names for line in self.facts_of(name)] + [SILENCE])

    def facts_of(self, name: str) -> list[str]:
        known = self.kb[name]
        order = dict.fromkeys([*self.customs.relations, *known])  # first as in the dialogues, then what else there is
        return write_facts(name, {relation: known[relation] for relation in order if relation in known})

    def offer(self) -> str:
        """Draw what the dialogue begins with: in tasks 3 and 4 facts are there before the first word is said."""
        openings = self.customs.openings
        alike = openings.get(self.human) or [facts for each in openings.values() for facts in each]
        self.opening = self.personas.rng.choice(alike) if alike else []
        restaurants = gathered(self.opening)
        if not restaurants:
            return ''
        common = [r for r in CALL if len({facts.get(r) for facts in restaurants.values()}) == 1]
        shared = next(iter(restaurants.values()))
        terms = ', '.join(f'{relation[2:]} {shared[relation]}' for relation in common if relation in shared)
        return f'On offer ({terms}):\n{table(restaurants)}'

    # ------------------------------------------------------------------------------------------- commands

    def set_human(self, which: str) -> str:
        if which:
            self.human = self.personas.book.find(which)
        return '\n'.join([self.profile(), *([self.restart()] if which else [])])

    set_model = set_human

    def restart(self, _: str = '') -> str:
        self.prompted = None
        return f'{super().restart()}\n{self.offer()}'.rstrip()
