"""`text.py` for a column of comments at once, as compiled loops over UTF-8 bytes.

One pass writes the tokens of all comments into one buffer and decides about each sentence as it ends.
"""

import unicodedata
from dataclasses import dataclass

import numpy as np
from numba import njit

from parlai_persona.tasks.reddit import text

PAD, NEWLINE = 32, 10
EMPTY = np.uint64(0)
K1, K2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
START, PRIME = np.uint64(text.OFFSET), np.uint64(text.PRIME)
S30, S27, S31, S1 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(1)
RULES, ABOUT_ME, LENGTH = 0, 1, 2  # which sentences to keep: rules (i)-(iv), (i) and (ii), or (i) alone


def character_kinds() -> np.ndarray:
    """text.kind of every code point."""
    sort = {'L': text.WORD, 'N': text.WORD, 'M': text.WORD, 'Z': text.SPACE, 'C': text.SPACE}
    return np.array([sort.get(unicodedata.category(chr(c))[0], text.SPECIAL) for c in range(0x110000)], np.uint8)


@njit(cache=True, nogil=True)
def mix(h):
    h = (h ^ (h >> S30)) * K1
    h = (h ^ (h >> S27)) * K2
    return (h ^ (h >> S31)) >> S1


@njit(cache=True, nogil=True)
def hash_rows(data, offsets):
    """text.hashed of each row."""
    found = np.empty(len(offsets) - 1, np.int64)
    for row in range(len(found)):
        found[row] = hash_of(data, offsets[row], offsets[row + 1])
    return found


@njit(cache=True, nogil=True)
def shuffled(ids, places, seed):
    """63 random bits for each id and place, the same for the same seed."""
    found = np.empty(len(ids), np.int64)
    for row in range(len(ids)):
        h = np.uint64(ids[row]) ^ mix(np.uint64(seed) + S1) ^ (mix(np.uint64(places[row]) + S27) << S1)
        found[row] = np.int64(mix(h * PRIME))
    return found


@njit(cache=True, nogil=True)
def gather(data, starts, ends):
    """data[start:end] of each row, one after the other."""
    out = np.empty((ends - starts).sum(), np.uint8)
    written = 0
    for row in range(len(starts)):
        size = ends[row] - starts[row]
        out[written : written + size] = data[starts[row] : ends[row]]
        written += size
    return out


class Words:
    """A set of words with a number each, as an open hash table that the loops can look into."""

    def __init__(self, words: dict[str, float]):
        size = 64
        while size < 4 * len(words):
            size *= 2
        self.keys, self.values = np.zeros(size, np.uint64), np.zeros(size, np.float32)
        for word, value in words.items():
            key = text.hashed(word) or 1
            place = key & (size - 1)
            while self.keys[place] not in (0, key):
                place = (place + 1) & (size - 1)
            self.keys[place], self.values[place] = key, value


@njit(cache=True, nogil=True)
def look_up(keys, values, key):
    """The number of a word, or nan."""
    if key == EMPTY:
        key = S1
    size = np.uint64(len(keys) - 1)
    place = key & size
    while keys[place] != EMPTY:
        if keys[place] == key:
            return values[place]
        place = (place + S1) & size
    return np.float32(np.nan)


@njit(cache=True, nogil=True)
def decode(data, place, end):
    """(code point, bytes) at `place`."""
    first = data[place]
    if first < 0x80:
        return np.int64(first), 1
    if first < 0xE0:
        length, code = 2, np.int64(first & 0x1F)
    elif first < 0xF0:
        length, code = 3, np.int64(first & 0x0F)
    else:
        length, code = 4, np.int64(first & 0x07)
    for k in range(1, length):
        if place + k < end:
            code = (code << 6) | np.int64(data[place + k] & 0x3F)
    return code, length


@njit(cache=True, nogil=True)
def is_end(code):
    return code == 46 or code == 33 or code == 63  # . ! ?


@njit(cache=True, nogil=True)
def hash_of(data, start, end):
    """text.hashed of data[start:end]."""
    h = START
    for place in range(start, end):
        byte = data[place]
        if 65 <= byte <= 90:
            byte += 32
        h = (h ^ np.uint64(byte)) * PRIME
    return np.int64(mix(h))


@njit(cache=True, nogil=True)
def wanted(rule, me, verb):
    return rule == LENGTH or (me and (verb or rule == ABOUT_ME))


