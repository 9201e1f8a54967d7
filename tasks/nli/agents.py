"""`-t persona:nli`: does an utterance entail a persona sentence? The pairs come from sentences with triples."""

import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.teachers import DialogTeacher
from parlai.tasks.multinli.agents import convert_to_dialogData
from parlai.utils.data import DatatypeHelper

from parlai_persona.data.dialogue import DataError
from parlai_persona.data.other_task import add_task_flags, episodes, teacher, turn
from parlai_persona.flags import add_flags, flag, from_opt
from parlai_persona.tasks.nli.pairs import Pair, fold, letters, pairs, says_nothing
from parlai_persona.tasks.nli.parse import Fact, read_cases, read_sentences, read_utterances

FILES = {'utterance_triples.jsonl': read_utterances, 'sentence_triples.csv': read_sentences}
PREFIX = 'nli'
CHAT, NONE = 'persona:personachat', 'none'
CASES = 'eval_havenot.jsonl'
SIZES = {'train': 90_000, 'valid': 3_000, 'test': 3_000}


@dataclass(frozen=True)
class PairOptions:
    folder: Path | None = flag(
        None, f'has {" and ".join(FILES)}; default: dialogue_nli_material below the datapath', metavar='DIR'
    )
    pairs: int = flag(SIZES['train'], 'pairs of the training split')
    chat: str = flag(
        CHAT,
        'half of the neutral pairs have a reply of this task that says nothing about its speaker; none: no such pairs',
        metavar='TASK',
    )
    seed: int = flag(0, 'seed of the pairs')


class DefaultTeacher(DialogTeacher):
    """Sends Messages like those of ParlAI's `dialogue_nli`, so that a classifier can learn from either."""

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('Persona NLI'), PREFIX, PairOptions)
        chat = (partial_opt or {}).get('nli_chat') or CHAT
        if chat != NONE:
            add_task_flags(parser, partial_opt, chat)
        return parser

    def __init__(self, opt: Opt, shared=None):
        opt = copy.deepcopy(opt)
        opt['datafile'] = DatatypeHelper.fold(opt['datatype'])
        # The pairs are in memory. ParlAI would count a stream in a file of the working directory.
        opt['datatype'] = opt['datatype'].replace(':stream', '')
        super().__init__(opt, shared)
        self.id = 'persona:nli'

    @property
    def options(self) -> PairOptions:
        return from_opt(PairOptions, self.opt, PREFIX)

    @cached_property
    def folder(self) -> Path:
        return self.options.folder or Path(self.opt['datapath']).expanduser() / 'dialogue_nli_material'

    def facts(self, name: str, split: str) -> list[Fact]:
        path = self.folder / name
        if not path.is_file():
            raise DataError(
                f'{path}: no such file. persona:nli derives pairs from sentences with triples: {" and ".join(FILES)}; '
                "name their folder with --nli-folder. The official pairs are ParlAI's task dialogue_nli"
            )
        return [fact for fact in FILES[name](path) if fold(fact.text) == split and self.may_be_seen(fact.text)]

    @cached_property
    def kept_apart(self) -> set[str]:
        """Return the letters of the utterances that the evaluation cases rank; none if the file of cases is missing."""
        path = self.folder / CASES
        return {letters(text) for case in read_cases(path) for text in case.candidates()} if path.is_file() else set()

    def may_be_seen(self, text: str) -> bool:
        """Tell whether no evaluation case ranks the text."""
        return letters(text) not in self.kept_apart

    def pairs(self, split: str) -> list[Pair]:
        utterances, sentences = (self.facts(name, split) for name in FILES)
        if not sentences:
            where = self.options.folder or 'the data'
            raise DataError(f'{where}: no persona sentence is in the {split} split; expected some')
        count = self.options.pairs if split == 'train' else SIZES[split]
        chat = [text for text in self.chat if fold(text) == split]
        return list(pairs(utterances + sentences, sentences, count, self.options.seed, chat))

    @cached_property
    def chat(self) -> list[str]:
        """Return questions, greetings and the like, which the sentences with triples lack."""
        if self.options.chat == NONE:
            return []
        other = teacher(Opt({**self.opt, 'persona_candidates': 'none'}), self.options.chat, 'train')
        replies = (plain['labels'][0] for turns in episodes(other) for plain in map(turn, turns) if plain['labels'])
        return [text for text in dict.fromkeys(replies) if says_nothing(text) and self.may_be_seen(text)]

    def setup_data(self, datafile: str):
        for pair in self.pairs(datafile):
            text, labels, candidates = convert_to_dialogData(*pair, dialog_format=False, binary_classes=False)
            yield Message({'text': text, 'labels': labels, 'label_candidates': candidates}), True
