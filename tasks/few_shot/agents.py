"""`-t persona:few_shot`: a Message is one person; some of their dialogues teach how to answer in the others."""

import random
from dataclasses import dataclass
from typing import Any

from parlai.core.message import Message
from parlai.core.metrics import AverageMetric
from parlai.core.opt import Opt
from parlai.core.torch_generator_agent import PPLMetric
from parlai.utils.distributed import get_rank, num_workers

from parlai_persona import fields
from parlai_persona.data.epochs import epoch_key
from parlai_persona.data.other_task import HALVES, OtherTaskTeacher
from parlai_persona.flags import flag
from parlai_persona.metrics.types import BleuMetric, ConsistencyMetric
from parlai_persona.tasks.few_shot.people import PERSONA_RULE, Person, people
from parlai_persona.tasks.few_shot.swaps import Swaps


@dataclass(frozen=True)
class FewShot:
    """Few-shot persona tasks"""

    of: str = flag('persona:personachat', 'the task with the dialogues to group by person', metavar='TASK')
    by: str = flag(
        PERSONA_RULE,
        "how to tell who replies: 'persona' joins descriptions that are nearly the same; a map of the PAML authors "
        '(.json); or a field of the messages (such as speaker of persona:reddit)',
        metavar='WHAT',
    )
    least: int = flag(2, 'leave out people with fewer dialogues', least=2)
    support: int = flag(
        1,
        'training: dialogues to adapt to (K), drawn anew in each epoch; people with fewer keep one to answer',
        least=1,
    )
    query: int = flag(1, 'training: other dialogues to answer afterwards, at most', least=1)
    swap: float = flag(
        0.0,
        "training: share of a person's rarer words that are replaced, in the same way in all of the person's dialogues "
        'and anew in each epoch; so people cannot be memorised and the support is needed',
        least=0,
        most=1,
    )
    shots: int = flag(-1, "evaluation: adapt to the first k of a person's other dialogues; -1: to all", least=-1)
    folds: int = flag(
        0, 'evaluation: dialogues to answer of each person, each after adapting to others; 0: all', least=0
    )
    half: str = flag(
        'both',
        'evaluation: all people, or every second one: choose settings on the first half (person 1, 3, …) and report '
        'the second (person 2, 4, …)',
        choices=tuple(HALVES),
    )


class DefaultTeacher(OtherTaskTeacher):
    """Presents people. Training: draws `support` and `query` dialogues of a person anew in every epoch. Evaluation:
    each dialogue of a person is answered after adapting to the person's others (sec. 3)."""

    PREFIX, OPTIONS = 'few_shot', FewShot

    def __init__(self, opt: Opt, shared=None):
        super().__init__(opt, shared)
        self.people: list[Person] = shared['people'] if shared else self.read_people()
        self.swaps = shared['swaps'] if shared else self.make_swaps()
        self.reset()

    def share(self):
        return {**super().share(), 'people': self.people, 'swaps': self.swaps}

    def read_people(self) -> list[Person]:
        """Return everyone, or in an evaluation this worker's part of the half to evaluate."""
        everyone = people(self.other_teacher(self.fold), self.options.by, self.options.least)
        return everyone if self.random else everyone[HALVES[self.options.half]][get_rank() :: num_workers()]

    def make_swaps(self) -> Swaps | None:
        if not self.random or not self.options.swap:
            return None
        return Swaps(dialogue for person in self.people for dialogue in person.dialogues)

    def other_options(self) -> dict[str, Any]:
        # the dialogues should teach who someone is
        return {**super().other_options(), 'persona_side': self.opt.get('persona_side') or 'none'}

    def num_episodes(self) -> int:
        return len(self.people)

    num_examples = num_episodes

    def get(self, episode_idx: int, entry_idx: int = 0) -> Message:
        person = self.people[episode_idx]
        dialogues, folds = self.draw(person) if self.random else self.leave_one_out(person)
        first = folds[0]
        return Message(
            {
                'text': f'person {person.id}: {len(first[fields.SUPPORT])} dialogues to learn from, {len(folds)} times '
                f'{len(first[fields.QUERY])} to answer',
                'labels': [
                    turn['labels'][0] for place in first[fields.QUERY] for turn in dialogues[place][fields.MESSAGES]
                ],
                fields.DIALOGUES: dialogues,
                fields.FOLDS: folds,
                'episode_done': True,
            }
        )

    def draw(self, person: Person) -> tuple[list[dict], list[dict]]:
        """Draw some of the person's dialogues, and say which are support and which are query."""
        rng = random.Random(f'{epoch_key(self.opt, self.epoch)}/{person.id}')
        k = min(self.options.support, len(person.dialogues) - 1)
        count = min(k + self.options.query, len(person.dialogues))
        drawn = rng.sample(person.dialogues, count)
        if self.swaps:
            drawn = self.swaps.swapped(drawn, self.options.swap, rng)
        return drawn, [{fields.SUPPORT: list(range(k)), fields.QUERY: list(range(k, count))}]

    def leave_one_out(self, person: Person) -> tuple[list[dict], list[dict]]:
        """Return the person's dialogues, and a fold for each with the others as support."""
        count = len(person.dialogues)
        shots = self.options.shots if self.options.shots >= 0 else count
        folds = [
            {fields.SUPPORT: [other for other in range(count) if other != query][:shots], fields.QUERY: [query]}
            for query in range(count)[: self.options.folds or None]
        ]
        return list(person.dialogues), folds

    # ----------------------------------------------------------------------------------------- metrics

    def observe(self, observation: Message) -> Message:
        """Measure each reply like a reply to a message of its own, and some metrics by held-out dialogue too."""
        task, answers = self.last_act, observation.get(fields.REPLIES)
        if answers is None:  # in training
            return super().observe(observation)
        self.lastY = None
        for fold, replies in zip(task[fields.FOLDS], answers, strict=True):
            dialogues = [task[fields.DIALOGUES][place] for place in fold[fields.QUERY]]
            messages = [message for dialogue in dialogues for message in turns(dialogue)]
            for message, reply in zip(messages, replies, strict=True):
                self.metrics.clear_recent()
                self.metrics.evaluate_response(reply, message['labels'])
                self.custom_evaluation(message, message['labels'], reply)
            self.measure_fold(messages, replies)
        return observation

    def measure_fold(self, messages: list[Message], replies: list[Message]) -> None:
        """Add the paper's averages, which are over the replies of a held-out dialogue first, then over dialogues."""
        losses = [reply['metrics']['loss'] for reply in replies if 'loss' in reply.get('metrics', {})]
        if losses:
            self.metrics.add('ppl_fold', PPLMetric(sum(losses[1:], losses[0]).value()))
        texts = [(message, reply['text']) for message, reply in zip(messages, replies, strict=True) if 'text' in reply]
        if texts and self.measures_persona:
            bleu: list[Any] = [BleuMetric.compute(text, message['labels'][0]) for message, text in texts]
            self.metrics.add('bleu_fold', AverageMetric(sum(bleu[1:], bleu[0]).value()))
            if self.nli:
                group = [(text, message[fields.PERSONA]) for message, text in texts]
                self.metrics.add('consistency_fold', ConsistencyMetric([group], self.nli))


def turns(dialogue: dict[str, Any]) -> list[Message]:
    """Return the turns of a dialogue as Messages that each know which dialogue they are of, and whose."""
    told = dialogue[fields.MESSAGES]
    places = (
        {fields.TURN: number, fields.TURNS: len(told), 'episode_done': number == len(told) - 1}
        for number in range(len(told))
    )
    return [Message({**turn, **dialogue, **place}) for turn, place in zip(told, places, strict=True)]
