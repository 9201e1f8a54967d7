"""An index of a file of up to millions of responses, to choose a reply from.

Shapes: K responses of the index, with at most W distinct words; d size of an encoding, V words of the dictionary.

The folder of an index holds `texts.txt` and `starts.npy` (where each line begins), `vectors.f32` (K, d), `codes.i8` and
`margins.npy` (see `scan.py`), for a network with a lexical term `words.npy` (K, W), and `stamp.json`: checksums of
everything that the index was made from, and of its files.
Every process that opens an index checks the files and builds what is damaged again. This reads all of them once: 0.3 s
a gigabyte, and the time of the disk.
"""

import builtins
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import BuiltinFunctionType, ModuleType

import numpy as np
import parlai.utils.logging as logging
import torch
from torch import Tensor
from tqdm import tqdm

from parlai_persona.agents.memnet.batches import Line, batch_texts, pad_rows
from parlai_persona.agents.memnet.candidates import Ranked
from parlai_persona.agents.memnet.lexical import Lexical
from parlai_persona.agents.memnet.model import PersonaMemory
from parlai_persona.errors import UserError
from parlai_persona.files import draft, open_text, write_array
from parlai_persona.models.checksums import digest, file_blocks, fingerprint
from parlai_persona.models.network import device_of
from parlai_persona.prepared import (
    ChunkedRows,
    Lines,
    add_checksums,
    damaged,
    exclusive,
    fault,
    write_lines,
    write_stamp,
)

