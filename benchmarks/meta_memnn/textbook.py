"""Rajendran et al., sec. 3.2, as one would write it first: the peer that `meta_memnn_speed.py` times.

Padded word numbers, look-ups summed over words, attention with a mask, candidates embedded wherever they are scored,
five simulated steps by `torch.autograd.grad(create_graph=True)` and one gradient through them all, `torch.optim.Adam`.
One run at a time. It shares the recipe, the draws of examples and the first parameters with `learner.Learner`, and
none of its arithmetic. Not made slow on purpose: lines are padded once, a batch is put together by two look-ups and is
as wide as its longest story and line, and related data look up their own words alone.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor

from parlai_persona.agents.meta_memnn.learner import Learner, Pool, Recipe
from parlai_persona.agents.meta_memnn.model import Shape
from parlai_persona.agents.meta_memnn.stories import StoryTable

PAD = 0  # word n of the vocabulary is n + 1 here
Params = Mapping[str, Tensor]
Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # memory, its mask, query, reply, target


def padded(bags: Sequence[Sequence[int]]) -> Tensor:
    """(N, longest), each bag's numbers plus one and then zeros."""
    tensors = [torch.tensor(bag, dtype=torch.int64) + 1 for bag in bags]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=PAD)


class Stories:
    """The examples of a task as padded word numbers."""

    def __init__(self, table: StoryTable, candidates: Sequence[Sequence[int]], trim: bool = True):
        """`trim`: a batch is as wide as its longest story and line, not as those of all of the data."""
        self.trim = trim
        self.lines = F.pad(padded(table.rows), (0, 0, 1, 0))  # (1 + lines, W): line 0 is empty
        self.width = torch.tensor([0, *map(len, table.rows)])
        self.story = padded([story[:-2] for story in table.story])  # (N, J): lines, from 1
        self.length = torch.tensor([len(story) - 2 for story in table.story])
        self.query, self.reply = (torch.tensor([story[n] for story in table.story]) + 1 for n in (-2, -1))
        self.target = torch.tensor(table.targets)
        self.candidates = padded(candidates)  # (C, W)

    def text(self, lines: Tensor) -> Tensor:
        """(..., W)"""
        words = self.lines[lines]
        return words[..., : int(self.width[lines].max())] if self.trim else words

    def batch(self, index: Tensor) -> Batch:
        story = self.story[index]  # (B, J)
        if self.trim:
            story = story[:, : max(1, int(self.length[index].max()))]
        query, reply = self.text(self.query[index]), self.text(self.reply[index])  # (B, W)
        return self.text(story), story != PAD, query, reply, self.target[index]


def bag_of_words(words: Tensor, table: Tensor) -> Tensor:
    """(..., W) -> (..., d)"""
    return F.embedding(words, table, padding_idx=PAD).sum(-2)


def read(params: Params, A: Tensor, memory: Tensor, mask: Tensor, query: Tensor, hops: int) -> Tensor:
    """u after the last hop, (B, d): u <- H u + sum_j softmax(u . m)_j m_j."""
    m, u = bag_of_words(memory, A), bag_of_words(query, A)  # (B, J, d), (B, d)
    for _ in range(hops):
        scores = torch.bmm(m, u.unsqueeze(2)).squeeze(2).masked_fill(~mask, -1e9)
        o = torch.bmm(torch.softmax(scores, 1).unsqueeze(1), m).squeeze(1)
        u = u @ params['H'].T + o
    return u


class Textbook:
    """theta, eta and the two optimisers of one run; `iterate` is one iteration."""

    def __init__(
        self,
        recipe: Recipe,
        shape: Shape,
        theta: Params,
        eta: Params,
        primary: Pool,
        related: Pool,
        candidates: Mapping[str, Sequence[Sequence[int]]],
        trim: bool = True,
    ):
        """`theta` and `eta` as `Learner` has them (with a first dimension of one run); they are copied.
        `candidates` are the words of each of them."""
        assert recipe.mode == 'learned' and recipe.inner == 'sgd' and not shape.split, (recipe, shape)
        self.recipe, self.shape = recipe, shape
        self.theta, self.eta = ({n: start(n, p) for n, p in params.items()} for params in (theta, eta))
        self.primary, self.related = primary, related
        self.stories = {
            pool.table.head: Stories(pool.table, candidates[pool.table.head], trim) for pool in (primary, related)
        }
        self.theta_optimizer = torch.optim.Adam(self.theta.values(), lr=recipe.alpha, eps=1e-8)
        self.eta_optimizer = torch.optim.Adam(self.eta.values(), lr=recipe.gamma, eps=1e-8)

    def draw(self, pool: Pool) -> tuple[str, Batch]:
        head = pool.table.head
        return head, self.stories[head].batch(torch.from_numpy(pool.draw(self.recipe.batch)[0]))

    def losses(self, theta: Params, head: str, batch: Batch) -> Tensor:
        """Cross-entropy of each example over all candidates, (B,)."""
        memory, mask, query, _, target = batch
        shared = theta['A.0']  # the words of the related data, the rest of the vocabulary is in A.1
        A = torch.cat([shared, theta['A.1']]) if head == self.primary.table.head else shared
        u = read(theta, A, memory, mask, query, self.shape.hops)
        c = bag_of_words(self.stories[head].candidates, theta[f'W.{head}'])  # (C, d)
        return F.cross_entropy(u @ c.T, target, reduction='none')

    def weights(self, eta: Params, batch: Batch) -> Tensor:
        """Eq. 3, (B,)"""
        memory, mask, query, reply, _ = batch
        u = read(eta, eta['A.0'], memory, mask, torch.cat([query, reply], 1), self.shape.hops)
        return torch.sigmoid(u @ eta['w'] + eta['b']).squeeze(1)

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
        """One update of eta (eqs. 6-10)."""
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
    """A run's parameter of its own; tables of words get a row for the padding, those that stand first."""
    own = p.detach()[0].clone()
    if name.startswith(('A.0', 'W.')):
        own = F.pad(own, (0, 0, 1, 0))
    return own.requires_grad_()


def parameters(params: Params) -> dict[str, Tensor]:
    """As `Learner` has them, without the rows of the padding."""
    return {name: (p[1:] if name.startswith(('A.0', 'W.')) else p).detach()[None] for name, p in params.items()}


def textbook(learner: Learner, trim: bool = True) -> Textbook:
    """What goes on from where `learner` (of one run) stands before its first iteration, and draws what it draws."""
    learner.related_names()  # draws a batch of its own when it is first asked
    primary, related = (twin(pool) for pool in (learner.primary, *learner.related))
    words = {
        head: [ids.tolist() for ids in bags.ids.tensor_split(bags.offsets[1:-1].long())]
        for head, bags in learner.model.heads.items()
    }
    return Textbook(learner.recipe, learner.model.shape, learner.theta, learner.eta, primary, related, words, trim)


def twin(pool: Pool) -> Pool:
    """A pool that will draw the same."""
    return Pool(pool.table, pool.members, deepcopy(pool.rngs), list(pool.order))
