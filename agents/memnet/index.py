"""An index of a file of up to millions of responses, to choose a reply from.

Shapes: K responses of the index; d size of an encoding.

The folder of an index holds `texts.txt` and `starts.npy` (where each line begins), `vectors.f32` (K, d), `codes.i8` and
`margins.npy` (see `scan.py`), and `stamp.json`: checksums of everything that the index was made from, and of its files.
Every process that opens an index checks the files and builds what is damaged again. This reads all of them once: 0.3 s
a gigabyte, and the time of the disk.
"""

import builtins
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import BuiltinFunctionType, ModuleType
from typing import Any
from zlib import crc32

import numpy as np
import parlai.utils.logging as logging
import torch
from filelock import FileLock, Timeout
from torch import Tensor
from tqdm import tqdm

from parlai_persona.agents.memnet.batches import Line, batch_texts
from parlai_persona.agents.memnet.candidates import Ranked
from parlai_persona.agents.memnet.model import MemNet
from parlai_persona.errors import UserError
from parlai_persona.files import draft, naming, open_text, read_json, write_array, write_json
from parlai_persona.models.checksums import digest, file_blocks, file_checksum, fingerprint
from parlai_persona.models.network import device_of

CHUNK = 8192  # lines encoded and written at a time; an interruption loses at most these
SUM_BYTES = 9  # of the checksum of a chunk
TEXTS, VECTORS, CODES = ('texts.txt', 'starts.npy'), ('vectors.f32',), ('codes.i8', 'margins.npy')


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
            raise UserError(f'--memnet-candidates {self.source}: no such file; expected a response a line')
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
        """Build what is missing, out of date or damaged."""
        made_from = self.made_from()
        reason = fault(self.finished, made_from, TEXTS + VECTORS)
        if reason:
            if self.finished.exists():
                logging.info(f'{self.finished}: {reason}; building it again')
            if fault(self.part, made_from, TEXTS):
                shutil.rmtree(self.part, ignore_errors=True)
                self.write_texts()
                write_json(self.part / 'stamp.json', {'made from': made_from, 'files': {}})
                add_checksums(self.part, TEXTS)
            self.write_vectors()
            add_checksums(self.part, VECTORS)
            shutil.rmtree(self.finished, ignore_errors=True)
            self.part.replace(self.finished)
        write_codes(self.finished, self.net.size)

    def made_from(self) -> dict[str, str | int]:
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
            raise UserError(
                f'{self.source}: saw {count} lines, none of 1 to {self.tokens} words: raise --memnet-candidate-tokens'
            )
        logging.info(f'{self.source}: kept {len(kept)} of {count} lines, distinct and of 1 to {self.tokens} words')
        lines = [f'{text}\n'.encode() for text in kept]
        with draft(self.part / 'texts.txt') as path:
            path.write_bytes(b''.join(lines))
        write_array(self.part / 'starts.npy', np.cumsum([0, *map(len, lines)]))

    def write_vectors(self) -> None:
        """Encode the texts chunk by chunk, after the chunks that are already there."""
        starts = np.load(self.part / 'starts.npy')
        total, row = len(starts) - 1, 4 * self.net.size
        done = min(self.intact_chunks() * CHUNK, total)
        with (
            naming(self.part / 'vectors.f32'),
            (self.part / 'vectors.f32').open('ab') as file,
            (self.part / 'chunks.txt').open('ab') as sums,
            (self.part / 'texts.txt').open('rb') as texts,
            tqdm(total=total, initial=done, desc='encoding candidates', unit_scale=True, disable=None) as bar,
        ):
            file.truncate(done * row)
            sums.truncate(-(-done // CHUNK) * SUM_BYTES)
            texts.seek(starts[done])
            for first in range(done, total, CHUNK):
                chunk = [texts.readline().decode().rstrip('\n') for _ in range(first, min(first + CHUNK, total))]
                vectors = self.encode([Line.of(self.look_up(text)) for text in chunk])
                block = np.ascontiguousarray(vectors.numpy(), np.float32).data
                file.write(block)
                file.flush()
                sums.write(chunk_sum(block))
                sums.flush()
                bar.update(len(chunk))

    def intact_chunks(self) -> int:
        """Return how many chunks of vectors an interrupted build has left, by their checksums."""
        if not (self.part / 'chunks.txt').exists():
            return 0
        count, size = 0, CHUNK * 4 * self.net.size
        with (self.part / 'vectors.f32').open('rb') as file, (self.part / 'chunks.txt').open('rb') as sums:
            while (block := file.read(size)) and chunk_sum(block) == sums.read(SUM_BYTES):
                count += 1
        return count

    @torch.no_grad()
    def encode(self, lines: list[Line]) -> Tensor:
        """Return the encodings of responses, on the CPU: (len(lines), d)."""
        texts = batch_texts(lines).to(device_of(self.net))
        return self.net.encode_responses(texts).float().cpu()


def chunk_sum(block: bytes | memoryview) -> bytes:
    return b'%08x\n' % crc32(block)


def read_stamp(folder: Path) -> dict[str, dict[str, Any]] | None:
    """Return what an index was made from and the checksums of its files, if they can be read."""
    try:
        stamp = read_json(folder / 'stamp.json')
        return {name: dict(stamp[name]) for name in ('made from', 'files')}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def fault(folder: Path, made_from: dict[str, str | int], files: tuple[str, ...]) -> str | None:
    """Say why the index in a folder cannot be used."""
    stamp = read_stamp(folder)
    if stamp is None:
        return 'stamp.json is missing or damaged, or has no checksums'
    changed = [name for name in made_from if stamp['made from'].get(name) != made_from[name]]
    if changed:
        return f'out of date ({", ".join(changed)})'
    bad = damaged(folder, files)
    return f'{" and ".join(bad)} damaged or missing' if bad else None


def damaged(folder: Path, files: tuple[str, ...]) -> list[str]:
    """Return which of these files are missing or differ from their checksums."""
    known = (read_stamp(folder) or {'files': {}})['files']
    return [
        name
        for name in files
        if name not in known or not (folder / name).is_file() or file_checksum(folder / name) != known[name]
    ]


def add_checksums(folder: Path, files: tuple[str, ...]) -> None:
    stamp = read_json(folder / 'stamp.json')
    stamp['files'] |= {name: file_checksum(folder / name) for name in files}
    write_json(folder / 'stamp.json', stamp)


def write_codes(folder: Path, size: int) -> None:
    """Write the codes that `scan.py` reads, if it can run here and they are not there yet."""
    scan = compiled_scan()
    if not scan or not (bad := damaged(folder, CODES)):
        return
    if any((folder / name).exists() for name in CODES):
        logging.info(f'{folder}: {" and ".join(bad)} damaged or missing: writing {" and ".join(CODES)} again')
    vectors = np.memmap(folder / 'vectors.f32', np.float32, 'r').reshape(-1, size)
    margins = []
    with draft(folder / 'codes.i8') as path, path.open('wb') as file:
        for first in range(0, len(vectors), CHUNK):
            codes, margin = scan.encode(vectors[first : first + CHUNK])
            file.write(codes.data)
            margins.append(margin)
    write_array(folder / 'margins.npy', np.concatenate(margins))
    add_checksums(folder, CODES)


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
