"""An index of a file of up to millions of responses, to choose a reply from.

Shapes: K responses of the index; d size of an encoding.

The folder of an index holds `texts.txt` and `starts.npy` (where each line begins), `vectors.f32` (K, d), `codes.i8` and
`margins.npy` (see `scan.py`), and `stamp.json`: checksums of everything that the index was made from, and of its files.
"""

import builtins
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import BuiltinFunctionType, ModuleType

import numpy as np
import parlai.utils.logging as logging
import torch
from filelock import FileLock, Timeout
from torch import Tensor
from tqdm import tqdm

from parlai_persona.agents.memnet.batches import Line, batch_texts
from parlai_persona.agents.memnet.candidates import Ranked
from parlai_persona.agents.memnet.model import MemNet
from parlai_persona.files import draft, open_text, read_json, write_json
from parlai_persona.models.checksums import digest, fingerprint
from parlai_persona.models.network import device_of

CHUNK = 8192  # lines encoded and written at a time; an interruption loses at most these
STAMP_PARTS = ('weights', 'words', 'file', 'tokens')  # as the log names what has changed


@dataclass(frozen=True)
class IndexBuilder:
    """Encodes a file of responses, one a line, into a folder beside the model (Mazaré et al. 2018, Table 2).

    An interrupted build continues where it stopped. Several processes may open an index at the same time: the first
    one builds it while the others wait.
    """

    source: Path
    folder: Path  # of all indexes of the model
    tokens: int  # longer responses are left out
    look_up: Callable[[str], list[int]]
    words: list[str]  # everything that decides about `look_up`
    net: MemNet

    @property
    def finished(self) -> Path:
        return self.folder / self.source.name

    @property
    def part(self) -> Path:
        return self.folder / f'.{self.source.name}.part'

    def open(self) -> 'CandidateIndex':
        """Open the index. Build it first, unless it is there and up to date."""
        if not self.source.is_file():
            raise FileNotFoundError(f'--memnet-candidates {self.source}: no such file; expected a response a line')
        with self.lock():  # until all files are mapped: after that, they outlive a newer index of the same name
            self.build()
            return CandidateIndex(self.finished, self.net.size)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from building the same index. The lock of a killed process is free."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self.folder, os.W_OK):
            yield  # nobody can build anything here
            return
        lock = FileLock(self.folder / f'.{self.source.name}.lock')
        try:
            held = lock.acquire(timeout=0)
        except Timeout:
            logging.info(f'{self.finished}: another process is building or opening it; waiting')
            held = lock.acquire()
        with held:
            yield

    def build(self) -> None:
        stamp = self.stamp()
        old = read_stamp(self.finished)
        if old != stamp:
            if old:
                changed = ', '.join(name for name in STAMP_PARTS if old.get(name) != stamp[name])
                logging.info(f'{self.finished} is out of date ({changed}): building it again')
            if read_stamp(self.part) != stamp:
                shutil.rmtree(self.part, ignore_errors=True)
                self.write_texts()
                write_json(self.part / 'stamp.json', stamp)
            self.write_vectors()
            shutil.rmtree(self.finished, ignore_errors=True)
            self.part.replace(self.finished)
        write_codes(self.finished, self.net.size)

    def stamp(self) -> dict[str, str | int]:
        weights = {**self.net.response.state_dict(), 'embedding': self.net.embedding.weight}
        return {
            'weights': fingerprint(weights),
            'words': digest(word.encode() + b'\n' for word in self.words),
            'file': digest(file_blocks(self.source)),
            'tokens': self.tokens,
            'size': self.net.size,
        }

    def write_texts(self) -> None:
        """Write the distinct lines that are neither empty nor too long."""
        kept: dict[str, None] = {}
        count = 0
        with open_text(self.source) as file:
            for text in tqdm(file, f'reading {self.source.name}', unit=' lines', unit_scale=True, disable=None):
                text = ' '.join(text.split())
                count += 1
                if text and text not in kept and 0 < len(self.look_up(text)) <= self.tokens:
                    kept[text] = None
        if not kept:
            raise ValueError(
                f'{self.source}: saw {count} lines, none of 1 to {self.tokens} words: raise --memnet-candidate-tokens'
            )
        logging.info(f'{self.source}: kept {len(kept)} of {count} lines, distinct and of 1 to {self.tokens} words')
        lines = [f'{text}\n'.encode() for text in kept]
        with draft(self.part / 'texts.txt') as path:
            path.write_bytes(b''.join(lines))
        with draft(self.part / 'starts.npy') as path, path.open('wb') as file:
            np.save(file, np.cumsum([0, *map(len, lines)]))

    def write_vectors(self) -> None:
        """Encode the texts chunk by chunk, after the chunks that are already there."""
        starts = np.load(self.part / 'starts.npy')
        total, row = len(starts) - 1, 4 * self.net.size
        path = self.part / 'vectors.f32'
        done = path.stat().st_size // row // CHUNK * CHUNK if path.exists() else 0
        with path.open('ab') as file, (self.part / 'texts.txt').open('rb') as texts:
            file.truncate(done * row)
            texts.seek(starts[done])
            with tqdm(total=total, initial=done, desc='encoding candidates', unit_scale=True, disable=None) as bar:
                for first in range(done, total, CHUNK):
                    chunk = [texts.readline().decode().rstrip('\n') for _ in range(first, min(first + CHUNK, total))]
                    vectors = self.encode([Line.of(self.look_up(text)) for text in chunk])
                    file.write(np.ascontiguousarray(vectors.numpy(), np.float32).data)
                    file.flush()
                    bar.update(len(chunk))

    @torch.no_grad()
    def encode(self, lines: list[Line]) -> Tensor:
        """Return the encodings of responses, on the CPU: (len(lines), d)."""
        texts = batch_texts(lines).to(device_of(self.net))
        return self.net.encode_responses(texts).float().cpu()


