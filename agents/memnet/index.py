"""Responses by the million (Mazaré et al. 2018, Table 2): encoded once, kept beside the model, searched by dot product.

K responses, d size of an encoding. A folder holds `texts.txt` and `starts.npy` (where each line begins), `vectors.f32`
(K, d), `codes.i8` and `margins.npy` (see `scan.py`), `reduced.faiss` and `ask.npy` where they were asked for, and
`stamp.json`, which says what all this was made from.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import parlai.utils.logging as logging
from torch import Tensor
from tqdm import tqdm

from parlai_persona.agents.memnet.model import MemNet
from parlai_persona.agents.memnet.search import Candidates, make_approximate, make_codes
from parlai_persona.agents.memnet.texts import Line, line
from parlai_persona.files import draft, open_text, read_json, write_json
from parlai_persona.models.checksums import digest, fingerprint

CHUNK = 8192  # lines encoded at a time, and lost at most by a kill
SHOWN = ('weights', 'words', 'file', 'tokens')  # what a stamp is of, as a person would name it


@dataclass(frozen=True)
class Maker:
    """Makes the index of a file of responses, or goes on where it was interrupted."""

    source: Path
    folder: Path
    kind: str  # 'exact' or 'approximate'
    tokens: int  # at most so many in a response
    look_up: Callable[[str], list[int]]
    net: MemNet
    words: list[str]  # and whatever else decides about `look_up`
    encode: Callable[[list[Line]], Tensor]  # responses -> (n, d) on the CPU
    ask: Callable[[list[Line]], Tensor]  # contexts -> (n, d) on the CPU

    @property
    def place(self) -> Path:
        return self.folder / self.source.name

    @property
    def part(self) -> Path:
        return self.folder / f'.{self.source.name}.part'

    def make(self) -> None:
        if not self.source.is_file():
            raise FileNotFoundError(f'--memnet-candidates {self.source}: no such file; expected a response a line')
        stamp = self.stamp()
        seen = read_stamp(self.place)
        if seen != stamp:
            if seen:
                changed = ', '.join(name for name in SHOWN if seen.get(name) != stamp[name])
                logging.info(f'{self.place} is out of date ({changed}): it is made anew')
            if read_stamp(self.part) != stamp:
                shutil.rmtree(self.part, ignore_errors=True)
                self.write_texts()
                write_json(self.part / 'stamp.json', stamp)
            self.write_vectors()
            shutil.rmtree(self.place, ignore_errors=True)
            self.part.replace(self.place)
        make_codes(self.place, self.net.size)
        if self.kind == 'approximate':
            make_approximate(self.place, self.net.size, self.queries)

    def open(self) -> Candidates:
        return Candidates(self.place, self.net.size, self.kind)

    def stamp(self) -> dict[str, str | int]:
        weights = {**self.net.response.state_dict(), 'embedding': self.net.embedding.weight}
        return {
            'weights': fingerprint(weights),
            'words': digest(word.encode() + b'\n' for word in self.words),
            'file': digest(blocks(self.source)),
            'tokens': self.tokens,
            'size': self.net.size,
        }

    def write_texts(self) -> None:
        """The lines that stay: not empty, not too long, each once."""
        kept: dict[str, None] = {}
        read = 0
        with open_text(self.source) as file:
            for text in tqdm(file, f'reading {self.source.name}', unit=' lines', unit_scale=True, disable=None):
                text = ' '.join(text.split())
                read += 1
                if text and text not in kept and 0 < len(self.look_up(text)) <= self.tokens:
                    kept[text] = None
        if not kept:
            raise ValueError(
                f'{self.source}: saw {read} lines, none of 1 to {self.tokens} words: raise --memnet-candidate-tokens'
            )
        logging.info(f'{self.source}: {len(kept)} of {read} lines are different responses of 1 to {self.tokens} words')
        lines = [f'{text}\n'.encode() for text in kept]
        with draft(self.part / 'texts.txt') as path:
            path.write_bytes(b''.join(lines))
        with draft(self.part / 'starts.npy') as path, path.open('wb') as file:
            np.save(file, np.cumsum([0, *map(len, lines)]))

    def write_vectors(self) -> None:
        """Chunk by chunk; chunks that are there stay."""
        starts = np.load(self.part / 'starts.npy')
        total, row = len(starts) - 1, 4 * self.net.size
        path = self.part / 'vectors.f32'
        done = path.stat().st_size // row // CHUNK * CHUNK if path.exists() else 0
        with path.open('ab') as file, (self.part / 'texts.txt').open('rb') as texts:
            file.truncate(done * row)
            texts.seek(starts[done])
            with tqdm(total=total, initial=done, desc='encoding candidates', unit_scale=True, disable=None) as bar:
                for first in range(done, total, CHUNK):
                    lines = [texts.readline().decode().rstrip('\n') for _ in range(first, min(first + CHUNK, total))]
                    vectors = self.encode([line(self.look_up(text)) for text in lines])
                    file.write(np.ascontiguousarray(vectors.numpy(), np.float32).data)
                    file.flush()
                    bar.update(len(lines))

    def queries(self, count: int) -> Tensor:
        """Responses as if they were contexts, to make and try an approximate index with: (count, d)."""
        made = Candidates(self.place, self.net.size, 'exact')
        chosen = np.random.default_rng(count).integers(len(made), size=count)
        return self.ask([line(self.look_up(made.text(number))) for number in chosen])


def read_stamp(folder: Path) -> dict | None:
    path = folder / 'stamp.json'
    return read_json(path) if path.exists() else None


def blocks(path: Path) -> Iterator[bytes]:
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            yield block
