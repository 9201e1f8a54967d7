"""Conversations in which the speakers have personas: with a person at the keyboard, and of a model with itself.

The worlds send a model what `PersonaTeacher` sends it: the persona lines before the first message, and both
personas in fields of their own. So any agent that can be trained on a persona task can be talked to.
"""

import copy
import random
from collections.abc import Callable, Iterable
from typing import Any

from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.teachers import create_task_agent_from_taskname
from parlai.core.worlds import validate
from parlai.tasks.interactive.worlds import InteractiveWorld
from parlai.tasks.self_chat.worlds import SelfChatWorld, load_openers_from_file
from parlai.utils.data import DatatypeHelper

from parlai_persona import fields
from parlai_persona.data.dialogue import Dialogue
from parlai_persona.data.personas import WAYS, NoPersonas, Persona, PersonaBook, PersonaError
from parlai_persona.data.teacher import PersonaTeacher

HELP = f"""\
  /persona            show the model's persona            /me          show yours
  /persona WHICH      give it another and start anew      /me WHICH    give yourself one
  /list [WORDS]       personas of the data with these words in them
  /reset              start anew with the same personas   /help        this list
WHICH is {WAYS}.
[DONE] ends the chat, [EXIT] leaves."""
LISTED = 10
MODELS, YOURS = "The model's", 'Your'


def add_persona_args(parser: ParlaiParser) -> None:
    group = parser.add_argument_group('Personas in conversation')
    group.add_argument('--persona', default='random', help=f"the model's persona: {WAYS}")
    group.add_argument(
        '--partner-persona',
        default=None,
        help="its partner's persona, likewise; default: random where --persona-side or a self-chat needs one",
    )
    group.add_argument(
        '--persona-seed', type=int, default=None, help='seed of the random personas; default: others each time'
    )


def task_teacher(opt: Opt) -> Any:
    """The teacher of the task that `opt` names, with the options in its name; it reads nothing before it is asked."""
    fold = DatatypeHelper.fold(opt['datatype'])
    plain = copy.deepcopy(opt)
    plain.update(datatype=f'{fold}:stream' if fold != 'train' else 'train:evalmode:stream', interactive_task=False)
    return create_task_agent_from_taskname(plain)[0]


class Personas:
    """The personas of the two speakers of a conversation, and what each of them is sent at its start."""

    def __init__(self, opt: Opt):
        self.opt = opt
        self.teacher: PersonaTeacher = task_teacher(opt)
        self.side = self.teacher.opt['persona_side']
        self.rng = random.Random(opt.get('persona_seed'))
        self.book = PersonaBook(self.dialogues, self.rng)

    def dialogues(self) -> Iterable[Dialogue]:
        """The dialogues of the task and split that were asked for, one by one."""
        return self.teacher.dialogues(DatatypeHelper.fold(self.opt['datatype']))

    def pick(self, flag: str, default: str | None) -> Persona:
        asked = self.opt.get(flag) or default
        try:
            return self.book.find(asked) if asked else ()
        except PersonaError as error:
            if asked == 'random' and isinstance(error, NoPersonas):  # nobody has one in this task
                return ()
            raise SystemExit(f'--{flag.replace("_", "-")} {asked!r}: {error}') from None

    def message(self, act: Message, own: Persona, partners: Persona, turn: int) -> Message:
        """What the speaker with the persona `own` gets to see of `act`."""
        dialogue = Dialogue('conversation', (), own, partners)
        seen = Message({**act, 'text': self.teacher.text(dialogue, turn, act.get('text', ''))})
        seen.force_set(fields.PERSONA, list(own))
        seen.force_set(fields.PARTNER_PERSONA, list(partners))
        seen.force_set(fields.TURN, turn)
        return validate(seen)


def described(whose: str, persona: Persona) -> str:
    return '\n'.join([f'{whose} persona:', *(f'  - {line}' for line in persona or ['none'])])


def shortened(rows: list[str]) -> str:
    rest = [f'… and {len(rows) - LISTED} more: /list WORDS narrows them down'] if len(rows) > LISTED else []
    return '\n'.join([*rows[:LISTED], *rest])


