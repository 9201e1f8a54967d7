"""Candidates to choose a response from: lists that come with examples, or an index of a file of up to millions.

Shapes: B examples, C candidates of an example, D distinct candidates of a batch; K responses of an index; d size of
an encoding.

The folder of an index holds `texts.txt` and `starts.npy` (where each line begins), `vectors.f32` (K, d), `codes.i8` and
`margins.npy` (see `scan.py`), and `stamp.json`: checksums of everything that the index was made from.
"""

import builtins
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import BuiltinFunctionType, ModuleType

import numpy as np
import parlai.utils.logging as logging
import torch
from torch import Tensor
from tqdm import tqdm

from parlai_persona.agents.memnet.batches import CACHED_TEXTS, Line, batch_texts, pad_rows
from parlai_persona.agents.memnet.model import MemNet
from parlai_persona.files import draft, open_text, read_json, write_json
from parlai_persona.models.checksums import digest, fingerprint
from parlai_persona.models.network import device_of

CHUNK = 8192  # lines encoded and written at a time; an interruption loses at most these
Ranked = list[tuple[str, float]]  # replies and their scores, the best first
STAMP_PARTS = ('weights', 'words', 'file', 'tokens')  # as the log names what has changed


# --------------------------------------------------------------------------------------- listed candidates


@dataclass(frozen=True)
class ListedCandidates:
    """The candidates of a batch, each distinct text once."""

    replies: list[str]  # D of them
    places: Tensor  # (B, C) numbers of replies
    mask: Tensor  # (B, C) bool, false at padding
    own: Tensor  # (B,) column of the label, -1 where the label is not among the candidates

    @classmethod
    def of_each(cls, lists: Sequence[Sequence[str]], labels: Sequence[str | None]) -> 'ListedCandidates':
        """Give each example its own list, without repetitions."""
        numbers: dict[str, int] = {}
        rows, own = [], []
        for replies, label in zip(lists, labels, strict=True):
            distinct = list(dict.fromkeys(replies))
            own.append(distinct.index(label) if label in distinct else -1)
            rows.append(np.array([numbers.setdefault(reply, len(numbers)) for reply in distinct], np.int64))
        places, lengths = pad_rows(rows)
        mask = torch.arange(places.shape[1]) < lengths[:, None]
        return cls(list(numbers), places, mask, torch.tensor(own))

    @classmethod
    def of_all(cls, replies: Sequence[str], labels: Sequence[str | None]) -> 'ListedCandidates':
        """Give all examples the same list, without repetitions."""
        column = {reply: number for number, reply in enumerate(dict.fromkeys(replies))}
        places = torch.arange(len(column)).expand(len(labels), -1)
        own = torch.tensor([-1 if label is None else column.get(label, -1) for label in labels])
        return cls(list(column), places, torch.ones_like(places, dtype=torch.bool), own)

    def scores(self, u: Tensor, y: Tensor) -> Tensor:
        """Return the scores (B, C) of examples u (B, d) with their candidates; y (D, d) encodes all replies."""
        scores = (u.float() @ y.float().T).gather(1, self.places.to(u.device))
        return scores.masked_fill(~self.mask.to(u.device), -torch.inf)

    def best(self, scores: Tensor, count: int) -> list[Ranked]:
        """Return the best `count` replies of each example. The label loses every tie."""
        scores = scores.cpu().clone()
        rows = (self.own >= 0).nonzero().squeeze(1)
        own = self.own[rows]
        scores[rows, own] = torch.nextafter(scores[rows, own], torch.tensor(-torch.inf))
        top = scores.topk(min(count, scores.shape[1]))
        numbers, sizes = self.places.gather(1, top.indices).tolist(), self.mask.sum(1).tolist()
        pairs = [list(zip(*row, strict=True)) for row in zip(numbers, top.values.tolist(), strict=True)]
        return [[(self.replies[n], score) for n, score in row[:size]] for row, size in zip(pairs, sizes, strict=True)]


class EncodingCache:
    """Keeps the encodings of the last texts until the weights change."""

    def __init__(self) -> None:
        self.weights: tuple[int, int] | None = None
        self.known: dict[bytes, Tensor] = {}

    def encode(self, net: MemNet, lines: Sequence[Line]) -> Tensor:
        """Return the encodings of responses: (len(lines), d)."""
        weights = id(net), sum(p._version for p in net.parameters())  # torch counts the changes of each parameter
        if weights != self.weights:
            self.known.clear()
            self.weights = weights
        new = list({line.key: line for line in lines if line.key not in self.known}.values())
        if new:
            encoded = net.encode_responses(batch_texts(new).to(device_of(net)))
            self.known.update({line.key: row for line, row in zip(new, encoded, strict=True)})
        found = torch.stack([self.known[line.key] for line in lines])
        while len(self.known) > CACHED_TEXTS:
            del self.known[next(iter(self.known))]  # the oldest
        return found


# --------------------------------------------------------------------------------------- index of a file


@dataclass(frozen=True)
class IndexBuilder:
    """Encodes a file of responses, one a line, into a folder beside the model (Mazaré et al. 2018, Table 2).

    An interrupted build continues where it stopped.
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

    def build(self) -> None:
        """Build the index, unless it is there and up to date."""
        if not self.source.is_file():
            raise FileNotFoundError(f'--memnet-candidates {self.source}: no such file; expected a response a line')
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
