"""`model.read` and `model.losses` as compiled loops with their derivatives written out, for CPUs with numba."""
