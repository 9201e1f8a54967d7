"""A person: dialogues in memory, batches of their turns, and a file of what adapting changed in the weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from parlai.core.message import Message
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from parlai_persona.agents.paml.meta import Params
from parlai_persona.data.dialogue import DataError
from parlai_persona.files import draft
from parlai_persona.models.checksums import fingerprint, named_fingerprint
from parlai_persona.models.saved import BROKEN, read_saved

Turns = list[Message]  # vectorised


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
    """Write the changes of the parameters that changed, in 16 bits, with checksums of them and of theta."""
    changed = {
        name: (theta_i[name] - p).detach().to('cpu', torch.bfloat16).contiguous()
        for name, p in theta.items()
        if not torch.equal(theta_i[name], p)
    }
    with draft(path) as part:
        save_file(changed, part, {'of': fingerprint(theta), 'checksum': named_fingerprint(changed)})


def read_delta(path: Path, theta: Params) -> dict[str, Tensor]:
    """Return theta' of the person in the file, which must have been written for the weights `theta`."""
    try:
        with path.open('rb') as file:
            is_zip = file.read(4) == b'PK\3\4'  # torch's format, as before version 0.1.0
        made_of, delta = (read_torch_delta if is_zip else read_safetensors_delta)(path)
        fits = made_of == fingerprint(theta)
        if fits:
            check_delta(delta, theta)
    except FileNotFoundError:
        raise DataError(f'--paml-delta {path}: no such file; --paml-save-delta writes one') from None
    except (*BROKEN, SafetensorError) as error:
        raise DataError(
            f'--paml-delta {path}: damaged, or not a file that --paml-save-delta wrote ({error}): adapt anew, with '
            '--person'
        ) from None
    if not fits:
        raise DataError(
            f'--paml-delta {path} is the change of other weights than those of this model: adapt anew, with --person'
        )
    return theta | {name: theta[name].detach() + change.to(theta[name]) for name, change in delta.items()}


def read_safetensors_delta(path: Path) -> tuple[str, dict[str, Tensor]]:
    """Return the fingerprint of the weights that a person began from, and the change, after comparing its checksum."""
    with safe_open(path, 'pt') as file:
        about, delta = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if about['checksum'] != named_fingerprint(delta):
        raise ValueError('its checksum is another')
    return about['of'], delta


def read_torch_delta(path: Path) -> tuple[str, dict[str, Tensor]]:
    content = read_saved(path)
    return content['of'], content['delta']


def check_delta(delta: Params, theta: Params) -> None:
    """Refuse changes that do not fit the parameters, or that are not numbers."""
    for name, change in delta.items():
        if change.dtype != torch.bfloat16 or name not in theta or change.shape != theta[name].shape:
            wanted = f'{list(theta[name].shape)} in bfloat16' if name in theta else 'no such parameter'
            raise ValueError(f'{name} is {list(change.shape)} in {change.dtype}, expected {wanted}')
        if not change.isfinite().all():
            raise ValueError(f'{name} has values that are not finite')
