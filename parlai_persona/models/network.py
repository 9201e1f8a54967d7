"""The network that learns, with or without ParlAI's wrapper around it."""

import ctypes
import sys
from typing import Any

import torch
from torch import nn


def unwrapped(model: nn.Module) -> Any:
    """Return the network itself; in `multiprocessing_train` ParlAI wraps it for distributed training."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def give_back_memory() -> None:
    """Give memory that is free back to the system.

    On Linux, malloc keeps it in pieces that fit no later tensor. A training with texts of many lengths grew from 5 to
    20 GB that way.
    """
    if sys.platform == 'linux' and hasattr(library := ctypes.CDLL(None), 'malloc_trim'):
        library.malloc_trim(0)
