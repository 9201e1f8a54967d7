"""Where a training is in its data, as plain JSON, and how to go back there.

A place holds the counters of the world, the random states, what the rows of a batch share (the teachers' counters), and
for each row the episode that it is in and how many of its turns are over. To go back, the turns that are over are shown
to the row's agent again, without learning, because its history holds them.
"""

import base64
import random
from collections.abc import Iterator
from typing import Any

COUNTERS = ('total_parleys', 'total_exs', 'total_epochs')
Place = dict[str, Any]


class NoPlace(Exception):
    """The data of this world cannot be continued in the middle; says why."""


def place_of(world: Any) -> Place:
    return {
        'counters': {name: getattr(world, name) for name in COUNTERS},
        'draws': world.rng.getstate() if is_dynamic(world) else None,
        'random': random_state(),
        'shared': [shared_place(teacher) for teacher in shared_teachers(world)],
        'rows': [row_place(world, number) for number in range(len(rows(world)))],
    }


def go_to(world: Any, place: Place) -> None:
    """Bring a new world to a place of an equal one. The random states are left to the caller."""
    if len(place['rows']) != len(rows(world)):
        raise NoPlace(f'saw a place of {len(place["rows"])} rows, expected {len(rows(world))} (--batchsize)')
    for row in rows(world):
        for one in singles(row):
            if not hasattr(one.get_task_agent(), 'epochDone'):  # it would reset itself later
                one.get_task_agent().reset()
    for teacher, kept in zip(shared_teachers(world), place['shared'], strict=True):
        if hasattr(teacher, 'go_to'):
            teacher.go_to(kept)
        else:
            teacher.index.value = kept
    for number, kept in enumerate(place['rows']):
        restore_row(world, number, kept)
    world.reset_metrics()
    if is_dynamic(world):
        version, numbers, gauss = place['draws']
        world.rng.setstate((version, tuple(numbers), gauss))
    for name, value in place['counters'].items():
        setattr(world, name, value)


# ------------------------------------------------------------------------------------- worlds and rows


def rows(world: Any) -> list[Any]:
    """Return the worlds of a batch, or the world itself."""
    return world.worlds if is_batch(world) else [world]


def is_batch(world: Any) -> bool:
    from parlai.core.worlds import BatchWorld, DynamicBatchWorld

    return isinstance(world, BatchWorld | DynamicBatchWorld)


def is_dynamic(world: Any) -> bool:
    from parlai.core.worlds import DynamicBatchWorld

    return isinstance(world, DynamicBatchWorld)


def singles(row: Any) -> list[Any]:
    """Return the worlds of a row, one for each task."""
    from parlai.core.worlds import MultiWorld

    return row.worlds if isinstance(row, MultiWorld) else [row]


def shared_teachers(world: Any) -> Iterator[Any]:
    """Yield the teachers of all tasks; the rows of a batch share their counters."""
    from parlai.core.teachers import ChunkTeacher, FixedDialogTeacher
    from parlai.core.worlds import BackgroundDriverWorld

    if isinstance(world, BackgroundDriverWorld):
        raise NoPlace('other processes read the data (--num-workers)')
    for one in singles(world.world if is_batch(world) else world):
        teacher = one.get_task_agent()
        if not isinstance(teacher, FixedDialogTeacher):
            raise NoPlace(f'the teacher {teacher.id} has no numbered episodes')
        if getattr(teacher, 'stream', False):
            raise NoPlace(f'the teacher {teacher.id} streams its data (-dt train:stream)')
        if isinstance(teacher, ChunkTeacher) and (is_dynamic(world) or not hasattr(teacher, 'go_to')):
            raise NoPlace(f'the teacher {teacher.id} reads its data in pieces')
        yield teacher


def shared_place(teacher: Any) -> Any:
    return teacher.place() if hasattr(teacher, 'place') else teacher.index.value


def row_place(world: Any, number: int) -> Place:
    row = rows(world)[number]
    found: Place = {'tasks': [episode_place(one.get_task_agent()) for one in singles(row)]}
    if len(found['tasks']) > 1:
        over = row.world_idx < 0 or found['tasks'][row.world_idx]['over']
        found |= {'task': row.world_idx, 'new': row.new_world or over, 'parleys': row.parleys}
    if is_dynamic(world):
        found['waits'] = world._scores[number] is not None  # the last message, for a batch
    return found


def episode_place(teacher: Any) -> Place:
    """Return the episode of a row's teacher, how many of its messages are sent, and whether these are all."""
    if getattr(teacher, 'entry_idx', None) is None:
        return {'episode': -1, 'sent': 0, 'over': True}
    return {'episode': teacher.episode_idx, 'sent': teacher.entry_idx + 1, 'over': teacher._episode_done}


def restore_row(world: Any, number: int, kept: Place) -> None:
    row = rows(world)[number]
    if 'task' in kept:
        row.world_idx, row.new_world, row.parleys = kept['task'], kept['new'], kept['parleys']
    for task, (one, episode) in enumerate(zip(singles(row), kept['tasks'], strict=True)):
        waits = kept.get('waits', False) and task == kept.get('task', 0)
        if episode['over'] and not waits:
            continue
        act, seen = replay(one, episode, waits)
        if waits:
            act.force_set('dyn_batch_idx', number)
            world._task_acts[number], world._obs[number], world._scores[number] = act, seen, world._score(seen)


def replay(one: Any, episode: Place, waits: bool) -> tuple[Any, Any]:
    """Send the agent of a row the messages of an episode again; it learns nothing, and the last one may wait.

    Return the last message and what the agent made of it.
    """
    from parlai.core.message import Message

    teacher, agent = one.get_task_agent(), one.get_model_agent()
    teacher._episode_done = True
    teacher.next_episode_idx = lambda *_: episode['episode']
    try:
        for sent in range(1, episode['sent'] + 1):
            act = teacher.act()
            seen = agent.observe(act)
            if sent < episode['sent'] or not waits:
                reply = Message({'id': agent.getID(), 'episode_done': False})
                teacher.observe(reply)
                if hasattr(agent, 'self_observe'):
                    agent.self_observe(reply)
    finally:
        del teacher.next_episode_idx
    return act, seen


# ----------------------------------------------------------------------------------------- random states


def random_state() -> Place:
    """Return the states of all random generators of this process: Python's, numpy's and torch's."""
    import numpy as np
    import torch

    numbers: Any = np.random.get_state()
    kind, keys, *rest = numbers
    states = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else ())]
    version, numbers, gauss = random.getstate()
    return {
        'python': [version, list(numbers), gauss],
        'numpy': [kind, keys.tolist(), *rest],
        'torch': [base64.b64encode(state.numpy().tobytes()).decode() for state in states],
    }


def set_random_state(state: Place) -> None:
    import numpy as np
    import torch

    version, numbers, gauss = state['python']
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *rest = state['numpy']
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))
    cpu, *gpus = (torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8) for text in state['torch'])
    torch.set_rng_state(cpu)
    if len(gpus) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(gpus)
