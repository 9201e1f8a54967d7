"""The end-to-end memory network of Joshi et al. (2017) as functions of parameters, for R independent runs at once.

Every parameter has R as its first dimension (R = 1 is a plain model): one set of kernels trains several seeds side
by side, each as if it were alone. A bag of words is a row of a sparse count matrix; embedding is a sparse product.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from parlai_persona.agents.meta_memnn.stories import FAR, Bags, Batch
from parlai_persona.flags import flag

try:
    from parlai_persona.agents.meta_memnn import fused
except ImportError:  # no numba: the same in plain torch, several times slower
    fused = None

Params = Mapping[str, Tensor]
KEPT = 8  # lists of candidates, besides the heads' own, whose embeddings are kept


class Embed(torch.autograd.Function):
    """counts (N, V) @ table (V, d), differentiable any number of times: the gradient is a product of the same kind."""

    @staticmethod
    def forward(ctx, table: Tensor, bags: Bags) -> Tensor:
        assert table.shape[0] == bags.columns, f'{table.shape[0]} words in the table, {bags.columns} in the bags'
        ctx.bags = bags
        return F.embedding_bag(bags.ids, table.detach(), bags.offsets, mode='sum', include_last_offset=True)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return Embed.apply(gradient.contiguous(), ctx.bags.transpose), None


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


class MemNN:
    """Shared body: query u attends `hops` times over the memory lines; u <- H u + o."""

    def __init__(self, shape: Shape, fast: bool = True):
        """`fast`: use the compiled loops where they can be used."""
        self.shape, self.fast = shape, fast

    def body(self, runs: int, words: Mapping[str, int], rng: torch.Generator) -> dict[str, Tensor]:
        """A.<block>: embeddings of memory and query, a block for each part of the vocabulary; H."""
        d = self.shape.embedding
        blocks = {f'A.{name}': self.normal(runs, size, d, rng) for name, size in words.items()}
        return {**blocks, 'H': self.normal(runs, d, d, rng)}

    def normal(self, *shape_and_rng) -> Tensor:
        *shape, rng = shape_and_rng
        return torch.randn(*shape, generator=rng) * self.shape.scale

    def compiled(self, params: Params) -> bool:
        return fused is not None and self.fast and params['H'].device.type == 'cpu'

    def state(self, params: Params, batch: Batch, reply: bool = False) -> Tensor:
        """u after the last hop, (R, B, d); the query includes the reply if `reply`."""
        table, H, shape = embedding(params, batch).flatten(0, 1), params['H'], self.shape
        if self.compiled(params):
            u = fused.State.apply(table, H, batch, shape.hops, shape.split, reply)
        else:
            u = read(Embed.apply(table, batch.bags), H, batch, shape, reply)
        return u.view(*batch.index.shape, -1)


def read(rows: Tensor, H: Tensor, batch: Batch, shape: Shape, reply: bool = False) -> Tensor:
    """u after the last hop, (R * B, d), from the embedded lines: the definition of the network.

    u starts as the query; a hop is u <- H u + o with o = sum_j p_j m_j, p = softmax(u . m). With split memory there
    is one such sum for the lines about the user and one for the others.
    """
    runs, each = batch.index.shape
    lines, query, replies = rows.split([runs * each * batch.width, runs * each, runs * each])
    memory = lines.view(runs, each, batch.width, rows.shape[1])  # (R, B, J, d)
    u = (query + replies if reply else query).view(runs, each, -1)
    masks = [batch.mask]
    if shape.split:
        profile = torch.arange(batch.width, device=rows.device) < batch.profile
        masks = [batch.mask.masked_fill(other, FAR) for other in (~profile, profile)]
    for _ in range(shape.hops):
        scores = (memory @ u.unsqueeze(-1)).squeeze(-1)  # (R, B, J)
        u = u @ H.transpose(1, 2)
        for mask in masks:
            p = torch.softmax(scores + mask, -1) * (mask == 0).any(-1, keepdim=True)
            u = u + (p.unsqueeze(-2) @ memory).squeeze(-2)
    return u.flatten(0, 1)


def embedding(params: Params, batch: Batch) -> Tensor:
    """The blocks of A that the batch's words come from, (R, V, d)."""
    return joined(blocks(params, 'A', batch.table.size), 1)


def blocks(params: Params, letter: str, words: int) -> list[Tensor]:
    """The blocks of a matrix that hold its first `words` words: X.0 has those of the related tasks, X.1 the others."""
    found, have = [], 0
    for name in sorted(name for name in params if name.startswith(f'{letter}.')):
        if have < words:
            found.append(params[name])
            have += params[name].shape[1]
    return found


