"""The arms of `speed.py`, which calls each in a process of its own with the arguments of its command line."""

import argparse
import copy
import importlib
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from parlai.core.agents import create_agent
from parlai.core.teachers import create_task_agent_from_taskname
from parlai.scripts.train_model import TrainModel

import parlai_persona  # noqa: F401
from benchmarks.common.arms import Figures, memory

PEOPLE = 16
BFLOAT16 = ' in bfloat16'
SIZE = (
    '-t persona:few_shot -m persona:paml --n-layers 6 --n-heads 4 --embedding-size 300 --ffn-size 300 --dropout 0 '
    '--variant prelayernorm --dict-lower true --dict-tokenizer re --optimizer adam -lr 3e-4 --gradient-clip 2 '
    '--lr-scheduler none --paml-inner-lr 0.01 --label-truncate 40 --n-positions 1024 --seed 1 --loglevel error'
)
FOLDS = {  # one step measures all folds of a person; for the others one or two folds tell what each costs
    'one step': {'paml_inner_batch': 0, 'paml_eval_steps': 1},
    'five steps': {'paml_inner_batch': 0, 'paml_eval_steps': 5, 'few_shot_folds': 2},
    'ten passes': {'paml_inner_batch': 16, 'paml_eval_steps': 10, 'few_shot_folds': 1},
}


def agent_and_people(args: argparse.Namespace, datatype: str, count: int, **more: Any) -> tuple[Any, list]:
    """Return the agent, and its observations of the first people."""
    more = {'datatype': datatype, 'datapath': args.datapath, 'dict_file': args.folder / 'dictionary', **more}
    flags = [word for name, value in more.items() for word in (f'--{name.replace("_", "-")}', str(value))]
    opt = TrainModel.setup_args().parse_args([*SIZE.split(), *flags])
    torch.manual_seed(opt['seed'])
    agent, teacher = create_agent(opt), create_task_agent_from_taskname(opt)[0]
    return agent, [agent.clone().observe(teacher.act()) for _ in range(count)]


def summed_loss(agent: Any, model: torch.nn.Module, turns: list, amp: bool = False) -> tuple[torch.Tensor, int]:
    """Return the negative log-likelihood of the replies, and their number of tokens."""
    batch = agent.batchify(turns)
    with torch.autocast('cpu', torch.bfloat16, enabled=amp):
        scores, *_ = model(batch.text_vec, ys=batch.label_vec)
    labels = batch.label_vec.flatten()
    nll = torch.nn.functional.cross_entropy(
        scores.float().flatten(0, 1), labels, ignore_index=agent.NULL_IDX, reduction='sum'
    )
    return nll, int((labels != agent.NULL_IDX).sum())


def mean_loss(agent: Any, model: torch.nn.Module, turns: list, amp: bool = False) -> torch.Tensor:
    nll, tokens = summed_loss(agent, model, turns, amp)
    return nll / tokens


def order_and_amp(how: str) -> tuple[str, bool]:
    return how.removesuffix(BFLOAT16), how.endswith(BFLOAT16)


# ------------------------------------------------------------------------------------- the arms of `learn`


def learn_ours(args: argparse.Namespace, how: str) -> Figures:
    order, amp = order_and_amp(how)
    agent, seen = agent_and_people(args, 'train', PEOPLE, paml_order=order, paml_inner_batch=0, paml_amp=amp)
    return timed(lambda: agent.batch_act(seen))


def learn_peer(args: argparse.Namespace, how: str) -> Figures:
    """Learn as in learn2learn's examples: clone, adapt, backward, person by person."""
    order, amp = order_and_amp(how)
    agent, seen = agent_and_people(args, 'train', PEOPLE)
    maml = learn2learn(args.learn2learn)(
        agent.model, lr=0.01, first_order=order == 'first', allow_unused=True, allow_nograd=True
    )
    optimizer = torch.optim.Adam(maml.parameters(), 3e-4)
    agent.model.train()

    def iteration():
        optimizer.zero_grad()
        for one in seen:
            task = one['task']
            learner = maml.clone()
            learner.adapt(mean_loss(agent, learner, task.dialogues[0], amp))
            (mean_loss(agent, learner, task.dialogues[1], amp) / PEOPLE).backward()
        torch.nn.utils.clip_grad_norm_(maml.parameters(), 2.0)
        optimizer.step()

    return timed(iteration)


