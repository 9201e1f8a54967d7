"""The networks of PEDNet (Jiang et al. 2020): CDNet, which chooses a sentence of the persona, and PDNet.

Shapes: B examples; N persona sentences of an example; S distinct ones of a batch; K congeneric contexts; Q specific
words; T words of a text; L layers; d size of a state; e size of an embedding. Symbols and equation numbers are the
paper's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed import is_initialized

from parlai_persona.fields import NO_SENTENCE
from parlai_persona.flags import flag
from parlai_persona.models.recurrent import (
    Encoded,
    Reader,
    RecurrentGenerator,
    Sizes,
    distinct,
    idle,
    one_text,
    products,
)


@dataclass(frozen=True)
class Choice:
    """The flags of CDNet."""

    hops: int = flag(3, 'steps of the memory network that chooses a sentence (b; 3 in the paper)', least=1)
    keywords: str = flag(
        'concat',
        'how the specific words join the context: the sum of their embeddings beside its state (sec. 3.3.2), or their '
        "mean added to it, and to the decoder's start (the authors' code)",
        choices=('concat', 'add'),
    )
    choice: str = flag(
        'hard',
        'what CDNet decodes with in training: the chosen sentence (sec. 3.3.2), the labelled one, or all sentences '
        'weighted by their probabilities. It always speaks with the chosen one',
        choices=('hard', 'label', 'soft'),
    )


class ContextDominated(NamedTuple):
    """The input of CDNet."""

    context: Tensor  # (B, T): X
    persona: Tensor  # (B, N, T): P
    is_sentence: Tensor  # (B, N)
    specific: Tensor  # (B, Q): words
    label: Tensor | None = None  # (B,): place of p* in P; only needed to train with it


class PersonaDominated(NamedTuple):
    """The input of PDNet."""

    contexts: Tensor  # (B, K, T): revised contexts; a context without words is none
    sentence: Tensor  # (B, T): p*; without words if there is none


@dataclass
class Chosen(Encoded):
    """What CDNet's decoder starts from."""

    scores: Tensor  # (B, N): prob^b before its softmax; the lowest number where there is no sentence

    @property
    def probabilities(self) -> Tensor:
        return self.scores.softmax(-1)


class PedNet(RecurrentGenerator):
    def __init__(self, sizes: Sizes, choice: Choice, words: int, start: int, end: int, pad: int):
        super().__init__(sizes, words, start, end, pad, [sizes.attention] * 2, [sizes.hidden] * 2)
        self.choice = choice
        self.context_reader, self.persona_reader = Reader(sizes), Reader(sizes)
        wide = sizes.hidden + sizes.embedding if choice.keywords == 'concat' else sizes.embedding
        self.query = nn.Linear(wide, sizes.hidden)  # makes z as wide as u(p), which eq. 7 multiplies

    def encoder(self, inputs: ContextDominated | PersonaDominated) -> Encoded:
        if isinstance(inputs, PersonaDominated):
            return self.persona_dominated(inputs)
        return self.context_dominated(inputs)

    # --------------------------------------------------------------------------------------------- CDNet

    def context_dominated(self, inputs: ContextDominated) -> Chosen:
        u, h, is_word = self.read(self.context_reader, inputs.context)  # eq. 5
        sentences, places = distinct(inputs.persona)  # (S, T), (B, N)
        u_p, h_p, is_p = self.read(self.persona_reader, sentences)  # eq. 6
        keywords = inputs.specific != self.NULL_IDX  # (B, Q)
        q = (self.embeddings(inputs.specific) * keywords[..., None]).sum(1)  # (B, e)
        if self.choice.keywords == 'concat':
            z = self.query(torch.cat([u[-1], q], -1))  # (B, d)
        else:
            mean = self.query(q / keywords.sum(1, keepdim=True).clamp(min=1))
            u = u + mean  # for all layers
            z = u[-1]
        scores = self.sentence_scores(z, u_p[-1][places], inputs.is_sentence)
        chosen, share = self.read_sentences(scores, inputs.label)
        memories = (
            self.attend[0].memory(*one_text(h, is_word)),
            self.attend[1].memory(h_p, is_p, places.gather(1, chosen), share),
        )
        return Chosen(u, memories, scores)

    def sentence_scores(self, z: Tensor, u: Tensor, is_sentence: Tensor) -> Tensor:
        """Return the scores (B, N) of sentences u (B, N, d) after the last hop."""
        m = z  # m^1
        scores = products(m, u, is_sentence)  # eq. 7
        for _ in range(self.choice.hops - 1):
            o = (scores.softmax(-1)[:, None] @ u)[:, 0]  # eq. 8
            m = o + m  # eq. 9
            scores = products(m, u, is_sentence)
        return scores

    def read_sentences(self, scores: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the places of the sentences that the decoder attends to, and the share of each."""
        how = self.choice.choice if self.training else 'hard'
        if how == 'soft':
            places = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
            return places, scores.softmax(-1)
        place = scores.argmax(-1)
        if how == 'label' and label is not None:
            place = torch.where(label == NO_SENTENCE, place, label)
        return place[:, None], scores.new_ones(len(scores), 1)

    # --------------------------------------------------------------------------------------------- PDNet

    def persona_dominated(self, inputs: PersonaDominated) -> Encoded:
        contexts, places = distinct(inputs.contexts)
        u, h, is_word = self.read(self.context_reader, contexts)  # eq. 13
        is_context = is_word.any(-1)[places].to(u)  # (B, K)
        share = is_context / is_context.sum(1, keepdim=True).clamp(min=1)
        start = torch.einsum('lbkd,bk->lbd', u[:, places], share)  # s_0
        if is_initialized():
            start = start + idle(self.query)  # which only CDNet has
        memories = (
            self.attend[0].memory(h, is_word, places, share),  # eqs. 16 and 17
            self.attend[1].memory(*one_text(*self.read(self.persona_reader, inputs.sentence)[1:])),  # eq. 15
        )
        return Encoded(start, memories)


def choice_loss(scores: Tensor, label: Tensor) -> Tensor:
    """Return the cross-entropy (B,) of the choice; 0 where nothing is labelled."""
    return F.cross_entropy(scores, label, ignore_index=NO_SENTENCE, reduction='none')
