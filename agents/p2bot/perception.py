"""How well a persona fits what a speaker has said (Liu et al. 2020, sec. 4). Torch only.

In the shapes, N is the number of utterances, L that of a persona's sentences, C that of personas, and d the size of a
vector. Masks tell what is there from padding; dots stand for any leading dimensions.
"""

import copy
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import normalize

Tokens = tuple[int, ...]  # of one text
IMPRESSION, PERSONA = 'impression', 'persona'  # the encoders
ROWS = 256  # texts that are read at once
LATEST = 20  # batches
OVER = ('utterances', 'sentences', 'both')  # what the mean of eq. 14 can be taken over


def mean_pooled(states: Tensor, is_token: Tensor) -> Tensor:
    """Return the mean of the states of a text's tokens: (B, T, d) and (B, T) to (B, d)."""
    weights = is_token[..., None].to(states)  # (B, T, 1)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


def scaled_dot(H: Tensor, W: Tensor) -> Tensor:
    """Return the relevance U of each sentence to each utterance: (N, d) and (L, d) to (N, L) (eq. 11)."""
    return H @ W.T / math.sqrt(H.shape[-1])


def scaled_cosine(H: Tensor, W: Tensor, scale: float | Tensor) -> Tensor:
    """Return `scale` times the cosines: another U for eq. 11, which does not depend on the lengths of the vectors."""
    return scale * normalize(H, dim=-1) @ normalize(W, dim=-1).T


def standardised(U: Tensor, W: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """Return by how many standard deviations each relevance is above what other utterances have with the sentence.

    U (N, L) are the dot products of utterances, whose vectors have this mean (d,) and covariance (d, d), with W (L, d).
    A sentence that is near to everything, such as "i like food.", is then no better than others.
    """
    variance = (W @ covariance * W).sum(-1)  # (L,), that of U[:, l]
    return (U - W @ mean) / variance.clamp(min=1e-12).sqrt()


def moments(H: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (d,) and the covariance (d, d) of vectors (N, d), and of those of all other processes."""
    count = summed(H.new_tensor(len(H)))
    mean = summed(H.sum(0)) / count
    return mean, summed((H - mean).T @ (H - mean)) / count


class SumOfProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total


def summed(x: Tensor) -> Tensor:
    return SumOfProcesses.apply(x) if dist.is_available() and dist.is_initialized() else x


def aggregate(U: Tensor, tau: float, is_there: Tensor) -> Tensor:
    """Return a mean of the last dimension that prefers large values: (..., L) to (...) (eq. 13).

    A large tau gives the plain mean, a small one the maximum. Nothing to aggregate gives 0.
    """
    lowest = torch.finfo(U.dtype).min
    weights = (U / tau).masked_fill(~is_there, lowest).softmax(-1) * is_there  # (..., L)
    return (weights * U).sum(-1)


def masked_mean(values: Tensor, is_there: Tensor) -> Tensor:
    """Return the mean of the last dimension; of nothing it is 0."""
    return (values * is_there).sum(-1) / is_there.sum(-1).clamp(min=1)


def cumulative(U: Tensor, tau: float, is_utterance: Tensor, is_sentence: Tensor, over: str = 'utterances') -> Tensor:
    """Return the cumulative score c: (..., N, L), (..., N) and (..., L) to (...) (eqs. 13 and 14).

    The paper aggregates the sentences for each utterance, and takes the mean `over` utterances. Over sentences, it is
    the other way round: a persona fits if each of its sentences fits some utterance.
    """
    assert over in OVER
    means = []
    if over != 'sentences':
        means.append(masked_mean(aggregate(U, tau, is_sentence[..., None, :]), is_utterance))  # (...)
    if over != 'utterances':
        by_sentence = aggregate(U.transpose(-1, -2), tau, is_utterance[..., None, :])  # (..., L)
        means.append(masked_mean(by_sentence, is_sentence))
    return sum(means[1:], means[0]) / len(means)


def margin_loss(c: Tensor, own: Tensor, margin: float, is_candidate: Tensor) -> Tensor:
    """Return the loss of each row, a mean over its distractors: (B, C) to (B,) (eq. 12, first part)."""
    hinge = (margin + c - c.gather(1, own[:, None])).clamp(min=0)  # (B, C)
    return masked_mean(hinge, is_candidate.scatter(1, own[:, None], False))


def l1_norm(U: Tensor, is_utterance: Tensor, is_sentence: Tensor) -> Tensor:
    """Return the sum of the absolute values: (..., N, L) to (...) (eq. 12, second part)."""
    return (U.abs() * is_utterance[..., :, None] * is_sentence[..., None, :]).sum((-1, -2))


def temperature(updates: int, start: float, end: float, steps: int) -> float:
    """Return tau after so many updates: it falls linearly from `start` to `end` (sec. 5.1)."""
    return end if updates >= steps else start + (end - start) * updates / steps


class Background(nn.Module):
    """Running averages of the moments of utterances' vectors in training."""

    seen: Tensor
    mean: Tensor
    covariance: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer('seen', torch.zeros((), dtype=torch.long))  # batches
        self.register_buffer('mean', torch.zeros(size))
        self.register_buffer('covariance', torch.zeros(size, size))

    @torch.no_grad()
    def see(self, mean: Tensor, covariance: Tensor) -> None:
        """Count the moments of a batch in; the last `LATEST` batches count most, because the encoder changes."""
        self.seen += 1
        weight = 1 / self.seen.clamp(max=LATEST)
        self.mean.lerp_(mean, weight)
        self.covariance.lerp_(covariance, weight)


class Encoders(nn.Module):
    """The impression encoder and the persona encoder (sec. 4.1), which can be one and the same."""

    def __init__(self, encoder: Any, shared: bool, background: bool = False):
        super().__init__()
        self.impression = encoder
        if not shared:
            self.persona = copy.deepcopy(encoder)
        if background:
            self.head = Background(encoder.config.hidden_size)

    def forward(self, utterances: Sequence[Tokens], sentences: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
        """Return H (N, d) and W (L, d), in 32 bits."""
        return self.encode(IMPRESSION, utterances), self.encode(PERSONA, sentences)

    def encode(self, which: str, texts: Sequence[Tokens]) -> Tensor:
        """Return the vectors of some texts (len(texts), d); texts of like length are read together."""
        encoder = getattr(self, which, self.impression)
        device = next(self.parameters()).device
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        vectors = []
        for first in range(0, len(order), ROWS):
            ids, is_token = padded([texts[place] for place in order[first : first + ROWS]])
            states = encoder(input_ids=ids.to(device), attention_mask=is_token.long().to(device)).last_hidden_state
            vectors.append(mean_pooled(states.float(), is_token.to(device)))
        return torch.cat(vectors)[torch.tensor(order, device=device).argsort()]


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return rows of numbers as a tensor, padded with 0, and where they are: (B, T) twice; T is at least 1."""
    longest = max(1, *map(len, rows)) if rows else 1
    numbers, is_there = torch.zeros(len(rows), longest, dtype=torch.long), torch.zeros(len(rows), longest).bool()
    for place, row in enumerate(rows):
        numbers[place, : len(row)] = torch.tensor(row, dtype=torch.long)
        is_there[place, : len(row)] = True
    return numbers, is_there


def numbered(texts: Iterable[Tokens]) -> dict[Tokens, int]:
    """Return distinct texts with their numbers, in order of appearance."""
    return {text: number for number, text in enumerate(dict.fromkeys(texts))}
