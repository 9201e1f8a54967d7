"""A pretrained encoder that reads two texts as one, and says how they belong together. Torch only.

Shapes: B pairs, T tokens, d size of a state, C classes.
"""

from typing import Any

from torch import Tensor, nn


class CrossEncoder(nn.Module):
    """Classifies pairs by the state of their first token, as BERT does."""

    def __init__(self, encoder: Any, classes: int, padding: int, end: int):
        super().__init__()
        self.encoder, self.padding, self.end = encoder, padding, end
        self.has_parts = getattr(encoder.config, 'type_vocab_size', 0) > 1
        size = encoder.config.hidden_size
        self.head = nn.Sequential(nn.Linear(size, size), nn.Tanh(), nn.Linear(size, classes))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the scores (B, C) of pairs (B, T)."""
        assert tokens.dim() == 2
        parts = {'token_type_ids': self.part(tokens)} if self.has_parts else {}
        states = self.encoder(input_ids=tokens, attention_mask=(tokens != self.padding).long(), **parts)
        return self.head(states.last_hidden_state[:, 0].float())  # (B, d) -> (B, C)

    def part(self, tokens: Tensor) -> Tensor:
        """Return 0 for the tokens of the first text with its end mark, and for padding; 1 for the second: (B, T)."""
        ends = (tokens == self.end).long()
        before = ends.cumsum(1) - ends  # end marks before each token
        return before.clamp(max=1).masked_fill(tokens == self.padding, 0)