CHUNK = 8192  # lines encoded and written at a time; an interruption loses at most these
TEXTS, VECTORS, CODES = ('texts.txt', 'starts.npy'), ('vectors.f32',), ('codes.i8', 'margins.npy')
WORDS = ('words.npy',)


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
    net: PersonaMemory

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
        with exclusive(self.finished):  # until all files are mapped: then they outlive a newer index of the same name
            self.build()
            return CandidateIndex(self.finished, self.net.size, self.net.lexical)

    @property
    def texts(self) -> tuple[str, ...]:
        """The files that are written before the vectors."""
        return TEXTS if self.net.lexical is None else TEXTS + WORDS

    def build(self) -> None:
        """Build what is missing, out of date or damaged."""
        made_from = self.made_from()
        reason = fault(self.finished, made_from, self.texts + VECTORS)
        if reason:
            if self.finished.exists():
                logging.info(f'{self.finished}: {reason}; building it again')
            if fault(self.part, made_from, self.texts):
                shutil.rmtree(self.part, ignore_errors=True)
                self.write_texts()
                write_stamp(self.part, made_from)
                add_checksums(self.part, self.texts)
            self.write_vectors()
            add_checksums(self.part, VECTORS)
            shutil.rmtree(self.finished, ignore_errors=True)
            self.part.replace(self.finished)
        write_codes(self.finished, self.net.size)

    def made_from(self) -> dict[str, str | int]:
        return {
            'weights': fingerprint(self.net.response_weights()),
            'words': digest(word.encode() + b'\n' for word in self.words),
            'file': digest(file_blocks(self.source)),
            'tokens': self.tokens,
            'size': self.net.size,
        }

    def write_texts(self) -> None:
        """Write the distinct lines that are neither empty nor too long."""
        kept: dict[str, np.ndarray] = {}
        count = 0
        with open_text(self.source) as file:
            for text in tqdm(file, f'reading {self.source.name}', unit=' lines', unit_scale=True, disable=None):
                text = ' '.join(text.split())
                count += 1
                if text and text not in kept and 0 < len(words := self.look_up(text)) <= self.tokens:
                    kept[text] = np.unique(np.array(words, np.int32))
        if not kept:
            raise UserError(
                f'{self.source}: saw {count} lines, none of 1 to {self.tokens} words: raise --memnet-candidate-tokens'
            )
        logging.info(f'{self.source}: kept {len(kept)} of {count} lines, distinct and of 1 to {self.tokens} words')
        write_lines(self.part / TEXTS[0], self.part / TEXTS[1], kept)
        if self.net.lexical is not None:
            write_array(self.part / WORDS[0], pad_rows([*kept.values()], len(self.net.lexical.having))[0].int().numpy())

    def write_vectors(self) -> None:
        """Encode the texts chunk by chunk, after the chunks that are already there."""
        texts = Lines(self.part / TEXTS[0], self.part / TEXTS[1])

        def encoded(first: int, end: int) -> np.ndarray:
            lines = [Line.of(self.look_up(texts[number])) for number in range(first, end)]
            return self.encode(lines).numpy().astype(np.float32)

        rows = ChunkedRows(self.part / 'vectors.f32', 4 * self.net.size, CHUNK)
        rows.write(len(texts), encoded, 'encoding candidates')

    @torch.no_grad()
    def encode(self, lines: list[Line]) -> Tensor:
        """Return the encodings of responses, on the CPU: (len(lines), d)."""
        texts = batch_texts(lines).to(device_of(self.net))
        return self.net.encode_responses(texts).float().cpu()


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

    def __init__(self, folder: Path, size: int, lexical: Lexical | None = None):
        self.texts = Lines(folder / TEXTS[0], folder / TEXTS[1])
        self.vectors = map_matrix(folder / 'vectors.f32', np.float32, len(self), size)
        self.codes = None
        self.scan = compiled_scan()
        if self.scan and len(self) >= 4 and (folder / 'margins.npy').exists():
            self.codes = map_matrix(folder / 'codes.i8', np.int8, len(self), size)
            self.margins = np.load(folder / 'margins.npy')
            self.low, self.high = (np.empty(len(self), np.float32) for _ in range(2))
        if lexical is not None:
            self.words = np.load(folder / WORDS[0], mmap_mode='c')  # numbers from V on are padding
            self.idf = np.append(lexical.idf().cpu().numpy(), np.float32(0))
            self.lengths = np.sqrt(self.sums(self.idf**2)).clip(np.finfo(np.float32).tiny)  # (K,)

    def __len__(self) -> int:
        return len(self.texts)

    def search(self, u: Tensor, count: int, query: np.ndarray | None = None) -> Ranked:
        """Return the `count` responses that score highest with u (d,), and by their words with the query (V,).

        The result is that of float32 products with all responses; bounds spare most of these products.
        """
        q, count = u.numpy().astype(np.float32), min(count, len(self))
        lexical = np.float32(0) if query is None else self.lexical_scores(query)
        if self.codes is None or not np.isfinite(q).all():
            products = (torch.from_numpy(self.vectors) @ torch.from_numpy(q)).numpy() + lexical
            top = torch.from_numpy(products).topk(count)
            numbers, scores = top.indices.numpy(), top.values.numpy()
        else:
            possible = self.possible(q, count, lexical)
            products = self.vectors[possible] @ q + (lexical if query is None else lexical[possible])
            order = np.argsort(-products, kind='stable')[:count]
            numbers, scores = possible[order], products[order]
        return [(self.texts[number], score) for number, score in zip(numbers, scores.tolist(), strict=True)]

    def possible(self, q: np.ndarray, count: int, lexical: np.ndarray | np.float32) -> np.ndarray:
        """Return the responses that may be among the best `count`, judged by the bounds on their scores."""
        assert self.scan is not None
        self.scan.bounds(self.codes, self.margins, q, np.float32(np.linalg.norm(q)), self.low, self.high)
        self.low += lexical
        self.high += lexical
        least = torch.from_numpy(self.low).topk(count).values[-1].item()
        return np.flatnonzero(self.high >= least)

    def lexical_scores(self, query: np.ndarray) -> np.ndarray:
        """Return what words in common with the query (V,) add to the scores: (K,)."""
        return self.sums(np.append(query, np.float32(0)) * self.idf) / self.lengths

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over the words of each response; `values` (V + 1,) ends with that of padding."""
        if self.scan:
            return self.scan.sums(self.words, values)
        return values[self.words].sum(1)


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
