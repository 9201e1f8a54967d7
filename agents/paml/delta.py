"""What adapting to a person changed in the weights, as a small file."""

import pickle
import struct
from pathlib import Path

import torch
from torch import Tensor

from parlai_persona.agents.paml.meta import Params
from parlai_persona.data.dialogue import DataError
from parlai_persona.files import draft
from parlai_persona.models.checksums import fingerprint

# What torch.load and looking into its result can stumble over.
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


def write_delta(path: Path, theta: Params, theta_i: Params) -> None:
    """The changed parameters only, in half the bits."""
    changed = {
        name: (theta_i[name] - p).detach().to('cpu', torch.bfloat16)
        for name, p in theta.items()
        if theta_i[name] is not p
    }
    with draft(path) as part:
        torch.save({'of': fingerprint(theta), 'delta': changed}, part)


def read_delta(path: Path, theta: Params) -> dict[str, Tensor]:
    """theta' of the person in the file; of other weights than these it would be nobody."""
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
