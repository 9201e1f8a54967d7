"""Responses to choose from when they do not come from an index: of each example, or the same for all. Torch only.

B examples, C candidates of an example, D distinct candidates of a batch, d size of an encoding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from parlai_persona.agents.memnet.texts import KNOWN, Line, Texts, padded, texts


@dataclass(frozen=True)
class Choices:
    replies: list[str]  # D of them
    places: Tensor  # (B, C) numbers of replies
    mask: Tensor  # (B, C) bool, where there is one
    own: Tensor  # (B,) column of the label, -1 where it is not among them

    @classmethod
    def listed(cls, lists: Sequence[Sequence[str]], labels: Sequence[str | None]) -> 'Choices':
        """Each example has candidates of its own; one that stands there twice counts once."""
        number: dict[str, int] = {}
        rows, own = [], []
        for replies, label in zip(lists, labels, strict=True):
            row = {number.setdefault(reply, len(number)): None for reply in replies}
            rows.append(np.fromiter(row, np.int64, len(row)))
            at = number.get(label) if label is not None else None
            own.append(list(row).index(at) if at in row else -1)
        places, lengths = padded(rows)
        mask = torch.arange(places.shape[1]) < lengths[:, None]
        return cls(list(number), places, mask, torch.tensor(own))

    @classmethod
    def shared(cls, replies: Sequence[str], labels: Sequence[str | None]) -> 'Choices':
        """All examples have the same candidates."""
        column = {reply: number for number, reply in enumerate(dict.fromkeys(replies))}
        places = torch.arange(len(column)).expand(len(labels), -1)
        own = torch.tensor([-1 if label is None else column.get(label, -1) for label in labels])
        return cls(list(column), places, torch.ones_like(places, dtype=torch.bool), own)

    def scores(self, u: Tensor, y: Tensor) -> Tensor:
        """Of examples u (B, d) with all replies y (D, d): (B, C)."""
        z = (u.float() @ y.float().T).gather(1, self.places.to(u.device))
        return z.masked_fill(~self.mask.to(u.device), -torch.inf)

    def losses(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy and rank of the labels, ties against them; (B,) each, of no use where there is no label."""
        label = z.gather(1, self.own.clamp(min=0).to(z.device)[:, None])
        return z.logsumexp(1) - label.squeeze(1), (z >= label).sum(1).float()

    def best(self, z: Tensor, count: int) -> tuple[list[list[str]], list[list[float]]]:
        """The best `count` of each example, and their scores; of equal ones the label comes last."""
        z = z.cpu().clone()
        rows = (self.own >= 0).nonzero().squeeze(1)
        z[rows, self.own[rows]] = torch.nextafter(z[rows, self.own[rows]], torch.tensor(-torch.inf))
        top = z.topk(min(count, z.shape[1]))
        names = self.places.gather(1, top.indices).tolist()
        found = [min(count, int(there)) for there in self.mask.sum(1)]
        ranked = [[self.replies[name] for name in row[:n]] for row, n in zip(names, found, strict=True)]
        return ranked, [row[:n] for row, n in zip(top.values.tolist(), found, strict=True)]


class Version(NamedTuple):
    """Which weights: torch counts the changes to each parameter."""

    model: int
    changes: int

    @classmethod
    def of(cls, model: torch.nn.Module) -> 'Version':
        return cls(id(model), sum(p._version for p in model.parameters()))


class Encodings:
    """What an encoder made of the last `KNOWN` texts, as long as the weights stay."""

    def __init__(self) -> None:
        self.version: Version | None = None
        self.known: dict[bytes, Tensor] = {}

    def __call__(self, lines: Sequence[Line], encode, version: Version) -> Tensor:
        """(len(lines), d); `encode` makes (T, d) of `Texts`."""
        if version != self.version:
            self.known.clear()
            self.version = version
        new = list({line.key: line for line in lines if line.key not in self.known}.values())
        if new:
            batch: Texts = texts(new)
            encoded = encode(batch)
            self.known.update({line.key: row for line, row in zip(new, encoded, strict=True)})
        found = torch.stack([self.known[line.key] for line in lines])
        while len(self.known) > KNOWN:
            del self.known[next(iter(self.known))]  # the oldest
        return found
