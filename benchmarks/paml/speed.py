"""What learning and becoming people costs, against learn2learn and against the loop of the PAML authors.

    pip download --no-deps --no-binary :all: learn2learn && tar xzf learn2learn-*.tar.gz
    python -m benchmarks.paml.speed --datapath data --learn2learn learn2learn-0.2.0     # an hour, an idle machine

The paper's size (6 + 6 layers, 300 numbers, 4 heads), Persona-Chat, one thread, 32 bits unless it is said otherwise.
Three parts (`--only`):

learn    A meta-iteration of 16 people, one dialogue to learn from and one to answer, second and first order; the same
         loop with learn2learn's `MAML` (only its algorithms are imported: the package itself needs gym and
         torchvision). Both also in bfloat16 (`--paml-amp`, torch.autocast).
fold     Leave-one-out evaluation of a person, loss only: ours, and fold by fold as the authors do it: weights copied,
         an SGD optimizer, mini-batches in a DataLoader, weights put back. One step and five on all of the support, and
         ten passes in mini-batches of 16.
become   From five dialogues to the first answer, on two threads.

Arms take turns, each in a process of its own; rows go to results/paml_speed.csv. Exit status 1 if a target is missed.
"""

import argparse
import copy
import importlib.util
import json
import sys
import time
import types
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.arms import child, dictionary, in_turns
from benchmarks.common.record import RESULTS, Row, append, hardware

CSV = RESULTS / 'paml_speed.csv'
PEOPLE, ITERATIONS, TURNS = 16, 1, 3
BFLOAT16 = ' in bfloat16'
TARGETS = {'learn2learn': 2.0, 'second order': 2.2, 'fold by fold': 5.0, 'seconds to become someone': 2.0}
SIZE = {
    'model': 'persona:paml',
    'n_layers': 6,
    'n_heads': 4,
    'embedding_size': 300,
    'ffn_size': 300,
    'variant': 'prelayernorm',
    'dropout': 0.0,
    'dict_lower': True,
    'dict_tokenizer': 're',
    'optimizer': 'adam',
    'learningrate': 3e-4,
    'gradient_clip': 2.0,
    'lr_scheduler': 'none',
    'paml_inner_lr': 0.01,
    'loglevel': 'error',
    'seed': 1,
    'label_truncate': 40,
    'n_positions': 1024,
}
FOLDS = {  # one step: all folds of a person; where they share little, one or two tell what a fold costs
    'one step': {'paml_inner_batch': 0, 'paml_eval_steps': 1},
    'five steps': {'paml_inner_batch': 0, 'paml_eval_steps': 5, 'few_shot_folds': 2},
    'ten passes': {'paml_inner_batch': 16, 'paml_eval_steps': 10, 'few_shot_folds': 1},
}


def options(folder: Path, datapath: str, datatype: str, **more: Any):
    from parlai.scripts.train_model import TrainModel

    import parlai_persona  # noqa: F401

    return TrainModel.setup_args().parse_kwargs(
        **SIZE,
        task='persona:few_shot',
        datapath=datapath,
        datatype=datatype,
        dict_file=str(folder / 'dictionary'),
        **more,
    )


def agent_and_people(folder: Path, datapath: str, datatype: str, count: int, **more: Any):
    """The agent, and what it has seen of the first people."""
    from parlai.core.agents import create_agent
    from parlai.core.teachers import create_task_agent_from_taskname

    opt = options(folder, datapath, datatype, **more)
    torch.manual_seed(opt['seed'])
    agent, teacher = create_agent(opt), create_task_agent_from_taskname(opt)[0]
    return agent, [agent.clone().observe(teacher.act()) for _ in range(count)]


# ------------------------------------------------------------------------------------------------- learn


def learn_ours(folder: Path, datapath: str, how: str) -> dict[str, float]:
    order, amp = way_and_amp(how)
    agent, seen = agent_and_people(
        folder, datapath, 'train', PEOPLE, paml_order=order, paml_inner_batch=0, paml_amp=amp
    )
    return timed(lambda: agent.batch_act(seen))


def way_and_amp(how: str) -> tuple[str, bool]:
    return how.removesuffix(BFLOAT16), how.endswith(BFLOAT16)