@njit(cache=True, nogil=True)
def scan(data, offsets, kinds, verbs, known, weights, bias, rule, longest, shortest_s, longest_s):
    """Tokenise every row and judge its sentences.

    -> out (bytes), out_ends (one a row); and for each sentence kept: row, place among the row's sentences, start and
    end in out, hash, score.
    """
    rows = len(offsets) - 1
    out = np.empty(2 * len(data) + 16, np.uint8)
    out_ends = np.empty(rows, np.int64)
    most = 16 + len(data) // 4  # sentences: four tokens take four bytes at least
    s_row, s_place = np.empty(most, np.int32), np.empty(most, np.int32)
    s_start, s_end = np.empty(most, np.int64), np.empty(most, np.int64)
    s_hash, s_score = np.empty(most, np.int64), np.empty(most, np.float32)
    written, kept, scored = 0, 0, known.any()
    for row in range(rows):
        place, end = offsets[row], offsets[row + 1]
        row_start = written
        count = 0  # tokens of the row
        number = 0  # sentences of the row
        # of the sentence: its start in out, tokens, what the rules ask for
        s0, n, me, verb, score = written, 0, False, False, np.float32(0)
        while place < end and count < longest:
            code, length = decode(data, place, end)
            sort = kinds[code]
            ends = False
            if sort == 1 or sort == 0:  # the next token
                if written > row_start:
                    out[written] = PAD
                    written += 1
                    if n == 0:
                        s0 = written
                token, th = written, START
                while True:
                    for k in range(length):
                        byte = data[place + k]
                        out[written] = byte
                        written += 1
                        if 65 <= byte <= 90:
                            byte += 32
                        th = (th ^ np.uint64(byte)) * PRIME
                    place += length
                    if place >= end or sort == 1:
                        break
                    following, length = decode(data, place, end)
                    if kinds[following] != 0:
                        break
                n += 1
                count += 1
                if sort == 1:
                    if is_end(code):
                        ends = place >= end
                        if not ends:
                            following, _ = decode(data, place, end)
                            ends = kinds[following] == 2
                else:
                    size = written - token
                    first = data[place - size] | 32
                    if (size == 1 and first == 105) or (size == 2 and first == 109 and data[place - 1] | 32 == 121):
                        me = True
                    key = mix(th)
                    if not verb and not np.isnan(look_up(verbs[0], verbs[1], key)):
                        verb = True
                    if scored:
                        weight = look_up(known, weights, key)
                        if not np.isnan(weight):
                            score += weight
            else:
                place += length
                ends = code == NEWLINE and n > 0
            if ends:
                if shortest_s <= n <= longest_s and wanted(rule, me, verb):
                    s_row[kept], s_place[kept], s_start[kept], s_end[kept] = row, number, s0, written
                    s_hash[kept], s_score[kept] = hash_of(out, s0, written), score / n + bias
                    kept += 1
                number += 1
                n, me, verb, score = 0, False, False, np.float32(0)
        rest, closed = False, False  # is there another token, and a line's end before it?
        while place < end and not rest:
            code, length = decode(data, place, end)
            rest = kinds[code] != 2
            closed = closed or code == NEWLINE
            place += length
        if (closed or not rest) and shortest_s <= n <= longest_s and wanted(rule, me, verb):
            s_row[kept], s_place[kept], s_start[kept], s_end[kept] = row, number, s0, written
            s_hash[kept], s_score[kept] = hash_of(out, s0, written), score / n + bias
            kept += 1
        out_ends[row] = written
    return (
        out[:written], out_ends, s_row[:kept], s_place[:kept], s_start[:kept], s_end[:kept], s_hash[:kept],
        s_score[:kept],
    )  # fmt: skip


@dataclass
class Read:
    """The tokens of comments, and the sentences in them that were kept."""

    out: np.ndarray  # bytes
    offsets: np.ndarray  # of the comments in out
    row: np.ndarray  # comment of each sentence
    place: np.ndarray  # which of its sentences
    start: np.ndarray
    end: np.ndarray
    hash: np.ndarray
    score: np.ndarray


class Reader:
    """text.read and text.persona_like for columns of comments. `weights`: of a bag-of-words classifier."""

    def __init__(self, verbs: Words, rule: int = RULES, weights: dict[str, float] | None = None, bias: float = 0.0):
        self.kinds = character_kinds()
        self.verbs, self.rule, self.bias = verbs, rule, np.float32(bias)
        self.weights = Words(weights or {})

    def __call__(self, data: np.ndarray, offsets: np.ndarray) -> Read:
        out, ends, *sentences = scan(
            data, offsets, self.kinds, (self.verbs.keys, self.verbs.values), self.weights.keys, self.weights.values,
            self.bias, self.rule, text.LONGEST, text.SHORTEST_SENTENCE, text.LONGEST_SENTENCE,
        )
        return Read(out, np.concatenate([[0], ends]), *sentences)
