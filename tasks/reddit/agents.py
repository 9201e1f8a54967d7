"""`-t persona:reddit`: comments and answers, with sentences of the answering person (Mazaré et al. 2018)."""

import copy
import random
from collections.abc import Iterator
from pathlib import Path

from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.teachers import ChunkTeacher
from parlai.utils.data import DatatypeHelper
from parlai.utils.distributed import get_rank, num_workers
from parlai.utils.misc import AttrDict

from parlai_persona.data.candidates import Distractors, shuffled
from parlai_persona.data.dialogue import DataError, Dialogue, NoSplit
from parlai_persona.data.epochs import epoch_key
from parlai_persona.data.messages import DialogueMessages
from parlai_persona.metrics.teacher import PersonaMetrics
from parlai_persona.tasks.reddit.parse import Chunk, chunks, read


class DefaultTeacher(DialogueMessages, PersonaMetrics, ChunkTeacher):
    """Streams the shards of a data set that `parlai persona_reddit build` made; an example is an episode.

    In training every worker has its own pieces. Their order depends on seed and epoch, and each piece is shuffled. A
    piece is read when it is needed, by the root of the shared teachers: ParlAI's loader thread would change the place
    in the data while `reset` and `go_to` set it.
    """

    SIDE = 'none'  # agents truncate texts to less than a hundred sentences
    COUNT = 100  # sec. 5

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        group = parser.add_argument_group('Reddit')
        group.add_argument(
            '--reddit-data',
            default=None,
            metavar='DIR',
            help='made by `parlai persona_reddit build`; or a folder of <split>.jsonl with persona, context, response',
        )
        return parser

    def __init__(self, opt: Opt, shared=None):
        opt = copy.deepcopy(opt)
        if not opt.get('reddit_data'):
            raise DataError(
                '--reddit-data is missing: name a folder that `parlai persona_reddit build --input DUMPS --output DIR` '
                'made'
            )
        training = DatatypeHelper.is_training(opt['datatype'])
        if opt.get('persona_candidates') in (None, 'inline'):  # none come with the data
            opt['persona_candidates'] = 'none' if training else 'sampled'
        self.settle(opt)
        self.epoch = 0
        self.taken = shared['taken'] if shared else AttrDict(examples=0, first_epoch=1)  # by all rows of the batch
        self.ahead = 0  # examples to leave out after a resumption
        opt['no_auto_enqueues'] = True  # nothing is read in the background
        self.distractors: Distractors | None = shared['distractors'] if shared else None
        super().__init__(opt, shared)
        self.threading = False
        if shared:
            self.get_chunk = shared['get_chunk']  # type: ignore[method-assign]
        if not shared and opt['persona_candidates'] == 'sampled':
            dialogues = (dialogue for piece in self.pieces for dialogue in read(piece))
            self.distractors = Distractors(dialogues, opt['persona_candidates_seed'])

    def split(self, fold: str) -> list[Chunk]:
        """Return the pieces of a split; an empty list for a missing test split that nobody asked for."""
        try:
            return chunks(self._get_data_folder(), fold)
        except NoSplit as error:
            self.forgive(error, fold)
            return []

    def training_texts(self) -> Iterator[str]:
        """Yield texts of the first pieces of the training split: enough to know how frequent words are."""
        for piece in self.split('train')[:10]:
            for dialogue in read(piece):
                yield dialogue.turns[0].text
                yield dialogue.turns[0].reply

    def share(self):
        return {**super().share(), 'distractors': self.distractors, 'taken': self.taken, 'get_chunk': self.get_chunk}

    # --------------------------------------------------------------------------------- place in the data

    def place(self) -> dict[str, int]:
        return dict(self.taken)

    def go_to(self, place: dict[str, int]) -> None:
        """Go on after so many examples, in the epoch that they reach."""
        epochs, self.ahead = divmod(place['examples'], sum(self.pieces[piece].count for piece in self.fold_chunks))
        self.epoch = place['first_epoch'] + epochs - 1  # `reset` begins the next one
        self.reset()
        self.taken.update(place)

    def reset(self) -> None:
        super().reset()
        if self.is_root_teacher:
            self.taken.update(examples=0, first_epoch=self.epoch)

    # ------------------------------------------------------------------------------------- ChunkTeacher

    def _get_data_folder(self) -> Path:
        return Path(self.opt['reddit_data']).expanduser()

    def get_num_samples(self, opt: Opt) -> tuple[int, int]:
        self.pieces = self.split(DatatypeHelper.fold(opt['datatype']))
        count = sum(piece.count for piece in self.pieces)
        if not count and DatatypeHelper.is_training(opt['datatype']):
            raise DataError(f'{self._get_data_folder()}: saw 0 examples in the training split, expected some')
        return count, count

    def get_fold_chunks(self, opt: Opt) -> list[int]:
        numbers, workers = list(range(len(self.pieces))), num_workers()
        if not DatatypeHelper.is_training(opt['datatype']) or workers == 1:
            return numbers
        if len(numbers) < workers:
            raise DataError(
                f'{workers} workers, but the training split comes in {len(numbers)} pieces: build it with --parts '
                f'{workers} or more'
            )
        return numbers[get_rank() :: workers]

    def get_buffersize(self) -> int:
        return 0  # no limit: the next piece is read when the last one is used up

    def _enqueue_chunks(self) -> None:
        """Seed the order of the pieces; ParlAI draws another one at every start."""
        self.epoch += 1
        self.before = 0  # examples of the epoch's earlier pieces
        self.key = epoch_key(self.opt, self.epoch)
        self.fold_chunks.sort()
        self.rng.seed(self.key)
        super()._enqueue_chunks()
        self.chunks.queue.pop()  # ParlAI marks the end twice, for its thread

    def get_chunk(self) -> tuple[list[Dialogue] | None, int]:
        """Return the next examples of this worker, or None at the end of an evaluation."""
        found: list[Dialogue] = []
        while not found:
            piece, resets = self.chunks.get()
            if piece is not None:
                found = self.examples(piece)
            elif DatatypeHelper.should_cycle(self.datatype):
                self._enqueue_chunks()
            else:
                return None, resets
        return found, resets

    def examples(self, piece: int) -> list[Dialogue]:
        """Return this worker's examples of a piece; seed their order; leave out what was learned before."""
        count = self.pieces[piece].count
        skip, self.ahead = min(self.ahead, count), max(self.ahead - count, 0)
        if skip == count:
            return []
        found = self.load_from_chunk(piece)
        if DatatypeHelper.should_shuffle(self.datatype):
            found = shuffled(found, random.Random(f'{self.key}/{piece}'))
        if self.is_train:
            return found[skip:]
        first, self.before = (self.rank - self.before) % self.dws, self.before + count
        return found[first :: self.dws]

    def load_from_chunk(self, chunk_idx: int) -> list[Dialogue]:
        return read(self.pieces[chunk_idx])

    def create_message(self, queue_output: Dialogue, entry_idx: int = 0) -> Message:
        self.taken.examples += 1
        message = self.message(queue_output, 0, self.distractors)
        message['episode_done'] = True
        return message