def learn2learn(folder: Path):
    """Return its MAML, without importing the rest of the package."""
    if not (folder / 'learn2learn').is_dir():
        sys.exit(f'{folder}: no learn2learn in it; the top of benchmarks/paml/speed.py says how to get it')
    for name in ('learn2learn', 'learn2learn.algorithms'):
        module = types.ModuleType(name)
        module.__path__ = [str(folder / name.replace('.', '/'))]
        sys.modules[name] = module
    return importlib.import_module('learn2learn.algorithms.maml').MAML


def timed(iteration: Callable[[], Any]) -> Figures:
    """Measure the second iteration: CPU seconds and memory."""
    iteration()
    before = memory('VmRSS')
    start = time.process_time()
    iteration()
    return {'seconds': time.process_time() - start, 'memory (GB)': memory('VmHWM') / 1e6, 'at rest (GB)': before / 1e6}


# -------------------------------------------------------------------------- the arms of `fold` and `become`


def fold_ours(args: argparse.Namespace, how: str) -> Figures:
    steps, amp = order_and_amp(how)
    agent, seen = agent_and_people(args, 'valid', 1, skip_generation=True, paml_amp=amp, **FOLDS[steps])
    start = time.process_time()
    replies = [agent.batch_act([one])[0]['replies'] for one in seen]
    seconds = time.process_time() - start
    folds = [fold for person in replies for fold in person]
    nll = sum(float(reply['metrics']['loss']._numer) for fold in folds for reply in fold)
    return {'seconds': seconds / len(folds), 'nll': nll}


def fold_peer(args: argparse.Namespace, steps: str) -> Figures:
    """Adapt and measure fold by fold, on the model itself."""
    agent, seen = agent_and_people(args, 'valid', 1, skip_generation=True, **FOLDS[steps])
    model, shape = agent.model, FOLDS[steps]
    start, total, count = time.process_time(), 0.0, 0
    for one in seen:
        task = one['task']
        for fold in task.folds:
            kept = copy.deepcopy(model.state_dict())
            turns = task.turns(fold['support'])
            loader = torch.utils.data.DataLoader(
                turns, batch_size=shape['paml_inner_batch'] or len(turns), collate_fn=lambda batch: batch
            )
            optimizer = torch.optim.SGD(model.parameters(), 0.01)
            for _ in range(shape['paml_eval_steps']):
                for batch in loader:
                    optimizer.zero_grad()
                    mean_loss(agent, model, batch).backward()
                    optimizer.step()
            with torch.no_grad():
                total += summed_loss(agent, model, task.turns(fold['query']))[0].item()
            model.load_state_dict(kept)
            count += 1
    return {'seconds': (time.process_time() - start) / count, 'nll': total}


def become_ours(args: argparse.Namespace, how: str) -> Figures:
    torch.set_num_threads(2)
    steps, amp = order_and_amp(how)
    shape = {**FOLDS[steps], 'few_shot_folds': 0, 'inference': 'beam', 'beam_size': 5, 'paml_amp': amp}
    agent, seen = agent_and_people(args, 'valid', 1, **shape)
    task = seen[0]['task']
    start = time.monotonic()
    first = list(range(len(task.dialogues)))[:5]
    agent.answer(type(task)(task.dialogues, [{'support': first, 'query': []}], False))
    adapted = time.monotonic() - start
    agent.observe({'text': 'hello , how are you ?', 'episode_done': False})
    agent.act()
    return {'seconds': adapted, 'seconds to the first answer': time.monotonic() - start}
