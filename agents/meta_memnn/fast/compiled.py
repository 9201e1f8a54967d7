"""The memory network's reading, its first and its second derivative: example by example, as compiled loops.

`model.read` does the same in a few lines of torch. Here the derivatives are written out and there is no padding. The
lines of an example fit into a processor's nearest cache. Torch would go over arrays of all lines about a hundred times
for the derivative of one simulated update. Tests check that both give the same results.

B examples; L lines in all of their memories; d embedding. `data` is a `StoryTable.arrays()`, `index` (B,) the examples.
Softmax is taken within each memory: a story's lines [0, cut) and [cut, J); the first is empty unless memories are
split. `..._dot` is the derivative of `...` in a direction (A_dot, H_dot).
"""

import numpy as np
from numba import njit


@njit(cache=True, fastmath=True, nogil=True)
def embed_story(A, data, n, reply, memory, query):
    """Compute memory lines (J, d) and query (d,) of example n: each is the sum of its words' rows of A.

    No row becomes an array of its own, because numba would count references to it. That costs more than adding it.
    """
    words, word_start, word_count, rows, row_start, row_count = data[:6]
    first, length, d = row_start[n], row_count[n] - 2, query.shape[0]
    for j in range(length):
        row = rows[first + j]
        for i in range(d):
            memory[j, i] = 0
        for k in range(word_start[row], word_start[row] + word_count[row]):
            word = words[k]
            for i in range(d):
                memory[j, i] += A[word, i]
    for i in range(d):
        query[i] = 0
    for j in range(length, length + 1 + reply):
        row = rows[first + j]
        for k in range(word_start[row], word_start[row] + word_count[row]):
            word = words[k]
            for i in range(d):
                query[i] += A[word, i]


@njit(cache=True, fastmath=True, nogil=True)
def unembed_story(dA, data, n, reply, memory, query):
    """Add the gradients of memory and query to that of A."""
    words, word_start, word_count, rows, row_start, row_count = data[:6]
    first, length, d = row_start[n], row_count[n] - 2, query.shape[0]
    for j in range(length):
        row = rows[first + j]
        for k in range(word_start[row], word_start[row] + word_count[row]):
            word = words[k]
            for i in range(d):
                dA[word, i] += memory[j, i]
    for j in range(length, length + 1 + reply):
        row = rows[first + j]
        for k in range(word_start[row], word_start[row] + word_count[row]):
            word = words[k]
            for i in range(d):
                dA[word, i] += query[i]


@njit(cache=True, fastmath=True, nogil=True)
def dots(memory, u, out):
    """Set out_j = m_j . u."""
    for j in range(memory.shape[0]):
        total = out[0] * 0
        for i in range(u.shape[0]):
            total += memory[j, i] * u[i]
        out[j] = total


@njit(cache=True, fastmath=True, nogil=True)
def add_mean(memory, p, out):
    """Add sum_j p_j m_j to out."""
    for j in range(memory.shape[0]):
        for i in range(out.shape[0]):
            out[i] += p[j] * memory[j, i]


@njit(cache=True, fastmath=True, nogil=True)
def add_rotated(H, u, out):
    """Add H u to out."""
    for k in range(out.shape[0]):
        total = u[0] * 0
        for i in range(u.shape[0]):
            total += H[k, i] * u[i]
        out[k] += total


@njit(cache=True, fastmath=True, nogil=True)
def add_rotated_back(H, g, out):
    """Add H^T g to out."""
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
    """Take the softmax in place, within [0, cut) and within [cut, J)."""
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
    """Subtract sum p x from x, within each memory."""
    for low, high in ((0, cut), (cut, x.shape[0])):
        mean = x[:1].sum() * 0
        for j in range(low, high):
            mean += p[j] * x[j]
        for j in range(low, high):
            x[j] -= mean


@njit(cache=True, nogil=True)
def first_lines(data, index):
    """Return where each example's lines begin in arrays of all memory lines, (B + 1,), and the most lines of one."""
    starts, longest = np.zeros(len(index) + 1, np.int64), 0
    for n in range(len(index)):
        length = data[5][index[n]] - 2
        starts[n + 1] = starts[n] + length
        longest = max(longest, length)
    return starts, longest


@njit(cache=True, fastmath=True, nogil=True)
def forward(A, H, hops, data, index, split, reply):
    """Return u before each hop and after the last (B, hops + 1, d), attention p (hops, L) and memory m (L, d)."""
    (starts, _), d = first_lines(data, index), A.shape[1]
    us = np.zeros((len(index), hops + 1, d), A.dtype)
    ps = np.empty((hops, starts[-1]), A.dtype)
    memory = np.empty((starts[-1], d), A.dtype)
    for n in range(len(index)):
        low, high = starts[n], starts[n + 1]
        m, cut = memory[low:high], data[7][index[n]] if split else 0
        embed_story(A, data, index[n], reply, m, us[n, 0])
        for hop in range(hops):
            add_rotated(H, us[n, hop], us[n, hop + 1])
            if high > low:
                p = ps[hop, low:high]
                dots(m, us[n, hop], p)
                softmax(p, cut)
                add_mean(m, p, us[n, hop + 1])
    return us, ps, memory


