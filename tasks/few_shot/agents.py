"""`-t persona:few_shot`: a Message is one person, some of whose dialogues teach how to answer in the others."""

import contextlib
import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parlai.core.loader import load_teacher_module
from parlai.core.message import Message
from parlai.core.metrics import AverageMetric
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.teachers import FixedDialogTeacher
from parlai.core.torch_generator_agent import PPLMetric
from parlai.utils.data import DatatypeHelper
from parlai.utils.distributed import get_rank, num_workers

from parlai_persona import fields
from parlai_persona.data.dialogue import NoSplit
from parlai_persona.data.epochs import SeededEpochs, epoch_key
from parlai_persona.data.other_task import episodes, teacher, turn
from parlai_persona.files import read_json
from parlai_persona.flags import add_flags, flag, from_opt
from parlai_persona.metrics.teacher import PersonaMetrics
from parlai_persona.metrics.types import BleuMetric, ConsistencyMetric
from parlai_persona.tasks.few_shot.people import PERSONA_RULE, Person, people
from parlai_persona.tasks.few_shot.swaps import Swaps

PREFIX = 'few_shot'


@dataclass(frozen=True)
class FewShot:
    of: str = flag('persona:personachat', 'the task whose dialogues are grouped by person', metavar='TASK')
    by: str = flag(
        PERSONA_RULE,
        "who replies: 'persona' joins descriptions that are nearly the same; a map of the PAML authors' "
        '(.json); or a field of the messages (persona:reddit has speaker)',
        metavar='WHAT',
    )
    least: int = flag(2, 'dialogues that a person has to have', least=2)
    support: int = flag(
        1, 'training: dialogues to adapt to (K), drawn anew in each epoch; of who has no more, all but one', least=1
    )
    query: int = flag(1, 'training: other dialogues to answer afterwards, as far as there are', least=1)
    swap: float = flag(
        0.0,
        "training: the part of a person's rarer words that is exchanged for others, the same in all of the "
        'dialogues and drawn anew in each epoch: then nobody can be known by heart, and the support has to tell',
        least=0,
        most=1,
    )
    shots: int = flag(-1, "evaluation: dialogues to adapt to, the first k of a person's others; -1: all", least=-1)
    folds: int = flag(0, 'evaluation: dialogues of a person to answer, each after adapting to others; 0: all', least=0)


