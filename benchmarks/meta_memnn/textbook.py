"""Rajendran et al., sec. 3.2, as one would write it first: the peer that `speed.py` times.

Padded word numbers, look-ups summed over words, attention with a mask, candidates embedded wherever they are scored,
five simulated steps by `torch.autograd.grad(create_graph=True)` and one gradient through them all, `torch.optim.Adam`.
It shares the recipe, the draws of examples and the first parameters with `learner.Learner`, and none of its arithmetic.
It is not slow on purpose: lines are padded once, a batch is put together by two look-ups and is as wide as its longest
story and line, and related data look up their own words alone.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor

from parlai_persona.agents.meta_memnn.batches import StoryTable
from parlai_persona.agents.meta_memnn.learner import Learner, Pool

PAD = 0  # word n of the vocabulary is n + 1 here
Params = Mapping[str, Tensor]
Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # memory, its mask, query, reply, target


def padded(bags: Sequence[Sequence[int]]) -> Tensor:
    """Return each bag's numbers plus one, then zeros, (N, longest)."""
    tensors = [torch.tensor(bag, dtype=torch.int64) + 1 for bag in bags]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=PAD)


class Stories:
    """The examples of a task as padded word numbers."""

    def __init__(self, table: StoryTable, candidates: Sequence[Sequence[int]]):
        self.lines = F.pad(padded(table.rows), (0, 0, 1, 0))  # (1 + lines, W): line 0 is empty
        self.width = torch.tensor([0, *map(len, table.rows)])
        self.story = padded([story[:-2] for story in table.stories])  # (N, J): lines, from 1
        self.length = torch.tensor([len(story) - 2 for story in table.stories])
        self.query, self.reply = (torch.tensor([story[n] for story in table.stories]) + 1 for n in (-2, -1))
        self.target = torch.tensor(table.targets)
        self.candidates = padded(candidates)  # (C, W)

    def text(self, lines: Tensor) -> Tensor:
        """(..., W)"""
        return self.lines[lines][..., : int(self.width[lines].max())]

    def batch(self, index: Tensor) -> Batch:
        story = self.story[index][:, : max(1, int(self.length[index].max()))]  # (B, J)
        query, reply = self.text(self.query[index]), self.text(self.reply[index])  # (B, W)
        return self.text(story), story != PAD, query, reply, self.target[index]


def bag_of_words(words: Tensor, table: Tensor) -> Tensor:
    """(..., W) -> (..., d)"""
    return F.embedding(words, table, padding_idx=PAD).sum(-2)


def read(params: Params, A: Tensor, memory: Tensor, mask: Tensor, query: Tensor, hops: int) -> Tensor:
    """Return u after the last hop, (B, d): u <- H u + sum_j softmax(u . m)_j m_j."""
    m, u = bag_of_words(memory, A), bag_of_words(query, A)  # (B, J, d), (B, d)
    for _ in range(hops):
        scores = torch.bmm(m, u.unsqueeze(2)).squeeze(2).masked_fill(~mask, -1e9)
        o = torch.bmm(torch.softmax(scores, 1).unsqueeze(1), m).squeeze(1)
        u = u @ params['H'].T + o
    return u


