"""`-t persona:personalized_babi`: booking a table, with the user's profile known (Joshi et al. 2017) or without."""

import heapq
import random
from collections.abc import Iterable, Iterator

from parlai.core.message import Message
from parlai.core.metrics import METRICS_DISPLAY_DATA, AverageMetric, ExactMatchMetric, MetricDisplayData
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser

from parlai_persona import fields
from parlai_persona.data.candidates import Distractors, shuffled
from parlai_persona.data.dialogue import DataError, Dialogue, NoSplit, Turn
from parlai_persona.data.messages import check_choice
from parlai_persona.data.teacher import PersonaTeacher
from parlai_persona.tasks.personalized_babi.build import SIZES, TASKS, candidates_path, split_path
from parlai_persona.tasks.personalized_babi.parse import KINDS, read_candidates, read_dialogues

CANDIDATES = ('released', 'task')
FOLDS = ('train', 'valid', 'test')
DISPLAY = {f'accuracy_{kind}': (f'Accuracy, {kind}', f'accuracy on replies of the kind {kind!r}') for kind in KINDS}
DISPLAY['dialogue_accuracy'] = ('Dialogue accuracy', 'share of dialogues with every turn answered exactly')
METRICS_DISPLAY_DATA.update({name: MetricDisplayData(*shown) for name, shown in DISPLAY.items()})


class DefaultTeacher(PersonaTeacher):
    """The dialogues of one bAbI task; `tasks/personalized_babi/README.md` says what each option selects.

    The profile is the partner's persona: the bot replies, the user has it. It stands in the text as in the files,
    without a mark. Evaluation also reports `dialogue_accuracy`, and `accuracy` for each kind of reply.
    """

    SIDE = 'other'
    MARKS = ('', '')

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        group = parser.add_argument_group('bAbI dialog tasks')
        group.add_argument(
            '--babi-task',
            type=int,
            choices=tuple(TASKS),
            default=5,
            help='1: calls, 2: changed calls, 3: options, 4: information, 5: all of it',
        )
        group.add_argument(
            '--babi-personalized',
            type='bool',
            default=True,
            help='with a profile of the user; false: the bAbI dialog tasks that these were made from',
        )
        group.add_argument(
            '--babi-size',
            choices=SIZES,
            default='small',
            help='1,000 or 6,000 to 12,000 dialogues a split; the tasks without profile have 1,000',
        )
        group.add_argument(
            '--babi-oov', type='bool', default=False, help='test on restaurants that training has none of'
        )
        group.add_argument(
            '--babi-dialogues',
            type=int,
            default=0,
            metavar='K',
            help='use only K dialogues of train and K of valid, chosen by --babi-seed; 0: all',
        )
        group.add_argument('--babi-seed', type=int, default=0, help='seed of that choice')
        group.add_argument(
            '--babi-candidates',
            choices=CANDIDATES,
            default='released',
            help="what --persona-candidates inline means: the release's list, or the replies of the dialogues in use "
            '(train, valid and test)',
        )
        group.add_argument(
            '--babi-folder', default=None, help="read files of the same names from this folder, not ParlAI's download"
        )
        return parser

    def __init__(self, opt: Opt, shared=None):
        self.choices: Choices | None = shared['choices'] if shared else None  # read when first needed
        self.answered: tuple[str, int, bool] | None = None  # dialogue, turns so far, all of them answered exactly
        for key, choices in (('babi_task', tuple(TASKS)), ('babi_size', SIZES), ('babi_candidates', CANDIDATES)):
            check_choice(opt, key, choices)
        if opt['babi_dialogues'] < 0:
            raise ValueError(f'--babi-dialogues is {opt["babi_dialogues"]}; it has to be 1 or more, or 0 for all')
        super().__init__(opt, shared)

    def share(self):
        return {**super().share(), 'choices': self.choices}

    def dialogues(self, fold: str) -> Iterator[Dialogue]:
        path = split_path(self.opt, fold)
        found = read_dialogues(path, self.opt['babi_personalized'])
        count = self.opt['babi_dialogues']
        yield from found if fold == 'test' or not count else choose(found, count, self.opt['babi_seed'], str(path))

    def message(self, dialogue: Dialogue, number: int, distractors: Distractors | None) -> Message:
        message = super().message(dialogue, number, distractors)
        message[fields.TURNS] = len(dialogue.turns)
        return message

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
        """The distinct replies to choose from, in an order that tells nothing."""
        released = self.opt['babi_candidates'] == 'released'
        found = read_candidates(candidates_path(self.opt)) if released else self.replies_in_use()
        rng = random.Random(f'{self.opt["persona_candidates_seed"]}/candidates')
        return Choices(shuffled(list(dict.fromkeys(found)), rng))

    def replies_in_use(self) -> Iterator[str]:
        for fold in FOLDS:
            try:
                for dialogue in self.dialogues(fold):
                    yield from (turn.reply for turn in dialogue.turns)
            except NoSplit:
                continue  # a folder of one's own may have a test split only

    # -------------------------------------------------------------------------------------------- metrics

    def custom_evaluation(self, teacher_action, labels, model_response) -> None:
        super().custom_evaluation(teacher_action, labels, model_response)
        reply = model_response.get('text')
        if self.training or not labels:
            return
        if reply is None:
            self.answered = None
            return
        exact = ExactMatchMetric.compute(reply, labels)
        self.metrics.add(f'accuracy_{teacher_action[fields.KIND]}', exact)
        self.measure_dialogue(teacher_action, exact.value() == 1)

    def measure_dialogue(self, action: Message, right: bool) -> None:
        """`dialogue_accuracy`, at the last turn of a dialogue all of whose turns came by.

        Each row of a batch has a teacher of its own, which sees whole dialogues. Where a mutator leaves only a
        part of them there is nothing to report.
        """
        id, turn = action[fields.DIALOGUE_ID], action[fields.TURN]
        if turn == 0:
            self.answered = id, 0, True
        if self.answered is None or self.answered[:2] != (id, turn):
            self.answered = None
            return
        right = self.answered[2] and right
        self.answered = id, turn + 1, right
        if turn + 1 == action[fields.TURNS]:
            self.metrics.add('dialogue_accuracy', AverageMetric(right))


class Choices(list[str]):
    """The replies to choose from. All examples have this one object, and ParlAI looks for the label in it each time:
    in the 43,863 of the release that would take longer than all else."""

    def __init__(self, replies: Iterable[str] = ()):
        super().__init__(replies)
        self.known = frozenset(self)

    def __contains__(self, reply: object) -> bool:
        return reply in self.known


def choose(dialogues: Iterable[Dialogue], count: int, seed: int, source: str) -> list[Dialogue]:
    """`count` of the dialogues in their order; those of a smaller count are among those of a greater.

    Each dialogue draws a number that depends on the seed and its id alone; the smallest are chosen.
    """

    def lot(numbered: tuple[int, Dialogue]) -> float:
        return random.Random(f'{seed}/{numbered[1].id}').random()

    chosen = heapq.nsmallest(count, enumerate(dialogues), key=lot)
    if len(chosen) < count:
        raise DataError(f'--babi-dialogues {count}: saw only {len(chosen)} dialogues in {source}; lower it')
    return [dialogue for _, dialogue in sorted(chosen, key=lambda numbered: numbered[0])]
