"""The network of PostKS (Lian et al. 2019): it learns which persona sentence to reply with from the replies themselves.

Shapes: B examples; N persona sentences of an example; S distinct ones of a batch; T words of a text; L layers; d size
of a state; V words of the dictionary. Symbols are the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parlai_persona.models.recurrent import (
    Encoded,
    Reader,
    RecurrentGenerator,
    Sizes,
    distinct,
    masked_softmax,
    one_text,
    products,
)


@dataclass
class Chosen(Encoded):
    """What the decoder starts from. Scores are compared where there is a sentence only."""

    is_sentence: Tensor  # (B, N)
    prior: Tensor  # (B, N): scores x . k_i
    posterior: Tensor | None  # (B, N): scores W[x; y] . k_i; None without a reply
    bow: Tensor | None  # (B, V): scores of words, by the chosen sentence alone; None without a reply

    @property
    def probabilities(self) -> Tensor:
        return masked_softmax(self.prior, self.is_sentence)


class PostKs(RecurrentGenerator):
    def __init__(self, sizes: Sizes, tau: float, words: int, start: int, end: int, pad: int):
        super().__init__(sizes, words, start, end, pad, [sizes.attention, 'dot'], [sizes.hidden] * 2)
        self.tau = tau
        self.context_reader, self.persona_reader = Reader(sizes), Reader(sizes)
        self.query = nn.Linear(2 * sizes.hidden, sizes.hidden)  # W of the posterior
        self.bow = nn.Linear(sizes.hidden, words)

    def encoder(self, context: Tensor, persona: Tensor, is_sentence: Tensor, reply: Tensor | None = None) -> Chosen:
        """Read context (B, T), persona (B, N, T) and, to learn from, the reply (B, T); choose a sentence."""
        u, h, is_word = self.read(self.context_reader, context)
        x = u[-1]  # (B, d)
        sentences, places = distinct(persona)  # (S, T), (B, N)
        k = self.read(self.persona_reader, sentences)[0][-1][places]  # (B, N, d)
        prior, posterior = products(x, k, is_sentence), None
        if reply is not None:
            y = self.read(self.persona_reader, reply)[0][-1]
            posterior = products(self.query(torch.cat([x, y], -1)), k, is_sentence)
        chosen = self.choose(prior, posterior, is_sentence)[:, None] @ k  # (B, 1, d): one "word"
        memories = (
            self.attend[0].memory(*one_text(h, is_word)),
            self.attend[1].memory(*one_text(chosen, is_sentence.any(1, keepdim=True))),
        )
        bow = None if reply is None else self.bow(chosen[:, 0])
        return Chosen(u, memories, is_sentence, prior, posterior, bow)

    def choose(self, prior: Tensor, posterior: Tensor | None, is_sentence: Tensor) -> Tensor:
        """Return 1 for the chosen sentence (B, N): drawn from the posterior in training, else the prior's best.

        Nothing is chosen where there is no sentence.
        """
        if self.training and posterior is not None:
            return straight_through(posterior, is_sentence, self.tau)
        return one_hot(prior) * is_sentence


def one_hot(values: Tensor) -> Tensor:
    return F.one_hot(values.argmax(-1), values.shape[-1]).to(values)


def straight_through(scores: Tensor, mask: Tensor, tau: float) -> Tensor:
    """Return 1 for the place that a Gumbel softmax draws (B, N). The gradient is that of the softmax itself."""
    gumbel = -torch.empty_like(scores).exponential_().log()
    soft = masked_softmax((scores + gumbel) / tau, mask)
    return (one_hot(soft) * mask - soft).detach() + soft


def divergence(chosen: Chosen) -> Tensor:
    """Return KL(posterior || prior) of each example (B,). Only the prior learns from it."""
    assert chosen.posterior is not None
    posterior = masked_softmax(chosen.posterior.detach().float(), chosen.is_sentence)
    return F.kl_div(chosen.prior.float().log_softmax(-1), posterior, reduction='none').sum(-1)


def bow_loss(chosen: Chosen, reply: Tensor, pad: int) -> Tensor:
    """Return the mean of -log p(word | chosen sentence) over the words of each reply (B,)."""
    assert chosen.bow is not None
    is_word = reply != pad  # (B, T)
    log_p = chosen.bow.float().log_softmax(-1).gather(1, reply)  # (B, T)
    return -(log_p * is_word).sum(1) / is_word.sum(1).clamp(min=1)


def agreement(chosen: Chosen) -> Tensor:
    """Tell where prior and posterior choose the same sentence (B,)."""
    assert chosen.posterior is not None
    return chosen.prior.argmax(-1) == chosen.posterior.argmax(-1)
