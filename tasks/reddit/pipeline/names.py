"""Names of authors in texts, which become USER.

A name is masked where the text tells that it is one (u/name, @name), and wherever else it is a word of its own and no
word of the dictionary. So the authors are found before the texts are read; what is kept of each is a number that nobody
can invert without the key.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from parlai_persona.files import draft
from parlai_persona.tasks.reddit.pipeline import hashes

MASK = 'USER'
MOST_WORDS = 500_000  # that stay in memory
LONGEST = 20  # characters of a name
NUMBER = re.compile(r'[\d_-]+(?:st|nd|rd|th|s|am|pm)?')  # 2005-12, 1st, 90s

# Other texts have spaces around each mark, as after the tokeniser. The tokeniser takes all these as spaces.
SPACE = r'\s\\\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff'
GAP, SLASH, LINE = f'[{SPACE}]*', f'[{SPACE}]*/[{SPACE}/]*', f'[{SPACE}]*[_-][{SPACE}_-]*'
LETTERS = r'[^\W_]+'  # and digits
NEXT = f'u(?:ser)?{GAP}[/_]'  # begins the next name
SPACED = f'(?:[_-]{GAP})*{LETTERS}(?:{LINE}(?!{NEXT}){LETTERS})*(?:{GAP}[_-])*'
TOLD = re.compile(
    rf"""
    (?<![^\W_])                                                              # not within a word
    (?:(?:(?:[\w-]+\.)+|\w{{1,3}}{GAP}\.{GAP})?reddit{GAP}\.{GAP}com{SLASH})?  # www.reddit.com/
    (?:/{GAP})?
    (?:
        (?:u|user)/+[\w-]+                       # u/name
      | (?:u|user){SLASH}{SPACED}                # u / na _ me
      | (?:r{SLASH})?u_[\w-]+                    # r/u_name
      | (?:r{SLASH})?u{GAP}_{GAP}{SPACED}        # r / u _ name
      | @(?=[\w-]*[^\W\d_])[\w-]+               # @name
      | @{GAP}(?=[\w-]*[^\W\d_]){SPACED}        # @ na _ me
    )
    """,
    re.IGNORECASE | re.VERBOSE,
)
# Quick: it begins with one of three characters.
TELLS = re.compile(rf'[@uU](?:(?<=@)|(?<![^\W_].)(?:[sS][eE][rR])?{GAP}[/_])', re.DOTALL)
# Words and lines in turn, as in some_long-name: from the first line on, and what stands before it, read backwards.
RUN = re.compile(f'[_-]{GAP}(?:{LETTERS}{GAP}[_-]{GAP}|[_-]{GAP})*(?:{LETTERS})?')
BEFORE = re.compile(rf'\A{GAP}(?:{LETTERS})?')
PIECE = re.compile(rf'{LETTERS}|[_-]')

Among = Callable[[set[str]], set[str]]  # which of some words, in lower case, are names


class Names:
    """Tells which words are names of authors. Without a file no word is."""

    def __init__(self, key: bytes = b'', file: Path | None = None, dictionary: frozenset[str] = frozenset()):
        self.key, self.file, self.dictionary = key, file, dictionary
        self.others: set[str] = set()  # words that are no names

    def __reduce__(self):
        return Names, (self.key, self.file, self.dictionary)

    @cached_property
    def numbers(self) -> np.ndarray:
        return read_numbers(self.file) if self.file else np.empty(0, np.int64)

    def among(self, words: set[str]) -> set[str]:
        """Return the names among words in lower case."""
        asked = words - self.dictionary - self.others
        if len(self.others) > MOST_WORDS:
            self.others.clear()
        self.others |= asked
        rare = [word for word in asked if not self.is_ordinary(word)]
        wanted = numbers(rare, self.key)
        found = np.searchsorted(self.numbers, wanted, 'right') > np.searchsorted(self.numbers, wanted, 'left')
        names = {word for word, known in zip(rare, found.tolist(), strict=True) if known}
        self.others -= names
        return names

    def is_ordinary(self, word: str) -> bool:
        """Tell whether a word is never masked: one of the dictionary, a number, or shorter than two characters."""
        core = word.strip('_-')
        return len(core) < 2 or core in self.dictionary or bool(NUMBER.fullmatch(core))


def without_told_names(text: str) -> str:
    """Mask what is written as a name: u/name, /user/name, u_name and @name."""
    return TOLD.sub(f' {MASK} ', text) if TELLS.search(text) else text


def without_compounds(texts: Sequence[str], among: Among) -> list[str]:
    """Mask names of several words. Those of one word are masked among the tokens."""
    places = [list(runs(text)) for text in texts]
    found = {text[start:end] for text, spans in zip(texts, places, strict=True) for start, end in spans}
    may_be = {run: compounds(run) for run in found}
    names = among(set().union(*may_be.values()))
    changed = {run: masked(run, names) for run, some in may_be.items() if not names.isdisjoint(some)}
    if not changed:
        return list(texts)
    return [rewritten(text, spans, changed) for text, spans in zip(texts, places, strict=True)]


def runs(text: str) -> Iterator[tuple[int, int]]:
    """Yield where words and lines in turn begin and end."""
    done = 0
    for run in RUN.finditer(text):
        before = BEFORE.findall(text[max(done, run.start() - 5 * LONGEST) : run.start()][::-1])
        yield run.start() - len(before[0]), run.end()
        done = run.end()


def rewritten(text: str, spans: Sequence[tuple[int, int]], changed: dict[str, str]) -> str:
    """Return a text with other runs instead of those that are changed."""
    kept, done = [], 0
    for start, end in spans:
        kept += [text[done:start], changed.get(text[start:end], text[start:end])]
        done = end
    return ''.join([*kept, text[done:]])


def compounds(run: str) -> list[str]:
    """Return each succession of words and lines that may be a name."""
    pieces, found = PIECE.findall(run.lower()), []
    for start, name in enumerate(pieces):
        for piece in pieces[start + 1 : start + LONGEST]:
            name += piece
            found.append(name)
    return found


def masked(run: str, names: set[str]) -> str:
    """Mask names in words and lines in turn, the longest first."""
    pieces = list(PIECE.finditer(run))
    kept, start, done = [], 0, 0
    while start < len(pieces):
        for end in range(min(len(pieces), start + LONGEST), start + 1, -1):
            if ''.join(piece.group().lower() for piece in pieces[start:end]) in names:
                kept += [run[done : pieces[start].start()], f' {MASK} ']
                done, start = pieces[end - 1].end(), end - 1
                break
        start += 1
    return ''.join([*kept, run[done:]])


# --------------------------------------------------------------------------------------- numbers of authors


def numbers(names: Iterable[str], key: bytes) -> np.ndarray:
    return np.array([hashes.author_number(name.lower(), key) for name in names], np.int64)


def write_numbers(names: Iterable[str], key: bytes, path: Path) -> None:
    """Write the sorted numbers of authors."""
    with draft(path) as unfinished:
        unfinished.write_bytes(np.unique(numbers({name.lower() for name in names}, key)).data)


def read_numbers(path: Path) -> np.ndarray:
    """Return the numbers in a file, mapped into memory: processes share them."""
    with pa.memory_map(str(path)) as file:
        return np.frombuffer(file.read_buffer(), np.int64)


def merge_numbers(paths: Iterable[Path], output: Path) -> None:
    """Write the sorted numbers of several files, one 256th of their range after the other: little is in memory."""
    files = [read_numbers(path) for path in paths]
    bounds = [np.searchsorted(file, np.arange(256) << 55).tolist() + [len(file)] for file in files]
    with draft(output) as unfinished, unfinished.open('wb') as merged:
        for k in range(256):
            some = [file[limits[k] : limits[k + 1]] for file, limits in zip(files, bounds, strict=True)]
            merged.write(np.unique(np.concatenate(some)).data)
