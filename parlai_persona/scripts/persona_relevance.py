"""`parlai persona_perception`: shows which sentences of a persona a receiver perceives in which utterances.

Every `parlai` command imports this module, so it imports the rest only when it runs. The module is not called like the
command, because `persona_plugin` has to come before it in the alphabet.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parlai.core.params import ParlaiParser
from parlai.core.script import ParlaiScript, register_script

from parlai_persona.errors import UserError
from parlai_persona.flags import add_flags, flag, from_opt

if TYPE_CHECKING:
    from parlai_persona.data.dialogue import Dialogue


@dataclass(frozen=True)
class Shown:
    dialogue: str = flag('1', 'dialogue to show: its number in the split or file, from 1, or its id')
    conversation: Path | None = flag(
        None, 'text file with dialogues to take instead of a task; docs/own_data.md shows its form', metavar='FILE'
    )
    side: str = flag(
        'self',
        'speaker to show: the one who replies in the data (self), or the partner (other)',
        choices=('self', 'other'),
    )
    png: Path | None = flag(None, 'also draw it into this file', metavar='FILE')


@register_script('persona_perception')
class PersonaPerception(ParlaiScript):
    """Show how relevant each utterance of a dialogue is to each sentence of its speaker's persona."""

    @classmethod
    def setup_args(cls) -> ParlaiParser:
        parser = ParlaiParser(True, True, 'Show what a receiver perceives of a persona in a dialogue')
        add_flags(parser.add_argument_group('Perception'), '', Shown)
        parser.set_defaults(datatype='valid')
        return parser

    def run(self) -> str:
        """Print the heat map, write the picture; return what was printed."""
        from parlai_persona.errors import printable
        from parlai_persona.metrics.heat_map import HeatMap
        from parlai_persona.metrics.perception import from_options

        shown = from_opt(Shown, self.opt, '')
        if not self.opt.get('model_file'):
            raise UserError('-mf MODEL is missing: the model file of a persona:p2bot/receiver')
        teacher = None if shown.conversation else self.teacher()
        dialogue = self.find(shown, teacher)
        utterances, persona = side_of(dialogue, shown.side)
        opt = {**self.opt, 'persona_receiver': self.opt['model_file']}
        judge = from_options(opt, teacher.personas if teacher else tuple)
        assert judge is not None
        heat_map = HeatMap.of(judge.receiver, utterances, persona)
        encoding = sys.stdout.encoding or 'ascii'
        lines = [f'Persona in dialogue {dialogue.id}:', heat_map.text(encoding)]
        if teacher:
            partners = dialogue.partner_persona if shown.side == 'self' else dialogue.persona
            choices = judge.choices(persona, partners, dialogue.id)
            lines.append(f'\nThe receiver ranks this persona {judge.rank(utterances, choices)} of {len(choices)}.')
        said = printable('\n'.join(lines)).encode(encoding, 'replace').decode(encoding)
        print(said)
        if shown.png:
            heat_map.draw(shown.png)
            print(f'Wrote {shown.png}')
        return said

    def teacher(self) -> Any:
        """Return the task's teacher, which has read nothing yet."""
        from parlai_persona.chat.context import TaskContext
        from parlai_persona.data.teacher import PersonaTeacher

        task = self.opt.get('task')
        if not task:
            raise UserError('nothing to show: name a task with -t, or a file of dialogues with --conversation')
        teacher = TaskContext(self.opt).teacher
        if not isinstance(teacher, PersonaTeacher):
            raise UserError(f'-t {task} has no dialogues of its own: name a task such as persona:personachat')
        return teacher

    def find(self, shown: Shown, teacher: Any) -> 'Dialogue':
        """Return the dialogue that was asked for."""
        from parlai.utils.data import DatatypeHelper

        from parlai_persona.data.dialogue_file import read_dialogues
        from parlai_persona.data.personas import numbered

        if shown.conversation:
            dialogues = read_dialogues(shown.conversation)
        else:
            dialogues = list(teacher.dialogues(DatatypeHelper.fold(self.opt['datatype'])))
        if shown.dialogue.isascii() and shown.dialogue.isdecimal():
            return numbered(dialogues, int(shown.dialogue[:18]), 'dialogue')
        found = next((dialogue for dialogue in dialogues if dialogue.id == shown.dialogue), None)
        if found is None:
            example = dialogues[0].id if dialogues else ''
            raise UserError(f'--dialogue {shown.dialogue}: saw no such id, expected one like {example}, or a number')
        return found


def side_of(dialogue: 'Dialogue', side: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what one of the speakers says, and their persona."""
    from parlai_persona.fields import SILENCE

    replies = side == 'self'
    texts = (turn.reply if replies else turn.text for turn in dialogue.turns)
    said = tuple(text for text in texts if text != SILENCE)
    persona = dialogue.persona if replies else dialogue.partner_persona
    if not persona or not said:
        missing = 'message' if persona else 'persona'
        raise UserError(f'dialogue {dialogue.id}: saw no {missing} of this speaker (--side {side}); choose another one')
    return said, persona
