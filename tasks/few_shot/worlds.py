"""`parlai interactive -t persona:few_shot`: someone at the keyboard, and an agent that becomes a third person."""

from functools import cached_property
from pathlib import Path

from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.tasks.interactive.worlds import InteractiveWorld as ParlaiInteractiveWorld

from parlai_persona import fields
from parlai_persona.chat.worlds import PersonaInteractiveWorld, shortened, task_teacher
from parlai_persona.data.personas import PersonaError
from parlai_persona.tasks.few_shot.people import Person, read_file

WAYS = 'a number of the task, or a file of dialogues (*.txt)'
HELP = f"""\
  /person WHICH       become someone else and start anew: {WAYS}
  /list [WORDS]       people of the task in whose dialogues these words are
  /reset              start anew with the same person         /help        this list
[DONE] ends the chat, [EXIT] leaves."""


class InteractiveWorld(PersonaInteractiveWorld):
    """At the start the agent gets a Message with dialogues and nothing to answer."""

    HELP = HELP

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        ParlaiInteractiveWorld.add_cmdline_args(parser, partial_opt)
        group = parser.add_argument_group('People in conversation')
        group.add_argument('--person', default='1', help=f'whom the model becomes: {WAYS}')
        return parser

    def init_contexts(self, shared=None) -> None:
        print('', self.pick(self.opt['person']), '/help lists what you can do.\n', sep='\n')

    @cached_property
    def people(self) -> list[Person]:
        return task_teacher(self.opt).people

    def pick(self, which: str) -> str:
        try:
            return self.become(which)
        except PersonaError as error:
            raise SystemExit(f'--person {which!r}: {error}') from None

    def become(self, which: str) -> str:
        """What the agent says of it."""
        which = which.strip()
        if which.isascii() and which.isdecimal():
            if not 1 <= int(which) <= len(self.people):
                raise PersonaError(f'there is no person {which}: they are numbered from 1 to {len(self.people)}')
            dialogues = list(self.people[int(which) - 1].dialogues)
        elif which:
            dialogues = read_file(Path(which).expanduser())
        else:
            raise PersonaError(f'/person WHICH: {WAYS}')
        sentences = dict.fromkeys(sentence for one in dialogues for sentence in one[fields.PERSONA])
        known = [f'  - {one}' for one in sentences]
        if sentences:
            known.insert(0, 'Of this person is said, unknown to the model:')
        self.agents[1].reset()
        self.agents[1].observe(
            Message(
                {
                    'text': '',
                    'episode_done': True,
                    fields.DIALOGUES: dialogues,
                    fields.FOLDS: [{fields.SUPPORT: list(range(len(dialogues))), fields.QUERY: []}],
                }
            )
        )
        reply = self.agents[1].act()
        if fields.REPLIES not in reply:
            raise SystemExit(
                f"{self.agents[1].id} does not adapt to a person's dialogues; persona:paml does. Choose it with -m, or "
                'talk with a persona in words: -t persona:personachat'
            )
        return '\n'.join([*known, reply['text']])

    def seen(self, act: Message) -> Message:
        return act

    def commands(self):
        return {'person': self.set_person, 'list': self.listed, 'reset': self.restart}

    def set_person(self, which: str) -> str:
        return f'{self.become(which)}\n{self.restart()}'

    def listed(self, words: str) -> str:
        wanted = words.lower().split()
        rows = []
        for number, person in enumerate(self.people, 1):
            said = ' '.join(turn['labels'][0] for one in person.dialogues for turn in one[fields.MESSAGES])
            if all(word in said.lower() for word in wanted):
                rows.append(f'{number:6}  {len(person.dialogues)} dialogues: {said[:80]}...')
        return shortened(rows) or f'Nobody has said {words!r}.'
