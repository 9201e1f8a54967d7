"""Texts -> tokens and sentences, many texts at once.

Letters, digits and their marks make words; every other visible character is a token of its own (sec. 3.1). A sentence
ends at `.`, `!` or `?` before a space, and at the end of a line. Of each text the first 100 tokens are kept.
"""

import unicodedata
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

LONGEST = 100  # tokens of a comment (sec. 3.1)
WORD, SPECIAL, SPACE = 0, 1, 2  # kinds of characters
KINDS = {**dict.fromkeys('LNM', WORD), **dict.fromkeys('PS', SPECIAL), **dict.fromkeys('ZC', SPACE)}  # of categories
PAD, NEWLINE, DOT, EXCLAMATION, QUESTION = (ord(character) for character in ' \n.!?')


@dataclass
class Tokens:
    """Tokens of texts one after the other, as UTF-8 with a space after each."""

    data: np.ndarray
    limits: np.ndarray  # where each token begins in data, and where the last one ends
    rows: np.ndarray  # the number of each text's first token, and of all tokens
    words: list[str]  # distinct tokens in lower case, before any were replaced
    word: np.ndarray  # which of the words each token is
    first: np.ndarray  # first token of each sentence
    end: np.ndarray  # the token after each sentence
    row: np.ndarray  # text of each sentence
    place: np.ndarray  # which of the text's sentences it is

    def texts(self) -> pa.Array:
        return self.cut(self.rows[:-1], self.rows[1:])

    def sentences(self, which: np.ndarray) -> pa.Array:
        return self.cut(self.first[which], self.end[which])

    def cut(self, first: np.ndarray, end: np.ndarray) -> pa.Array:
        """Return the tokens from first to end as strings. Cut at all limits, every second string is one of them."""
        limits = np.empty(2 * len(first), np.int32)
        limits[::2] = self.limits[first]
        limits[1::2] = np.maximum(self.limits[end] - 1, limits[::2])  # without the last space
        return (
            strings(self.data, limits).take(np.arange(0, len(limits), 2)) if len(first) else pa.array([], pa.string())
        )

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over the tokens of each sentence. values: one for each of `words`."""
        total = np.concatenate([[0], np.cumsum(values[self.word])])
        return total[self.end] - total[self.first]

    def replaced(self, words: set[str], token: str) -> 'Tokens':
        """Return the same with a token instead of each of the words."""
        if not words:
            return self
        old = np.fromiter(map(words.__contains__, self.words), bool, len(self.words))
        which = np.flatnonzero(old[self.word])
        starts, ends = self.limits[which], self.limits[which + 1]
        longer = np.zeros(len(self.limits), np.int64)
        longer[which + 1] = len(token) + 1 - (ends - starts)
        whole, others = self.data.tobytes(), zip([0, *ends], [*starts, len(self.data)], strict=True)
        data = f'{token} '.encode().join(whole[start:end] for start, end in others)
        return replace(
            self,
            data=np.frombuffer(data, np.uint8),
            limits=self.limits + np.cumsum(longer),
            words=[token.lower() if word in words else word for word in self.words],
        )

    def counts(self) -> pa.Table:
        return pa.table({'word': pa.array(self.words, pa.string()), 'count': np.bincount(self.word)})


def strings(data: np.ndarray, limits: np.ndarray) -> pa.Array:
    if not len(limits):
        return pa.array([], pa.string())
    return pa.StringArray.from_buffers(len(limits) - 1, pa.py_buffer(limits.astype(np.int32)), pa.py_buffer(data))


def tokenize(texts: pa.Array) -> Tokens:
    """Split texts into tokens and sentences."""
    lines = pc.binary_join_element_wise(texts, '', '\n')  # each text with an end of line
    _, offsets, content = lines.buffers()
    starts = np.frombuffer(offsets, np.int32)[: len(texts) + 1]
    characters = np.frombuffer(content, np.uint8)[: starts[-1]]
    data, limits, closes, rows = split(characters, byte_kinds(characters), starts)
    found = pc.ascii_lower(strings(data, limits)).dictionary_encode()
    words = [word[:-1] for word in found.dictionary.to_pylist()]
    return Tokens(data, limits, rows, words, found.indices.to_numpy(), *sentences(closes, rows))


def byte_kinds(data: np.ndarray) -> np.ndarray:
    """Return the kind of the character that each byte of UTF-8 belongs to."""
    kinds = character_kinds()[:256][data]
    several = data >= 128  # bytes of characters of several bytes
    codes = np.frombuffer(data[several].tobytes().decode().encode('utf-32-le'), np.uint32)
    kinds[several] = np.repeat(character_kinds()[codes], 2 + (codes > 0x7FF) + (codes > 0xFFFF))
    return kinds


@njit(cache=True, nogil=True)
def split(data, kinds, starts):
    """Return data, limits, whether each token ends a sentence, and rows (see Tokens); the one compiled loop."""
    out, limits = np.empty(2 * len(data), np.uint8), np.empty(len(data) + 1, np.int64)
    closes, rows = np.zeros(len(data), np.bool_), np.empty(len(starts), np.int64)
    written, count = 0, 0
    for row in range(len(starts) - 1):
        rows[row] = count
        in_word = False
        for place in range(starts[row], starts[row + 1]):
            byte, kind = data[place], kinds[place]
            if kind == SPACE:
                in_word = False
                if byte == NEWLINE and count > rows[row]:
                    closes[count - 1] = True
                continue
            if byte & 0xC0 != 0x80 and not (in_word and kind == WORD):  # the first byte of a token
                if count - rows[row] == LONGEST:
                    break
                written += count > 0  # the space after the last token
                limits[count] = written
                count += 1
            out[written], out[written + 1] = byte, PAD
            written += 1
            in_word = kind == WORD
            if byte in (DOT, EXCLAMATION, QUESTION) and kinds[place + 1] == SPACE:
                closes[count - 1] = True
    rows[-1] = count
    limits[count] = written + (count > 0)
    return out[: limits[count]], limits[: count + 1], closes[:count], rows


def sentences(closes: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return first token, end, text and place of each whole sentence. What follows a text's last end is incomplete."""
    last = np.flatnonzero(closes)
    row = np.searchsorted(rows, last, 'right') - 1
    first = np.maximum(np.concatenate([[0], last + 1])[: len(last)], rows[row])
    place = np.arange(len(last)) - np.searchsorted(row, row)
    return first, last + 1, row, place


@cache
def character_kinds() -> np.ndarray:
    """Return the kind of every code point. Whole planes of unassigned or private ones count as spaces."""
    kinds = np.full(0x110000, SPACE, np.uint8)
    for start, end in ((0, 0x40000), (0xE0000, 0xE1000)):
        kinds[start:end] = [KINDS[unicodedata.category(chr(code))[0]] for code in range(start, end)]
    return kinds