def learn_peer(folder: Path, datapath: str, how: str, package: str) -> dict[str, float]:
    """As learn2learn's examples have it: clone, adapt, backward, person by person."""
    order, amp = way_and_amp(how)
    agent, seen = agent_and_people(folder, datapath, 'train', PEOPLE)
    maml = learn2learn(Path(package))(
        agent.model, lr=0.01, first_order=order == 'first', allow_unused=True, allow_nograd=True
    )
    optimizer = torch.optim.Adam(maml.parameters(), 3e-4)
    agent.model.train()

    def loss(model, turns):
        batch = agent.batchify(turns)
        with torch.autocast('cpu', torch.bfloat16, enabled=amp):
            scores, *_ = model(batch.text_vec, ys=batch.label_vec)
        return torch.nn.functional.cross_entropy(
            scores.float().flatten(0, 1), batch.label_vec.flatten(), ignore_index=agent.NULL_IDX
        )

    def iteration():
        optimizer.zero_grad()
        for one in seen:
            task = one['task']
            learner = maml.clone()
            learner.adapt(loss(learner, task.dialogues[0]))
            (loss(learner, task.dialogues[1]) / PEOPLE).backward()
        torch.nn.utils.clip_grad_norm_(maml.parameters(), 2.0)
        optimizer.step()

    return timed(iteration)


