"""`model.read` and `model.losses` as single nodes of autograd, over the compiled loops of `compiled.py`.

Autograd would build about forty nodes for a simulated step, and go through them three times for the derivative of the
update. Here a loss is one node, its gradient another, and the derivative of the gradient is written out, too.

Shapes: B examples, C candidates, V words, d embedding. `..._dot` is the derivative of `...` in a direction (A_dot,
H_dot, c_dot): a Jacobian-vector product. The gradient of the gradient is also one, because the Hessian is symmetric.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from parlai_persona.agents.meta_memnn.batches import Batch
from parlai_persona.agents.meta_memnn.fast import compiled


def read(A: Tensor, H: Tensor, batch: Batch, shape: Any, reply: bool = False) -> Tensor:
    """Return the state u after the last hop, (B, d). Differentiable once."""
    return Read.apply(A, H, batch, shape, reply)


def losses(A: Tensor, H: Tensor, c: Tensor, batch: Batch, shape: Any) -> Tensor:
    """Return the cross-entropy of each example over all candidates c (C, d), (B,). Differentiable twice."""
    return Losses.apply(A, H, c, batch, shape)


class Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, A: Tensor, H: Tensor, batch: Batch, shape: Any, reply: bool) -> Tensor:
        ctx.reading = Reading(A, H, batch, shape, reply)
        return ctx.reading.u()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor):
        return *ctx.reading.backward(g), None, None, None


class Losses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, A: Tensor, H: Tensor, c: Tensor, batch: Batch, shape: Any) -> Tensor:
        ctx.reading = Reading(A, H, batch, shape)
        ctx.softmax, values = Softmax.of(ctx.reading.u(), c, batch.target)
        ctx.save_for_backward(A, H, c)
        return values

    @staticmethod
    def backward(ctx: Any, g: Tensor):
        return *Gradient.apply(g, *ctx.saved_tensors, ctx.reading, ctx.softmax), None, None


class Gradient(torch.autograd.Function):
    """The gradient of `Losses`, as a function of its inputs and of the weights g of the examples, (B,)."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, A: Tensor, H: Tensor, c: Tensor, reading: 'Reading', softmax: 'Softmax'):
        ctx.reading, ctx.softmax, ctx.g, ctx.wants_c = reading, softmax, g, c.requires_grad
        du, dc = softmax.backward(g, ctx.wants_c)
        return *reading.backward(du), dc

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, A_dot: Tensor, H_dot: Tensor, c_dot: Tensor):
        reading_dot = ctx.reading.jvp(A_dot, H_dot)
        losses_dot, du_dot, dc_dot = ctx.softmax.jvp(ctx.g, reading_dot.u(), c_dot if ctx.wants_c else None)
        return losses_dot, *reading_dot.backward(du_dot), dc_dot, None, None


class Reading:
    """One pass over a batch, as far as its derivatives need it."""

    def __init__(self, A: Tensor, H: Tensor, batch: Batch, shape: Any, reply: bool = False):
        self.H, self.words = numpy(H), len(A)
        self.where = (batch.table.arrays(), batch.index, shape.split, reply)
        self.us, self.ps, self.memory = compiled.forward(numpy(A), self.H, shape.hops, *self.where)
        self.gs = self.dps = self.us[:0]

    def u(self) -> Tensor:
        return torch.from_numpy(self.us[:, -1])

    def backward(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients at A and H, given that at u."""
        dA, dH, self.gs, self.dps = compiled.backward(
            numpy(g), self.us, self.ps, self.memory, self.H, *self.where, self.words
        )
        return torch.from_numpy(dA), torch.from_numpy(dH)

    def jvp(self, A_dot: Tensor, H_dot: Tensor) -> 'ReadingDot':
        return ReadingDot(self, numpy(A_dot), numpy(H_dot))


class ReadingDot:
    """The derivatives of a `Reading` in a direction."""

    def __init__(self, reading: Reading, A_dot: np.ndarray, H_dot: np.ndarray):
        self.reading, self.H = reading, H_dot
        r = reading
        self.us, self.ps, self.memory = compiled.forward_jvp(A_dot, H_dot, r.us, r.ps, r.memory, r.H, *r.where)

    def u(self) -> Tensor:
        return torch.from_numpy(self.us[:, -1])

    def backward(self, g_dot: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivative of what `Reading.backward` returned, where its argument changes by g_dot."""
        r = self.reading
        old, own = (r.us, r.ps, r.memory, r.H), (self.us, self.ps, self.memory, self.H)
        dA_dot, dH_dot = compiled.backward_jvp(numpy(g_dot), r.gs, r.dps, *old, *own, *r.where, r.words)
        return torch.from_numpy(dA_dot), torch.from_numpy(dH_dot)


class Softmax:
    """Cross-entropy of the softmax p (B, C) over the candidates c (C, d), at the states u (B, d)."""

    def __init__(self, p: Tensor, u: Tensor, c: Tensor, target: Tensor):
        self.p, self.u, self.c, self.target = p, u, c, target

    @classmethod
    def of(cls, u: Tensor, c: Tensor, target: Tensor) -> tuple['Softmax', Tensor]:
        """Return it with the losses, (B,). It does not keep them: their history would hold it, in a circle."""
        z = u @ c.T  # (B, C)
        log_p = z.log_softmax(1)
        values = -log_p.gather(1, target[:, None]).squeeze(1)
        return cls(log_p.exp_(), u, c, target), values

    def backward(self, g: Tensor, wants_c: bool) -> tuple[Tensor, Tensor | None]:
        """Return the gradients at u (B, d) and, if wanted, at c (C, d)."""
        du = g[:, None] * (self.p @ self.c - self.c[self.target])
        return du, self.add_targets(self.p.T @ (g[:, None] * self.u), g, self.u) if wants_c else None

    def add_targets(self, dc: Tensor, g: Tensor, u: Tensor) -> Tensor:
        """Subtract g u from the gradient at each example's reply."""
        return dc.index_add_(0, self.target, g[:, None] * u, alpha=-1)

    def jvp(self, g: Tensor, u_dot: Tensor, c_dot: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the derivatives of the losses, and of what `backward` returned, in the direction (u_dot, c_dot)."""
        z_dot = u_dot @ self.c.T
        if c_dot is not None:
            z_dot.addmm_(self.u, c_dot.T)
        at_target = z_dot.gather(1, self.target[:, None])
        p_dot = z_dot.mul_(self.p)  # in place, as these are the largest arrays
        mean = p_dot.sum(1, keepdim=True)
        losses_dot = (mean - at_target).squeeze(1)
        p_dot.addcmul_(self.p, mean, value=-1)
        du_dot, dc_dot = p_dot @ self.c, None
        if c_dot is not None:
            du_dot += self.p @ c_dot - c_dot[self.target]
            dc_dot = p_dot.T @ (g[:, None] * self.u) + self.p.T @ (g[:, None] * u_dot)
            dc_dot = self.add_targets(dc_dot, g, u_dot)
        return losses_dot, g[:, None] * du_dot, dc_dot


def numpy(x: Tensor) -> np.ndarray:
    return x.detach().contiguous().numpy()
