"""The models that all visitors share, and one visitor's conversation with one or two of them."""

import asyncio
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import parlai.utils.logging as logging
from parlai.core.agents import Agent
from parlai.core.message import Message

from parlai_persona import fields
from parlai_persona.chat.context import TaskContext
from parlai_persona.chat.conversation import (
    HELP,
    MODEL,
    PERSON,
    Conversation,
    Event,
    Note,
    Said,
    Speakers,
    conversation_class,
    weighted_sentences,
)
from parlai_persona.compat.errors import explanation, first_line
from parlai_persona.data.dialogue import DataError
from parlai_persona.data.personas import Persona
from parlai_persona.errors import UserError, printable
from parlai_persona.tasks.few_shot.conversation import PersonConversation

Result = TypeVar('Result')
Tell = Callable[[dict[str, Any]], None]  # sends an event to the page
SHOWN = 10  # candidates
FOLDERS = re.compile(r'(?<![\w:/.])/(?:[^\s/]+/)+')  # of an absolute path
# What a log and a page get of a message.
KEPT = (
    'id',
    'text',
    fields.PERSONA,
    fields.PERSONA_WEIGHTS,
    fields.PERCEPTION,
    fields.PERCEIVED,
    'text_candidates',
    'sorted_scores',
)


class Model:
    """A model that is loaded once. One thing runs on it at a time, in a worker thread."""

    def __init__(self, name: str, create: Callable[[], Agent]):
        self.name, self.create = name, create
        self.state = 'waiting'  # then loading, ready or failed
        self.error = ''
        self.started = self.seconds = 0.0
        self.lock = asyncio.Lock()
        self.agent: Agent
        self.context: TaskContext
        self.kind: type[Conversation]

    def load(self) -> None:
        """Load the model and read the data of its task. Whether this worked is in `state`."""
        self.state, self.started = 'loading', time.monotonic()
        try:
            self.agent = self.create()
            opt = self.agent.opt
            if not opt.get('task'):
                raise UserError(f'{self.name} does not say which task it was trained on; name one with -t')
            self.kind = conversation_class(opt)
            self.context = self.kind.CONTEXT(opt)
            Pane([self]).begin()  # reads the data
        except Exception as error:  # noqa: BLE001  the page shows it, and the other models go on
            self.state, self.error = 'failed', told(error)
        else:
            self.state = 'ready'
        self.seconds = time.monotonic() - self.started

    def conversation(self) -> Conversation:
        return self.kind(self.context, self.agent.clone())

    def shown(self) -> dict[str, Any]:
        waited = time.monotonic() - self.started if self.state == 'loading' else self.seconds
        return {'name': self.name, 'state': self.state, 'error': self.error, 'seconds': round(waited, 1)}

    async def run(self, work: Callable[[], Result]) -> Result:
        """Do work with the agent when it is this work's turn. The server goes on meanwhile."""
        async with self.lock:
            return await asyncio.to_thread(work)


