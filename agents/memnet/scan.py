"""Bounds on a million dot products, from vectors of one byte a number, in a compiled loop (numba).

Most of the time of a search goes into reading the vectors from memory. These codes are a quarter of their size. With
x = code + rest and |rest · q| <= |rest| |q|, the bounds hold for all vectors.
"""

import numpy as np
from numba import njit, prange

STEPS = 127  # codes are whole numbers in [-STEPS, STEPS]
ROUNDING = 1e-5  # error of the float32 sums, in parts of |x| |q|: far more than 300 additions can cause


def encode(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return codes (K, d) int8 of vectors (K, d), and the scale and the length of the rest of each: (K, 2)."""
    scale = np.maximum(np.abs(x).max(1), 1e-30) / STEPS
    codes = np.rint(x / scale[:, None]).astype(np.int8)
    rest = np.linalg.norm(x - codes * scale[:, None], axis=1) + ROUNDING * np.linalg.norm(x, axis=1)
    return codes, np.stack([scale, rest], 1).astype(np.float32)


@njit(cache=True, fastmath=True, nogil=True, parallel=True)
def bounds(codes, margins, q, length, low, high):
    """Fill `low` and `high` so that low_i <= x_i · q <= high_i for all vectors, at least four; `length` is |q|.

    Four rows together read q once, which halves the time. The last four may overlap others.
    """
    count = codes.shape[0]
    for block in prange((count + 3) // 4):
        i = min(4 * block, count - 4)
        a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for j in range(codes.shape[1]):
            a += np.float32(codes[i, j]) * q[j]
            b += np.float32(codes[i + 1, j]) * q[j]
            c += np.float32(codes[i + 2, j]) * q[j]
            d += np.float32(codes[i + 3, j]) * q[j]
        for row, total in ((i, a), (i + 1, b), (i + 2, c), (i + 3, d)):
            middle, width = total * margins[row, 0], margins[row, 1] * length
            low[row] = middle - width
            high[row] = middle + width


@njit(cache=True, fastmath=True, nogil=True, parallel=True)
def sums(words, values):
    """Return the sum of the values (V,) of the words in each row: (K, W) -> (K,)."""
    total = np.empty(words.shape[0], np.float32)
    for i in prange(words.shape[0]):
        row = np.float32(0)
        for j in range(words.shape[1]):
            row += values[words[i, j]]
        total[i] = row
    return total
