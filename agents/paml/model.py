"""The learning parts of `persona:paml`: the loss of a generator, learned rates, and a Transformer with a pointer.

The generators themselves are ParlAI's.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from parlai.agents.transformer.modules import TransformerDecoder, TransformerEncoder, TransformerGeneratorModel
from torch import Tensor, nn

from parlai_persona.agents.paml.meta import Nll, Rates
from parlai_persona.models.precision import precise

TINY = 1e-20  # a probability


def reply_nll(model, encoder_input: tuple, labels: Tensor, pad: int) -> Nll:
    """Return eq. 4 for a batch of replies (B, T). It computes scores of words only, not of padding."""
    is_word = labels != pad  # (B, T)
    inputs = model._get_initial_forced_decoder_input(len(labels), labels[:, :-1])
    latent, _ = model.decoder(inputs, model.encoder(*encoder_input))  # (B, T, d)
    scores = model.output(latent[is_word][:, None])[:, 0]  # (N, V): N words in all
    return Nll(F.cross_entropy(precise(scores), labels[is_word], reduction='sum'), int(is_word.sum()))


class LearnedRates(nn.ParameterDict):
    """Learned logarithms of the rates alpha, one for each parameter that adapts, relative to the rate at the start."""

    SPEED = 20  # how many times faster than weights they are learned

    def __init__(self, names: Iterable[str]):
        super().__init__({self.key(name): nn.Parameter(torch.zeros(())) for name in names})

    @staticmethod
    def key(name: str) -> str:
        return name.replace('.', '__')

    def rates(self, names: Iterable[str], start: float) -> Rates:
        return {name: start * (self.SPEED * self[self.key(name)]).exp() for name in names}


# A pointer-generator (See et al. 2017): each word is generated, or copied from the context. Its decoder returns the log
# probabilities of the mixture and `output` leaves them unchanged, so ParlAI's losses and searches work as they are.


class SourceEncoder(TransformerEncoder):
    """Also returns the words that it has read."""

    def forward(self, input, *args, **kwargs):
        return *super().forward(input, *args, **kwargs), input


class PointerDecoder(TransformerDecoder):
    def __init__(self, opt, embedding=None, **kwargs):
        super().__init__(opt, embedding=embedding, **kwargs)
        d = self.embedding_size
        self.look = nn.Linear(d, d, bias=False)
        self.gate = nn.Linear(2 * d, 1)

    def forward(self, input, encoder_state, incr_state=None, **kwargs):
        h, mask, source = encoder_state  # (B, S, d), (B, S), (B, S)
        latent, state = super().forward(input, (h, mask), incr_state, **kwargs)  # (B, T, d)
        return self.mixture(latent, h, mask, source), state

    def mixture(self, latent: Tensor, h: Tensor, mask: Tensor, source: Tensor) -> Tensor:
        """Return log p (B, T, V)."""
        scores = self.look(latent) @ h.transpose(1, 2) / self.embedding_size**0.5  # (B, T, S)
        a = scores.masked_fill(~mask[:, None].bool(), float('-inf')).softmax(-1)
        p_gen = self.gate(torch.cat([latent, a @ h], -1)).sigmoid()  # (B, T, 1)
        words = latent @ self.embeddings.weight.t()
        words = words.index_fill(-1, torch.tensor([self.start_idx], device=words.device), float('-inf')).softmax(-1)
        places = source[:, None].expand(-1, a.shape[1], -1)
        p = (p_gen * words).scatter_add(-1, places, (1 - p_gen) * a)
        return p.clamp_min(TINY).log()


class PointerGenerator(TransformerGeneratorModel):
    @classmethod
    def build(cls, opt, dictionary) -> 'PointerGenerator':
        return cls.with_components(encoder=SourceEncoder, decoder=PointerDecoder)(opt, dictionary)

    def reorder_encoder_states(self, encoder_states, indices):
        *states, source = encoder_states
        indices = torch.as_tensor(indices, device=source.device)
        return *super().reorder_encoder_states(tuple(states), indices), source.index_select(0, indices)

    def output(self, tensor: Tensor) -> Tensor:
        return tensor
