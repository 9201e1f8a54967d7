"""Mixed precision: matrix products in bfloat16, losses in 32 bits."""

from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter

import parlai.utils.logging as logging
import torch
from torch import Tensor, nn

from parlai_persona.flags import flag
from parlai_persona.models.network import device_of

# Processors without instructions for bfloat16 are many times slower in it, others are at least as fast. A limit of 1
# would let noise decide, and a resumed training could go on otherwise.
LEAST_GAIN = 0.5


@dataclass(frozen=True)
class Precision:
    """The option of an agent that can compute in mixed precision."""

    amp: bool = flag(
        False,
        'compute in bfloat16 where that is safe (torch.autocast): faster on GPUs, and on CPUs that support it; nothing '
        'changes on others',
    )


def autocast(model: nn.Module, enabled: bool = True) -> torch.autocast:
    """Return a context in which the model computes in bfloat16, if `enabled` and its device is good at that."""
    device = device_of(model)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled and is_good_at_bfloat16(device))


def store_frozen(model: nn.Module) -> None:
    """Keep frozen weights of linear layers in bfloat16: `autocast` would convert them in each pass.

    A weight that an embedding reads too stays in 32 bits.
    """
    if not is_good_at_bfloat16(device_of(model)):
        return
    read = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for module in model.modules():
        if isinstance(module, nn.Linear) and not module.weight.requires_grad and id(module.weight) not in read:
            module.to(torch.bfloat16)


@lru_cache
def bfloat16_gain(device: torch.device, size: int = 512) -> float:
    """Return how many times as fast a matrix product is in bfloat16 as in 32 bits on this device."""
    fastest = {}
    for kind in (torch.float32, torch.bfloat16):
        matrix = torch.ones(size, size, device=device, dtype=kind)
        seconds = []
        for _ in range(4):  # the first prepares things
            start = perf_counter()
            (matrix @ matrix)[0, 0].item()  # waits for a GPU
            seconds.append(perf_counter() - start)
        fastest[kind] = min(seconds[1:])
    return fastest[torch.float32] / fastest[torch.bfloat16]


def is_good_at_bfloat16(device: torch.device) -> bool:
    return bfloat16_gain(device) > LEAST_GAIN


def report_gain(model: nn.Module, flag: str) -> None:
    """Log what bfloat16 does to the speed of matrix products here, and whether it is used."""
    device = device_of(model)
    gain = bfloat16_gain(device)
    said = f'are {gain:.1f} times as fast as' if gain >= 1 else f'take {1 / gain:.1f} times as long as'
    so = '' if is_good_at_bfloat16(device) else ', so all is computed in 32 bits'
    logging.info(f'{flag}: matrix products in bfloat16 {said} in 32 bits on this {device}{so}')


def precise(scores: Tensor) -> Tensor:
    """Return the same values in 32 bits or more."""
    return scores.float() if scores.dtype in (torch.bfloat16, torch.float16) else scores


class FullPrecision(nn.Module):
    """A loss that is computed in 32 bits, even for scores in 16."""

    def __init__(self, criterion: nn.Module):
        super().__init__()
        self.criterion = criterion

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        return self.criterion(precise(scores), labels)
