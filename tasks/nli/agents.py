"""`-t persona:nli`: does an utterance entail a persona sentence? Pairs derived from sentences with triples."""

import copy
from functools import cached_property
from pathlib import Path

from parlai.core.loader import load_teacher_module
from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.teachers import DialogTeacher
from parlai.tasks.multinli.agents import convert_to_dialogData
from parlai.utils.data import DatatypeHelper

from parlai_persona.data.dialogue import DataError
from parlai_persona.data.other_task import episodes, teacher, turn
from parlai_persona.tasks.nli.pairs import Pair, fold, pairs, says_nothing
from parlai_persona.tasks.nli.parse import Fact, read_cases, read_sentences, read_utterances

FILES = {'utterance_triples.jsonl': read_utterances, 'sentence_triples.csv': read_sentences}
CHAT, NONE = 'persona:personachat', 'none'
CASES = 'eval_havenot.jsonl'
SIZES = {'train': 90_000, 'valid': 3_000, 'test': 3_000}


class DefaultTeacher(DialogTeacher):
    """Messages look like those of ParlAI's `dialogue_nli`, so that a classifier can learn from either."""

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        group = parser.add_argument_group('Persona NLI')
        group.add_argument(
            '--nli-folder',
            default=None,
            metavar='DIR',
            help=f'has {" and ".join(FILES)}; default: dialogue_nli_material below the datapath',
        )
        group.add_argument('--nli-pairs', type=int, default=SIZES['train'], help='pairs of the training split')
        group.add_argument(
            '--nli-chat',
            default=CHAT,
            metavar='TASK',
            help='its replies that say nothing of their speaker are in half of the neutral pairs; none: without',
        )
        group.add_argument('--nli-seed', type=int, default=0, help='seed of the pairs')
        chat = (partial_opt or {}).get('nli_chat') or CHAT
        if chat != NONE:
            load_teacher_module(chat).add_cmdline_args(parser, partial_opt)
        return parser

    def __init__(self, opt: Opt, shared=None):
        opt = copy.deepcopy(opt)
        opt['datafile'] = DatatypeHelper.fold(opt['datatype'])
        # The pairs are in memory. A stream would count them in a file of the folder one happens to be in.
        opt['datatype'] = opt['datatype'].replace(':stream', '')
        super().__init__(opt, shared)
        self.id = 'persona:nli'

    @cached_property
    def folder(self) -> Path:
        return Path(self.opt.get('nli_folder') or Path(self.opt['datapath']) / 'dialogue_nli_material').expanduser()

    def facts(self, name: str, split: str) -> list[Fact]:
        path = self.folder / name
        if not path.is_file():
            raise DataError(
                f'{path}: no such file. persona:nli derives pairs from sentences with triples: {" and ".join(FILES)}; '
                "name their folder with --nli-folder. The official pairs are ParlAI's task dialogue_nli"
            )
        return [fact for fact in FILES[name](path) if fold(fact.text) == split and fact.text not in self.kept_apart]

    @cached_property
    def kept_apart(self) -> set[str]:
        """What the evaluation cases rank, where they are there."""
        path = self.folder / CASES
        return {text for case in read_cases(path) for text in case.candidates()} if path.is_file() else set()

    def pairs(self, split: str) -> list[Pair]:
        utterances, sentences = (self.facts(name, split) for name in FILES)
        count = self.opt['nli_pairs'] if split == 'train' else SIZES[split]
        chat = [text for text in self.chat if fold(text) == split]
        return list(pairs(utterances + sentences, sentences, count, self.opt['nli_seed'], chat))

    @cached_property
    def chat(self) -> list[str]:
        """Questions, greetings and the like: what the sentences with triples lack."""
        if self.opt['nli_chat'] == NONE:
            return []
        below = teacher(Opt({**self.opt, 'persona_candidates': 'none'}), self.opt['nli_chat'], 'train')
        replies = (one['labels'][0] for turns in episodes(below) for one in map(turn, turns) if one['labels'])
        return [text for text in dict.fromkeys(replies) if says_nothing(text) and text not in self.kept_apart]

    def setup_data(self, datafile: str):
        for pair in self.pairs(datafile):
            text, labels, candidates = convert_to_dialogData(*pair, dialog_format=False, binary_classes=False)
            yield Message({'text': text, 'labels': labels, 'label_candidates': candidates}), True
