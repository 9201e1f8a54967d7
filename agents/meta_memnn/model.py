"""The memory network of Joshi et al. (2017) as functions of parameters: M_theta scores replies, P_eta weighs examples.

Shapes: B examples, J memory lines, C candidates, V words, d embedding. The parameters of a network are

    A_0, A_1    (V, d)  embeddings of memory and query: the words of the related tasks, and those of the primary alone
    H           (d, d)  the query's way from one hop to the next
    W_<head>    (V, d)  embeddings of candidates, one matrix for each list of them (M_theta)
    w, b        (d,) () weight and bias of the logistic unit (P_eta)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from parlai_persona.agents.meta_memnn.batches import Bags, Batch
from parlai_persona.flags import flag

try:
    from parlai_persona.agents.meta_memnn.fast import fused
except ImportError:  # no numba: `read` and `losses` below do the same, several times slower
    fused = None

Params = Mapping[str, Tensor]
Read = Callable[..., Tensor]


@dataclass(frozen=True)
class Shape:
    """Sizes, with the paper's values."""

    embedding: int = flag(20, 'd (appendix B.2)', 'embedding_size', least=1)
    hops: int = flag(3, 'readings of the memory (B.2)', least=1)
    split: bool = flag(False, 'a memory of its own for the lines about the user (Joshi et al. 2017)', 'split_memory')
    shared: bool = flag(
        False,
        'one matrix of word vectors for the candidates of all tasks, which keep their own lists (B.2)',
        'shared_candidates',
    )
    scale: float = 0.1  # standard deviation of the first weights (Joshi et al.'s code)


class Embed(torch.autograd.Function):
    """Bags of words (N, V) times embeddings (V, d). Differentiable any number of times: so is its gradient."""

    @staticmethod
    def forward(ctx, A: Tensor, bags: Bags) -> Tensor:
        assert len(A) == bags.columns, f'{len(A)} words have an embedding, {bags.columns} were expected'
        ctx.bags = bags
        return F.embedding_bag(bags.ids, A.detach(), bags.offsets, mode='sum', include_last_offset=True)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return Embed.apply(gradient.contiguous(), ctx.bags.transpose), None


def read(A: Tensor, H: Tensor, batch: Batch, shape: Shape, reply: bool = False) -> Tensor:
    """Return the state u after the last hop, (B, d). The query includes the reply if `reply`.

    A hop is u <- H u + o with o = sum_j p_j m_j and p = softmax(u . m). With split memory there is one such sum for
    the lines about the user and one for the others.
    """
    B, J = len(batch.index), batch.width
    m, query, replies = Embed.apply(A, batch.bags).split([B * J, B, B])
    m = m.view(B, J, A.shape[1])  # (B, J, d)
    u = query + replies if reply else query  # (B, d)
    masks = batch.masks(shape.split)
    for _ in range(shape.hops):
        scores = (m @ u.unsqueeze(-1)).squeeze(-1)  # (B, J)
        u = u @ H.T
        for mask in masks:
            p = torch.softmax(scores + mask, -1) * (mask == 0).any(-1, keepdim=True)  # an empty memory adds nothing
            u = u + (p.unsqueeze(-2) @ m).squeeze(-2)
    return u


def losses(A: Tensor, H: Tensor, c: Tensor, batch: Batch, shape: Shape) -> Tensor:
    """Return the cross-entropy of each example over all candidates c (C, d), (B,)."""
    scores = read(A, H, batch, shape) @ c.T  # (B, C)
    return F.cross_entropy(scores, batch.target, reduction='none')


def blocks(params: Params, letter: str, words: int) -> Tensor:
    """Return the embeddings of the first `words` words, (words, d), out of the blocks <letter>_0 and <letter>_1."""
    first = params[f'{letter}_0']
    return first if len(first) == words else torch.cat([first, params[f'{letter}_1']])


class MemNN:
    """The common part of both networks. `fast` uses the compiled loops where it can."""

    def __init__(self, shape: Shape, fast: bool = True):
        self.shape, self.fast = shape, fast

    def functions(self, H: Tensor) -> tuple[Read, Read]:
        """Return `read` and `losses`: on a CPU those of `fast`, if numba is installed."""
        if self.fast and fused is not None and H.device.type == 'cpu':
            return fused.read, fused.losses
        return read, losses

    def state(self, params: Params, batch: Batch, reply: bool = False) -> Tensor:
        """Return u after the last hop, (B, d)."""
        function, _ = self.functions(params['H'])
        return function(blocks(params, 'A', batch.table.size), params['H'], batch, self.shape, reply)

    def first_body(self, words: Mapping[str, int], rng: torch.Generator) -> dict[str, Tensor]:
        """Draw A, in blocks of these numbers of words, and H."""
        d = self.shape.embedding
        A = {f'A_{name}': self.normal(rng, size, d) for name, size in words.items()}
        return {**A, 'H': self.normal(rng, d, d)}

    def normal(self, rng: torch.Generator, *size: int) -> Tensor:
        return torch.randn(*size, generator=rng) * self.shape.scale


class DialogModel(MemNN):
    """M_theta. `heads` has the bags of words of each list of candidates."""

    def __init__(self, shape: Shape, heads: Mapping[str, Bags], fast: bool = True):
        super().__init__(shape, fast)
        self.heads = heads

    def init(self, words: Mapping[str, int], seed: int) -> dict[str, Tensor]:
        """Draw theta."""
        rng = torch.Generator().manual_seed(seed)
        params = self.first_body(words, rng)
        sizes = words if self.shape.shared else {head: bags.columns for head, bags in self.heads.items()}
        W = {f'W_{name}': self.normal(rng, size, self.shape.embedding) for name, size in sizes.items()}
        return {**params, **W}

    def candidates(self, params: Params, head: str, bags: Bags | None = None) -> Tensor:
        """Return c, the embedding of each candidate of the head's list, or of other `bags`: (C, d)."""
        bags = self.heads[head] if bags is None else bags
        W = blocks(params, 'W', bags.columns) if self.shape.shared else params[f'W_{head}']
        return Embed.apply(W, bags)

    def scores(self, params: Params, batch: Batch) -> Tensor:
        """Return u . c, (B, C)."""
        return self.state(params, batch) @ self.candidates(params, batch.table.head).T

    def losses(self, params: Params, batch: Batch) -> Tensor:
        """Return L(M_theta(c_i), a_i), the cross-entropy of each example, (B,)."""
        _, function = self.functions(params['H'])
        A, c = blocks(params, 'A', batch.table.size), self.candidates(params, batch.table.head)
        return function(A, params['H'], c, batch, self.shape)


class WeightModel(MemNN):
    """P_eta."""

    def init(self, words: Mapping[str, int], seed: int) -> dict[str, Tensor]:
        """Draw eta."""
        rng = torch.Generator().manual_seed(seed)
        params = self.first_body(words, rng)
        return {**params, 'w': self.normal(rng, self.shape.embedding), 'b': torch.zeros(())}

    def weights(self, params: Params, batch: Batch) -> Tensor:
        """Return w_i in (0, 1) for each example, from its context and its reply (eq. 3): (B,)."""
        u = self.state(params, batch, reply=True)
        return torch.sigmoid(u @ params['w'] + params['b'])
