"""Draw Figure 2 of Jiang et al. 2020 from results/pednet.csv: persona F1 and coverage by γ.

python -m benchmarks.pednet.figure2          # writes docs/images/pednet_gamma.png; needs matplotlib (extra plots)
"""

import argparse
import re
import statistics
from collections import defaultdict
from pathlib import Path

from benchmarks.common.record import RESULTS, ROOT, read
from parlai_persona.pictures import pyplot, save

PICTURE = ROOT / 'docs' / 'images' / 'pednet_gamma.png'
METRICS = {'persona_f1': 'persona F1', 'persona_cover_train': 'persona coverage'}
AS_TIED = ', output tied to the embeddings'
GAMMA = re.compile(rf'PEDNet, γ = (\.\d){AS_TIED}')
MIDDLE = f'PEDNet (K = 15){AS_TIED}'  # its γ is .5


def points(metric: str) -> dict[float, list[float]]:
    """Return γ -> the values of its seeds, of the checkpoint with the lowest perplexity."""
    found: dict[float, list[float]] = defaultdict(list)
    for row in read(RESULTS / 'pednet.csv'):
        match = GAMMA.fullmatch(row.method)
        gamma = float(match[1]) if match else 0.5 if row.method == MIDDLE else None
        if gamma is not None and row.metric == metric and 'best epoch' not in row.split:
            found[gamma].append(row.value)
    return found


def draw(path: Path = PICTURE) -> None:
    plt = pyplot()
    figure, axes = plt.subplots(1, len(METRICS), figsize=(9, 3.6), layout='constrained')
    for axis, (metric, title) in zip(axes, METRICS.items(), strict=True):
        found = points(metric)
        gammas = sorted(found)
        means = [statistics.fmean(found[gamma]) for gamma in gammas]
        spread = [statistics.stdev(found[gamma]) if len(found[gamma]) > 1 else 0 for gamma in gammas]
        axis.errorbar(gammas, means, spread, marker='o', capsize=2)
        axis.set_xlabel('γ, share of batches that train PDNet')
        axis.set_ylabel(title)
    save(figure, path)


if __name__ == '__main__':
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    draw()
