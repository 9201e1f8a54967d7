"""JSON lines -> columns of bytes, as compiled loops.

The quick way takes what nearly every line is: a flat object whose strings are sound. Whatever else a line is, it is
left to a JSON parser, which says whether it is broken: the quick way only has to be right about what it accepts.
"""

import numpy as np
from numba import njit

from parlai_persona.tasks.reddit.kernels import hash_of

FIELDS = (b'author', b'id', b'link_id', b'parent_id', b'body')
PLAIN, BODY = 4, 4  # fields without escapes; the place of the body among the fields
NAMES = np.frombuffer(b''.join(name.ljust(16, b'\0') for name in FIELDS), np.uint8).reshape(len(FIELDS), 16)
SIZES = np.array([len(name) for name in FIELDS])
EMPTY, QUICK, SLOW = 0, 1, 2
QUOTE, ESCAPE, COMMA, COLON, OPEN, CLOSE = 34, 92, 44, 58, 123, 125


@njit(cache=True, nogil=True)
def sequence(data, place, end):
    """Length of the UTF-8 character of several bytes at `place`; 0 if it is not sound."""
    first = data[place]
    if 0xC2 <= first <= 0xDF:
        length, low, high = 2, 0x80, 0xBF
    elif 0xE0 <= first <= 0xEF:
        length = 3
        low, high = (0xA0 if first == 0xE0 else 0x80), (0x9F if first == 0xED else 0xBF)
    elif 0xF0 <= first <= 0xF4:
        length = 4
        low, high = (0x90 if first == 0xF0 else 0x80), (0x8F if first == 0xF4 else 0xBF)
    else:
        return 0
    if place + length > end or not low <= data[place + 1] <= high:
        return 0
    for k in range(2, length):
        if data[place + k] & 0xC0 != 0x80:
            return 0
    return length


@njit(cache=True, nogil=True)
def hexadecimal(data, place, end):
    """Four digits; -1 if they are none."""
    if place + 4 > end:
        return -1
    code = 0
    for k in range(4):
        c = data[place + k]
        if 48 <= c <= 57:
            digit = c - 48
        elif 97 <= (c | 32) <= 102:
            digit = (c | 32) - 87
        else:
            return -1
        code = code * 16 + digit
    return code


@njit(cache=True, nogil=True)
def encode(code, out, written):
    if code < 0x80:
        out[written] = code
        return written + 1
    if code < 0x800:
        out[written], out[written + 1] = 0xC0 | code >> 6, 0x80 | code & 0x3F
        return written + 2
    if code < 0x10000:
        out[written], out[written + 1] = 0xE0 | code >> 12, 0x80 | code >> 6 & 0x3F
        out[written + 2] = 0x80 | code & 0x3F
        return written + 3
    out[written], out[written + 1] = 0xF0 | code >> 18, 0x80 | code >> 12 & 0x3F
    out[written + 2], out[written + 3] = 0x80 | code >> 6 & 0x3F, 0x80 | code & 0x3F
    return written + 4


@njit(cache=True, nogil=True)
def escaped(data, place, end, out, written):
    """The character after a backslash at `place` - 1; (place after it, written), place -1 if it is not sound."""
    if place >= end:
        return -1, written
    c = data[place]
    if c == 110:
        code = 10
    elif c in (QUOTE, ESCAPE, 47):
        code = c
    elif c == 116:
        code = 9
    elif c == 114:
        code = 13
    elif c == 98:
        code = 8
    elif c == 102:
        code = 12
    elif c == 117:
        code = hexadecimal(data, place + 1, end)
        place += 4
        if 0xD800 <= code < 0xDC00:
            if place + 7 > end or data[place + 1] != ESCAPE or data[place + 2] != 117:
                return -1, written
            low = hexadecimal(data, place + 3, end)
            if not 0xDC00 <= low < 0xE000:
                return -1, written
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
            place += 6
        elif code < 0 or 0xDC00 <= code < 0xE000:
            return -1, written
    else:
        return -1, written
    return place + 1, encode(code, out, written)


@njit(cache=True, nogil=True)
def string(data, place, end, out, written, plain):
    """From after the opening quote to after the closing one, copied; `plain`: without escapes. place -1: not sound."""
    while place < end:
        c = data[place]
        if c == QUOTE:
            return place + 1, written
        if c == ESCAPE:
            if plain:
                return -1, written
            place, written = escaped(data, place + 1, end, out, written)
            if place < 0:
                return -1, written
        elif c < 32:
            return -1, written
        elif c < 128:
            out[written] = c
            place += 1
            written += 1
        else:
            length = sequence(data, place, end)
            if length == 0:
                return -1, written
            for _ in range(length):
                out[written] = data[place]
                place += 1
                written += 1
    return -1, written


@njit(cache=True, nogil=True)
def skipped(data, place, end):
    """string, of what nobody wants."""
    while place < end:
        c = data[place]
        if c == QUOTE:
            return place + 1
        if c == ESCAPE:
            if place + 1 < end and data[place + 1] in (QUOTE, ESCAPE, 47, 98, 102, 110, 114, 116):
                place += 2
            else:
                return -1  # a rare escape in what nobody wants: the slow way
        elif c < 32:
            return -1
        elif c < 128:
            place += 1
        else:
            length = sequence(data, place, end)
            if length == 0:
                return -1
            place += length
    return -1


