"""Is it meta-learning? How the meta-gradient of `persona:paml` differs from that of plain multi-task training.

    python -m benchmarks.paml.gradients --datapath data --model runs/paml/dialogue-1/model
    python -m benchmarks.paml.gradients … --support 5 --split train      # people that training knows, and people that
    python -m benchmarks.paml.gradients … --support 5 --split valid      # it does not: what do steps gain?

For rates alpha and numbers of inner steps: the cosines between the exact gradient of eq. 6, first-order MAML, and the
gradient of the query's loss without any adaptation (what plain training on the same dialogues descends), each summed
over the same people; and by how much adaptation lowers the loss that is differentiated. No dropout, 32 bits.
Rows go to results/paml_gradients.csv.
"""

import argparse
import math

import torch
from parlai.core.agents import create_agent_from_model_file
from parlai.core.params import ParlaiParser
from parlai.core.teachers import create_task_agent_from_taskname
from tqdm import tqdm

import parlai_persona  # noqa: F401
from benchmarks.common.record import RESULTS, Row, append
from parlai_persona.agents.paml.meta import learn

CSV = RESULTS / 'paml_gradients.csv'
SETTINGS = [(alpha, steps) for steps in (1, 3) for alpha in (0.01, 0.1, 0.3, 1.0)]


def people(datapath: str, count: int, support: int, split: str) -> list:
    opt = ParlaiParser(True, False).parse_args(
        [
            '-t',
            'persona:few_shot',
            '--persona-source',
            'convai2',
            '--persona-candidates',
            'none',
            '--datapath',
            datapath,
            '--few-shot-support',
            str(support),
            '--few-shot-shots',
            str(support),
            '--few-shot-folds',
            '1',
            '-dt',
            split,
            '--loglevel',
            'error',
        ]
    )
    opt['seed'] = 1
    teacher = create_task_agent_from_taskname(opt)[0]
    return [teacher.act() for _ in range(count)]


def total(lessons) -> torch.Tensor:
    """The summed gradient as one vector."""
    whole = None
    for lesson in lessons:
        flat = torch.cat([g.flatten() for g in lesson.gradient.values()])
        whole = flat if whole is None else whole.add_(flat)
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--datapath', default='data')
    parser.add_argument('--model', default='runs/paml/dialogue-1/model')
    parser.add_argument('--people', type=int, default=32)
    parser.add_argument('--support', type=int, default=1, help='dialogues to adapt to')
    parser.add_argument('--split', choices=['train', 'valid'], default='train')
    args = parser.parse_args()
    agent = create_agent_from_model_file(args.model, {'datatype': 'valid', 'loglevel': 'error', 'paml_inner_batch': 0})
    tasks = [agent.observe(message)['task'] for message in people(args.datapath, args.people, args.support, args.split)]
    losses = []
    for task in tasks:
        fold = task.folds[0]
        losses.append((agent.loss(task.turns(fold['support'])), agent.loss(task.turns(fold['query']))))
    theta = agent.theta()

    def summed(alpha: float, steps: int, second_order: bool):
        before = []

        def lessons():
            for support, query in tqdm(losses, f'alpha {alpha}, {steps} steps', leave=False):
                lesson = learn(theta, [support] * steps, query, dict.fromkeys(theta, alpha), second_order)
                before.append(lesson.query)
                yield lesson

        vector = total(lessons())
        return vector, sum(nll for nll, _ in before) / sum(tokens for _, tokens in before)

    plain, loss = summed(0.0, 0, False)
    rows = []
    for alpha, steps in SETTINGS:
        exact, after = summed(alpha, steps, True)
        first, _ = summed(alpha, steps, False)
        figures = {
            'cosine, second order and first order': cosine(exact, first),
            'cosine, second order and multi-task': cosine(exact, plain),
            'cosine, first order and multi-task': cosine(first, plain),
            'perplexity after / before': math.exp(after - loss),
        }
        print(alpha, steps, {name: round(value, 4) for name, value in figures.items()}, flush=True)
        command = f'python -m benchmarks.paml.gradients --datapath data --model {args.model}'
        command += f' --support {args.support} --split {args.split}'
        data = f'{args.people} people, {args.support} dialogues to adapt to, alpha {alpha}, {steps} steps'
        rows += [Row('PAML', 'persona:few_shot', data, args.split, 1, *figure, command) for figure in figures.items()]
    append(rows, CSV, replace=True)


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return torch.nn.functional.cosine_similarity(one, other, dim=0).item()


if __name__ == '__main__':
    main()
