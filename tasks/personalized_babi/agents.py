"""`-t persona:personalized_babi`: booking a table, with a profile of the user (Joshi et al. 2017) or without."""

import heapq
import random
from collections.abc import Iterable, Iterator

from parlai.core.metrics import METRICS_DISPLAY_DATA, AverageMetric, ExactMatchMetric, MetricDisplayData
from parlai.core.opt import Opt

from parlai_persona import fields
from parlai_persona.data.candidates import Distractors, shuffled
from parlai_persona.data.dialogue import DataError, Dialogue, NoSplit, Turn
from parlai_persona.data.teacher import PersonaTeacher
from parlai_persona.metrics.whole import WholeDialogue
from parlai_persona.tasks.personalized_babi.build import candidates_path, split_path
from parlai_persona.tasks.personalized_babi.options import PREFIX, Babi
from parlai_persona.tasks.personalized_babi.parse import KINDS, read_candidates, read_dialogues

FOLDS = ('train', 'valid', 'test')
DISPLAY = {f'accuracy_{kind}': (f'Accuracy, {kind}', f'accuracy on replies of the kind {kind!r}') for kind in KINDS}
DISPLAY['dialogue_accuracy'] = ('Dialogue accuracy', 'share of dialogues with every turn answered exactly')
METRICS_DISPLAY_DATA.update({name: MetricDisplayData(*shown) for name, shown in DISPLAY.items()})


class DefaultTeacher(PersonaTeacher):
    """The dialogues of one bAbI task; `tasks/personalized_babi/README.md` explains the options.

    The profile is the partner's persona, because the bot replies and the profile is about the user. In the text it has
    no mark, as in the files. Evaluation also reports `dialogue_accuracy`, and `accuracy` for each kind of reply.
    """

    OPTIONS = Babi
    PREFIX = PREFIX

    SIDE = 'other'
    MARKS = ('', '')

    def __init__(self, opt: Opt, shared=None):
        self.choices: Choices | None = shared['choices'] if shared else None  # read when first needed
        self.exact: WholeDialogue[bool] = WholeDialogue()
        super().__init__(opt, shared)

    def share(self):
        return {**super().share(), 'choices': self.choices}

    def dialogues(self, fold: str) -> Iterator[Dialogue]:
        path = split_path(self.opt, fold)
        everything = read_dialogues(path, self.options.personalized)
        count = 0 if fold == 'test' else self.options.dialogues
        yield from choose(everything, count, self.options.seed, str(path)) if count else everything

    # ----------------------------------------------------------------------------------------- candidates

    def candidates(self, dialogue_id: str, number: int, turn: Turn, distractors: Distractors | None) -> list[str]:
        if self.opt['persona_candidates'] != 'inline':
            return super().candidates(dialogue_id, number, turn, distractors)
        if self.choices is None:
            self.choices = self.read_choices()
        if turn.reply not in self.choices:
            raise DataError(
                f'dialogue {dialogue_id!r}, turn {number}: the reply {turn.reply!r} is not among the '
                f'{len(self.choices)} candidates; --babi-candidates task takes those of the dialogues in use'
            )
        return self.choices

    def read_choices(self) -> 'Choices':
        """Return the distinct replies to choose from, in a random order."""
        released = self.options.candidates == 'released'
        replies = read_candidates(candidates_path(self.opt)) if released else self.replies_in_use()
        rng = random.Random(f'{self.opt["persona_candidates_seed"]}/candidates')
        return Choices(shuffled(list(dict.fromkeys(replies)), rng))

    def replies_in_use(self) -> Iterator[str]:
        for fold in FOLDS:
            try:
                for dialogue in self.dialogues(fold):
                    yield from (turn.reply for turn in dialogue.turns)
            except NoSplit:
                continue  # a local folder may have only a test split

    # -------------------------------------------------------------------------------------------- metrics

    def custom_evaluation(self, teacher_action, labels, model_response) -> None:
        super().custom_evaluation(teacher_action, labels, model_response)
        reply = model_response.get('text')
        if self.training or not labels:
            return
        right: bool | None = None
        if reply is not None:
            exact = ExactMatchMetric.compute(reply, labels)
            self.metrics.add(f'accuracy_{teacher_action[fields.KIND]}', exact)
            right = exact.value() == 1
        whole = self.exact.add(teacher_action, right)
        if whole:
            self.metrics.add('dialogue_accuracy', AverageMetric(all(whole)))


class Choices(list[str]):
    """The replies to choose from, with a fast `in`: ParlAI looks for the label in all 43,863 in every example."""

    def __init__(self, replies: Iterable[str] = ()):
        super().__init__(replies)
        self.known = frozenset(self)

    def __contains__(self, reply: object) -> bool:
        return reply in self.known


def choose(dialogues: Iterable[Dialogue], count: int, seed: int, source: str) -> list[Dialogue]:
    """Return `count` of the dialogues in their order. A smaller count chooses some of those of a larger count.

    Each dialogue draws a number that depends only on the seed and its id. The smallest are chosen.
    """

    def lot(numbered: tuple[int, Dialogue]) -> float:
        return random.Random(f'{seed}/{numbered[1].id}').random()

    chosen = heapq.nsmallest(count, enumerate(dialogues), key=lot)
    if len(chosen) < count:
        raise DataError(f'--babi-dialogues {count}: saw only {len(chosen)} dialogues in {source}; lower it')
    return [dialogue for _, dialogue in sorted(chosen, key=lambda numbered: numbered[0])]
