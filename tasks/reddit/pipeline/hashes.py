"""Numbers for names: hashes of ids and sentences, secret ones of authors, and random draws that can be repeated.

All are below 2**63: Parquet and SQL have no unsigned numbers everywhere.
"""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pandas.util import hash_array

OFFSET, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # FNV-1a
ONE = np.uint64(1)


def mixed(h: np.ndarray) -> np.ndarray:
    """Return 63 bits that all depend on all bits of h: the last step of splitmix64."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (h ^ (h >> np.uint64(31))) >> ONE


def id_numbers(ids: pa.Array) -> np.ndarray:
    """Return a hash of each id (FNV-1a, mixed). It decides splits, so it is the same on every machine."""
    _, offsets, content = pc.ascii_lower(ids).buffers()
    starts = np.frombuffer(offsets, np.int32)[: len(ids) + 1]
    data, sizes = np.frombuffer(content, np.uint8), np.diff(starts)
    h = np.full(len(ids), OFFSET)
    for place in range(sizes.max(initial=0)):
        rows = np.flatnonzero(sizes > place)
        h[rows] = (h[rows] ^ data[starts[rows] + place]) * PRIME
    return mixed(h).astype(np.int64)


def drawn(ids: np.ndarray, places: np.ndarray, seed: int) -> np.ndarray:
    """Return a random number for each id and place: the same for the same seed."""
    salt = mixed(np.array([seed + 1], np.uint64)) ^ (mixed(places.astype(np.uint64) + np.uint64(27)) << ONE)
    return mixed((ids.astype(np.uint64) ^ salt) * PRIME).astype(np.int64)


def author_number(name: str, key: bytes) -> int:
    """Return a number for an author that nobody can invert, or check a guess of, without the key (64 bytes at most)."""
    digest = hashlib.blake2b(name.encode(), digest_size=8, key=key).digest()
    return int.from_bytes(digest, 'little') >> 1


def sentence_numbers(sentences: pa.Array) -> np.ndarray:
    """Return a hash of each sentence; upper and lower case are the same."""
    lower = pc.ascii_lower(sentences).to_numpy(zero_copy_only=False)
    return (hash_array(lower, categorize=False) >> ONE).astype(np.int64)
