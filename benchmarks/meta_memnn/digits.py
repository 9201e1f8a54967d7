"""Images of digits, and two tasks for each seed: right labels (primary), and 75 % wrong labels (related)."""

import gzip
import itertools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.common.record import ROOT

CLASSES = 10
SHARE = 0.75  # of the labels are wrong
SPLIT, WRONG, START, STEP_2, STEP_3, HELD, FIXED, CHANGING = range(8)  # uses of randomness, for `random`


def random(*key: int) -> np.random.Generator:
    """Return a generator that depends on the key alone, (seed, use, ...): none of them has to be saved."""
    return np.random.default_rng(key)


class Digits(NamedTuple):
    name: str
    x: Tensor  # (N, pixels), in [0, 1]
    y: Tensor  # (N,)
    test_x: Tensor
    test_y: Tensor


def read_idx(path: Path) -> np.ndarray:
    """Return the array in an idx file of bytes; `path`, or the same with .gz."""
    found = [p for p in (path, path.with_name(f'{path.name}.gz')) if p.exists()]
    if not found:
        raise FileNotFoundError(f'{path.parent} has neither {path.name} nor {path.name}.gz: put one of MNIST there')
    try:
        raw = gzip.decompress(found[0].read_bytes()) if found[0].suffix == '.gz' else found[0].read_bytes()
        if raw[:3] != b'\0\0\x08':  # 8: unsigned bytes; the fourth byte is the number of dimensions
            raise ValueError(f'begins with {raw[:3].hex(" ")}, expected 00 00 08')
        start = 4 + 4 * raw[3]
        return np.frombuffer(raw, np.uint8, offset=start).reshape(struct.unpack(f'>{raw[3]}I', raw[4:start]))
    except (EOFError, OSError, ValueError, IndexError, struct.error) as error:
        raise ValueError(f'{found[0]} is not a whole idx file of bytes: {error}. Fetch it again') from None


def read_digits(folder: Path | None) -> Digits:
    """Read MNIST; scikit-learn's digits if no folder is given and the usual one is not there."""
    if folder is None and not (ROOT / 'data' / 'mnist').exists():
        from sklearn.datasets import load_digits

        print("data/mnist is not there: learning scikit-learn's digits instead of MNIST.", flush=True)
        x, y = load_digits(return_X_y=True)
        order, held = random(0, SPLIT).permutation(len(y)), len(y) // 5  # a fifth of them is the test split
        x, y = torch.from_numpy(x[order]).float() / 16, torch.from_numpy(y[order]).long()
        return Digits("scikit-learn's digits", x[held:], y[held:], x[:held], y[:held])
    folder, parts = folder or ROOT / 'data' / 'mnist', []
    for name in ('train', 't10k'):
        images, labels = (read_idx(folder / f'{name}-{kind}-ubyte') for kind in ('images-idx3', 'labels-idx1'))
        if len(images) != len(labels):
            raise ValueError(f'{folder}: saw {len(images)} images and {len(labels)} labels in {name}, expected as many')
        parts.append(torch.from_numpy(images.reshape(len(images), -1) / np.float32(255)))
        parts.append(torch.from_numpy(labels.astype(np.int64)))
    count = len(parts[1])
    return Digits('MNIST' if count == 60_000 else f'MNIST, {count:,} training images', *parts)


class Batch(NamedTuple):
    x: Tensor  # (B, pixels)
    label: Tensor  # (B,)
    right: Tensor  # (B,): 1 if the label is right, else 0


class Tasks:
    """A seed's split of the training images in train and validation, and the related task's labels."""

    def __init__(self, digits: Digits, seed: int, wrong: str = 'any'):
        """`wrong`: a wrong label is any other digit, or always the 'next'."""
        self.digits, self.seed = digits, seed
        held = min(10_000, len(digits.y) // 5)
        order = torch.from_numpy(random(seed, SPLIT).permutation(len(digits.y)))
        self.valid, self.train = order[:held], order[held:]
        y, rng = digits.y[self.train].numpy(), random(seed, WRONG)
        changed = np.zeros(len(y), bool)
        changed[rng.permutation(len(y))[: round(SHARE * len(y))]] = True
        by = rng.integers(1, CLASSES, len(y)) if wrong == 'any' else 1
        self.label = torch.from_numpy(np.where(changed, (y + by) % CLASSES, y))
        self.right = torch.from_numpy(~changed).long()

    def primary(self, places: np.ndarray) -> Batch:
        which = self.train[places]
        return Batch(self.digits.x[which], self.digits.y[which], torch.ones_like(which))

    def related(self, places: np.ndarray) -> Batch:
        return Batch(self.digits.x[self.train[places]], self.label[places], self.right[places])

    def batches(self, use: int, size: int) -> Iterator[np.ndarray]:
        """Yield places of training images, (size,), in shuffled passes without end."""
        left = np.zeros(0, int)
        for number in itertools.count():
            left = np.concatenate([left, random(self.seed, use, number).permutation(len(self.train))])
            while len(left) >= size:
                yield left[:size]
                left = left[size:]
