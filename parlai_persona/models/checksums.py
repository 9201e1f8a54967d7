"""Checksums of weights, to tell whether something was made from these weights or from others; and of files."""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from zlib import crc32

import torch
from torch import Tensor
from tqdm import tqdm

BAR_AFTER = 2  # seconds


def digest(pieces: Iterable) -> str:
    state = blake2b(digest_size=16)
    for piece in pieces:
        state.update(piece)
    return state.hexdigest()


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Return a checksum of the values, in the order of the names. It is the same on every device."""
    return digest(bytes_of(weights[name]) for name in sorted(weights))


def named_fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Return a checksum of names, kinds, shapes and values."""
    return digest(
        piece
        for name, tensor in sorted(weights.items())
        for piece in (f'{name} {tensor.dtype} {list(tensor.shape)}\n'.encode(), bytes_of(tensor))
    )


def bytes_of(tensor: Tensor):
    return tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data


def file_checksum(path: Path) -> int:
    """Return the CRC-32 of a file: it finds accidents, not attacks, and is fast."""
    total = path.stat().st_size
    checksum = 0
    with tqdm(
        total=total, desc=f'checking {path.name}', unit='B', unit_scale=True, delay=BAR_AFTER, disable=None
    ) as bar:
        for block in file_blocks(path):
            checksum = crc32(block, checksum)
            bar.update(len(block))
    return checksum


def file_blocks(path: Path) -> Iterator[bytes]:
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            yield block
