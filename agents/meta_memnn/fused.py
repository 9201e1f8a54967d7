"""The memory network's state and loss as single nodes of autograd, over the compiled loops of `compiled.py`.

Autograd would build some forty nodes for a simulated step, and walk them three times over for the derivative of the
update. Here a loss is one node, its gradient another, and the derivative of that is written out, too.

Shapes: R runs, B examples each, N = R * B, d embedding, C candidates.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from parlai_persona.agents.meta_memnn import compiled
from parlai_persona.agents.meta_memnn.stories import Batch


class Reading:
    """What one pass over a batch computed, as far as its derivatives need it."""

    def __init__(self, table: Tensor, H: Tensor, batch: Batch, hops: int, split: bool, reply: bool):
        runs, each = batch.index.shape
        self.H, self.rows = numpy(H), len(table)
        run = np.repeat(np.arange(runs), each)
        base = run * (self.rows // runs)
        self.where = (batch.table.arrays(), batch.index.reshape(-1), base, run)
        self.kind = (split, reply)
        self.us, self.ps, self.memories = compiled.forward(numpy(table), self.H, *self.where, hops, *self.kind)
        self.gs = self.dps = self.us[:0]

    def state(self) -> Tensor:
        """u after the last hop, (N, d)."""
        return torch.from_numpy(self.us[:, -1])

    def backward(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient at the state -> gradients at table and H."""
        table, dH, self.gs, self.dps = compiled.backward(
            numpy(g), self.us, self.ps, self.memories, self.H, *self.where, *self.kind, self.rows
        )
        return torch.from_numpy(table), torch.from_numpy(dH)

    def along(self, table: Tensor, H: Tensor) -> 'Along':
        return Along(self, numpy(table), numpy(H))


class Along:
    """The derivatives of a `Reading` in a direction (table, H)."""

    def __init__(self, reading: Reading, table: np.ndarray, H: np.ndarray):
        self.reading, self.H = reading, H
        self.us, self.ps, self.memories = compiled.forward_along(
            table, H, reading.us, reading.ps, reading.memories, reading.H, *reading.where, *reading.kind
        )

    def state(self) -> Tensor:
        return torch.from_numpy(self.us[:, -1])

    def backward(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """The derivative of what `Reading.backward` returned, where its argument changes by g."""
        r = self.reading
        table, dH = compiled.backward_along(
            numpy(g),
            r.gs,
            r.dps,
            r.us,
            r.ps,
            r.memories,
            self.H,
            self.us,
            self.ps,
            self.memories,
            r.H,
            *r.where,
            *r.kind,
            r.rows,
        )
        return torch.from_numpy(table), torch.from_numpy(dH)


def numpy(x: Tensor) -> np.ndarray:
    return x.detach().contiguous().numpy()


class State(torch.autograd.Function):
    """u after the last hop, (N, d). Differentiable once."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, H: Tensor, batch: Batch, hops: int, split: bool, reply: bool) -> Tensor:
        ctx.reading = Reading(table, H, batch, hops, split, reply)
        return ctx.reading.state()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor):
        return *ctx.reading.backward(g), *[None] * 4


class Losses(torch.autograd.Function):
    """Cross-entropy of each example over the candidates, (N,). Differentiable twice."""

    @staticmethod
    def forward(ctx: Any, table, H, candidates, known, batch: Batch, hops: int, split: bool) -> Tensor:
        ctx.reading = Reading(table, H, batch, hops, split, False)
        ctx.choice = Choice(candidates, batch.target, ctx.reading.state(), known)
        ctx.save_for_backward(table, H, candidates)
        return ctx.choice.losses()

    @staticmethod
    def backward(ctx: Any, g: Tensor):
        return *Gradient.apply(g, *ctx.saved_tensors, ctx), *[None] * 4


class Gradient(torch.autograd.Function):
    """The gradient of `Losses`, as a function of its inputs and of the weights g of the examples, (N,)."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, table, H, candidates, loss):
        ctx.reading, ctx.choice, ctx.g = loss.reading, loss.choice, g
        ctx.wants = candidates.requires_grad
        du, dc = ctx.choice.backward(g, ctx.wants)
        return *ctx.reading.backward(du), dc

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, table: Tensor, H: Tensor, candidates: Tensor):
        along = ctx.reading.along(table, H)
        losses, du, dc = ctx.choice.along(ctx.g, along.state(), candidates if ctx.wants else None)
        return losses, *along.backward(du), dc, None


class Choice:
    """Softmax cross-entropy over candidates c, scores z = c . u."""

    def __init__(self, candidates: Tensor, target: Tensor, u: Tensor, known: Tensor | None):
        """`candidates` (R, C, d); `target` (N,); `u` (N, d); `known` (R, C) is added to the scores."""
        self.c, self.runs = candidates, candidates.shape[0]
        self.u = u.view(self.runs, -1, u.shape[-1])  # (R, B, d)
        z = self.u @ candidates.transpose(1, 2)  # (R, B, C)
        if known is not None:
            z += known.unsqueeze(1)
        self.place = target.view(self.runs, -1, 1)  # (R, B, 1)
        right = z.gather(-1, self.place)
        top = z.amax(-1, keepdim=True)
        self.p = z.sub_(top).exp_()
        total = self.p.sum(-1, keepdim=True)
        self.p /= total
        self.start: Tensor | None = total.log() + top - right

    def losses(self) -> Tensor:
        """(N,). Not kept: autograd gives it a history, which would hold this object, and so itself, for ever."""
        start, self.start = self.start, None
        assert start is not None, 'the losses were taken before'
        return start.flatten()

    def label(self, c: Tensor) -> Tensor:
        """The candidate that is the reply, (R, B, d)."""
        return c.gather(1, self.place.expand(-1, -1, c.shape[-1]))

    def backward(self, g: Tensor, wants: bool) -> tuple[Tensor, Tensor | None]:
        """Gradients at u (N, d) and, if wanted, at the candidates."""
        g = g.view(self.runs, -1, 1)
        du = g * (self.p @ self.c - self.label(self.c))
        dc = None
        if wants:
            dc = self.p.transpose(1, 2) @ (g * self.u)
            dc.scatter_add_(1, self.place.expand_as(self.u), -g * self.u)
        return du.flatten(0, 1), dc

    def along(self, g: Tensor, u: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Derivatives of the losses, and of what `backward` returned, in the direction (u, c)."""
        g, u = g.view(self.runs, -1, 1), u.view_as(self.u)
        z = u @ self.c.transpose(1, 2)
        if c is not None:
            z.baddbmm_(self.u, c.transpose(1, 2))
        right = z.gather(-1, self.place)
        p_dot = z.mul_(self.p)
        mean_z = p_dot.sum(-1, keepdim=True)
        losses = (mean_z - right).flatten()
        p_dot.addcmul_(self.p, mean_z, value=-1)
        du = p_dot @ self.c
        dc = None
        if c is not None:
            du += self.p @ c - self.label(c)
            dc = p_dot.transpose(1, 2) @ (g * self.u) + self.p.transpose(1, 2) @ (g * u)
            dc.scatter_add_(1, self.place.expand_as(u), -g * u)
        return losses, (g * du).flatten(0, 1), dc
