"""The memory network's reading and its first and second derivative, example by example, as compiled loops.

What `model.read` says in a few lines of torch, here with the derivatives written out and without padding: an example's
lines fit a processor's nearest cache, where torch would sweep over arrays of all lines some hundred times for the
derivative of one simulated update. Used on CPUs when numba is installed; tests hold it against autograd.

N examples; L lines in all of their memories; d embedding. `data` is a `StoryTable.arrays()`, `index` (N,) the examples,
`base` (N,) the first row of the table for each (0 for the first run, V for the second, ...). Softmax is taken within
each memory: a story's lines [0, cut) and [cut, J), of which the first is empty unless memories are split.
"""

import numpy as np
from numba import njit


@njit(cache=True, fastmath=True, nogil=True)
def embed_story(table, data, n, base, reply, memory, query):
    """Memory lines (J, d) and query (d,) of example n: sums of their words' rows of the table.

    No row is taken as an array of its own: numba counts references to each, which costs more than adding it up.
    """
    words, word_start, word_count, rows, row_start, row_count = data[:6]
    first, length, d = row_start[n], row_count[n] - 2, query.shape[0]
    for j in range(length):
        row = rows[first + j]
        for i in range(d):
            memory[j, i] = 0
        for k in range(word_start[row], word_start[row] + word_count[row]):
            word = base + words[k]
            for i in range(d):
                memory[j, i] += table[word, i]
    for i in range(d):
        query[i] = 0
    for j in range(length, length + 1 + reply):
        row = rows[first + j]
        for k in range(word_start[row], word_start[row] + word_count[row]):
            word = base + words[k]
            for i in range(d):
                query[i] += table[word, i]


@njit(cache=True, fastmath=True, nogil=True)
def unembed_story(table, data, n, base, reply, memory, query):
    """Add the gradients of memory and query to the table's."""
    words, word_start, word_count, rows, row_start, row_count = data[:6]
    first, length, d = row_start[n], row_count[n] - 2, query.shape[0]
    for j in range(length):
        row = rows[first + j]
        for k in range(word_start[row], word_start[row] + word_count[row]):
            word = base + words[k]
            for i in range(d):
                table[word, i] += memory[j, i]
    for j in range(length, length + 1 + reply):
        row = rows[first + j]
        for k in range(word_start[row], word_start[row] + word_count[row]):
            word = base + words[k]
            for i in range(d):
                table[word, i] += query[i]


@njit(cache=True, fastmath=True, nogil=True)
def dots(memory, u, out):
    """out_j = m_j . u"""
    for j in range(memory.shape[0]):
        total = out[0] * 0
        for i in range(u.shape[0]):
            total += memory[j, i] * u[i]
        out[j] = total


@njit(cache=True, fastmath=True, nogil=True)
def add_mean(memory, p, out):
    """out += sum_j p_j m_j"""
    for j in range(memory.shape[0]):
        for i in range(out.shape[0]):
            out[i] += p[j] * memory[j, i]


@njit(cache=True, fastmath=True, nogil=True)
def add_rotated(H, u, out):
    """out += H u"""
    for k in range(out.shape[0]):
        total = u[0] * 0
        for i in range(u.shape[0]):
            total += H[k, i] * u[i]
        out[k] += total


@njit(cache=True, fastmath=True, nogil=True)
def add_rotated_back(H, g, out):
    """out += H^T g"""
    for k in range(g.shape[0]):
        for i in range(out.shape[0]):
            out[i] += H[k, i] * g[k]


@njit(cache=True, fastmath=True, nogil=True)
def add_outer(a, b, out):
    for k in range(a.shape[0]):
        for i in range(b.shape[0]):
            out[k, i] += a[k] * b[i]