@njit(cache=True, fastmath=True, nogil=True)
def backward(g, us, ps, memory, H, data, index, split, reply, words):
    """Return the gradients at A (words, d) and H, given the gradient at u after the last hop (B, d).

    For `backward_jvp`, also return the gradients after each hop (B, hops, d), and those at the attention minus their
    mean (hops, L).
    """
    (starts, longest), hops, d = first_lines(data, index), ps.shape[0], g.shape[1]
    dA, dH = np.zeros((words, d), g.dtype), np.zeros_like(H)
    gs, dps = np.empty((len(index), hops, d), g.dtype), np.empty_like(ps)
    dm, ds, du = np.empty((longest, d), g.dtype), np.empty(longest, g.dtype), np.empty(d, g.dtype)
    for n in range(len(index)):
        low, high = starts[n], starts[n + 1]
        m, cut = memory[low:high], data[7][index[n]] if split else 0
        dm[: high - low] = 0
        du[:] = g[n]
        for hop in range(hops - 1, -1, -1):
            after, u = gs[n, hop], us[n, hop]
            after[:] = du
            add_outer(after, u, dH)
            du[:] = 0
            add_rotated_back(H, after, du)
            if high > low:
                p, dp = ps[hop, low:high], dps[hop, low:high]
                dots(m, after, dp)
                centre(dp, p, cut)
                for j in range(high - low):
                    ds[j] = p[j] * dp[j]
                    for i in range(d):
                        du[i] += ds[j] * m[j, i]
                        dm[j, i] += p[j] * after[i] + ds[j] * u[i]
        unembed_story(dA, data, index[n], reply, dm, du)
    return dA, dH, gs, dps


@njit(cache=True, fastmath=True, nogil=True)
def forward_jvp(A_dot, H_dot, us, ps, memory, H, data, index, split, reply):
    """Return the derivatives of the results of `forward`."""
    (starts, longest), hops, d = first_lines(data, index), ps.shape[0], A_dot.shape[1]
    us_dot, ps_dot, memory_dot = np.zeros_like(us), np.empty_like(ps), np.empty_like(memory)
    other = np.empty(longest, A_dot.dtype)
    for n in range(len(index)):
        low, high = starts[n], starts[n + 1]
        m, m_dot, cut = memory[low:high], memory_dot[low:high], data[7][index[n]] if split else 0
        embed_story(A_dot, data, index[n], reply, m_dot, us_dot[n, 0])
        for hop in range(hops):
            u, u_dot, after_dot = us[n, hop], us_dot[n, hop], us_dot[n, hop + 1]
            add_rotated(H, u_dot, after_dot)
            add_rotated(H_dot, u, after_dot)
            if high > low:
                p, p_dot = ps[hop, low:high], ps_dot[hop, low:high]
                dots(m_dot, u, p_dot)
                dots(m, u_dot, other[: high - low])
                for j in range(high - low):
                    p_dot[j] += other[j]
                centre(p_dot, p, cut)
                for j in range(high - low):
                    p_dot[j] *= p[j]
                    for i in range(d):
                        after_dot[i] += p_dot[j] * m[j, i] + p[j] * m_dot[j, i]
    return us_dot, ps_dot, memory_dot


@njit(cache=True, fastmath=True, nogil=True)
def backward_jvp(
    g_dot, gs, dps, us, ps, memory, H, us_dot, ps_dot, memory_dot, H_dot, data, index, split, reply, words
):
    """Return the derivatives of the gradients that `backward` returned, at A (words, d) and at H."""
    (starts, longest), hops, d = first_lines(data, index), ps.shape[0], g_dot.shape[1]
    dA_dot, dH_dot = np.zeros((words, d), g_dot.dtype), np.zeros_like(H)
    dm_dot, ds_dot, other = (
        np.empty((longest, d), g_dot.dtype),
        np.empty(longest, g_dot.dtype),
        np.empty(longest, g_dot.dtype),
    )
    du_dot, after_dot = np.empty(d, g_dot.dtype), np.empty(d, g_dot.dtype)
    for n in range(len(index)):
        low, high = starts[n], starts[n + 1]
        m, m_dot, cut = memory[low:high], memory_dot[low:high], data[7][index[n]] if split else 0
        dm_dot[: high - low] = 0
        du_dot[:] = g_dot[n]
        for hop in range(hops - 1, -1, -1):
            after_dot[:] = du_dot
            after, u, u_dot = gs[n, hop], us[n, hop], us_dot[n, hop]
            add_outer(after_dot, u, dH_dot)
            add_outer(after, u_dot, dH_dot)
            du_dot[:] = 0
            add_rotated_back(H, after_dot, du_dot)
            add_rotated_back(H_dot, after, du_dot)
            if high == low:
                continue
            p, p_dot, dp = ps[hop, low:high], ps_dot[hop, low:high], dps[hop, low:high]
            dots(m_dot, after, ds_dot[: high - low])
            dots(m, after_dot, other[: high - low])
            for line_low, line_high in ((0, cut), (cut, high - low)):
                mean = g_dot[0, 0] * 0
                for j in range(line_low, line_high):
                    ds_dot[j] = p_dot[j] * dp[j] + p[j] * (ds_dot[j] + other[j])
                    mean += ds_dot[j]
                for j in range(line_low, line_high):
                    ds_dot[j] -= p[j] * mean
            for j in range(high - low):
                ds = p[j] * dp[j]
                for i in range(d):
                    du_dot[i] += ds_dot[j] * m[j, i] + ds * m_dot[j, i]
                    dm_dot[j, i] += p_dot[j] * after[i] + p[j] * after_dot[i] + ds_dot[j] * u[i] + ds * u_dot[i]
        unembed_story(dA_dot, data, index[n], reply, dm_dot, du_dot)
    return dA_dot, dH_dot
