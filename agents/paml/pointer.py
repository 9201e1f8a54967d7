"""ParlAI's Transformer with a pointer: each word is generated, or copied from the context (See et al. 2017).

The decoder hands out log-probabilities already mixed, and `output` leaves them as they are, so that ParlAI's losses and
searches need not know.
"""

import torch
from parlai.agents.transformer.modules import TransformerDecoder, TransformerEncoder, TransformerGeneratorModel
from torch import Tensor, nn

TINY = 1e-20


class SourceEncoder(TransformerEncoder):
    """Also returns what it has read."""

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
        return self.mixed(latent, h, mask, source), state

    def mixed(self, latent: Tensor, h: Tensor, mask: Tensor, source: Tensor) -> Tensor:
        """log p: (B, T, V)."""
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