class PersonaInteractiveWorld(InteractiveWorld):
    """`parlai interactive` with a persona that is shown, and changed by commands inside the chat."""

    HELP = HELP
    EMPTY: str | None = None  # what an empty line says; None: nothing, the person is asked again

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_persona_args(parser)
        return parser

    def init_contexts(self, shared=None) -> None:
        self.personas = Personas(self.opt)
        print(self.pick_personas(), '/help lists what you can do.\n', sep='\n')

    def pick_personas(self) -> str:
        """Whom the model and the person are; the answer is for the person."""
        self.model = self.personas.pick('persona', 'random')
        needs_partner = self.personas.side in ('other', 'both')
        self.human = self.personas.pick('partner_persona', 'random' if needs_partner else None)
        return f'{described(MODELS, self.model)}\n{described(YOURS, self.human)}'

    def parley(self) -> None:
        try:
            act = self.next_message()
        except StopIteration:
            self.reset()
            self.finalize_episode()
            self.turn_cnt = 0
            return
        self.acts[0] = act
        self.agents[1].observe(self.seen(act))
        self.acts[1] = self.agents[1].act()
        self.agents[0].observe(validate(self.acts[1]))
        self.update_counters()
        self.turn_cnt += 1
        if act.get('episode_done'):  # --single_turn
            self.finalize_episode()
            self.turn_cnt = 0

    def seen(self, act: Message) -> Message:
        """What the model gets of what the person said."""
        return self.personas.message(act, self.model, self.human, self.turn_cnt)

    def next_message(self) -> Message:
        """What the person says next, after the commands before it have been obeyed."""
        while True:
            act = copy.deepcopy(self.agents[0].act())
            text = act.get('text', '').strip()
            if self.agents[0].epoch_done():  # end of input
                raise StopIteration
            if text.startswith('/'):
                print(self.obey(*text[1:].partition(' ')[::2]))
            elif text:
                return act
            elif self.EMPTY:
                act.force_set('text', self.EMPTY)
                return act
            else:
                print('Say something, or type /help.')

    def commands(self) -> dict[str, Callable[[str], str]]:
        return {'persona': self.set_model, 'me': self.set_human, 'list': self.listed, 'reset': self.restart}

    def obey(self, command: str, argument: str) -> str:
        """Carry out a command; the answer is for the person, also where the command makes no sense."""
        commands = self.commands()
        if command == 'help':
            return self.HELP
        if command not in commands:
            return f'There is no command /{command}. What there is:\n{self.HELP}'
        try:
            return commands[command](argument.strip())
        except PersonaError as error:
            return str(error)

    def set_model(self, which: str) -> str:
        if which:
            self.model = self.personas.book.find(which)
        return described(MODELS, self.model) + (f'\n{self.restart()}' if which else '')

    def set_human(self, which: str) -> str:
        if which:
            self.human = self.personas.book.find(which)
        return described(YOURS, self.human) + (f'\n{self.restart()}' if which else '')

    def listed(self, words: str) -> str:
        found = self.personas.book.matching(words)
        rows = [f'{number:6}  {" ".join(persona)}' for number, persona in found]
        return shortened(rows) or f'No persona has {words!r} in it.'

    def restart(self, _: str = '') -> str:
        self.agents[1].reset()
        self.turn_cnt = 0
        return 'We start anew.'


class PersonaSelfChatWorld(SelfChatWorld):
    """`parlai self_chat` of two personas; each conversation draws new ones unless they are given."""

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        add_persona_args(parser)
        return parser

    def init_contexts(self, shared=None) -> None:
        self.personas = Personas(self.opt)

    def init_openers(self) -> None:
        self._openers = None
        if self.opt.get('seed_messages_from_task'):  # ParlAI's own reader does not know prefixed tasks
            self._openers = list(dict.fromkeys(d.turns[0].text for d in self.personas.dialogues()))
        elif self.opt.get('seed_messages_from_file'):
            self._openers = load_openers_from_file(self.opt['seed_messages_from_file'])

    def parley(self) -> None:
        if self.episode_done():
            self._end_episode()
        if self.turn_cnt == 0:
            self.pair = [self.personas.pick('persona', 'random'), self.personas.pick('partner_persona', 'random')]
            self.said = Message({'id': 'context', 'text': fields.SILENCE, 'episode_done': False})
            self.seed_utterances = self._get_seed_utt_acts(self.episode_cnt, self.agents)
        for speaker, agent in enumerate(self.agents):
            own, partners = self.pair[speaker], self.pair[1 - speaker]
            agent.observe(self.personas.message(self.said, own, partners, self.turn_cnt))
            self.said = self.utterance(agent)
            self.said.force_set(fields.PERSONA, list(own))  # so that the log has it
            self.acts[speaker] = self.said
        self.update_counters()
        self.turn_cnt += 1

    def utterance(self, agent) -> Message:
        """The next prescribed message, or what the agent says."""
        if not self.seed_utterances:
            return Message(agent.act())
        act = Message(self.seed_utterances.pop(0))
        if hasattr(agent, 'self_observe'):
            agent.self_observe(act)
        return act

    def display(self) -> str:
        shown = super().display()
        if self.turn_cnt == 1:
            names = (described(f"{agent.id}'s", persona) for agent, persona in zip(self.agents, self.pair, strict=True))
            shown = '\n'.join([*names, shown])
        return shown
