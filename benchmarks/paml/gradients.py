"""Measure how the meta-gradient of `persona:paml` differs from that of plain multi-task training.

    python -m benchmarks.paml.gradients --datapath data --model runs/paml/dialogue-1/model
    python -m benchmarks.paml.gradients … --support 5 --split train      # people that the model was trained on
    python -m benchmarks.paml.gradients … --support 5 --split valid      # other people: what do steps gain?

For several rates α and numbers of inner steps: by how much adaptation lowers the query's loss, and the cosines between
the exact gradient of eq. 6, first-order MAML, and the gradient of the query's loss without adaptation (that of plain
training on the same dialogues), each summed over the same people. No dropout, 32 bits. Rows go to
results/paml_gradients.csv.
"""

import math

import torch
from parlai.core.agents import create_agent_from_model_file
from parlai.core.teachers import create_task_agent_from_taskname
from parlai.scripts.display_data import setup_args
from tqdm import tqdm

import parlai_persona  # noqa: F401
from benchmarks.common import record
from benchmarks.common.arms import Report
from benchmarks.common.record import RESULTS
from parlai_persona.agents.paml.meta import learn

SETTINGS = [(alpha, steps) for steps in (1, 3) for alpha in (0.01, 0.1, 0.3, 1.0)]


def people(datapath: str, count: int, support: int, split: str) -> list:
    """Return the messages of the first people."""
    where = {'task': 'persona:few_shot', 'datapath': datapath, 'datatype': split, 'loglevel': 'error'}
    plain = {'persona_source': 'convai2', 'persona_candidates': 'none'}
    shots = {'few_shot_support': support, 'few_shot_shots': support, 'few_shot_folds': 1}
    opt = setup_args().parse_kwargs(**where, **plain, **shots)
    opt['seed'] = 1
    teacher = create_task_agent_from_taskname(opt)[0]
    return [teacher.act() for _ in range(count)]


def summed(theta: dict, losses: list, alpha: float, steps: int, second_order: bool) -> tuple[torch.Tensor, float]:
    """Return the gradient summed over people as one vector, and the query's loss per token after adapting."""
    whole, queries = torch.zeros(()), []
    for support, query in tqdm(losses, f'alpha {alpha}, {steps} steps', leave=False):
        lesson = learn(theta, [support] * steps, query, dict.fromkeys(theta, alpha), second_order)
        whole = whole + torch.cat([gradient.flatten() for gradient in lesson.gradient.values()])
        queries.append(lesson.query)
    return whole, sum(nll for nll, _ in queries) / sum(tokens for _, tokens in queries)


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--datapath', default='data')
    parser.add_argument('--model', default='runs/paml/dialogue-1/model')
    parser.add_argument('--people', type=int, default=32)
    parser.add_argument('--support', type=int, default=1, help='dialogues to adapt to')
    parser.add_argument('--split', choices=['train', 'valid'], default='train')
    args = record.parse_arguments(parser)
    agent = create_agent_from_model_file(args.model, {'datatype': 'valid', 'loglevel': 'error', 'paml_inner_batch': 0})
    tasks = [agent.observe(message)['task'] for message in people(args.datapath, args.people, args.support, args.split)]
    losses = [
        (agent.loss(task.turns(fold['support'])), agent.loss(task.turns(fold['query'])))
        for task in tasks
        for fold in task.folds[:1]
    ]
    theta = agent.theta()
    command = f'python -m benchmarks.paml.gradients --datapath data --model {args.model}'
    command += f' --support {args.support} --split {args.split}'
    report = Report(RESULTS / 'paml_gradients.csv', command, args.allow_dirty, seed=1)
    plain, loss = summed(theta, losses, 0.0, 0, False)
    for alpha, steps in SETTINGS:
        exact, after = summed(theta, losses, alpha, steps, True)
        first, _ = summed(theta, losses, alpha, steps, False)
        figures = {
            'cosine, second order and first order': cosine(exact, first),
            'cosine, second order and multi-task': cosine(exact, plain),
            'cosine, first order and multi-task': cosine(first, plain),
            'perplexity after / before': math.exp(after - loss),
        }
        data = f'{args.people} people, {args.support} dialogues to adapt to, alpha {alpha}, {steps} steps'
        report.add('PAML', 'persona:few_shot', data, args.split, figures, threads=None)


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return torch.nn.functional.cosine_similarity(one, other, dim=0).item()


if __name__ == '__main__':
    main()
