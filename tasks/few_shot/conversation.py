"""A conversation in which the agent becomes a third person: somebody of the task, or from a file of dialogues."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parlai.core.message import Message

from parlai_persona import fields
from parlai_persona.chat.conversation import HELP, Conversation, Event, Note, listed
from parlai_persona.data.personas import DIGITS, PersonaError, has_words, numbered
from parlai_persona.errors import UserError
from parlai_persona.files import typed_path
from parlai_persona.flags import flag
from parlai_persona.tasks.few_shot.people import Person, read_file

WAYS = 'a number of the task, or a file of dialogues (*.txt)'


@dataclass(frozen=True)
class PersonOptions:
    person: str | None = flag(None, f'the person that the model becomes: {WAYS}; default: nobody')


class PersonConversation(Conversation):
    """A conversation that begins with a Message with dialogues and nothing to answer, so that the agent adapts."""

    OPTIONS = PersonOptions
    COMMANDS = {
        'person': 'WHICH    become someone else and start again',
        'list': '[WORDS]  list people of the task who said these words',
        'reset': '         start again with the same person',
        'help': '         show this list',
    }
    ARGUMENTS = f'WHICH is {WAYS}.'

    def start(self) -> list[Event]:
        which = self.context.opt.get('person')
        if which is None:
            return [Note(f'The model has become nobody yet. /person WHICH: {WAYS}.'), HELP, *self.begin()]
        try:
            return [*self.become(which), HELP]
        except UserError as error:
            raise PersonaError(f'--person {which!r}: {error}') from None

    def observation(self, listener: int, act: Mapping[str, Any]) -> Message:
        return Message(act)  # the agent has learned who it is

    @property
    def people(self) -> list[Person]:
        return self.context.teacher.people

    def do_person(self, which: str) -> list[Event]:
        return [*self.become(which), *self.do_reset('')]

    def become(self, which: str) -> list[Event]:
        """Let the agent become a person; return what is known of that person and what the agent says of it."""
        dialogues = self.find(which.strip())
        self.restart()
        folds = [{fields.SUPPORT: list(range(len(dialogues))), fields.QUERY: []}]
        message = {'text': '', 'episode_done': True, fields.DIALOGUES: dialogues, fields.FOLDS: folds}
        self.agent.observe(Message(message))
        reply = self.agent.act()
        if fields.REPLIES not in reply:
            raise PersonaError(
                f"{self.agent.id} does not adapt to a person's dialogues; persona:paml does. Choose it with -m, or "
                'talk with a persona in words: -t persona:personachat'
            )
        known = [f'  - {one}' for one in dict.fromkeys(one for each in dialogues for one in each[fields.PERSONA])]
        if known:
            known.insert(0, 'What the data say of this person, unknown to the model:')
        return [Note('\n'.join([*known, reply['text']]))]

    def find(self, which: str) -> list[dict[str, Any]]:
        """Return the dialogues of a person."""
        if not which:
            raise PersonaError(f'/person WHICH: {WAYS}')
        if which.isascii() and which.isdecimal():
            return list(numbered(self.people, int(which[:DIGITS]), 'person').dialogues)
        return read_file(typed_path(which))

    def do_list(self, words: str) -> list[Event]:
        rows = []
        for number, person in enumerate(self.people, 1):
            said = ' '.join(turn['labels'][0] for one in person.dialogues for turn in one[fields.MESSAGES])
            if has_words(said, words):
                rows.append(f'{number:6}  {len(person.dialogues)} dialogues: {said[:80]}...')
        return listed(rows, f'Nobody has said {words!r}.')
