"""Lists of candidates: those that come with examples, and fixed ones.

Shapes: B examples, C candidates of an example, D distinct candidates of a batch; d size of an encoding.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import parlai.utils.logging as logging
import torch
from parlai.core.torch_agent import Batch, TorchAgent
from parlai.core.torch_ranker_agent import TorchRankerAgent
from torch import Tensor

from parlai_persona.agents.memnet.batches import CACHED_TEXTS, Line, batch_texts, pad_rows
from parlai_persona.agents.memnet.model import PersonaMemory
from parlai_persona.agents.memnet.options import Reading
from parlai_persona.errors import UserError
from parlai_persona.files import open_text
from parlai_persona.models.network import device_of
from parlai_persona.models.vector_cache import VectorCache

Ranked = list[tuple[str, float]]  # replies and their scores, the best first


@dataclass(frozen=True)
class ListedCandidates:
    """The candidates of a batch, each distinct text once."""

    replies: list[str]  # D of them
    places: Tensor  # (B, C) numbers of replies
    mask: Tensor  # (B, C) bool, false at padding
    own: Tensor  # (B,) column of the label, -1 where the label is not among the candidates

    @classmethod
    def of_each(cls, lists: Sequence[Sequence[str]], labels: Sequence[str | None]) -> 'ListedCandidates':
        """Give each example its own list, without repetitions."""
        numbers: dict[str, int] = {}
        rows, own = [], []
        for replies, label in zip(lists, labels, strict=True):
            distinct = list(dict.fromkeys(replies))
            own.append(distinct.index(label) if label in distinct else -1)
            rows.append(np.array([numbers.setdefault(reply, len(numbers)) for reply in distinct], np.int64))
        places, lengths = pad_rows(rows)
        mask = torch.arange(places.shape[1]) < lengths[:, None]
        return cls(list(numbers), places, mask, torch.tensor(own))

    @classmethod
    def of_all(cls, replies: Sequence[str], labels: Sequence[str | None]) -> 'ListedCandidates':
        """Give all examples the same list, without repetitions."""
        column = {reply: number for number, reply in enumerate(dict.fromkeys(replies))}
        places = torch.arange(len(column)).expand(len(labels), -1)
        own = torch.tensor([-1 if label is None else column.get(label, -1) for label in labels])
        return cls(list(column), places, torch.ones_like(places, dtype=torch.bool), own)

    def scores(self, u: Tensor, y: Tensor, lexical: Tensor | None = None) -> Tensor:
        """Return the scores (B, C) of examples u (B, d) with their candidates.

        y (D, d) encodes all replies; `lexical` (B, D) is added to the scores.
        """
        scores = u.float() @ y.float().T  # (B, D)
        if lexical is not None:
            scores = scores + lexical
        scores = scores.gather(1, self.places.to(u.device))
        return scores.masked_fill(~self.mask.to(u.device), -torch.inf)

    def best(self, scores: Tensor, count: int) -> list[Ranked]:
        """Return the best `count` replies of each example. The label loses every tie."""
        scores = scores.cpu().clone()
        rows = (self.own >= 0).nonzero().squeeze(1)
        own = self.own[rows]
        scores[rows, own] = torch.nextafter(scores[rows, own], torch.tensor(-torch.inf))
        top = scores.topk(min(count, scores.shape[1]))
        numbers, sizes = self.places.gather(1, top.indices).tolist(), self.mask.sum(1).tolist()
        pairs = [list(zip(*row, strict=True)) for row in zip(numbers, top.values.tolist(), strict=True)]
        return [[(self.replies[n], score) for n, score in row[:size]] for row, size in zip(pairs, sizes, strict=True)]


class EncodingCache(VectorCache):
    """Keeps the encodings of the last responses until the weights change."""

    def __init__(self) -> None:
        super().__init__(CACHED_TEXTS)

    def encode(self, net: PersonaMemory, lines: Sequence[Line]) -> Tensor:
        """Return the encodings of responses: (len(lines), d)."""

        def encoded(new: list[Line]) -> Tensor:
            return net.encode_responses(batch_texts(new).to(device_of(net)))

        return self.vectors(net, lines, encoded, key=lambda line: line.key)


class ListsCandidates(TorchRankerAgent):
    """Lists the candidates of a batch, from any of the sources that ParlAI has names for."""

    reading: Reading
    fixed_candidates: list[str]

    def listed_candidates(self, batch: Batch, source: str) -> ListedCandidates:
        """Return the candidates of each example, from a source that has a name of ParlAI's: batch, inline, fixed, …"""
        labels = [example.label for example in batch.examples]
        if source == 'batch':
            known = [label for label in labels if label is not None]
            if not known:
                raise UserError('--eval-candidates batch: no message has a label to choose. Choose fixed or inline')
            return ListedCandidates.of_all(known, labels)
        if source != 'fixed' and not all(batch.candidates):
            raise UserError(
                f'--{"eval-" * (not batch.is_training)}candidates is {source}, and a message has no label_candidates: '
                'choose batch or fixed, or give --memnet-candidates'
            )
        if source == 'fixed':
            listed = ListedCandidates.of_all(self.fixed_candidates, labels)
        elif source == 'batch-all-cands':
            listed = ListedCandidates.of_all([reply for replies in batch.candidates for reply in replies], labels)
        else:
            listed = ListedCandidates.of_each(batch.candidates, labels)
        missing = [
            label for label, own in zip(labels, listed.own.tolist(), strict=True) if own < 0 and label is not None
        ]
        if missing and (self.is_training or not self.ignore_bad_candidates):
            where = 'the fixed candidates' if source == 'fixed' else 'its label_candidates'
            raise UserError(
                f'the label {missing[0]!r} is not among {where}; in an evaluation --ignore-bad-candidates true counts '
                'such an example as wrong'
            )
        return listed

    def set_interactive_mode(self, mode, shared=False) -> None:
        """Do as ParlAI does, but with a file of candidates make no list of all labels of the task."""
        if mode and self.reading.candidates:
            TorchAgent.set_interactive_mode(self, mode, shared)
            self.ignore_bad_candidates = True
        else:
            super().set_interactive_mode(mode, shared)

    def get_task_candidates_path(self) -> str:
        """Prefer the replies that were published with the model to a list of all labels of the task."""
        return str(self.published_replies) if self.published_replies.exists() else super().get_task_candidates_path()

    @property
    def published_replies(self) -> Path:
        return Path(f'{self.opt["model_file"]}.replies')

    def chooses_published(self) -> bool:
        """Return whether a chat chooses among the published replies, and an index of them can be kept beside them."""
        return (
            bool(self.opt.get('interactive_mode'))
            and self.eval_candidates == 'fixed'
            and self.fixed_candidates_path == str(self.published_replies)
            and os.access(self.published_replies.parent, os.W_OK)
        )

    def set_fixed_candidates(self, shared) -> None:
        """Read the lines of `--fixed-candidates-path`, or of the task's file.

        ParlAI would keep their vectors in files, which become wrong when the weights change.
        """
        if shared:
            super().set_fixed_candidates(shared)
            return
        self.fixed_candidates, self.fixed_candidate_vecs, self.fixed_candidate_encs = [], None, None
        self.num_fixed_candidates = 0
        if 'fixed' in (self.candidates, self.eval_candidates):
            path = self.fixed_candidates_path or self.get_task_candidates_path()
            with open_text(Path(path)) as file:
                self.fixed_candidates = list(dict.fromkeys(line.strip() for line in file if line.strip()))
            if not self.fixed_candidates:
                raise UserError(f'{path}: there is no reply to choose from; expected one a line')
            self.num_fixed_candidates = len(self.fixed_candidates)
            logging.info(f'{self.num_fixed_candidates} candidates in {path}')