class Pane:
    """A conversation of one visitor, and what a page shows of it: a person and an agent, or two agents."""

    def __init__(self, models: list[Model]):
        self.models = models  # one, or two that talk to each other
        self.events: list[dict[str, Any]] = []
        self.talk: Speakers
        self.heard: Tell = lambda event: None  # gets the words of a reply that is being made

    @property
    def watched(self) -> bool:
        return len(self.models) == 2

    @property
    def adapts(self) -> bool:
        """Tell whether the agent becomes a person from dialogues, and so reads no persona."""
        return isinstance(self.talk, PersonConversation)

    async def start(self) -> None:
        await self.models[0].run(self.begin)

    def begin(self) -> None:
        """Choose personas as the options say, and begin. Without data to draw from, there are none."""
        first = self.models[0]
        self.events = []
        if self.watched:
            self.talk = Speakers(first.context, [model.agent.clone() for model in self.models])
        else:
            self.talk = first.conversation()
        try:
            self.note(self.opening())
        except DataError as error:
            self.talk.restart()
            self.note([Note(f'No persona was drawn: {without_folders(str(error))}')])
        for agent in filter(None, self.talk.agents):
            if hasattr(agent, 'listener'):
                agent.listener = lambda text: self.heard({'kind': 'words', 'text': printable(text)})

    def opening(self) -> list[Event]:
        """Choose the personas; return what a page does not show elsewhere."""
        if not isinstance(self.talk, Conversation):
            context = self.talk.context
            self.talk.personas = [context.pick(name, 'random') for name in ('persona', 'partner_persona')]
            return []
        known = self.talk.start()
        elsewhere = [HELP, *map(self.talk.shown, (PERSON, MODEL))]
        return [event for event in known if event not in elsewhere]

    @property
    def conversation(self) -> Conversation:
        if not isinstance(self.talk, Conversation):
            raise UserError('here two agents talk; choose Chat or Compare to talk with one')
        return self.talk

    # ---------------------------------------------------------------------------------- what a visitor does

    async def say(self, text: str, tell: Tell) -> None:
        """Answer a message. Whatever happens, the page gets an event, and the conversation can go on."""
        await self.step(self.models[0], lambda: self.conversation.answer(text), tell)

    async def exchange(self, tell: Tell) -> None:
        """Let each agent speak once; after an error, whose turn it was goes on."""
        for speaker in range(len(self.talk.history) % 2, 2):
            if not await self.step(self.models[speaker], partial(self.speak, speaker), tell):
                return

    def speak(self, speaker: int) -> list[Event]:
        with self.talk.intact():
            return [self.talk.speak(speaker)]

    async def step(self, model: Model, work: Callable[[], list[Event]], tell: Tell) -> bool:
        """Run a step of the conversation and tell its events; return whether it worked."""
        loop = asyncio.get_running_loop()

        def heard(event: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(tell, event)

        self.heard = heard
        start = time.monotonic()
        try:
            events = self.note(await model.run(work))
        except Exception as error:  # noqa: BLE001  an agent may fail in any way, and the visitor is told
            tell({'kind': 'error', 'text': f'{model.name} did not answer: {told(error)}. You can go on.'})
            return False
        for event in events:
            tell({**event, 'seconds': round(time.monotonic() - start, 2)})
        return True

    def note(self, events: list[Event]) -> list[dict[str, Any]]:
        shown = [as_json(event) for event in events if isinstance(event, Said | Note)]
        self.events += shown
        return shown

    async def give(self, speaker: int, persona: Persona | None) -> None:
        """Give a speaker a persona, or a random one of the data, and go on."""

        def change() -> None:
            if self.adapts:
                raise UserError('this model becomes a person from dialogues and reads no persona; upload a file')
            self.talk.give(speaker, self.talk.context.book.find('random') if persona is None else persona)

        await self.models[0].run(change)

    async def reset(self) -> None:
        """Start again with the same personas."""

        def restart() -> None:
            self.events = []
            if isinstance(self.talk, Conversation):
                self.note(self.talk.begin())
            else:
                self.talk.restart()

        await self.models[0].run(restart)

    async def become(self, dialogues: Path) -> None:
        """Let the agent become the person of a file of dialogues, and start again."""

        def adapt() -> None:
            if not isinstance(self.talk, PersonConversation):
                raise UserError(f'{self.models[0].name} does not learn from dialogues; a persona:paml does')
            notes = self.talk.become(str(dialogues))
            self.events = []
            self.note(notes)

        await self.models[0].run(adapt)

    async def heat_map(self) -> dict[str, Any]:
        """Return the relevance of each message of the second speaker to each sentence of its persona."""

        def look() -> dict[str, Any]:
            judge, persona, said = self.talk.context.perception, self.talk.personas[MODEL], self.talk.said(MODEL)
            if judge is None or not persona or not said:
                raise UserError('a heat map needs --persona-receiver, a persona and an answer')
            relevance = judge.receiver.relevance(said, persona).tolist()
            scores = judge.scores(said, persona)
            model = self.models[-1].name
            return {'model': model, 'persona': persona, 'said': said, 'relevance': relevance, 'scores': scores}

        return await self.models[0].run(look)

    # ------------------------------------------------------------------------------------------- what is shown

    def shown(self) -> dict[str, Any]:
        return {
            'model': ' and '.join(dict.fromkeys(model.name for model in self.models)),
            'watched': self.watched,
            'personas': self.talk.personas,
            'events': self.events,
            'adapts': self.adapts,
            'silent': isinstance(self.talk, Conversation) and bool(self.talk.EMPTY),
            'judged': self.talk.context.opt.get('persona_receiver') is not None,
        }

    def dialogue(self) -> dict[str, Any]:
        """Return the conversation in the form of ParlAI's `Conversations`."""
        acts = [{name: said.act[name] for name in KEPT if name in said.act} for said in self.talk.history]
        return {'dialog': [acts[first : first + 2] for first in range(0, len(acts), 2)], 'context': []}


def as_json(event: Said | Note) -> dict[str, Any]:
    if isinstance(event, Note):
        return {'kind': 'note', 'text': printable(event.text)}
    act = event.act
    shown = {
        'kind': 'said',
        'speaker': event.speaker,
        'text': printable(event.text.split('\n')[-1] if act.get('id') == 'person' else event.text),
        'bars': bars(act),
    }
    scores = act.get('sorted_scores')
    if scores is not None:
        pairs = zip(act.get('text_candidates', ()), scores, strict=False)
        shown['candidates'] = [[printable(text), number(score)] for text, score in list(pairs)[:SHOWN]]
    if fields.PERCEPTION in act:
        shown['perception'] = [number(act[fields.PERCEPTION]), printable(act[fields.PERCEIVED])]
    return shown


def bars(act: Message) -> list[list[Any]]:
    """Return the sentences of the persona with their weights, as JSON."""
    return [[printable(sentence), number(weight)] for sentence, weight in weighted_sentences(act)]


def number(value: Any) -> float:
    """Return a number that JSON can have: of a model that has diverged, the largest or the smallest, or 0."""
    return float(np.nan_to_num(float(value)))


def told(error: Exception) -> str:
    """Return what a visitor is told of an error. The log has the rest."""
    text = explanation(error)
    if text is None:
        logging.error('an unexpected error', exc_info=error)
        text = f'{type(error).__name__}: {first_line(error)}'
    else:
        logging.error(text)
    return printable(without_folders(text))


def without_folders(text: str) -> str:
    """Return a text that names files of this machine without their folders. Web addresses stay as they are."""
    return FOLDERS.sub('', text)