def learn2learn(folder: Path):
    """Its MAML, without the rest of the package."""
    for name in ('learn2learn', 'learn2learn.algorithms'):
        module = types.ModuleType(name)
        module.__path__ = [str(folder / name.replace('.', '/'))]
        sys.modules[name] = module
    path = folder / 'learn2learn/algorithms/maml.py'
    if not path.exists():
        sys.exit(f'{path}: no such file; see the top of {__file__} for how to get learn2learn')
    spec = importlib.util.spec_from_file_location('learn2learn.algorithms.maml', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MAML


def timed(iteration) -> dict[str, float]:
    iteration()
    before = anonymous('VmRSS')
    start = time.process_time()
    for _ in range(ITERATIONS):
        iteration()
    seconds = (time.process_time() - start) / ITERATIONS
    return {'seconds': seconds, 'memory (GB)': anonymous('VmHWM'), 'at rest (GB)': before}


def anonymous(name: str) -> float:
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1e6


def learn(args) -> bool:
    ways = ('second', 'first', f'second{BFLOAT16}')
    found = repeated(args, 'learn', [f'{name}/{how}' for name in ('ours', 'learn2learn') for how in ways])
    for arm, figures in found.items():
        record(arm, f'meta-iteration of {PEOPLE} people', figures)
    times = {how: found[f'learn2learn/{how}']['seconds'] / found[f'ours/{how}']['seconds'] for how in ways}
    times['both'] = found['learn2learn/second']['seconds'] / found[f'ours/second{BFLOAT16}']['seconds']
    ratio = found['ours/second']['seconds'] / found['ours/first']['seconds']
    less = found['learn2learn/second']['memory (GB)'] / found['ours/second']['memory (GB)']
    record(
        'ours',
        f'meta-iteration of {PEOPLE} people',
        {
            'learn2learn, times slower': times['second'],
            'learn2learn, times slower (first order)': times['first'],
            'learn2learn, times slower (both in bfloat16)': times[f'second{BFLOAT16}'],
            'learn2learn in 32 bits, times slower than ours in bfloat16': times['both'],
            'learn2learn, times the memory': less,
            'second order, times first order': ratio,
        },
    )
    print(
        f'learn2learn takes {times["second"]:.2f} times as long (first order {times["first"]:.2f}, both in bfloat16 '
        f'{times[f"second{BFLOAT16}"]:.2f}, in 32 bits against ours in bfloat16 {times["both"]:.2f}) '
        f'and {less:.2f} times the memory'
    )
    print(f'second order costs {ratio:.2f} times first order')
    return times['second'] >= TARGETS['learn2learn'] and ratio <= TARGETS['second order'] and less > 1


# -------------------------------------------------------------------------------------------------- fold


def fold_ours(folder: Path, datapath: str, how: str) -> dict[str, float]:
    steps, amp = way_and_amp(how)
    agent, seen = agent_and_people(folder, datapath, 'valid', 1, skip_generation=True, paml_amp=amp, **FOLDS[steps])
    start = time.process_time()
    replies = [agent.batch_act([one])[0]['replies'] for one in seen]
    seconds = time.process_time() - start
    folds = [fold for person in replies for fold in person]
    nll = [sum(float(reply['metrics']['loss']._numer) for reply in fold) for fold in folds]
    return {'seconds': seconds / len(folds), 'nll': sum(nll)}


def fold_peer(folder: Path, datapath: str, steps: str) -> dict[str, float]:
    """Fold by fold, on the model itself."""
    agent, seen = agent_and_people(folder, datapath, 'valid', 1, skip_generation=True, **FOLDS[steps])
    model, shape = agent.model, FOLDS[steps]
    nothing = agent.NULL_IDX

    def loss(turns):
        batch = agent.batchify(turns)
        scores, *_ = model(batch.text_vec, ys=batch.label_vec)
        flat = torch.nn.functional.cross_entropy(
            scores.flatten(0, 1), batch.label_vec.flatten(), ignore_index=nothing, reduction='sum'
        )
        return flat, int((batch.label_vec != nothing).sum())

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
                    nll, tokens = loss(batch)
                    (nll / tokens).backward()
                    optimizer.step()
            with torch.no_grad():
                total += loss(task.turns(fold['query']))[0].item()
            model.load_state_dict(kept)
            count += 1
    return {'seconds': (time.process_time() - start) / count, 'nll': total}


def fold(args) -> bool:
    good = True
    for steps in FOLDS:
        mine, half, theirs = arms = [f'ours/{steps}', f'ours/{steps}{BFLOAT16}', f'fold by fold/{steps}']
        found = repeated(args, 'fold', arms)
        for arm, figures in found.items():
            record(arm, 'a fold of leave-one-out', figures)
        for arm, tolerance in ((mine, 1e-3), (half, 1e-2)):
            if abs(found[arm]['nll'] / found[theirs]['nll'] - 1) > tolerance:
                sys.exit(f'{arm} measures another loss: {found[arm]["nll"]} and {found[theirs]["nll"]}')
            times = found[theirs]['seconds'] / found[arm]['seconds']
            record(arm, 'a fold of leave-one-out', {'fold by fold, times slower': times})
            print(f'{arm}: fold by fold takes {times:.2f} times as long')
            good = good and (arm != half or times >= TARGETS['fold by fold'])
    return good


# ------------------------------------------------------------------------------------------------ become


def become_ours(folder: Path, datapath: str, how: str) -> dict[str, float]:
    torch.set_num_threads(2)
    steps, amp = way_and_amp(how)
    shape = {**FOLDS[steps], 'few_shot_folds': 0, 'inference': 'beam', 'beam_size': 5, 'paml_amp': amp}
    agent, seen = agent_and_people(folder, datapath, 'valid', 1, **shape)
    task = seen[0]['task']
    five = list(range(len(task.dialogues)))[:5]
    start = time.monotonic()
    agent.answer(type(task)(task.dialogues, [{'support': five, 'query': []}], False))
    adapted = time.monotonic() - start
    agent.observe({'text': 'hello , how are you ?', 'episode_done': False})
    agent.act()
    return {'seconds': adapted, 'seconds to the first answer': time.monotonic() - start}


def become(args) -> bool:
    arms = [f'ours/{steps}{how}' for steps in FOLDS for how in ('', BFLOAT16)]
    found = repeated(args, 'become', arms)
    for arm, figures in found.items():
        record(arm, 'five dialogues of a new person', figures, threads=2)
        print(f'{arm}: {figures["seconds"]:.1f} s to become someone')
    return found['ours/one step']['seconds'] < TARGETS['seconds to become someone']


# ------------------------------------------------------------------------------------------------- arms


ARMS = {
    'learn': {'ours': learn_ours, 'learn2learn': learn_peer},
    'fold': {'ours': fold_ours, 'fold by fold': fold_peer},
    'become': {'ours': become_ours},
}


def repeated(args, part: str, arms: list[str]) -> dict[str, dict[str, float]]:
    where = ('--datapath', args.datapath, '--folder', str(args.folder), '--learn2learn', str(args.learn2learn))
    threads = 2 if part == 'become' else 1
    return in_turns(
        arms, TURNS, lambda arm: child('benchmarks.paml.speed', '--arm', f'{part}:{arm}', *where, threads=threads)
    )


def record(method: str, data: str, figures: dict[str, float], threads: int = 1) -> None:
    append(
        [
            Row(
                method,
                'paml speed',
                data,
                'all',
                0,
                metric,
                value,
                'python -m benchmarks.paml.speed --datapath data',
                hardware=hardware(threads),
            )
            for metric, value in figures.items()
        ],
        CSV,
        replace=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--datapath', default='data')
    parser.add_argument('--learn2learn', type=Path, default=Path('learn2learn-0.2.0'), help='its unpacked source')
    parser.add_argument('--folder', type=Path, default=Path('runs/paml_speed'))
    parser.add_argument('--only', choices=[*ARMS], nargs='+', default=[*ARMS])
    parser.add_argument('--arm', help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.arm:
        part, name, how = args.arm.replace(':', '/').split('/')
        more = [args.learn2learn] if name == 'learn2learn' else []
        print(json.dumps(ARMS[part][name](args.folder, args.datapath, how, *more)))
        return
    dictionary(args.folder / 'dictionary', 'persona:personachat', args.datapath)
    good = [{'learn': learn, 'fold': fold, 'become': become}[part](args) for part in args.only]
    sys.exit(not all(good))


if __name__ == '__main__':
    main()