@njit(cache=True, nogil=True)
def whole(data, place, end):
    """After an integer or a literal; -1 for anything else."""
    c = data[place]
    if c == 110 or c == 116:  # null, true
        literal = (110, 117, 108, 108) if c == 110 else (116, 114, 117, 101)
        for k in range(4):
            if place + k >= end or data[place + k] != literal[k]:
                return -1
        return place + 4
    if c == 102:  # false
        for k in range(5):
            if place + k >= end or data[place + k] != (102, 97, 108, 115, 101)[k]:
                return -1
        return place + 5
    if c == 45:
        place += 1
    start = place
    while place < end and 48 <= data[place] <= 57:
        place += 1
    size = place - start
    return place if 0 < size < 19 and (size == 1 or data[start] != 48) else -1


@njit(cache=True, nogil=True)
def spaces(data, place, end):
    while place < end and (data[place] == 32 or data[place] == 9 or data[place] == 13):
        place += 1
    return place


@njit(cache=True, nogil=True)
def field(data, start, end):
    """Which of FIELDS a key is, or -1."""
    for number in range(len(SIZES)):
        if end - start == SIZES[number]:
            same = True
            for k in range(SIZES[number]):
                same = same and data[start + k] == NAMES[number, k]
            if same:
                return number
    return -1


@njit(cache=True, nogil=True)
def line(data, place, end, out, written, starts, ends):
    """Read one object; (status, written). starts, ends: of the fields, in out."""
    starts[:] = -1
    place = spaces(data, place, end)
    if place == end:
        return EMPTY, written
    if data[place] != OPEN:
        return SLOW, written
    place += 1
    while True:
        place = spaces(data, place, end)
        if place >= end or data[place] != QUOTE:
            return SLOW, written
        key = place + 1
        place = skipped(data, key, end)
        if place < 0:
            return SLOW, written
        number = field(data, key, place - 1)
        place = spaces(data, place, end)
        if place >= end or data[place] != COLON:
            return SLOW, written
        place = spaces(data, place + 1, end)
        if place >= end:
            return SLOW, written
        if number >= 0:
            if starts[number] >= 0 or data[place] != QUOTE:
                return SLOW, written
            starts[number] = written
            place, written = string(data, place + 1, end, out, written, number < PLAIN)
            ends[number] = written
        elif data[place] == QUOTE:
            place = skipped(data, place + 1, end)
        else:
            place = whole(data, place, end)
        if place < 0:
            return SLOW, written
        place = spaces(data, place, end)
        if place >= end:
            return SLOW, written
        if data[place] == CLOSE:
            break
        if data[place] != COMMA:
            return SLOW, written
        place += 1
    complete = spaces(data, place + 1, end) == end
    for number in range(len(SIZES)):
        complete = complete and starts[number] >= 0
    return (QUICK if complete else SLOW), written


@njit(cache=True, nogil=True)
def read(data):
    """Every line of a block.

    -> out (bytes), starts and ends of the fields in it (quick lines, fields), starts and ends of slow lines in data,
    number of lines that are not empty.
    """
    most = 1
    for byte in data:
        most += byte == 10
    out = np.empty(len(data) + 16, np.uint8)
    starts, ends = np.empty((most, len(SIZES)), np.int64), np.empty((most, len(SIZES)), np.int64)
    slow = np.empty((most, 2), np.int64)
    quick, others, written, place = 0, 0, 0, 0
    while place < len(data):
        end = place
        while end < len(data) and data[end] != 10:
            end += 1
        status, now = line(data, place, end, out, written, starts[quick], ends[quick])
        if status == QUICK:
            quick += 1
            written = now
        elif status == SLOW:
            slow[others, 0], slow[others, 1] = place, end
            others += 1
        place = end + 1
    return out[:written], starts[:quick], ends[:quick], slow[:others], quick + others


@njit(cache=True, nogil=True)
def marked(data, starts, ends):
    """Which texts hold a mark that text.clean looks for: &, >, @, ]( :// ww. u/"""
    found = np.zeros(len(starts), np.bool_)
    for row in range(len(starts)):
        before = 0
        for place in range(starts[row], ends[row]):
            c = data[place]
            if (
                c == 38
                or c == 62
                or c == 64
                or (c == 40 and before == 93)
                or (c == 47 and (before == 117 or before == 85 or before == 47))
                or (c == 46 and before | 32 == 119)
            ):
                found[row] = True
                break
            before = c
    return found


@njit(cache=True, nogil=True)
def names_a_bot(data, starts, ends):
    """Which names hold `bot`, in whatever case: a regular expression then looks closer."""
    found = np.zeros(len(starts), np.bool_)
    for row in range(len(starts)):
        for place in range(starts[row], ends[row] - 2):
            if data[place] | 32 == 98 and data[place + 1] | 32 == 111 and data[place + 2] | 32 == 116:
                found[row] = True
    return found


@njit(cache=True, nogil=True)
def parents(data, starts, ends):
    """The hash of the comment that is answered, whose id stands after `t1_`; -1 where it is none."""
    found = np.full(len(starts), -1, np.int64)
    for row in range(len(starts)):
        start = starts[row]
        if ends[row] - start > 3 and data[start] == 116 and data[start + 1] == 49 and data[start + 2] == 95:
            found[row] = hash_of(data, start + 3, ends[row])
    return found
