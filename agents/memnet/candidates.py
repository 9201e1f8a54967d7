"""Lists of candidates that come with examples.

Shapes: B examples, C candidates of an example, D distinct candidates of a batch; d size of an encoding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from parlai_persona.agents.memnet.batches import CACHED_TEXTS, Line, batch_texts, pad_rows
from parlai_persona.agents.memnet.model import MemNet
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

    def scores(self, u: Tensor, y: Tensor) -> Tensor:
        """Return the scores (B, C) of examples u (B, d) with their candidates; y (D, d) encodes all replies."""
        scores = (u.float() @ y.float().T).gather(1, self.places.to(u.device))
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

    def encode(self, net: MemNet, lines: Sequence[Line]) -> Tensor:
        """Return the encodings of responses: (len(lines), d)."""

        def encoded(new: list[Line]) -> Tensor:
            return net.encode_responses(batch_texts(new).to(device_of(net)))

        return self.vectors(net, lines, encoded, key=lambda line: line.key)
