"""Search among encoded responses: exactly, or through short codes (FAISS). No ParlAI but its log.

K responses, d size of an encoding.
"""

import builtins
import time
from collections.abc import Callable
from pathlib import Path
from types import BuiltinFunctionType, ModuleType

import numpy as np
import parlai.utils.logging as logging
import torch
from torch import Tensor

from parlai_persona.files import draft

BLOCK = 65_536  # vectors at a time
TRIED = 100  # queries by which the recall of an approximate index is measured
ASKED = 4000  # queries by which it is made
SAMPLE = 100_000  # vectors likewise
REDUCED = 64  # numbers that an approximate index keeps of a vector
LEAST = 1e-4  # of the strongest direction of queries: how much any other counts at least
AGAIN = 500  # responses that come out of the approximate index, or as many as asked for, to be scored exactly


class Candidates:
    """Responses and their vectors, read from the disk as needed."""

    def __init__(self, folder: Path, size: int, kind: str):
        self.starts = np.load(folder / 'starts.npy', mmap_mode='r')
        self.texts = np.memmap(folder / 'texts.txt', np.uint8, 'r')
        self.vectors = mapped(folder / 'vectors.f32', np.float32, len(self), size)
        self.codes = self.reduced = None
        self.scan = get_scan()
        if kind == 'approximate':
            self.reduced = get_faiss().read_index(str(folder / 'reduced.faiss'))
            self.ask = np.load(folder / 'ask.npy')
        elif self.scan and len(self) >= 4 and (folder / 'margins.npy').exists():
            self.codes = mapped(folder / 'codes.i8', np.int8, len(self), size)
            self.margins = np.load(folder / 'margins.npy')
            self.low, self.high = (np.empty(len(self), np.float32) for _ in range(2))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def text(self, number: int) -> str:
        return bytes(self.texts[self.starts[number] : self.starts[number + 1] - 1]).decode()

    def search(self, u: Tensor, count: int) -> tuple[list[str], list[float]]:
        """The best responses to u (d,), and their scores."""
        numbers, scores = self.nearest(u.numpy().astype(np.float32), min(count, len(self)))
        return [self.text(number) for number in numbers], scores.tolist()

    def nearest(self, q: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        if self.reduced is not None:
            numbers = self.reduced.search((q @ self.ask)[None], min(max(count, AGAIN), len(self)))[1][0]
            return self.best(q, numbers[numbers >= 0], count)
        if self.codes is None or not np.isfinite(q).all():
            scores = torch.from_numpy(self.vectors) @ torch.from_numpy(q)
            top = scores.topk(count)
            return top.indices.numpy(), top.values.numpy()
        return self.best(q, self.possible(q, count), count)

    def possible(self, q: np.ndarray, count: int) -> np.ndarray:
        """Those that could be among the best `count`: whose upper bound reaches the lower bounds of so many."""
        assert self.scan is not None
        self.scan.bounds(self.codes, self.margins, q, np.float32(np.linalg.norm(q)), self.low, self.high)
        least = torch.from_numpy(self.low).topk(count).values[-1].item()
        return np.flatnonzero(self.high >= least)

    def best(self, q: np.ndarray, numbers: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """By float32 dot products, equal ones in the order of the file."""
        numbers = np.sort(numbers)
        scores = self.vectors[numbers] @ q
        order = np.argsort(-scores, kind='stable')[:count]
        return numbers[order], scores[order]


def mapped(path: Path, kind: type, rows: int, size: int) -> np.ndarray:
    """A matrix on the disk. Mode 'c' never writes to the file, and torch takes it without a warning."""
    return np.asarray(np.memmap(path, kind, 'c', shape=(rows, size)))


def make_codes(folder: Path, size: int) -> None:
    """What `scan.py` reads, if it can be used here and is not there yet."""
    scan = get_scan()
    if not scan or (folder / 'margins.npy').exists():
        return
    vectors = np.memmap(folder / 'vectors.f32', np.float32, 'r').reshape(-1, size)
    margins = []
    with draft(folder / 'codes.i8') as path, path.open('wb') as file:
        for first in range(0, len(vectors), BLOCK):
            codes, margin = scan.encode(vectors[first : first + BLOCK])
            file.write(codes.data)
            margins.append(margin)
    with draft(folder / 'margins.npy') as path, path.open('wb') as file:
        np.save(file, np.concatenate(margins))


def get_scan() -> ModuleType | None:
    """The compiled loop, where numba is there (extra `fast`); without it, plain float32 products find the same."""
    if not isinstance(builtins.print, BuiltinFunctionType):  # ParlAI's worker processes: numba cannot be imported
        return None
    try:
        from parlai_persona.agents.memnet import scan
    except ImportError:
        return None
    return scan


def get_faiss() -> ModuleType:
    try:
        import faiss
    except ImportError:
        raise ImportError(
            "--memnet-index approximate needs FAISS, which is not installed: pip install 'parlai-persona[index]', or "
            'take --memnet-index exact'
        ) from None
    return faiss


def make_approximate(folder: Path, size: int, queries: Callable[[int], Tensor]) -> None:
    """Responses in one byte for each of `REDUCED` numbers, if they are not there yet.

    Those numbers are the principal components of the responses as queries see them: with C the second moments of
    sampled queries, (q C^-1/2) · (C^1/2 (x - mean)) differs from q · x by the same for all x, and queries no longer
    prefer any direction.
    """
    faiss = get_faiss()
    if (folder / 'reduced.faiss').exists():
        return
    vectors = np.memmap(folder / 'vectors.f32', np.float32, 'r').reshape(-1, size)
    chosen = np.sort(np.random.default_rng(0).permutation(len(vectors))[:SAMPLE])
    sample = vectors[chosen].astype(np.float64)
    mean = sample.mean(0)
    strength, axes = directions(queries(ASKED).numpy())
    strength = np.maximum(strength, LEAST * strength.max()) ** 0.5
    root = (axes * strength) @ axes.T
    main = directions((sample - mean) @ root)[1][:, ::-1][:, :REDUCED]  # (d, REDUCED), the largest first
    reduce, ask = root @ main, (axes / strength) @ axes.T @ main
    reduced = faiss.IndexScalarQuantizer(main.shape[1], faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    reduced.train(((sample - mean) @ reduce).astype(np.float32))
    for first in range(0, len(vectors), BLOCK):
        reduced.add(((vectors[first : first + BLOCK] - mean) @ reduce).astype(np.float32))
    with draft(folder / 'ask.npy') as path, path.open('wb') as file:
        np.save(file, ask.astype(np.float32))
    with draft(folder / 'reduced.faiss') as path:
        faiss.write_index(reduced, str(path))
    measure(folder, size, queries(TRIED).numpy())


def directions(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, the smallest first, and eigenvectors (columns) of the second moments of the rows."""
    x = x.astype(np.float64)
    return np.linalg.eigh(x.T @ x / len(x))


def measure(folder: Path, size: int, queries: np.ndarray) -> float:
    """How often the approximate index finds the best response, and how long it takes; logged."""
    exact, approximate = (Candidates(folder, size, kind) for kind in ('exact', 'approximate'))
    found, seconds = 0, []
    for q in queries.astype(np.float32):
        start = time.perf_counter()
        guess = approximate.nearest(q, 1)[1]
        seconds.append(time.perf_counter() - start)
        found += int(len(guess) and guess[0] >= exact.nearest(q, 1)[1][0] - 1e-6 * abs(guess[0]))
    recall = found / len(queries)
    logging.info(
        f'{folder}: recall@1 {recall:.3f} over {len(queries)} queries, {1000 * float(np.median(seconds)):.1f} ms each'
    )
    return recall