@njit(cache=True, fastmath=True, nogil=True)
def softmax(s, cut):
    """In place, within [0, cut) and within [cut, J)."""
    for low, high in ((0, cut), (cut, s.shape[0])):
        if low == high:
            continue
        top = s[low]
        for j in range(low, high):
            top = max(top, s[j])
        total = s[low] * 0
        for j in range(low, high):
            s[j] = np.exp(s[j] - top)
            total += s[j]
        for j in range(low, high):
            s[j] /= total


@njit(cache=True, fastmath=True, nogil=True)
def centre(x, p, cut):
    """x <- x - sum p x, within each memory."""
    for low, high in ((0, cut), (cut, x.shape[0])):
        mean = x[:1].sum() * 0
        for j in range(low, high):
            mean += p[j] * x[j]
        for j in range(low, high):
            x[j] -= mean


@njit(cache=True, nogil=True)
def lines(data, index):
    """Where the lines of each example begin, (N + 1,)."""
    starts = np.zeros(len(index) + 1, np.int64)
    for n in range(len(index)):
        starts[n + 1] = starts[n] + data[5][index[n]] - 2
    return starts


@njit(cache=True, fastmath=True, nogil=True)
def forward(table, H, data, index, base, run, hops, split, reply):
    """u before each hop and after the last (N, hops + 1, d); attention (hops, L); memory (L, d)."""
    starts, d = lines(data, index), table.shape[1]
    us = np.zeros((len(index), hops + 1, d), table.dtype)
    ps = np.empty((hops, starts[-1]), table.dtype)
    memories = np.empty((starts[-1], d), table.dtype)
    for n in range(len(index)):
        low, high = starts[n], starts[n + 1]
        memory, cut = memories[low:high], data[7][index[n]] if split else 0
        embed_story(table, data, index[n], base[n], reply, memory, us[n, 0])
        for hop in range(hops):
            add_rotated(H[run[n]], us[n, hop], us[n, hop + 1])
            if high > low:
                p = ps[hop, low:high]
                dots(memory, us[n, hop], p)
                softmax(p, cut)
                add_mean(memory, p, us[n, hop + 1])
    return us, ps, memories


@njit(cache=True, fastmath=True, nogil=True)
def backward(g, us, ps, memories, H, data, index, base, run, split, reply, rows):
    """Gradient at u after the last hop (N, d) -> at the table (rows, d) and at H; and what `along` needs of it:
    the gradients after each hop (N, hops, d), and at the attention, less their mean (hops, L)."""
    starts, hops, d = lines(data, index), ps.shape[0], g.shape[1]
    table, dH = np.zeros((rows, d), g.dtype), np.zeros_like(H)
    gs, dps = np.empty((len(index), hops, d), g.dtype), np.empty_like(ps)
    longest = 0
    for n in range(len(index)):
        longest = max(longest, starts[n + 1] - starts[n])
    dmemory, ds, du = np.empty((longest, d), g.dtype), np.empty(longest, g.dtype), np.empty(d, g.dtype)
    for n in range(len(index)):
        low, high = starts[n], starts[n + 1]
        memory, cut = memories[low:high], data[7][index[n]] if split else 0
        dmemory[: high - low] = 0
        du[:] = g[n]
        for hop in range(hops - 1, -1, -1):
            after, u = gs[n, hop], us[n, hop]
            after[:] = du
            add_outer(after, u, dH[run[n]])
            du[:] = 0
            add_rotated_back(H[run[n]], after, du)
            if high > low:
                p, dp = ps[hop, low:high], dps[hop, low:high]
                dots(memory, after, dp)
                centre(dp, p, cut)
                for j in range(high - low):
                    ds[j] = p[j] * dp[j]
                    for i in range(d):
                        du[i] += ds[j] * memory[j, i]
                        dmemory[j, i] += p[j] * after[i] + ds[j] * u[i]
        unembed_story(table, data, index[n], base[n], reply, dmemory, du)
    return table, dH, gs, dps


