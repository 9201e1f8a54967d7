"""The generative profile memory network (Zhang et al. 2018): its decoder attends to the sentences of the persona.

Shapes: B examples; N persona sentences; T words of a text; L layers; d size of a state; e size of an embedding; V words
of the dictionary. Symbols are the paper's.
"""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from parlai_persona.metrics.formulas import content_words, zipf_idf
from parlai_persona.models.recurrent import Encoded, Reader, RecurrentGenerator, Sizes, one_text

LEAST = zipf_idf(1)  # the weight of the most frequent word: a sentence with less weight in all is not scaled up


class Gpmn(RecurrentGenerator):
    def __init__(self, sizes: Sizes, alpha: Tensor, words: int, start: int, end: int, pad: int):
        kinds, widths = [sizes.attention, 'general'], [sizes.hidden, sizes.embedding]
        super().__init__(sizes, words, start, end, pad, kinds, widths)
        self.attend[1].key = A = nn.Linear(sizes.embedding, sizes.embedding, bias=False)
        nn.init.eye_(A.weight)
        self.alpha = nn.Parameter(alpha)  # (V,): weight of each word in a sentence
        self.reader = Reader(sizes)

    def encoder(self, context: Tensor, persona: Tensor, is_sentence: Tensor) -> Encoded:  # (B, T), (B, N, T), (B, N)
        u, h, is_word = self.read(self.reader, context)
        memories = (
            self.attend[0].memory(*one_text(h, is_word)),
            self.attend[1].memory(*one_text(self.sentences(persona), is_sentence)),  # m_i A W s: `Attention`
        )
        return Encoded(u, memories)

    def sentences(self, persona: Tensor) -> Tensor:
        """Return m_i = sum of alpha_w e_w / sum of alpha_w of each sentence (B, N, e)."""
        alpha = self.alpha[persona].clamp(min=0) * (persona != self.NULL_IDX)  # (B, N, T)
        total = alpha.sum(-1, keepdim=True).clamp(min=LEAST)
        return (alpha[..., None, :] @ self.embeddings(persona))[..., 0, :] / total

    @torch.no_grad()
    def mean_attention(self, encoded: Encoded, words: Tensor) -> Tensor:
        """Return how much each sentence weighs (B, N), as a mean over the words of a reply.

        `words` (B, T) are what the decoder reads: the start token, then the reply without its last token.
        """
        latent, _ = self.decoder(words, encoded)
        s = latent[:, :-1, : encoded.start.shape[-1]]  # (B, T - 1, d)
        before = torch.cat([encoded.start[-1][:, None], s], 1)  # s_{t-1} (B, T, d)
        looks = [self.attend[1].weights(state, encoded.memories[1]) for state in before.unbind(1)]  # T x (B, N)
        is_word = (words != self.NULL_IDX)[..., None]  # (B, T, 1)
        return (torch.stack(looks, 1) * is_word).sum(1) / is_word.sum(1)


def start_weights(words: Sequence[str], counts: Mapping[str, int], special: Collection[str], unknown: str) -> Tensor:
    """Return alpha_w = 1 / (1 + log(1 + 10^6 / rank^1.07)) of each word (V,), by its rank in the training data.

    Stop words, punctuation and special tokens have 0. The unknown word counts as the one after the last.
    """
    ranked = sorted((word for word in words if word not in special), key=lambda word: (-counts.get(word, 0), word))
    alpha = {word: zipf_idf(rank) if content_words(word) else 0.0 for rank, word in enumerate(ranked, 1)}
    alpha[unknown] = zipf_idf(len(ranked) + 1)
    return torch.tensor([alpha.get(word, 0.0) for word in words])