def read_stamp(folder: Path) -> dict | None:
    path = folder / 'stamp.json'
    return read_json(path) if path.exists() else None


def file_blocks(path: Path) -> Iterator[bytes]:
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            yield block


def write_codes(folder: Path, size: int) -> None:
    """Write the codes that `scan.py` reads, if it can run here and they are not there yet."""
    scan = compiled_scan()
    if not scan or (folder / 'margins.npy').exists():
        return
    vectors = np.memmap(folder / 'vectors.f32', np.float32, 'r').reshape(-1, size)
    margins = []
    with draft(folder / 'codes.i8') as path, path.open('wb') as file:
        for first in range(0, len(vectors), CHUNK):
            codes, margin = scan.encode(vectors[first : first + CHUNK])
            file.write(codes.data)
            margins.append(margin)
    with draft(folder / 'margins.npy') as path, path.open('wb') as file:
        np.save(file, np.concatenate(margins))


class CandidateIndex:
    """A finished index. Its files are mapped into memory, and read as needed."""

    def __init__(self, folder: Path, size: int):
        self.starts = np.load(folder / 'starts.npy', mmap_mode='r')
        self.texts = np.memmap(folder / 'texts.txt', np.uint8, 'r')
        self.vectors = map_matrix(folder / 'vectors.f32', np.float32, len(self), size)
        self.codes = None
        self.scan = compiled_scan()
        if self.scan and len(self) >= 4 and (folder / 'margins.npy').exists():
            self.codes = map_matrix(folder / 'codes.i8', np.int8, len(self), size)
            self.margins = np.load(folder / 'margins.npy')
            self.low, self.high = (np.empty(len(self), np.float32) for _ in range(2))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def text(self, number: int) -> str:
        return bytes(self.texts[self.starts[number] : self.starts[number + 1] - 1]).decode()

    def search(self, u: Tensor, count: int) -> Ranked:
        """Return the `count` responses that score highest with u (d,).

        The result is that of float32 products with all responses; bounds spare most of these products.
        """
        q, count = u.numpy().astype(np.float32), min(count, len(self))
        if self.codes is None or not np.isfinite(q).all():
            top = (torch.from_numpy(self.vectors) @ torch.from_numpy(q)).topk(count)
            numbers, scores = top.indices.numpy(), top.values.numpy()
        else:
            possible = self.possible(q, count)
            products = self.vectors[possible] @ q
            order = np.argsort(-products, kind='stable')[:count]
            numbers, scores = possible[order], products[order]
        return [(self.text(number), score) for number, score in zip(numbers, scores.tolist(), strict=True)]

    def possible(self, q: np.ndarray, count: int) -> np.ndarray:
        """Return the responses that may be among the best `count`, judged by the bounds on their scores."""
        assert self.scan is not None
        self.scan.bounds(self.codes, self.margins, q, np.float32(np.linalg.norm(q)), self.low, self.high)
        least = torch.from_numpy(self.low).topk(count).values[-1].item()
        return np.flatnonzero(self.high >= least)


def map_matrix(path: Path, kind: type, rows: int, size: int) -> np.ndarray:
    """Map a matrix on the disk into memory. Mode 'c' never changes the file, and torch accepts it without a warning."""
    return np.asarray(np.memmap(path, kind, 'c', shape=(rows, size)))


def compiled_scan() -> ModuleType | None:
    """Return `scan.py`, or None without numba (extra `fast`): then search multiplies all vectors."""
    if not isinstance(builtins.print, BuiltinFunctionType):  # as in ParlAI's worker processes, where numba fails
        return None
    try:
        from parlai_persona.agents.memnet import scan
    except ImportError:
        return None
    return scan
