"""Mixed precision: matrix products in bfloat16, losses in 32 bits."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from parlai_persona.flags import flag
from parlai_persona.models.network import device_of


@dataclass(frozen=True)
class Precision:
    """The option of an agent that can compute in mixed precision."""

    amp: bool = flag(
        False, 'compute in bfloat16 where that is safe (torch.autocast): faster on GPUs, and on CPUs that support it'
    )


def autocast(model: nn.Module, enabled: bool = True) -> torch.autocast:
    """Return a context in which the model computes in bfloat16, if `enabled`."""
    return torch.autocast(device_of(model).type, torch.bfloat16, enabled=enabled)


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
