"""Conversations as plain objects: text goes in, events come out.

A terminal, a web page, a test or a training loop shows the events or learns from them. Nothing here prints, exits or
reads a keyboard. An agent is sent what `PersonaTeacher` sends it: the persona lines before the first message, and both
personas in fields of their own. So any agent that can be trained on a persona task can be talked to.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from parlai.core.agents import Agent
from parlai.core.loader import load_world_module
from parlai.core.message import Message

from parlai_persona import fields
from parlai_persona.chat.context import PersonaOptions, TaskContext, spoken
from parlai_persona.chat.typed import words_of
from parlai_persona.data.personas import WAYS, Persona
from parlai_persona.errors import UserError

PERSON, MODEL = 0, 1  # the two speakers of a `Conversation`; the person speaks first
LISTED = 10


@dataclass(frozen=True)
class Said:
    """A message of one of the two speakers."""

    speaker: int  # 0 or 1
    text: str
    act: Message  # the whole message, with everything that an agent returned


@dataclass(frozen=True)
class Note:
    """Something for the person to read that no speaker said, such as the answer to a command."""

    text: str


@dataclass(frozen=True)
class Ended:
    """The conversation is over. The next message begins a new one."""


Event = Said | Note | Ended
HELP = Note('/help lists the commands.')


class Speakers:
    """Two speakers with personas who take turns; one or both are agents. For two agents nothing else is needed."""

    def __init__(self, context: TaskContext, agents: Sequence[Agent | None]):
        self.context = context
        self.agents = agents  # None: somebody who types
        self.personas: list[Persona] = [(), ()]
        self.restart()

    def restart(self) -> None:
        """Go back to the first turn, with the same personas."""
        for agent in filter(None, self.agents):
            agent.reset()
        self.turn = 0  # number of messages of the second speaker so far
        self.history: list[Said] = []
        self.last = Message({'id': 'context', 'text': fields.SILENCE, 'episode_done': False})

    def replay(self, history: Sequence[Said]) -> None:
        """Let the agents hear and say this again from the first turn, with the personas of now."""
        history = list(history)
        self.restart()
        for said in history:
            agent = self.agents[said.speaker]
            if agent is not None:
                agent.observe(self.observation(said.speaker, self.last))
                made_to_say(agent, said.act)
            self.remember(said)

    @contextmanager
    def intact(self) -> Iterator[None]:
        """Leave the conversation as it was before if anything fails: an agent in the middle of a turn hears no more."""
        history, personas = list(self.history), list(self.personas)
        try:
            yield
        except BaseException:
            self.personas = personas
            self.replay(history)
            raise

    def give(self, speaker: int, persona: Persona) -> None:
        """Give a speaker another persona, with which the conversation goes on."""
        with self.intact():
            self.personas[speaker] = persona
            self.replay(self.history)

    def said(self, speaker: int) -> list[str]:
        """Return the texts of a speaker so far."""
        return [said.text for said in self.history if said.speaker == speaker and 'text' in said.act]

    def observation(self, listener: int, act: Mapping[str, Any]) -> Message:
        """Return the other speaker's message as the listener receives it."""
        return self.context.observation(act, self.personas[listener], self.personas[1 - listener], self.turn)

    def hear(self, speaker: int, act: Message) -> Said:
        """Take note of a message, so that the other speaker answers it."""
        if 'text' in act:
            self.perceive(act, self.personas[speaker])
        return self.remember(Said(speaker, act.get('text', ''), act))

    def remember(self, said: Said) -> Said:
        self.last = said.act
        self.turn += said.speaker  # a turn is a message of each
        self.history.append(said)
        return said

    def perceive(self, act: Message, persona: Persona) -> None:
        """Note in a message how well it fits the persona of its speaker, if there is a receiver to judge it."""
        judge = self.context.perception
        if judge and persona:
            act.force_set(fields.PERCEPTION, judge.scores([act['text']], persona)[0])
            act.force_set(fields.PERCEIVED, judge.nearest(act['text'], persona))

    def speak(self, speaker: int, prescribed: str | None = None, **extra: Any) -> Said:
        """Send an agent the last message with `extra` fields; return its reply, or let it say what is prescribed."""
        agent = self.agents[speaker]
        if agent is None:
            raise ValueError(f'speaker {speaker} is not an agent; pass on what they type with hear()')
        agent.observe(self.observation(speaker, {**self.last, **extra}))
        if prescribed is None:
            act = Message(agent.act())
        else:
            act = Message({'id': agent.id, 'text': prescribed, 'episode_done': False})
            made_to_say(agent, act)
        act.force_set(fields.PERSONA, list(self.personas[speaker]))  # for logs of the conversation
        return self.hear(speaker, act)


def made_to_say(agent: Agent, act: Message) -> None:
    """Let an agent remember a message as its own reply."""
    if hasattr(agent, 'self_observe'):
        agent.self_observe(act)


