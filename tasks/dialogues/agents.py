"""`-t persona:dialogues`: in training a Message is a whole dialogue of another task; in evaluation it is a turn."""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass

from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.teachers import FixedDialogTeacher
from parlai.utils.data import DatatypeHelper

from parlai_persona import fields
from parlai_persona.data.dialogue import NoSplit
from parlai_persona.data.epochs import SeededEpochs
from parlai_persona.data.other_task import add_task_flags, episodes, teacher, told, training_texts
from parlai_persona.flags import add_flags, flag, from_opt
from parlai_persona.metrics.teacher import PersonaMetrics

PREFIX = 'dialogues'


@dataclass(frozen=True)
class Dialogues:
    of: str = flag('persona:personachat', 'the task with the dialogues', metavar='TASK')


class DefaultTeacher(SeededEpochs, PersonaMetrics, FixedDialogTeacher):
    """Presents the dialogues of any ParlAI task, for an agent that learns all replies of a dialogue at once."""

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('Whole dialogues'), PREFIX, Dialogues)
        add_task_flags(parser, partial_opt, (partial_opt or {}).get('dialogues_of') or Dialogues().of)
        return parser

    def __init__(self, opt: Opt, shared=None):
        opt = copy.deepcopy(opt)
        fold = DatatypeHelper.fold(opt['datatype'])
        self.options = from_opt(Dialogues, opt, PREFIX)
        opt['datafile'] = fold
        super().__init__(opt, shared)
        self.id = 'persona:dialogues'
        self.episodes: list[list[dict]] = shared['episodes'] if shared else list(episodes(self.other_teacher(fold)))
        self.reset()

    def share(self):
        return {**super().share(), 'episodes': self.episodes}

    def other_teacher(self, fold: str) -> FixedDialogTeacher:
        return teacher({**self.opt, 'persona_metrics': False}, self.options.of, fold)

    def training_texts(self) -> Iterator[str]:
        with contextlib.suppress(NoSplit):
            yield from training_texts(self.other_teacher('train'))

    def num_episodes(self) -> int:
        return len(self.episodes)

    def num_examples(self) -> int:
        return len(self.episodes) if self.random else sum(map(len, self.episodes))

    def get(self, episode_idx: int, entry_idx: int = 0) -> Message:
        """Return a dialogue in training, else a turn of one."""
        messages = self.episodes[episode_idx]
        if not self.random:
            return messages[entry_idx].copy()
        dialogue = told(messages, episode_idx)
        replies = [reply for turn in dialogue[fields.MESSAGES] for reply in turn['labels']]
        return Message(
            {
                'text': f'dialogue {dialogue[fields.DIALOGUE_ID]}: {len(replies)} replies',
                'labels': replies,
                fields.DIALOGUES: [dialogue],
                'episode_done': True,
            }
        )
