"""Checksums of weights: are they those that something was made of?"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b

import torch
from torch import Tensor


def digest(pieces: Iterable) -> str:
    state = blake2b(digest_size=16)
    for piece in pieces:
        state.update(piece)
    return state.hexdigest()


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Of values, in the order of names; wherever the tensors are."""
    return digest(bytes_of(weights[name]) for name in sorted(weights))


def bytes_of(tensor: Tensor):
    return tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data
