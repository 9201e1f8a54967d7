"""`text.py` for a column of comments at once, as compiled loops over UTF-8 bytes.

One pass writes the tokens of all comments into one buffer and decides about each sentence as it ends.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from parlai_persona.tasks.reddit import text

PAD, NEWLINE = 32, 10
EMPTY = np.uint64(0)
K1, K2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
START, PRIME = np.uint64(text.OFFSET), np.uint64(text.PRIME)
S30, S27, S31, S1 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(1)
TABLE = 1 << 19  # places of the table of words
RULES, ABOUT_ME, LENGTH = 0, 1, 2  # which sentences to keep: rules (i)-(iv), (i) and (ii), or (i) alone


def character_kinds() -> np.ndarray:
    """text.kind of every code point. Those of whole planes are unassigned or private: spaces."""
    kinds = np.full(0x110000, text.SPACE, np.uint8)
    for start, end in ((0, 0x40000), (0xE0000, 0xE1000)):
        kinds[start:end] = [text.kind(chr(code)) for code in range(start, end)]
    return kinds


@njit(cache=True, nogil=True)
def mix(h):
    h = (h ^ (h >> S30)) * K1
    h = (h ^ (h >> S27)) * K2
    return (h ^ (h >> S31)) >> S1


@njit(cache=True, nogil=True)
def hash_rows(data, starts, ends):
    """text.hashed of data[start:end] of each row."""
    found = np.empty(len(starts), np.int64)
    for row in range(len(starts)):
        found[row] = hash_of(data, starts[row], ends[row])
    return found


@njit(cache=True, nogil=True)
def rotated(x, bits):
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@njit(cache=True, nogil=True)
def sip_round(v0, v1, v2, v3):
    v0 += v1
    v1 = rotated(v1, 13) ^ v0
    v0 = rotated(v0, 32)
    v2 += v3
    v3 = rotated(v3, 16) ^ v2
    v0 += v3
    v3 = rotated(v3, 21) ^ v0
    v2 += v1
    v1 = rotated(v1, 17) ^ v2
    v2 = rotated(v2, 32)
    return v0, v1, v2, v3


@njit(cache=True, nogil=True)
def keyed(data, starts, ends, key):
    """SipHash-2-4 (Aumasson and Bernstein 2012) of data[start:end] of each row: a hash that nobody can invert or test
    guesses of without the key, two numbers of 64 bits."""
    found = np.empty(len(starts), np.uint64)
    for row in range(len(starts)):
        v0, v1 = key[0] ^ np.uint64(0x736F6D6570736575), key[1] ^ np.uint64(0x646F72616E646F6D)
        v2, v3 = key[0] ^ np.uint64(0x6C7967656E657261), key[1] ^ np.uint64(0x7465646279746573)
        size = ends[row] - starts[row]
        for place in range(0, size + 1, 8):  # the last word holds what is left, and the length
            m = np.uint64(0)
            for k in range(min(8, size - place)):
                m |= np.uint64(data[starts[row] + place + k]) << np.uint64(8 * k)
            if size - place < 8:
                m |= np.uint64(size & 0xFF) << np.uint64(56)
            v3 ^= m
            for _ in range(2):
                v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
            v0 ^= m
        v2 ^= np.uint64(0xFF)
        for _ in range(4):
            v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
        found[row] = v0 ^ v1 ^ v2 ^ v3
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
def counted(words, used, key, start, end):
    """One more of a word. words: [hash, number] of each; used: how many, and where each stands first. Of a block, the
    first quarter of a million different words are counted."""
    size = np.uint64(len(words) - 1)
    place = key & size
    while words[place, 0] != key:
        if words[place, 0] == EMPTY:
            if used[0, 0] * 2 >= len(words) or key == EMPTY:
                return
            used[0, 0] += 1
            used[used[0, 0], 0], used[used[0, 0], 1], used[used[0, 0], 2] = place, start, end
            words[place, 0] = key
            break
        place = (place + S1) & size
    words[place, 1] += S1


@njit(cache=True, nogil=True)
def scan(data, starts, ends, kinds, verbs, known, weights, bias, rule, longest, shortest_s, longest_s, words, used):
    """Tokenise every row, data[start:end], and judge its sentences.

    -> out (bytes), out_ends (one a row); and for each sentence kept: row, place among the row's sentences, start and
    end in out, hash, score. `words` counts.
    """
    rows = len(starts)
    size = (ends - starts).sum()
    out = np.empty(2 * size + 16, np.uint8)
    out_ends = np.empty(rows, np.int64)
    most = 16 + size // 4  # sentences: four tokens take four bytes at least
    s_row, s_place = np.empty(most, np.int32), np.empty(most, np.int32)
    s_start, s_end = np.empty(most, np.int64), np.empty(most, np.int64)
    s_hash, s_score = np.empty(most, np.int64), np.empty(most, np.float32)
    written, kept, scored = 0, 0, known.any()
    for row in range(rows):
        place, end = starts[row], ends[row]
        row_start = written
        count = 0  # tokens of the row
        number = 0  # sentences of the row
        # of the sentence: its start in out, tokens, what the rules ask for
        s0, n, me, verb, score = written, 0, False, False, np.float32(0)
        while place < end and count < longest:
            code, length = decode(data, place, end)
            sort = kinds[code]
            closes = False
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
                key = mix(th)
                counted(words, used, key, token, written)
                if sort == 1:
                    if is_end(code):
                        closes = place >= end
                        if not closes:
                            following, _ = decode(data, place, end)
                            closes = kinds[following] == 2
                else:
                    size = written - token
                    first = data[place - size] | 32
                    if (size == 1 and first == 105) or (size == 2 and first == 109 and data[place - 1] | 32 == 121):
                        me = True
                    if not verb and not np.isnan(look_up(verbs[0], verbs[1], key)):
                        verb = True
                    if scored:
                        weight = look_up(known, weights, key)
                        if not np.isnan(weight):
                            score += weight
            else:
                place += length
                closes = code == NEWLINE and n > 0
            if closes:
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
        out[:written],
        out_ends,
        s_row[:kept],
        s_place[:kept],
        s_start[:kept],
        s_end[:kept],
        s_hash[:kept],
        s_score[:kept],
    )


@dataclass
class Counts:
    """Different words: where each stands first, and how often it stands."""

    start: np.ndarray
    end: np.ndarray
    count: np.ndarray


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
    words: Counts


class Reader:
    """text.read and text.persona_like for columns of comments. `weights`: of a bag-of-words classifier."""

    def __init__(self, verbs: Words, rule: int = RULES, weights: dict[str, float] | None = None, bias: float = 0.0):
        self.kinds = character_kinds()
        self.verbs, self.rule, self.bias = verbs, rule, np.float32(bias)
        self.weights = Words(weights or {})
        self.words, self.used = np.zeros((TABLE, 2), np.uint64), np.zeros((TABLE // 2 + 2, 3), np.int64)

    def __call__(self, data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> Read:
        """Of the texts data[start:end]."""
        self.words[:], self.used[0] = 0, 0
        out, out_ends, row, place, start, end, hash, score = scan(
            data,
            starts,
            ends,
            self.kinds,
            (self.verbs.keys, self.verbs.values),
            self.weights.keys,
            self.weights.values,
            self.bias,
            self.rule,
            text.LONGEST,
            text.SHORTEST_SENTENCE,
            text.LONGEST_SENTENCE,
            self.words,
            self.used,
        )
        used = self.used[1 : 1 + self.used[0, 0]]
        counts = Counts(used[:, 1].copy(), used[:, 2].copy(), self.words[used[:, 0], 1].astype(np.int64))
        return Read(out, np.concatenate([[0], out_ends]), row, place, start, end, hash, score, counts)
