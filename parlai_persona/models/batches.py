"""Personas as tensors."""

from collections.abc import Sequence

import torch
from torch import Tensor


def persona_tensors(personas: Sequence[Sequence[Sequence[int]]], pad: int) -> tuple[Tensor, Tensor]:
    """Return the sentences of B personas, padded, and where there is a sentence: (B, N, L) and (B, N).

    N is the largest number of sentences and L the largest number of words, but at least 1.
    """
    count = max((len(persona) for persona in personas), default=0)
    longest = max((len(sentence) for persona in personas for sentence in persona), default=0)
    vec = torch.full((len(personas), max(1, count), max(1, longest)), pad, dtype=torch.long)
    mask = torch.zeros(vec.shape[:2], dtype=torch.bool)
    for row, persona in enumerate(personas):
        mask[row, : len(persona)] = True
        for place, sentence in enumerate(persona):
            vec[row, place, : len(sentence)] = torch.as_tensor(sentence, dtype=torch.long)
    return vec, mask
