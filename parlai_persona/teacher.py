"""The teacher that turns any task's `Dialogue` records into ParlAI Messages; a task adds where they come from."""

import contextlib
import copy
import random
from abc import abstractmethod
from collections.abc import Iterable, Iterator

import parlai.utils.logging as logging
from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.teachers import DialogTeacher
from parlai.utils.data import DatatypeHelper
from parlai.utils.distributed import get_rank, num_workers

from parlai_persona import fields
from parlai_persona.candidates import Distractors, example_rng, shuffled
from parlai_persona.dialogue import DataError, Dialogue, NoSplit, Turn
from parlai_persona.teacher_metrics import PersonaMetrics

SIDES = ('self', 'other', 'both', 'none')
CANDIDATES = ('inline', 'sampled', 'none')


class PersonaTeacher(PersonaMetrics, DialogTeacher):
    """Dialogues with personas as ParlAI episodes.

    `text` is what ParlAI's own Persona-Chat teachers send: the persona lines chosen by `--persona-side` before
    the first message of a dialogue, then one message a turn. Whatever the side, both personas, the dialogue id
    and the turn also travel in fields of their own, where truncation of `text` does not reach them.

    An epoch of training visits every dialogue once, in an order drawn anew for each epoch; the workers of
    `multiprocessing_train` share it out between them. (ParlAI's own teachers draw with replacement.)
    """

    SIDE = 'self'  # whose persona stands in the text of this task unless --persona-side says otherwise
    MARKS = (fields.YOUR_PERSONA, fields.PARTNERS_PERSONA)  # how the lines of the two personas begin there

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        group = parser.add_argument_group('Persona dialogues')
        group.add_argument(
            '--persona-side', choices=SIDES, default=None,  # several tasks share the flag, not what suits them
            help="whose persona stands in the text: the replying speaker's (default, if the task knows no better), "
            "the partner's, both or none",
        )
        group.add_argument(
            '--persona-candidates', choices=CANDIDATES, default='inline',
            help='label candidates: those that came with the data, seeded draws from the same split, or none',
        )
        group.add_argument(
            '--persona-candidates-count', type=int, default=20,
            help='number of sampled candidates, the reply included',
        )
        group.add_argument(
            '--persona-candidates-seed', type=int, default=0,
            help='seed of the sampled candidates and of the order in which candidates are shown',
        )
        return parser

    def __init__(self, opt: Opt, shared=None):
        opt = copy.deepcopy(opt)  # shared with everybody else, and written to below
        opt['datafile'] = DatatypeHelper.fold(opt['datatype'])
        if opt.get('persona_side') is None:
            opt['persona_side'] = self.SIDE
        check_choice(opt, 'persona_side', SIDES)
        check_choice(opt, 'persona_candidates', CANDIDATES)
        if opt['persona_candidates'] == 'sampled' and opt['persona_candidates_count'] < 2:
            raise ValueError(f"--persona-candidates-count is {opt['persona_candidates_count']}; it has to be 2 or more")
        self.epoch_order: dict[str, list[int]] = shared['epoch_order'] if shared else {}
        self.sizes: tuple[int, int] | None = shared['sizes'] if shared else None
        super().__init__(opt, shared)

    @abstractmethod
    def dialogues(self, fold: str) -> Iterable[Dialogue]:
        """The dialogues of 'train', 'valid' or 'test', in a fixed order; read anew at each call."""

    def training_texts(self) -> Iterator[str]:
        """Every utterance of the training split, if there is one: metrics rank words by their frequency in it."""
        with contextlib.suppress(NoSplit):
            for dialogue in self.dialogues('train'):
                for turn in dialogue.turns:
                    if turn.text != fields.SILENCE:
                        yield turn.text
                    yield turn.reply

    def split(self, fold: str) -> Iterator[Dialogue]:
        """The dialogues of a split. A missing test split is an error only for someone who asked for it:
        `train_model` runs a last test without being asked, and should not fail after hours of training."""
        try:
            yield from self.dialogues(fold)
        except NoSplit as error:
            asked = self.opt.get('override', {}).get('datatype', '')
            if fold != 'test' or DatatypeHelper.fold(asked) == 'test':
                raise
            logging.error(f'No final test. {error}')

    def setup_data(self, datafile: str) -> Iterator[tuple[Message, bool]]:
        distractors = None
        if self.opt['persona_candidates'] == 'sampled':
            distractors = Distractors(self.split(datafile), self.opt['persona_candidates_seed'])
        workers, rank = num_workers(), get_rank()
        shares = self.stream and self.training  # DialogData itself shares out what is evaluated
        for number, dialogue in enumerate(self.split(datafile)):
            if shares and number % workers != rank:
                continue
            for turn, _ in enumerate(dialogue.turns):
                yield self.message(dialogue, turn, distractors), turn == 0

    def message(self, dialogue: Dialogue, number: int, distractors: Distractors | None) -> Message:
        turn = dialogue.turns[number]
        fields_ = {
            'text': self.text(dialogue, number, turn.text),
            'labels': [turn.reply],
            fields.PERSONA: list(dialogue.persona),
            fields.PARTNER_PERSONA: list(dialogue.partner_persona),
            fields.DIALOGUE_ID: dialogue.id,
            fields.TURN: number,
        }
        if turn.kind:
            fields_[fields.KIND] = turn.kind
        candidates = self.candidates(dialogue.id, number, turn, distractors)
        if candidates:
            fields_['label_candidates'] = candidates
        return Message(fields_)

    def text(self, dialogue: Dialogue, number: int, said: str) -> str:
        """What an agent is sent as `text`: the persona lines stand before the first message of a dialogue."""
        before = persona_lines(dialogue, self.opt['persona_side'], self.MARKS) if number == 0 else []
        return '\n'.join([*before, said])

    def candidates(self, dialogue_id: str, number: int, turn: Turn, distractors: Distractors | None) -> list[str]:
        if distractors:
            return distractors.candidates(dialogue_id, number, turn.reply, self.opt['persona_candidates_count'])
        if self.opt['persona_candidates'] == 'none' or not turn.candidates:
            return []
        if turn.reply not in turn.candidates:
            raise DataError(
                f'dialogue {dialogue_id!r}, turn {number}: the reply {turn.reply!r} is not among its '
                f'{len(turn.candidates)} candidates'
            )
        return shuffled(turn.candidates, example_rng(self.opt['persona_candidates_seed'], dialogue_id, number))

    # ------------------------------------------------------------------------------- epochs and workers

    def next_episode_idx(self, num_eps: int | None = None, loop: bool | None = None) -> int:
        """Training: the next dialogue of this worker's share of a permutation of all dialogues."""
        if not self.random:
            return super().next_episode_idx(num_eps, loop)
        self.index.value += 1  # shared by the rows of a batch
        episodes = num_eps or self.num_episodes()
        epoch, position = divmod(self.index.value * num_workers() + get_rank(), episodes)
        return self.order(epoch, episodes)[position]

    def order(self, epoch: int, episodes: int) -> list[int]:
        """The order of an epoch; all workers draw the same one, as they have `seed` and `starttime` in common."""
        seed = self.opt.get('seed')
        key = f"{self.opt.get('starttime') if seed is None else seed}/{epoch}"
        if key not in self.epoch_order:
            self.epoch_order.clear()
            self.epoch_order[key] = shuffled(range(episodes), random.Random(key))  # type: ignore[arg-type,assignment]
        return self.epoch_order[key]

    def share(self):
        return {**super().share(), 'epoch_order': self.epoch_order, 'sizes': self.sizes}

    def num_episodes(self) -> int:
        return self.stream_sizes()[0] if self.stream else super().num_episodes()

    def num_examples(self) -> int:
        return self.stream_sizes()[1] if self.stream else super().num_examples()

    def stream_sizes(self) -> tuple[int, int]:
        """Episodes and examples of the whole split; ParlAI would count one worker's share and write it to a file."""
        if self.sizes is None:
            turns = [len(dialogue.turns) for dialogue in self.split(self.opt['datafile'])]
            self.sizes = len(turns), sum(turns)
        return self.sizes


def persona_lines(dialogue: Dialogue, side: str, marks: tuple[str, str] = PersonaTeacher.MARKS) -> list[str]:
    """The persona as the lines of text that ParlAI's agents expect before the first message."""
    own, partner = (
        [f'{mark}{line}' for line in persona]
        for mark, persona in zip(marks, (dialogue.persona, dialogue.partner_persona), strict=True)
    )
    return {'self': own, 'other': partner, 'both': own + partner, 'none': []}[side]


def check_choice(opt: Opt, key: str, choices: tuple) -> None:
    """Options given inside the task string (`-t persona:x:key=value`) pass no parser; check them here."""
    if opt.get(key) not in choices:
        flag = '--' + key.replace('_', '-')
        raise ValueError(f'{flag} is {opt.get(key)!r}; it has to be one of: {", ".join(map(str, choices))}')
