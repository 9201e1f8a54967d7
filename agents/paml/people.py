"""A person: dialogues in memory, batches of their turns, and a file of what adapting changed in the weights."""

import pickle
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from parlai.core.message import Message
from torch import Tensor

from parlai_persona.agents.paml.meta import Params
from parlai_persona.data.dialogue import DataError
from parlai_persona.files import draft
from parlai_persona.models.checksums import fingerprint

Turns = list[Message]  # vectorised

# What can go wrong in torch.load, and with what it returns, if a file is broken.
BROKEN = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    pickle.UnpicklingError,
    struct.error,
)


@dataclass(frozen=True)
class Task:
    """A person: dialogues, and which of them to learn from and to answer in each fold."""

    dialogues: list[Turns]
    folds: list[dict[str, list[int]]]
    training: bool

    def turns(self, places: Sequence[int]) -> Turns:
        return [turn for place in places for turn in self.dialogues[place]]


def batches_of_like_length(turns: Turns, batch_cost: float) -> list[Turns]:
    """Split turns into the cheapest batches: each costs its tokens, padding included, and `batch_cost`."""
    ordered = sorted(turns, key=lambda turn: len(turn['text_vec']))
    lengths = [len(turn['text_vec']) for turn in ordered]
    # best[end]: the least cost of the first `end` turns, and where their last batch starts
    best: list[tuple[float, int]] = [(0.0, 0)]
    for end in range(1, len(ordered) + 1):
        last = lengths[end - 1]
        best.append(min((best[start][0] + (end - start) * last + batch_cost, start) for start in range(end)))
    batches, end = [], len(ordered)
    while end:
        start = best[end][1]
        batches.append(ordered[start:end])
        end = start
    return batches


def write_delta(path: Path, theta: Params, theta_i: Params) -> None:
    """Write the changes of the parameters that changed, in 16 bits."""
    changed = {
        name: (theta_i[name] - p).detach().to('cpu', torch.bfloat16)
        for name, p in theta.items()
        if theta_i[name] is not p
    }
    with draft(path) as part:
        torch.save({'of': fingerprint(theta), 'delta': changed}, part)


def read_delta(path: Path, theta: Params) -> dict[str, Tensor]:
    """Return theta' of the person in the file, which must have been written for the weights `theta`."""
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
        made_of, delta = content['of'], content['delta']
    except FileNotFoundError:
        raise DataError(f'--paml-delta {path}: no such file; --paml-save-delta writes one') from None
    except BROKEN as error:
        raise DataError(f'--paml-delta {path}: not a file that --paml-save-delta wrote ({error})') from None
    if made_of != fingerprint(theta):
        raise DataError(
            f'--paml-delta {path} is the change of other weights than those of this model: adapt anew, with --person'
        )
    return theta | {name: theta[name].detach() + change.to(theta[name]) for name, change in delta.items()}
