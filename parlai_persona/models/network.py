"""The network that learns, with or without ParlAI's wrapper around it."""

from typing import Any

import torch
from torch import nn


def unwrapped(model: nn.Module) -> Any:
    """Return the network itself; in `multiprocessing_train` ParlAI wraps it for distributed training."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
