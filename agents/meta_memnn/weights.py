"""The learned weights of a checkpoint, for people to read: which related examples count, and how that changed."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from parlai.core.agents import create_agent
from parlai.core.opt import Opt

from parlai_persona.errors import UserError
from parlai_persona.files import draft
from parlai_persona.pictures import pyplot, save

COLUMNS, MOST = 3, 9  # histograms in a row of a picture, and in all of it


def write(opt: Opt, output: str | None, plot: str | None) -> str:
    """Write examples with their weights to `output`, histograms to `plot`; return what was written, in words."""
    from parlai_persona.agents.meta_memnn.meta_memnn import MetaMemnnAgent

    if not opt.get('model_file') or not os.path.exists(opt['model_file']):
        raise UserError(f'saw no model file at {opt.get("model_file")!r}; name one of persona:meta_memnn with -mf')
    opt = Opt({**opt, 'datatype': 'train', 'interactive_mode': False})
    agent = create_agent(opt)
    mode = agent.opt.get('meta_memnn_mode')  # the command's opt has the default
    if not isinstance(agent, MetaMemnnAgent) or mode != 'learned':
        raise UserError(
            f'{opt["model_file"]} has no learned weights: it is {type(agent).__name__} in mode {mode!r}, expected '
            "persona:meta_memnn in mode 'learned'"
        )
    said = []
    if output:
        said.append(f'{write_examples(agent, Path(output))} examples to {output}')
    if plot:
        said.append(f'{draw(agent.histograms, Path(plot))} histograms to {plot}')
    return f'wrote {" and ".join(said)}'


def write_examples(agent: Any, path: Path) -> int:
    """Write one line for each related example, the heaviest first; return how many."""
    lines = []
    for number, head in enumerate(agent.data.tasks()):
        for one, weight in zip(agent.examples[head], agent.learner.all_weights(number).tolist(), strict=True):
            lines.append(
                {
                    'weight': round(weight, 6),
                    'task': one.task,
                    'dialogue': one.dialogue,
                    'turn': one.turn,
                    'text': ' '.join(one.example.query),
                    'reply': one.example.reply,
                }
            )
    lines.sort(key=lambda line: -line['weight'])
    with draft(path) as part:
        part.write_text(''.join(json.dumps(line) + '\n' for line in lines), encoding='utf-8')
    return len(lines)


def draw(histograms: list[dict[str, Any]], path: Path) -> int:
    """Draw the paper's figure 2, how many examples have which weight at several points in training; return how many."""
    if not histograms:
        raise UserError(
            'the checkpoint has no histograms: train longer, or with a smaller --meta-memnn-histograms ITERATIONS'
        )
    chosen = [histograms[i] for i in np.unique(np.linspace(0, len(histograms) - 1, MOST).round().astype(int))]
    plt = pyplot()
    rows = -(-len(chosen) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(3 * COLUMNS, 2.2 * rows), squeeze=False, layout='constrained')
    for axis in axes.flat[len(chosen) :]:
        axis.set_visible(False)
    for axis, histogram in zip(axes.flat, chosen, strict=False):
        counts = histogram['counts']
        axis.bar(np.arange(len(counts)) / len(counts), counts, 1 / len(counts), align='edge', color='#4477aa')
        axis.set(title=f'{histogram["head"]}, iteration {histogram["iteration"]}', xlim=(0, 1))
        axis.title.set_size(9)
    figure.supxlabel('weight')
    figure.supylabel('related examples')
    save(figure, path)
    return len(chosen)
