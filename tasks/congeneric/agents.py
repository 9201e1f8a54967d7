"""`-t persona:congeneric`: contexts with their specific words, similar contexts, and the sentence of a reply."""

import copy
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.teachers import FixedDialogTeacher
from parlai.utils.data import DatatypeHelper
from parlai.utils.distributed import get_rank, num_workers

from parlai_persona import fields
from parlai_persona.data.dialogue import DataError, NoSplit
from parlai_persona.data.epochs import SeededEpochs
from parlai_persona.data.other_task import OtherTaskTeacher
from parlai_persona.data.specific_words import SpecificOptions, masked
from parlai_persona.flags import add_flags, flag, from_opt
from parlai_persona.metrics.teacher import PersonaMetrics
from parlai_persona.tasks.congeneric.build import PREFIX, Congeneric, open_split
from parlai_persona.tasks.congeneric.examples import CONTEXT, EPISODE
from parlai_persona.tasks.congeneric.parse import Released, read_released
from parlai_persona.tasks.congeneric.prepare import PreparedSplit


class OwnShare:
    """Mixin: in an evaluation the workers divide the examples one by one; in training `SeededEpochs` does."""

    random: bool

    def own_number(self, episode_idx: int) -> int:
        return episode_idx if self.random else episode_idx * num_workers() + get_rank()

    def own_count(self, count: int) -> int:
        return count if self.random else len(range(get_rank(), count, num_workers()))


class DefaultTeacher(OwnShare, OtherTaskTeacher):
    """Presents each turn of the other task as an episode of its own, in the other task's order."""

    PREFIX, OPTIONS = PREFIX, Congeneric

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group(SpecificOptions.__doc__), PREFIX, SpecificOptions)
        return parser

    def __init__(self, opt: Opt, shared=None):
        super().__init__(opt, shared)
        self.training_split: PreparedSplit = shared['training_split'] if shared else open_split(self.opt, 'train')
        self.split: PreparedSplit = shared['split'] if shared else self.asked_split()
        self.reset()

    def share(self):
        return {**super().share(), 'training_split': self.training_split, 'split': self.split}

    def asked_split(self) -> PreparedSplit:
        return self.training_split if self.fold == 'train' else open_split(self.opt, self.fold, self.training_split)

    def num_episodes(self) -> int:
        return self.own_count(len(self.split))

    num_examples = num_episodes

    def get(self, episode_idx: int, entry_idx: int = 0) -> Message:
        number = self.own_number(episode_idx)
        example, specific = self.split.example(number), json.loads(self.split.specific[number])
        contexts = [masked(example.pop(CONTEXT), specific)]
        similar = (place for place in self.split.neighbours[number][: self.options.k - 1] if place >= 0)
        contexts += [json.loads(self.training_split.masked[place]) for place in similar]
        del example[EPISODE]
        return Message(
            {
                **example,
                fields.SPECIFIC_WORDS: specific,
                fields.CONGENERIC: contexts,
                fields.PERSONA_LABEL: int(self.split.labels[number]),
                'episode_done': True,
            }
        )


@dataclass(frozen=True)
class ReleasedFiles:
    """Released files of PEDNet"""

    folder: Path | None = flag(None, 'where demo.dev1, demo.dev2 and so on are (default: pednet below the datapath)')


class ReleasedTeacher(OwnShare, SeededEpochs, PersonaMetrics, FixedDialogTeacher):
    """`-t persona:congeneric:released`: the authors' processed files as they are; they have K = 1."""

    PREFIX = 'released'
    NAMES = {'train': 'train', 'valid': 'dev', 'test': 'test'}

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group(ReleasedFiles.__doc__), cls.PREFIX, ReleasedFiles)
        return parser

    def __init__(self, opt: Opt, shared=None):
        opt = copy.deepcopy(opt)
        self.fold = opt['datafile'] = DatatypeHelper.fold(opt['datatype'])
        super().__init__(opt, shared)
        self.id = 'persona:congeneric:released'
        self.records: list[Released] = shared['records'] if shared else self.read(self.fold)
        self.reset()

    def share(self):
        return {**super().share(), 'records': self.records}

    def read(self, fold: str) -> list[Released]:
        folder = from_opt(ReleasedFiles, self.opt, self.PREFIX).folder or Path(self.opt['datapath']) / 'pednet'
        paths = [folder / f'demo.{self.NAMES[fold]}{number}' for number in (1, 2)]
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            raise NoSplit(
                f"{folder} has no {' and no '.join(missing)}: expected the files of the {fold} split that PEDNet's "
                'authors released; name their folder with --released-folder'
            )
        records = list(read_released(*paths))
        if not records:
            raise DataError(f'{paths[0]} and {paths[1].name} are empty; copy the files again')
        return records

    def num_episodes(self) -> int:
        return self.own_count(len(self.records))

    num_examples = num_episodes

    def get(self, episode_idx: int, entry_idx: int = 0) -> Message:
        number = self.own_number(episode_idx)
        record = self.records[number]
        shown = [f'{fields.YOUR_PERSONA}{sentence}' for sentence in record.persona]
        return Message(
            {
                'text': '\n'.join([*shown, record.context]),
                'labels': [record.reply],
                fields.PERSONA: list(record.persona),
                fields.DIALOGUE_ID: f'{self.fold}-{number}',  # the files do not tell which lines are of one dialogue
                fields.TURN: 0,
                fields.TURNS: 1,
                fields.SPECIFIC_WORDS: list(record.specific),
                fields.CONGENERIC: [record.masked],
                fields.PERSONA_LABEL: record.label,
                'episode_done': True,
            }
        )

    def personas(self) -> Iterable[Sequence[str]]:
        return (record.persona for record in self.records)

    def training_texts(self) -> Iterator[str]:
        return iter(())  # the training file was not released
