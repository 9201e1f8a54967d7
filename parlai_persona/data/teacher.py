"""The teacher of our tasks: turns `Dialogue` records into ParlAI Messages. A task only says where they come from."""

import contextlib
import copy
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.teachers import DialogTeacher
from parlai.utils.data import DatatypeHelper
from parlai.utils.distributed import get_rank, num_workers

from parlai_persona import fields
from parlai_persona.data.candidates import Distractors
from parlai_persona.data.dialogue import Dialogue, NoSplit
from parlai_persona.data.epochs import SeededEpochs
from parlai_persona.data.messages import DialogueMessages
from parlai_persona.flags import from_opt
from parlai_persona.metrics.teacher import PersonaMetrics


class PersonaTeacher(SeededEpochs, DialogueMessages, PersonaMetrics, DialogTeacher):
    """Presents dialogues with personas as ParlAI episodes.

    An epoch of training visits every dialogue once, in a new order each time. The workers of `multiprocessing_train`
    divide it between them. (ParlAI's own teachers draw with replacement.)
    """

    options: Any  # the task's own, an `OPTIONS`

    def __init__(self, opt: Opt, shared=None):
        opt = copy.deepcopy(opt)  # ParlAI gives everyone the same one, and it is changed below
        opt['datafile'] = DatatypeHelper.fold(opt['datatype'])
        self.settle(opt)
        self.options = from_opt(self.OPTIONS, opt, self.PREFIX) if self.OPTIONS else None
        self.sizes: tuple[int, int] | None = shared['sizes'] if shared else None
        super().__init__(opt, shared)

    @abstractmethod
    def dialogues(self, fold: str) -> Iterable[Dialogue]:
        """Return the dialogues of 'train', 'valid' or 'test' in a fixed order; read them again at each call."""

    def training_texts(self) -> Iterator[str]:
        """Yield every utterance of the training split, if there is one; metrics rank words by their frequency here."""
        with contextlib.suppress(NoSplit):
            for dialogue in self.dialogues('train'):
                for turn in dialogue.turns:
                    if turn.text != fields.SILENCE:
                        yield turn.text
                    yield turn.reply

    def personas(self) -> Iterator[tuple[str, ...]]:
        return (dialogue.persona for dialogue in self.split(self.opt['datafile']))

    def split(self, fold: str) -> Iterator[Dialogue]:
        """Yield the dialogues of a split; nothing if it is a missing test split that nobody asked for."""
        try:
            yield from self.dialogues(fold)
        except NoSplit as error:
            self.forgive(error, fold)

    def setup_data(self, datafile: str) -> Iterator[tuple[Message, bool]]:
        distractors = None
        if self.opt['persona_candidates'] == 'sampled':
            distractors = Distractors(self.split(datafile), self.opt['persona_candidates_seed'])
        workers, rank = num_workers(), get_rank()
        divided = self.stream and self.training  # between workers; DialogData itself does so for an evaluation
        for number, dialogue in enumerate(self.split(datafile)):
            if divided and number % workers != rank:
                continue
            for turn, _ in enumerate(dialogue.turns):
                yield self.message(dialogue, turn, distractors), turn == 0

    # ------------------------------------------------------------------------------------------- sizes

    def share(self):
        return {**super().share(), 'sizes': self.sizes}

    def num_episodes(self) -> int:
        return self.stream_sizes()[0] if self.stream else super().num_episodes()

    def num_examples(self) -> int:
        return self.stream_sizes()[1] if self.stream else super().num_examples()

    def stream_sizes(self) -> tuple[int, int]:
        """Count episodes and examples of the whole split. (ParlAI counts one worker's share, into a file.)"""
        if self.sizes is None:
            turns = [len(dialogue.turns) for dialogue in self.split(self.opt['datafile'])]
            self.sizes = len(turns), sum(turns)
        return self.sizes
