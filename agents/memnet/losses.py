"""Scores of the responses of a batch, of all processes together, and the loss (Mazaré et al. 2018, §4.1). Torch only.

Shapes: B examples, with R responses in all processes; d size of an encoding.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def scores_in_batch(u: Tensor, y: Tensor, numbers: Tensor, lexical: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Score each example against the responses of the batch, of all processes together (§4.1).

    u, y (B, d) are examples and their responses; `numbers` (B,) has a number other than 0 for each distinct response;
    `lexical` (B, R) is added to the scores.
    Return scores (B, R), and the column of each example's own response (B,). Other columns with the text of the own
    response are -inf.
    """
    assert u.shape == y.shape and numbers.shape == u.shape[:1]
    own = torch.arange(len(u), device=u.device)
    all_numbers = numbers
    if processes() > 1:
        size = largest(len(u), u.device)
        own = own + dist.get_rank() * size
        y, all_numbers = (Gather.apply(torch.cat([x, x.new_zeros(size - len(x), *x.shape[1:])])) for x in (y, numbers))
    scores = u.float() @ y.float().T  # (B, R)
    if lexical is not None:
        scores = scores + lexical
    no_negative = (numbers[:, None] == all_numbers) | (all_numbers == 0)  # the same text, or padding
    no_negative.scatter_(1, own[:, None], False)
    return scores.masked_fill(no_negative, -torch.inf), own


def losses_and_ranks(scores: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy and the rank of column `own` of each row of scores (B, C): (B,) each.

    Ties count against `own`. Where it is -1, the results mean nothing.
    """
    label = scores.gather(1, own.clamp(min=0)[:, None])
    return scores.logsumexp(1) - label.squeeze(1), (scores >= label).sum(1).float()


def mean_loss(losses: Tensor) -> Tensor:
    """Return the mean of the losses (B,) as one process has to descend on it.

    DistributedDataParallel averages gradients over processes. Of these means, the average is the gradient of one big
    batch, even if processes have batches of different sizes.
    """
    if processes() == 1:
        return losses.mean()
    examples = torch.tensor(len(losses), device=losses.device)
    dist.all_reduce(examples)
    return losses.sum() * (processes() / examples)


class Gather(torch.autograd.Function):
    """Concatenates the rows of all processes; the gradient of a row is the sum over processes.

    `torch.distributed.nn.functional.all_gather` does the same but is deprecated.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        gathered = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, x.contiguous())
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].contiguous()
        dist.all_reduce(grad)
        first = dist.get_rank() * ctx.rows
        return grad[first : first + ctx.rows]


def processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def largest(size: int, device: torch.device) -> int:
    """Return the largest of the sizes that the processes have."""
    found = torch.tensor(size, device=device)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def rows_of_all(words: Tensor) -> Tensor:
    """Return the rows of all processes, in the order of `scores_in_batch`: (B, W) -> (R, W), padded with -1."""
    if processes() == 1:
        return words
    rows, width = (largest(size, words.device) for size in words.shape)
    padded = words.new_full((rows, width), -1)
    padded[: len(words), : words.shape[1]] = words
    return Gather.apply(padded)