class DefaultTeacher(SeededEpochs, PersonaMetrics, FixedDialogTeacher):
    """Training: `support` and `query` dialogues of a person, drawn anew in every epoch. Evaluation: each of the
    person's dialogues in turn is answered after adapting to the others (sec. 3)."""

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('Few-shot persona tasks'), PREFIX, FewShot)
        of = (partial_opt or {}).get('few_shot_of') or FewShot().of
        load_teacher_module(of).add_cmdline_args(parser, partial_opt)
        return parser

    def __init__(self, opt: Opt, shared=None):
        opt = copy.deepcopy(opt)
        self.shape = from_opt(FewShot, opt, PREFIX)
        self.fold = DatatypeHelper.fold(opt['datatype'])
        opt['datafile'] = self.fold
        super().__init__(opt, shared)
        self.id = 'persona:few_shot'
        self.people: list[Person] = shared['people'] if shared else self.read()
        self.swaps = shared['swaps'] if shared else self.vocabulary()
        self.start = shared['start'] if shared else self.gone_through()
        self.reset()

    def read(self) -> list[Person]:
        found = people(self.below(self.fold), self.shape.by, self.shape.least)
        if self.random or num_workers() == 1:
            return found
        return found[get_rank() :: num_workers()]

    def vocabulary(self) -> Swaps | None:
        if not self.random or not self.shape.swap:
            return None
        return Swaps(dialogue for person in self.people for dialogue in person.dialogues)

    def gone_through(self) -> int:
        """People that a training which is gone on with has had already, of this worker's share."""
        stats = Path(f'{self.opt.get("model_file")}.checkpoint.trainstats')
        return read_json(stats)['parleys'] * self.opt.get('batchsize', 1) if self.random and stats.is_file() else 0

    def reset(self) -> None:
        super().reset()
        self.index.value = self.start - 1

    def below(self, fold: str) -> FixedDialogTeacher:
        opt = copy.deepcopy(self.opt)
        opt['persona_metrics'] = False
        if not opt.get('persona_side'):
            opt['persona_side'] = 'none'  # who someone is, is to be learned from the dialogues
        return teacher(opt, self.shape.of, fold)

    def training_texts(self) -> Iterator[str]:
        with contextlib.suppress(NoSplit):
            below = self.below('train')
            if isinstance(below, PersonaMetrics):
                yield from below.training_texts()
                return
            for messages in episodes(below):
                for one in map(turn, messages):
                    yield from (one['text'], *one['labels'])

    def share(self):
        return {**super().share(), 'people': self.people, 'swaps': self.swaps, 'start': self.start}

    def num_episodes(self) -> int:
        return len(self.people)

    num_examples = num_episodes

    def get(self, episode_idx: int, entry_idx: int = 0) -> Message:
        person = self.people[episode_idx]
        if self.random:
            return self.message(person, *self.drawn(person))
        return self.message(person, list(person.dialogues), self.held_out(len(person.dialogues)))

    def drawn(self, person: Person) -> tuple[list[dict], list[dict]]:
        """Some dialogues, and which of them to learn from."""
        rng = random.Random(f'{epoch_key(self.opt, self.epoch)}/{person.id}')
        k = min(self.shape.support, len(person.dialogues) - 1)
        count = min(k + self.shape.query, len(person.dialogues))
        chosen = rng.sample(person.dialogues, count)
        if self.swaps:
            chosen = self.swaps.swapped(chosen, self.shape.swap, rng)
        return chosen, [{fields.SUPPORT: list(range(k)), fields.QUERY: list(range(k, count))}]

    def held_out(self, count: int) -> list[dict]:
        """Leave one out."""
        shots = self.shape.shots if self.shape.shots >= 0 else count
        answered = range(count)[: self.shape.folds or None]
        return [
            {fields.SUPPORT: [other for other in range(count) if other != one][:shots], fields.QUERY: [one]}
            for one in answered
        ]

    def message(self, person: Person, chosen: list[dict], folds: list[dict]) -> Message:
        first = folds[0]
        answers = [turn['labels'][0] for place in first[fields.QUERY] for turn in chosen[place][fields.MESSAGES]]
        return Message(
            {
                'text': f'person {person.id}: {len(first[fields.SUPPORT])} dialogues to learn from, {len(folds)} times '
                f'{len(first[fields.QUERY])} to answer',
                'labels': answers,
                fields.DIALOGUES: chosen,
                fields.FOLDS: folds,
                'episode_done': True,
            }
        )

    # ----------------------------------------------------------------------------------------- metrics

    def observe(self, observation: Message) -> Message:
        """Each reply is measured as one to a message of its own; some figures also by held-out dialogue."""
        task, answered = self.last_act, observation.get(fields.REPLIES)
        if answered is None:  # in training
            return super().observe(observation)
        self.lastY = None
        for fold, replies in zip(task[fields.FOLDS], answered, strict=True):
            dialogues = [task[fields.DIALOGUES][place] for place in fold[fields.QUERY]]
            asked = [Message({**turn, **dialogue}) for dialogue in dialogues for turn in dialogue[fields.MESSAGES]]
            for message, reply in zip(asked, replies, strict=True):
                self.metrics.clear_recent()
                self.metrics.evaluate_response(reply, message['labels'])
                self.custom_evaluation(message, message['labels'], reply)
            self.measure_fold(asked, replies)
        return observation

    def measure_fold(self, asked: list[Message], replies: list[Message]) -> None:
        """The paper's averages: first over a held-out dialogue, then over dialogues."""
        losses = [reply['metrics']['loss'] for reply in replies if 'loss' in reply.get('metrics', {})]
        if losses:
            self.metrics.add('ppl_fold', PPLMetric(sum(losses[1:], losses[0]).value()))
        said = [(message, reply['text']) for message, reply in zip(asked, replies, strict=True) if 'text' in reply]
        if said and self.measures_persona:
            bleu: list[Any] = [BleuMetric.compute(text, message['labels'][0]) for message, text in said]
            self.metrics.add('bleu_fold', AverageMetric(sum(bleu[1:], bleu[0]).value()))
            if self.nli:
                group = [(text, message[fields.PERSONA]) for message, text in said]
                self.metrics.add('consistency_fold', ConsistencyMetric([group], self.nli))
