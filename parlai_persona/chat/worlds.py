"""`parlai interactive` and `parlai self_chat`: shells that print the events of a conversation."""

from collections import deque
from collections.abc import Iterator
from typing import Any

from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.worlds import validate
from parlai.tasks.interactive.worlds import InteractiveWorld
from parlai.tasks.self_chat.worlds import SelfChatWorld, load_openers_from_file

from parlai_persona import fields
from parlai_persona.chat.context import PersonaOptions, TaskContext
from parlai_persona.chat.conversation import Conversation, Event, Note, Said, Speakers, described, weighted_sentences
from parlai_persona.errors import printable
from parlai_persona.flags import add_flags

BAR = 10  # columns
LEAVING = '[DONE] starts a new chat; [EXIT], Ctrl-D or Ctrl-C leaves.'


class PersonaInteractiveWorld(InteractiveWorld):
    """`parlai interactive` that shows personas and has commands to change them."""

    CONVERSATION = Conversation

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('Conversation'), '', cls.CONVERSATION.OPTIONS)
        return parser

    def init_contexts(self, shared=None) -> None:
        self.interrupted = False
        self.agents[0].as_typed = True  # the conversation reads commands before it makes words of a text
        self.events: deque[Any] = deque()  # what has not been shown yet
        self.conversation = self.CONVERSATION(self.CONVERSATION.CONTEXT(self.opt), self.agents[1])
        self.conversation.footer = LEAVING
        try:
            self.show(self.conversation.start())
            print()
        except KeyboardInterrupt:
            raise SystemExit(0) from None

    def parley(self) -> None:
        """Show the next reply. When all have been shown, ask the person for another message."""
        try:
            while not self.events:
                self.show(self.conversation.say(**self.typed()))
        except (StopIteration, EOFError, KeyboardInterrupt) as stop:
            self.interrupted = isinstance(stop, KeyboardInterrupt)
            if not isinstance(stop, StopIteration):
                print()  # the cursor stands behind the prompt
            self.reset()
            self.finalize_episode()
            if not self.epoch_done():
                self.show(self.conversation.begin())
            return
        self.acts = [self.events.popleft().act, self.events.popleft().act]
        self.agents[0].observe(validate(with_reasons(self.acts[1])))
        self.update_counters()
        self.show()

    def typed(self) -> dict:
        """Return the person's next message. StopIteration means the end of the chat, EOFError that of the input."""
        act = dict(self.agents[0].act())
        if self.agents[0].epoch_done():
            raise EOFError
        return act

    def show(self, events: list[Event] | None = None) -> None:
        """Print everything up to the next message. Messages come in pairs, and ParlAI shows them one pair a parley."""
        self.events.extend(events or ())
        while self.events and not isinstance(self.events[0], Said):
            event = self.events.popleft()
            if isinstance(event, Note):
                print(printable(event.text))
            else:  # --single_turn
                self.finalize_episode()

    def epoch_done(self) -> bool:
        return self.interrupted or super().epoch_done()


class PersonaSelfChatWorld(SelfChatWorld):
    """`parlai self_chat` of two personas; each conversation draws new ones unless they are given."""

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        add_flags(parser.add_argument_group('Conversation'), '', PersonaOptions)
        return parser

    def init_contexts(self, shared=None) -> None:
        self.speakers = Speakers(TaskContext(self.opt), self.agents)

    def init_openers(self) -> None:
        self._openers = None
        if self.opt.get('seed_messages_from_task'):  # ParlAI's own reader does not know prefixed tasks
            self._openers = list(dict.fromkeys(d.turns[0].text for d in self.speakers.context.dialogues()))
        elif self.opt.get('seed_messages_from_file'):
            self._openers = load_openers_from_file(self.opt['seed_messages_from_file'])

    def parley(self) -> None:
        if self.episode_done():
            self._end_episode()
        if self.turn_cnt == 0:
            self.begin()
        try:
            self.acts = [self.speak(0), self.speak(1)]
        except KeyboardInterrupt:
            print('\nStopped. Nothing was saved: a log is written after the last conversation.')
            raise SystemExit(0) from None
        self.update_counters()
        self.turn_cnt += 1
        if self.episode_done():
            self.rank()

    def begin(self) -> None:
        context, judge = self.speakers.context, self.speakers.context.perception
        self.speakers.personas = [context.pick('persona', 'random'), context.pick('partner_persona', 'random')]
        self.speakers.restart()
        sides = (self.speakers.personas, self.speakers.personas[::-1])
        self.choices = [
            judge.choices(own, partners, ' '.join(own)) if judge and own else []
            for own, partners in zip(*sides, strict=True)
        ]
        self.prescribed = self.get_openers(self.episode_cnt) or []

    def speak(self, speaker: int):
        return self.speakers.speak(speaker, self.prescribed.pop(0) if self.prescribed else None).act

    def rank(self) -> None:
        """Note in the last messages which place each speaker's persona has among others, if a receiver judges that."""
        judge = self.speakers.context.perception
        for speaker, (act, choices) in enumerate(zip(self.acts, self.choices, strict=True)):
            said = self.speakers.said(speaker)
            if judge and choices and said:
                act.force_set(fields.PERCEPTION_RANK, judge.rank(said, choices))

    def display(self) -> str:
        acts = self.acts
        self.acts = [with_reasons(act) for act in acts]
        shown = super().display()
        self.acts = acts
        for act, choices in zip(acts, self.choices, strict=True):
            rank = act.get(fields.PERCEPTION_RANK)
            if rank:
                shown += f"\nFrom this conversation, the receiver ranks {act['id']}'s persona {rank} of {len(choices)}."
        if self.turn_cnt == 1:
            pairs = zip(self.agents, self.speakers.personas, strict=True)
            personas = [printable(described(f"{agent.id}'s", persona)) for agent, persona in pairs]
            shown = '\n'.join([*personas, shown])
        return shown


def with_reasons(act: Message) -> Message:
    """Return the message with lines below it: what the agent's reply draws on, and how a receiver perceives it."""
    lines = [*weight_lines(act), *perception_lines(act)]
    return Message({**act, 'text': '\n'.join([act['text'], *lines])}) if lines else act


def weight_lines(act: Message) -> Iterator[str]:
    """Yield a bar for each sentence of the persona, if the agent says how much its reply draws on each."""
    for sentence, weight in weighted_sentences(act):
        yield f'      {"#" * round(BAR * weight):{BAR}} {weight:.2f} | {printable(sentence)}'


def perception_lines(act: Message) -> Iterator[str]:
    if fields.PERCEPTION in act:
        yield f'      perception {act[fields.PERCEPTION]:.2f} | {printable(act[fields.PERCEIVED])}'
