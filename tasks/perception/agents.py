"""`-t persona:perception`: whose utterances are these? The label is the speaker's persona; candidates are personas."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from parlai.core.message import Message
from parlai.core.metrics import AverageMetric
from parlai.core.opt import Opt
from parlai.utils.distributed import get_rank, num_workers

from parlai_persona import fields
from parlai_persona.data.candidates import OtherPersonas, example_rng, shuffled
from parlai_persona.data.dialogue import DataError
from parlai_persona.data.epochs import epoch_key
from parlai_persona.data.other_task import HALVES, OtherTaskTeacher, episodes, from_all_workers
from parlai_persona.flags import flag

Persona = tuple[str, ...]


@dataclass(frozen=True)
class Perception:
    """Persona perception"""

    of: str = flag('persona:personachat', 'the task with the dialogues', metavar='TASK')
    distractors: int = flag(31, 'evaluation: personas of others among the candidates', least=1)
    train_distractors: int = flag(1, 'training: personas of others, drawn anew in each epoch (sec. 4: 1)', least=0)
    rank: str = flag(
        'personas',
        "evaluation: the candidates are personas, or all profile sentences of the split, and the speaker's own are the "
        'labels (MRR of Table 5)',
        choices=('personas', 'sentences'),
    )
    half: str = flag(
        'both',
        'evaluation: all speakers, or every second one: choose settings on one half (speaker 1, 3, …) and report the '
        'other (speaker 2, 4, …)',
        choices=tuple(HALVES),
    )
    seed: int = flag(0, 'evaluation: seed of the draws and of the order in which candidates are shown')


@dataclass(frozen=True)
class Speaker:
    """One speaker of a dialogue."""

    id: str
    utterances: tuple[str, ...]
    persona: Persona
    partner_persona: Persona = ()

    @property
    def label(self) -> str:
        return '\n'.join(self.persona)


class DefaultTeacher(OtherTaskTeacher):
    """Presents speakers. Their own persona is the label alone: no other field has it."""

    PREFIX, OPTIONS = 'perception', Perception

    def __init__(self, opt: Opt, shared=None):
        super().__init__(opt, shared)
        self.speakers: list[Speaker] = shared['speakers'] if shared else self.read_speakers()
        self.others: OtherPersonas = shared['others'] if shared else self.all_personas
        self.sentences: list[str] = shared['sentences'] if shared else self.all_sentences()
        self.reset()

    def share(self):
        own = {'speakers': self.speakers, 'others': self.others, 'sentences': self.sentences}
        return {**super().share(), **own}

    def read_speakers(self) -> list[Speaker]:
        """Return all speakers of the split; in an evaluation, this worker's part of the half to evaluate."""
        other = self.other_teacher(self.fold)
        dialogues = from_all_workers(list(episodes(other)))
        everyone = [speaker(messages, number) for number, messages in enumerate(dialogues)]
        found = [one for one in everyone if one.persona and one.utterances]
        if everyone and not found:
            raise DataError(
                f'{other.id}: none of {len(everyone)} dialogues has a persona (the field {fields.PERSONA!r} of its '
                'messages) and a reply: give --perception-of another task'
            )
        self.all_personas = OtherPersonas(one.persona for one in found)
        return found if self.random else found[HALVES[self.options.half]][get_rank() :: num_workers()]

    def all_sentences(self) -> list[str]:
        """Return the distinct sentences of all personas in a random order, if they are the candidates."""
        if self.random or self.options.rank == 'personas':
            return []
        distinct = dict.fromkeys(sentence for persona in self.others.personas for sentence in persona)
        return shuffled(list(distinct), random.Random(self.options.seed))

    def num_episodes(self) -> int:
        return len(self.speakers)

    num_examples = num_episodes

    def get(self, episode_idx: int, entry_idx: int = 0) -> Message:
        who = self.speakers[episode_idx]
        message = Message({'text': '\n'.join(who.utterances), fields.DIALOGUE_ID: who.id, 'episode_done': True})
        if self.sentences:
            message.update(labels=list(dict.fromkeys(who.persona)), label_candidates=self.sentences)
        else:
            message.update(labels=[who.label], label_candidates=self.candidates(who))
        return message

    def candidates(self, who: Speaker) -> list[str]:
        """Return the speaker's persona and others, in a random order."""
        if self.random:
            rng, count = random.Random(f'{epoch_key(self.opt, self.epoch)}/{who.id}'), self.options.train_distractors
        else:
            rng, count = example_rng(self.options.seed, who.id, 0), self.options.distractors
        others = ['\n'.join(persona) for persona in distractors(who, self.others, count, rng)]
        return shuffled([who.label, *others], rng)

    def custom_evaluation(self, teacher_action: Message, labels: Sequence[str] | None, model_response: Message) -> None:
        """Measure ranks only: the text of a reply is a persona, not something that was said."""
        ranked = model_response.get('text_candidates')
        if not self.measures_persona or not labels or ranked is None:
            return
        if self.sentences:
            self.metrics.add('mrr_sentences', AverageMetric(mean_reciprocal_rank(ranked, labels)))
        else:
            self._measure_rank(ranked, labels)


def mean_reciprocal_rank(ranked: Iterable[str], labels: Sequence[str]) -> float:
    """Return the mean of 1 / rank over the labels; a label that is not in the list counts as 0."""
    ranks = {text: rank for rank, text in enumerate(ranked, 1)}
    return sum(1 / ranks[label] for label in labels if label in ranks) / len(labels)


def speaker(messages: list[dict[str, Any]], number: int) -> Speaker:
    """Return who replies in an episode of another task."""
    first = messages[0]
    replies = map(fields.labels_of, messages)
    return Speaker(
        str(first.get(fields.DIALOGUE_ID, number)),
        lines(reply[0] for reply in replies if reply),
        lines(first.get(fields.PERSONA) or ()),
        lines(first.get(fields.PARTNER_PERSONA) or ()),
    )


def lines(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the texts that say something, each on one line."""
    single = (' '.join(text.split('\n')).strip() for text in texts)
    return tuple(text for text in single if text)


def distractors(who: Speaker, others: OtherPersonas, count: int, rng: random.Random) -> list[Persona]:
    """Draw personas that have no sentence in common with the speaker's or with their partner's."""
    try:
        return others.draw((*who.persona, *who.partner_persona), count, rng)
    except DataError as error:
        raise DataError(
            f'dialogue {who.id!r}: {error}: lower --perception-distractors and --perception-train-distractors'
        ) from None
