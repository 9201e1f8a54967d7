"""Reading checkpoints, those of version 0.1.0 included: they held one run of possibly many.

In these the first dimension of every parameter is the run. Beside that only the learner's state looks different.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from parlai_persona.errors import UserError
from parlai_persona.models.saved import expected_parts, read_saved


def load(path: str, mode: str) -> dict[str, Any]:
    """Return the states in a checkpoint that was trained in this mode."""
    states = read_saved(path)
    with expected_parts(path):
        check(path, states)
    if states['mode'] != mode:
        raise UserError(
            f'{path} was trained in mode {states["mode"]!r}, with other parameters than {mode!r} has: '
            'leave --meta-memnn-mode out'
        )
    if 'rngs' in states.get('learner', ()):
        states['learner'] = learner_of_one_run(states['learner'])
    return states


def check(path: str, states: Mapping[str, Any]) -> None:
    """Raise an error if a checkpoint lacks something, or has something else there."""
    missing = {'model', 'words', 'candidates'} - set(states)
    if missing:
        raise UserError(f'{path}: saw no {", ".join(sorted(missing))}; expected a model of persona:meta_memnn')
    for name, kind in (('model', dict), ('words', list), ('related_words', int), ('candidates', dict), ('mode', str)):
        if not isinstance(states[name], kind):
            raise TypeError(f'{name} is a {type(states[name]).__name__}')
    for texts in (states['words'], *states['candidates'].values()):
        ''.join(texts)


def learner_of_one_run(old: Mapping[str, Any]) -> dict[str, Any]:
    """Return an older learner's state as `Learner.state_dict` has it now."""
    pools = [{'order': torch.from_numpy(pool['order'][0]), 'rng': pool['rngs'][0]} for pool in old['pools']]
    return {
        'eta_optimizer': old['optimizers'][1],
        'iteration': old['iteration'],
        'touched': old['touched'] and [name.replace('.', '_') for name in old['touched']],
        'rng': old['rngs'][0],
        'pools': pools,
    }


def fitting(saved: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the saved parameters without the dimension of the run; those of other sizes as they are."""

    def fits(name: str, p: Any) -> bool:
        return name in own and isinstance(p, Tensor) and p.numel() == own[name].numel()

    return {name: p.reshape(own[name].shape) if fits(name, p) else p for name, p in saved.items()}


def fit_optimizers(states: Mapping[str, Any], theta: Sequence[Tensor], eta: Sequence[Tensor]) -> None:
    """Remove the dimension of the run from the moments of both optimisers, in place."""
    learner = states.get('learner') or {}
    for optimizer, params in ((states.get('optimizer'), theta), (learner.get('eta_optimizer'), eta)):
        for number, moments in (optimizer or {}).get('state', {}).items():
            for name, value in moments.items():
                if name != 'step':
                    moments[name] = value.reshape(params[number].shape)