class Textbook:
    """theta, eta and the two optimisers; `iterate` is one iteration."""

    def __init__(self, learner: Learner, alpha: float):
        """Start where `learner` stands before its first iteration, and draw what it draws."""
        self.recipe, self.hops = learner.recipe, learner.model.shape.hops
        assert self.recipe.mode == 'learned' and self.recipe.inner == 'sgd' and not learner.model.shape.split
        learner.related_names()  # draws a batch when it is first asked
        self.theta, self.eta = ({n: start(n, p) for n, p in params.items()} for params in (learner.theta, learner.eta))
        self.primary, self.related = (twin(pool) for pool in (learner.primary, *learner.related))
        words = {
            head: [ids.tolist() for ids in bags.ids.tensor_split(bags.offsets[1:-1].long())]
            for head, bags in learner.model.heads.items()
        }
        heads = [(pool.table.head, pool.table) for pool in (self.primary, self.related)]
        self.stories = {head: Stories(table, words[head]) for head, table in heads}
        self.theta_optimizer = torch.optim.Adam(self.theta.values(), lr=alpha, eps=1e-8)
        self.eta_optimizer = torch.optim.Adam(self.eta.values(), lr=self.recipe.gamma, eps=1e-8)

    def draw(self, pool: Pool) -> tuple[str, Batch]:
        head = pool.table.head
        return head, self.stories[head].batch(torch.from_numpy(pool.draw(self.recipe.batch).index))

    def losses(self, theta: Params, head: str, batch: Batch) -> Tensor:
        """Return the cross-entropy of each example over all candidates, (B,)."""
        memory, mask, query, _, target = batch
        shared = theta['A_0']  # the words of the related data, the rest of the vocabulary is in A_1
        A = torch.cat([shared, theta['A_1']]) if head == self.primary.table.head else shared
        u = read(theta, A, memory, mask, query, self.hops)
        c = bag_of_words(self.stories[head].candidates, theta[f'W_{head}'])  # (C, d)
        return F.cross_entropy(u @ c.T, target, reduction='none')

    def weights(self, eta: Params, batch: Batch) -> Tensor:
        """Return w_i (eq. 3), (B,)."""
        memory, mask, query, reply, _ = batch
        u = read(eta, eta['A_0'], memory, mask, torch.cat([query, reply], 1), self.hops)
        return torch.sigmoid(u @ eta['w'] + eta['b'])

    def iterate(self) -> dict[str, Tensor]:
        size = self.recipe.batch
        primary = self.losses(self.theta, *self.draw(self.primary)).sum()  # eq. 1
        self.step(primary)  # eq. 2
        head, batch = self.draw(self.related)
        related = (self.weights(self.eta, batch).detach() * self.losses(self.theta, head, batch)).sum()  # eq. 4
        self.step(related)  # eq. 5
        outer = torch.stack([self.update_weights() for _ in range(self.recipe.updates)]).mean()
        return {
            'primary_loss': primary.detach() / size,
            'related_loss': related.detach() / size,
            'outer_loss': outer / size,
        }

    def step(self, loss: Tensor) -> None:
        self.theta_optimizer.zero_grad()
        loss.backward()
        self.theta_optimizer.step()

    def update_weights(self) -> Tensor:
        """Update eta once (eqs. 6-10)."""
        ahead: dict[str, Tensor] = dict(self.theta)
        for _ in range(self.recipe.steps):
            head, batch = self.draw(self.related)
            loss = (self.weights(self.eta, batch) * self.losses(ahead, head, batch)).sum()  # eq. 6
            grads = torch.autograd.grad(loss, list(ahead.values()), create_graph=True, allow_unused=True)
            ahead = {
                name: p if g is None else p - self.recipe.beta * g  # eq. 7
                for (name, p), g in zip(ahead.items(), grads, strict=True)
            }
        outer = self.losses(ahead, *self.draw(self.primary)).sum()  # eq. 8
        grads = torch.autograd.grad(outer, list(self.eta.values()))  # eq. 10
        for p, g in zip(self.eta.values(), grads, strict=True):
            p.grad = g
        self.eta_optimizer.step()  # eq. 9
        return outer.detach()


def start(name: str, p: Tensor) -> Tensor:
    """Return a parameter of its own; tables of words begin with a row for the padding."""
    own = p.detach().clone()
    return (F.pad(own, (0, 0, 1, 0)) if name.startswith(('A_0', 'W_')) else own).requires_grad_()


def parameters(params: Params) -> dict[str, Tensor]:
    """Return them as `Learner` has them, without the rows of the padding."""
    return {name: (p[1:] if name.startswith(('A_0', 'W_')) else p).detach() for name, p in params.items()}


def twin(pool: Pool) -> Pool:
    """Return a pool that will draw the same."""
    own = Pool(pool.table, pool.members, deepcopy(pool.rng))
    own.order = pool.order
    return own