def joined(parts: Sequence[Tensor], dim: int) -> Tensor:
    """One after the other; a single one as it is."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim)


class DialogModel(MemNN):
    """M_theta: scores the candidates of a head. `heads` says which words each list of candidates is made of."""

    def __init__(
        self, shape: Shape, heads: Mapping[str, Bags], known: Mapping[str, Tensor] | None = None, fast: bool = True
    ):
        """`known[head]` (R, C) is FAR where a run does not have a candidate of the list, else 0."""
        super().__init__(shape, fast)
        self.heads, self.known = dict(heads), dict(known or {})
        self.cache: dict[int, tuple[Bags, list[Tensor], list[tuple[int, int]], Tensor]] = {}

    def init(self, runs: int, words: Mapping[str, int], seed: int) -> dict[str, Tensor]:
        rng = torch.Generator().manual_seed(seed)
        params = self.body(runs, words, rng)
        sizes = words if self.shape.shared else {head: bags.columns for head, bags in self.heads.items()}
        for name, size in sizes.items():
            params[f'W.{name}'] = self.normal(runs, size, self.shape.embedding, rng)
        return params

    def matrix(self, params: Params, head: str, bags: Bags) -> list[Tensor]:
        """The blocks of W that these words of the head come from."""
        return blocks(params, 'W', bags.columns) if self.shape.shared else [params[f'W.{head}']]

    def candidates(self, params: Params, head: str, bags: Bags | None = None) -> Tensor:
        """W c for each candidate c, (R, C, d), of the head's list or of another; kept while W stays as it is."""
        bags = self.heads[head] if bags is None else bags
        W = self.matrix(params, head, bags)
        versions = [(id(block), block._version) for block in W]
        kept = self.cache.get(id(bags))
        keep = not (torch.is_grad_enabled() and any(block.requires_grad for block in W))
        if keep and kept and kept[0] is bags and kept[2] == versions:
            return kept[3]
        c = embed(joined(W, 1), bags)
        if keep:
            if len(self.cache) > len(self.heads) + KEPT:
                self.cache.clear()
            self.cache[id(bags)] = (bags, W, versions, c)  # W is held, so that nothing else takes its identity
        return c

    def scores(self, params: Params, batch: Batch) -> Tensor:
        """(R, B, C)"""
        head = batch.table.head
        scores = self.state(params, batch) @ self.candidates(params, head).transpose(1, 2)
        return scores + self.known[head].unsqueeze(1) if head in self.known else scores

    def losses(self, params: Params, batch: Batch) -> Tensor:
        """Cross-entropy over all candidates of the batch's task for each example, (R, B)."""
        head = batch.table.head
        if self.compiled(params):
            losses = fused.Losses.apply(
                embedding(params, batch).flatten(0, 1),
                params['H'],
                self.candidates(params, head),
                self.known.get(head),
                batch,
                self.shape.hops,
                self.shape.split,
            )
            return losses.view(batch.index.shape)
        scores = self.scores(params, batch)
        return torch.logsumexp(scores, -1) - scores.gather(-1, batch.target.unsqueeze(-1)).squeeze(-1)


def embed(W: Tensor, bags: Bags) -> Tensor:
    """W c for each bag of words c, (R, C, d); W is (R, V, d)."""
    flat = W.transpose(0, 1).flatten(1)  # (V, R * d)
    return Embed.apply(flat.contiguous(), bags).view(bags.rows, *W.shape[::2]).transpose(0, 1)


class WeightModel(MemNN):
    """P_eta: a weight in (0, 1) for an example, from its context and its reply (eq. 3)."""

    def init(self, runs: int, words: Mapping[str, int], seed: int) -> dict[str, Tensor]:
        rng = torch.Generator().manual_seed(seed)
        params = self.body(runs, words, rng)
        params['w'] = self.normal(runs, self.shape.embedding, 1, rng)
        params['b'] = torch.zeros(runs, 1, 1)
        return params

    def weights(self, params: Params, batch: Batch) -> Tensor:
        """(R, B)"""
        u = self.state(params, batch, reply=True)
        return torch.sigmoid(u @ params['w'] + params['b']).squeeze(-1)


def stack(params: Sequence[Params]) -> dict[str, Tensor]:
    """Several plain models as the runs of one."""
    return {name: torch.cat([p[name] for p in params]) for name in params[0]}
