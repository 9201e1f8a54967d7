"""Checksums of weights, to tell whether something was made from these weights or from others."""

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
    """Return a checksum of the values, in the order of the names. It is the same on every device."""
    return digest(bytes_of(weights[name]) for name in sorted(weights))


def bytes_of(tensor: Tensor):
    return tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data