def weighted_sentences(act: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Return each sentence of the persona with its weight, if the agent says how much its reply draws on it."""
    return [*zip(act.get(fields.PERSONA, ()), act.get(fields.PERSONA_WEIGHTS, ()), strict=False)]


class Conversation(Speakers):
    """A person talks with an agent. Call `start` first, then `say` for each line that the person types.

    Many conversations can share one model and one context: give each its own `agent.clone()`. Only one of them may
    run at a time.
    """

    CONTEXT: ClassVar[type[TaskContext]] = TaskContext
    OPTIONS: ClassVar[type] = PersonaOptions
    EMPTY = ''  # what an empty line says; '' asks the person again
    COMMANDS = {  # method `do_<name>` -> what /help says of it
        'persona': "[WHICH]  show the model's persona, or give it another one and start again",
        'me': '[WHICH]  show your persona, or give yourself another one and start again',
        'list': '[WORDS]  list personas of the data with these words in them',
        'reset': '         start again with the same personas',
        'help': '         show this list',
    }
    ARGUMENTS = f'WHICH is {WAYS}.'

    def __init__(self, context: TaskContext, agent: Agent):
        self.agent = agent
        self.footer = ''  # one more line of /help, about the screen that shows the conversation
        super().__init__(context, (None, agent))

    def start(self) -> list[Event]:
        """Choose the personas that the options ask for, and tell the person. Raise `PersonaError` if there are none."""
        needs_partner = self.context.teacher.opt['persona_side'] in ('other', 'both')
        self.personas[MODEL] = self.context.pick('persona', 'random')
        self.personas[PERSON] = self.context.pick('partner_persona', 'random' if needs_partner else None)
        return [self.shown(MODEL), self.shown(PERSON), HELP, *self.begin()]

    def begin(self) -> list[Event]:
        """Go back to the first turn; return what the person should know before speaking."""
        self.restart()
        return []

    def say(self, text: str, **extra: Any) -> list[Event]:
        """Answer what the person typed, a command or a message. `extra` fields go to the agent with a message.

        If the agent fails, the error is raised, and the conversation is where it was before.
        """
        command = text.strip()
        if not command.startswith('/'):
            return self.answer(text, **extra)
        with self.intact():
            return self.obey(*command[1:].partition(' ')[::2])

    def answer(self, text: str, **extra: Any) -> list[Event]:
        """Answer a message, whatever it begins with."""
        text = words_of(text)
        if not text and not self.EMPTY:
            return [Note('Say something, or type /help.')]
        with self.intact():
            return self.converse(text or self.EMPTY, extra)

    def converse(self, text: str, extra: Mapping[str, Any]) -> list[Event]:
        """Send a message to the agent. The conversation ends with it if `extra` has `episode_done`."""
        said = self.exchange(text, extra)
        return [*said, Ended(), *self.begin()] if extra.get('episode_done') else [*said]

    def exchange(self, text: str, extra: Mapping[str, Any]) -> list[Said]:
        """Send a message of the person to the agent; return both messages."""
        message = Message({'id': 'person', 'episode_done': False, **extra, 'text': text})
        return [self.hear(PERSON, message), self.speak(MODEL)]

    # ------------------------------------------------------------------------------------------- commands

    def obey(self, name: str, argument: str) -> list[Event]:
        """Carry out a command. The answer to an unknown or wrong command says what is wrong."""
        if name not in self.COMMANDS:
            return [Note(f'Unknown command /{name}. Commands:'), *self.do_help('')]
        try:
            return getattr(self, f'do_{name}')(argument.strip())
        except UserError as error:
            return [Note(str(error))]

    def do_help(self, _: str) -> list[Event]:
        rows = [f'  /{name:8} {help}' for name, help in self.COMMANDS.items()]
        return [Note('\n'.join(filter(None, [*rows, self.ARGUMENTS, self.footer])))]

    def do_persona(self, which: str, speaker: int = MODEL) -> list[Event]:
        if not which:
            return [self.shown(speaker)]
        self.personas[speaker] = self.context.book.find(which)
        return [self.shown(speaker), *self.do_reset('')]

    def do_me(self, which: str) -> list[Event]:
        return self.do_persona(which, PERSON)

    def do_list(self, words: str) -> list[Event]:
        found = self.context.book.matching(words)
        rows = [f'{number:6}  {" ".join(persona)}' for number, persona in found]
        return listed(rows, f'No persona has {words!r} in it.')

    def do_reset(self, _: str) -> list[Event]:
        return [Note('Started again.'), *self.begin()]

    def shown(self, speaker: int) -> Note:
        return Note(described(('Your', "The model's")[speaker], self.personas[speaker]))


def described(owner: str, persona: Persona) -> str:
    return '\n'.join([f'{owner} persona:', *(f'  - {line}' for line in persona or ['none'])])


def listed(rows: list[str], none: str) -> list[Event]:
    """Return the first rows of a list as a note, or the text `none` if it is empty."""
    more = [f'… and {len(rows) - LISTED} more. Narrow them down with /list WORDS.'] if len(rows) > LISTED else []
    return [Note('\n'.join([*rows[:LISTED], *more]) or none)]


def conversation_class(opt: Mapping[str, Any]) -> type[Conversation]:
    """Return the kind of conversation that people hold in the task, such as `persona:few_shot`."""
    world = load_world_module(spoken(opt)['task'], interactive_task=True, num_agents=2)
    return getattr(world, 'CONVERSATION', Conversation)
