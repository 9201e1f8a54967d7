"""Read what torch has saved without running code from it: tensors, numpy's arrays and numbers, and plain values."""

import os
import pickle
import re
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from parlai.core.opt import Opt
from parlai.utils.io import PathManager

from parlai_persona.errors import UserError

TRUST = 'PARLAI_PERSONA_TRUST_PICKLES'
# What can go wrong in torch.load if a file is broken.
BROKEN = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    AssertionError,
    zipfile.BadZipFile,
    struct.error,
)
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
ASKS_FOR = re.compile(r'(?:GLOBAL|class) ([\w.]+)')  # in the messages of torch


class NotLoaded(UserError):
    """A model that could not be loaded: what was looked for, why it failed, and how to get it."""


def trusted() -> bool:
    """Tell whether the user trusts all pickles."""
    return os.environ.get(TRUST) == '1'


def read_saved(path: str | Path, **options: Any) -> Any:
    """Return what torch has saved in a file, on the CPU."""
    with PathManager.open(str(path), 'rb') as file:
        return read_open(file, map_location='cpu', **options)


def saved_part(path: str, name: str) -> Any:
    """Return a part of a checkpoint, if it has it; its weights stay on the disk."""
    if not zipfile.is_zipfile(path):
        return None  # torch's format of before 1.6, from before this package, or a damaged file
    with plain_only(path):
        states = torch.load(path, map_location='cpu', mmap=True, weights_only=not trusted())
    return states.get(name) if isinstance(states, dict) else None


def saved_words(path: str) -> list[str] | None:
    """Return the words of a dictionary that a checkpoint holds, if it does."""
    words = saved_part(path, 'words')
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None


def read_open(file: IO[bytes], *args: Any, **options: Any) -> Any:
    """Return what torch has saved in an open file. A file that is damaged, or not of this kind, is refused."""
    with plain_only(file.name):
        check_sums(file)
        return torch.load(file, *args, weights_only=not trusted(), **options)


def check_sums(file: IO[bytes]) -> None:
    """Compare the parts of a zip file with their checksums; torch does not."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            bad = archive.testzip()
        if bad:
            raise ValueError(f'{bad} differs from its checksum')
    file.seek(0)


def check_archive(path: str) -> None:
    """Refuse an archive of numpy's (`.npz`) with a pickle that asks for more than plain objects."""
    with plain_only(path), zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                _, _, kind = HEADERS[np.lib.format.read_magic(file)](file)
                if kind.hasobject:
                    PlainUnpickler(file).load()


class PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        for known in plain_objects():
            thing, full = known if isinstance(known, tuple) else (known, f'{known.__module__}.{known.__qualname__}')
            if full == f'{module}.{name}':
                return thing
        raise pickle.UnpicklingError(f'GLOBAL {module}.{name}')


@contextmanager
def plain_only(path: str) -> Iterator[None]:
    """Let `torch.load` accept plain objects of numpy and ParlAI; say in one sentence what it has refused."""
    try:
        with torch.serialization.safe_globals(plain_objects()):
            yield
    except NotLoaded:
        raise
    except pickle.UnpicklingError as error:
        asked = ASKS_FOR.search(str(error))
        raise refusal(path, asked[1]) if asked else broken(path, error) from None
    except FileNotFoundError:
        raise
    except BROKEN as error:
        raise broken(path, error) from None


@contextmanager
def expected_parts(path: str) -> Iterator[None]:
    """Say that a checkpoint is damaged if a part of it is missing, or something else than the agent reads there."""
    try:
        yield
    except UserError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise broken(path, error) from error


def plain_objects() -> list[Any]:
    """Return what checkpoints have beside tensors: arrays and numbers of numpy, options of ParlAI, frozen sets."""
    rebuild, scalar = np.empty(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    kinds = {type(np.dtype(code)) for code in np.typecodes['AllInteger'] + np.typecodes['AllFloat'] + '?'}
    return [
        *(np.dtype, np.ndarray, rebuild, scalar, *kinds),
        (rebuild, 'numpy.core.multiarray._reconstruct'),  # numpy 1's name
        (scalar, 'numpy.core.multiarray.scalar'),
        *(Opt, (Opt, 'parlai.core.utils.Opt'), (Opt, 'parlai.utils.misc.Opt')),
        *(frozenset, bytes),
    ]


def refusal(path: str, asked: str) -> NotLoaded:
    return NotLoaded(
        f'{path} is not loaded: it is a pickle that asks for {asked}, and this could run code. Expected tensors and '
        f'plain values. If you trust whoever made the file: {TRUST}=1'
    )


def broken(path: str, error: Exception) -> NotLoaded:
    reason = str(error).rpartition('WeightsUnpickler error: ')[2].strip().split('\n')[0][:200]
    return NotLoaded(
        f'{path}: damaged, or not a file that torch has saved ({reason}); copy the file again, or train the model again'
    )
