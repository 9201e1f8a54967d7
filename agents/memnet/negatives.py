"""The loss over the responses of a batch (Mazaré et al. 2018, §4.1), which may be spread over processes. Torch only.

B examples of this process, R responses of all processes, d size of an encoding.
"""

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


class Ranked(NamedTuple):
    losses: Tensor  # (B,)
    scores: Tensor  # (B, R), -inf for what is no negative
    own: Tensor  # (B,), the column of the example's own response
    examples: int  # of all processes

    def mean(self) -> Tensor:
        """What a process descends on. The mean of its gradients over the processes, which is what torch's
        DistributedDataParallel takes, is the gradient of one big batch."""
        return self.losses.sum() * (processes() / self.examples)

    def measures(self) -> dict[str, Tensor]:
        """Whether the own response comes first, and one over its rank; ties count against it. (B,) each."""
        label = self.scores.gather(1, self.own[:, None])
        place = (self.scores >= label).sum(1).float()  # counts itself
        return {'train_accuracy': (place == 1).float(), 'mrr': 1 / place}


class Gather(torch.autograd.Function):
    """Rows of all processes one after another; the gradient of a row is the sum of what all processes found."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].contiguous()
        dist.all_reduce(grad)
        first = dist.get_rank() * ctx.rows
        return grad[first : first + ctx.rows]


def processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank(u: Tensor, y: Tensor, texts: Tensor) -> Ranked:
    """Cross-entropy of each example's response among those of the batch.

    u, y (B, d): examples and their responses. texts (B,): a number for each text; a response with the text of the
    example's own is no negative.
    """
    assert u.shape == y.shape and texts.shape == u.shape[:1]
    rows = torch.arange(len(u), device=u.device)
    own, real = rows, torch.ones_like(texts, dtype=torch.bool)
    all_texts = texts
    if processes() > 1:
        size = largest(len(u), u.device)
        own = rows + dist.get_rank() * size
        y = Gather.apply(filled(y, size))
        all_texts, real = Gather.apply(filled(texts, size)), Gather.apply(filled(real.long(), size)).bool()
    scores = u.float() @ y.float().T  # (B, R)
    left_out = (texts[:, None] == all_texts) | ~real
    left_out[rows, own] = False
    scores = scores.masked_fill(left_out, -torch.inf)
    return Ranked(scores.logsumexp(1) - scores[rows, own], scores, own, int(real.sum()))


def largest(size: int, device: torch.device) -> int:
    """Batches of several processes may differ in size."""
    found = torch.tensor(size, device=device)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def filled(x: Tensor, size: int) -> Tensor:
    return torch.cat([x, x.new_zeros(size - len(x), *x.shape[1:])])
