"""Draw Figure 2 of Madotto et al. 2019 from results/paml.csv: what k dialogues of a person are worth.

python -m benchmarks.paml.figure                 # writes docs/images/paml_shots.png; needs matplotlib (extra plots)
"""

import argparse
import statistics
from collections import defaultdict
from pathlib import Path

import matplotlib

from benchmarks.common.record import RESULTS, ROOT, find

matplotlib.use('Agg')
import matplotlib.pyplot as plt

PAGE = ROOT / 'docs' / 'images' / 'paml_shots.png'
METRICS = {'consistency': 'consistency C', 'ppl_fold': 'perplexity'}
MOST = 10  # dialogues of a method without k in its name
# method -> the one that it is without any dialogue
BEFORE = {'Dialogue+Fine-tuning': 'Dialogue', 'Dialogue+Fine-tuning, full steps': 'Dialogue'}


def curves(metric: str) -> dict[str, dict[int, list[float]]]:
    """Return method -> k -> values of its seeds."""
    made: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in find(RESULTS / 'paml.csv', metric=metric, task='persona:few_shot'):
        if not row.split.endswith('second half'):
            continue
        name, _, k = row.method.partition(', k = ')
        made[name][int(k or MOST)].append(row.value)
    for name, start in BEFORE.items():
        if start in made:
            made[name][0] = made[start][MOST]
    return {name: points for name, points in made.items() if len(points) > 1}


def draw(path: Path) -> None:
    figure, axes = plt.subplots(1, len(METRICS), figsize=(9, 4.2))
    for axis, (metric, title) in zip(axes, METRICS.items(), strict=True):
        for name, points in curves(metric).items():
            shots = sorted(points)
            means = [statistics.fmean(points[k]) for k in shots]
            spread = [statistics.stdev(points[k]) if len(points[k]) > 1 else 0 for k in shots]
            axis.errorbar(shots, means, spread, marker='o', capsize=2, label=name)
        axis.set_xlabel('dialogues to adapt to, k')
        axis.set_ylabel(title)
    names = axes[0].get_legend_handles_labels()
    figure.legend(*names, loc='lower center', ncols=2, fontsize='small', frameon=False)
    figure.tight_layout(rect=(0, 0.18, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f'wrote {path}')


if __name__ == '__main__':
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    draw(PAGE)