@njit(cache=True, fastmath=True, nogil=True)
def forward_along(table, dH, us, ps, memories, H, data, index, base, run, split, reply):
    """Derivatives of what `forward` returned where table and H change by `table` and `dH`."""
    starts, hops, d = lines(data, index), ps.shape[0], table.shape[1]
    dus, dps, dmemories = np.zeros_like(us), np.empty_like(ps), np.empty_like(memories)
    longest = 0
    for n in range(len(index)):
        longest = max(longest, starts[n + 1] - starts[n])
    other = np.empty(longest, table.dtype)
    for n in range(len(index)):
        low, high = starts[n], starts[n + 1]
        memory, dmemory, cut = memories[low:high], dmemories[low:high], data[7][index[n]] if split else 0
        embed_story(table, data, index[n], base[n], reply, dmemory, dus[n, 0])
        for hop in range(hops):
            u, du, after = us[n, hop], dus[n, hop], dus[n, hop + 1]
            add_rotated(H[run[n]], du, after)
            add_rotated(dH[run[n]], u, after)
            if high > low:
                p, dp = ps[hop, low:high], dps[hop, low:high]
                dots(dmemory, u, dp)
                dots(memory, du, other[: high - low])
                for j in range(high - low):
                    dp[j] += other[j]
                centre(dp, p, cut)
                for j in range(high - low):
                    dp[j] *= p[j]
                    for i in range(d):
                        after[i] += dp[j] * memory[j, i] + p[j] * dmemory[j, i]
    return dus, dps, dmemories


@njit(cache=True, fastmath=True, nogil=True)
def backward_along(
    g,
    gs,
    dps,
    us,
    ps,
    memories,
    along_H,
    along_us,
    along_ps,
    along_memories,
    H,
    data,
    index,
    base,
    run,
    split,
    reply,
    rows,
):
    """Derivatives of what `backward` returned, where its g changes by `g` and the rest as `forward_along` has it."""
    starts, hops, d = lines(data, index), ps.shape[0], g.shape[1]
    table, dH = np.zeros((rows, d), g.dtype), np.zeros_like(H)
    longest = 0
    for n in range(len(index)):
        longest = max(longest, starts[n + 1] - starts[n])
    dmemory, du, after = np.empty((longest, d), g.dtype), np.empty(d, g.dtype), np.empty(d, g.dtype)
    x, y = np.empty(longest, g.dtype), np.empty(longest, g.dtype)
    for n in range(len(index)):
        low, high = starts[n], starts[n + 1]
        memory, moved, cut = memories[low:high], along_memories[low:high], data[7][index[n]] if split else 0
        dmemory[: high - low] = 0
        du[:] = g[n]
        for hop in range(hops - 1, -1, -1):
            after[:] = du
            old, u, u_dot = gs[n, hop], us[n, hop], along_us[n, hop]
            add_outer(after, u, dH[run[n]])
            add_outer(old, u_dot, dH[run[n]])
            du[:] = 0
            add_rotated_back(H[run[n]], after, du)
            add_rotated_back(along_H[run[n]], old, du)
            if high == low:
                continue
            p, p_dot, dp = ps[hop, low:high], along_ps[hop, low:high], dps[hop, low:high]
            dots(moved, old, x[: high - low])
            dots(memory, after, y[: high - low])
            for line_low, line_high in ((0, cut), (cut, high - low)):
                mean = g[0, 0] * 0
                for j in range(line_low, line_high):
                    x[j] = p_dot[j] * dp[j] + p[j] * (x[j] + y[j])
                    mean += x[j]
                for j in range(line_low, line_high):
                    x[j] -= p[j] * mean
            for j in range(high - low):
                ds, ds_dot = p[j] * dp[j], x[j]
                for i in range(d):
                    du[i] += ds_dot * memory[j, i] + ds * moved[j, i]
                    dmemory[j, i] += p_dot[j] * old[i] + p[j] * after[i] + ds_dot * u[i] + ds * u_dot[i]
        unembed_story(table, data, index[n], base[n], reply, dmemory, du)
    return table, dH
