"""The form of a published model: weights as safetensors, plain values as JSON, and a model card. No pickle.

    model.safetensors   weights in 16 bits, and other arrays as they are; of an agent on a base, what was trained
    config.json         the agent, and its options
    state.json          everything else of the checkpoint, such as the words
    dictionary.txt      the dictionary, if the checkpoint does not hold its words
    replies.txt         what a retriever chooses from in a chat, a reply a line, if they were given
    README.md           the card

A classifier of transformers (`--persona-nli`) is published as the folder that transformers reads.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parlai.core.dict import escape
from parlai.core.opt import Opt
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from parlai_persona.errors import UserError
from parlai_persona.files import draft, read_json, read_text, write_json
from parlai_persona.models.saved import NotLoaded, read_saved
from parlai_persona.zoo import classifier, options
from parlai_persona.zoo.names import CARD, CONFIG, DICTIONARY, REPLIES, STATE, WEIGHTS, check_names

FORM = 1
NETWORK = 'model/'  # how the names of the network's weights start
# What a checkpoint holds for a training that goes on.
TRAINING = {
    'optimizer',
    'optimizer_type',
    'lr_scheduler',
    'lr_scheduler_type',
    'warmup_scheduler',
    'number_training_updates',
    'learner',  # of meta_memnn
    'histograms',
    'start',  # of p2bot
}
Arrays = dict[str, Tensor]


def publish(model: Path, folder: Path, card: str, base: str | None = None, replies: Path | None = None) -> list[str]:
    """Write a model in this form; return the options that were left out because they name files of this machine.

    `model` is a model file of ParlAI, or a folder of transformers. `base` says where others find the base model, if
    the agent was trained on a folder.
    """
    with new_folder(folder) as part:
        (part / CARD).write_text(card, encoding='utf-8')
        if replies:
            (part / REPLIES).write_text(read_text(replies), encoding='utf-8')
        if model.is_dir():
            classifier.publish(model, part)
            return []
        return publish_agent(model, part, base)


def publish_agent(model: Path, folder: Path, base: str | None) -> list[str]:
    opt = Opt.load(f'{model}.opt')
    states = {name: value for name, value in read_saved(model).items() if name not in TRAINING}
    kept, left_out = options.to_publish(opt)
    if 'base' in states:
        source = options.public_base(opt['model'], opt, states['base']['source'], base)
        states['base'] = {**states['base'], 'source': source}
        kept |= options.base_options(opt['model'], source)
    elif 'words' not in states:
        dictionary = Path(f'{model}.dict')
        if not dictionary.is_file() or [*model.parent.glob(f'{model.name}.dict[.-]*[!t]')]:
            raise UserError(f'{dictionary}: expected this one file with the dictionary; byte pairs have more than one')
        (folder / DICTIONARY).write_bytes(dictionary.read_bytes())
    arrays: Arrays = {}
    plain = separate(states, '', arrays)
    distinct, same = without_copies(arrays)
    (folder / WEIGHTS).write_bytes(save({name: in_16_bits(name, array) for name, array in distinct.items()}))
    write_json(folder / CONFIG, {'form': FORM, 'agent': opt['model'], 'options': kept, 'same': same})
    write_json(folder / STATE, plain)
    return left_out


def unpack(files: Mapping[str, Path], model: Path) -> None:
    """Write what ParlAI loads, from the files of a published model by their names."""
    check_names(files)
    config = read_json(files[CONFIG]) if CONFIG in files else {}
    if not isinstance(config, dict) or 'form' not in config:
        classifier.unpack(files, model, config)
        return
    if config['form'] != FORM:
        raise NotLoaded(f'{files[CONFIG]}: it has form {config["form"]}, expected {FORM}: update parlai-persona')
    for name in (STATE, WEIGHTS):
        if name not in files:
            raise NotLoaded(f'{files[CONFIG].parent}: saw no {name}; expected {WEIGHTS}, {CONFIG} and {STATE}')
    opt = options.to_load(config, files[CONFIG])
    states = together(files[STATE], read_arrays(files[WEIGHTS], config.get('same', {})))
    with draft(Path(f'{model}.dict')) as part:
        if DICTIONARY in files:
            part.write_bytes(files[DICTIONARY].read_bytes())
        else:
            part.write_text(dictionary_of(states), encoding='utf-8')
    if REPLIES in files:
        with draft(Path(f'{model}.replies')) as part:
            part.write_text(read_text(files[REPLIES]), encoding='utf-8')
    with draft(model) as part:
        torch.save(states, part)
    write_json(Path(f'{model}.opt'), opt)


def dictionary_of(states: Mapping[str, Any]) -> str:
    """Return the text of the `.dict` of a checkpoint that holds its words, or stands on a base with a tokenizer."""
    if 'words' in states:
        return ''.join(f'{escape(word)}\t1\n' for word in states['words'])
    return f'the tokenizer of {states.get("base", {}).get("source")}\n'


# --------------------------------------------------------------------------------------------- arrays and values


def separate(value: Any, name: str, arrays: Arrays) -> Any:
    """Return what JSON can hold of a checkpoint; put its arrays into `arrays`, by the path of their keys."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) and '/' not in key for key in value):
            raise UserError(f'the checkpoint cannot be published: {name or "it"} has keys that are not plain names')
        parts = {key: separate(part, f'{name}/{key}' if name else key, arrays) for key, part in value.items()}
        return {key: part for key, part in parts.items() if not isinstance(part, Tensor)}
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if isinstance(value, Tensor):
        arrays[name] = value
        return value
    if isinstance(value, list | tuple):
        return [plain(item, name) for item in value]
    return plain(value, name)


def plain(value: Any, name: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple):
        return [plain(item, name) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UserError(f'the checkpoint cannot be published: {name} has a {type(value).__name__}; expected plain values')


def together(path: Path, arrays: Arrays) -> dict[str, Any]:
    """Read the plain values of a checkpoint, and put arrays back where `separate` took them from."""
    states = read_json(path)
    words, base = (states.get('words', []), states.get('base', {})) if isinstance(states, dict) else ([], {})
    if not isinstance(base, dict) or not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise NotLoaded(f'{path}: expected a list of words, and a base by names; copy the folder again')
    for name, array in arrays.items():
        *keys, last = name.split('/')
        place = states
        for key in keys:
            place = place.setdefault(key, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise NotLoaded(f'{path}: expected values by name, with room for {name}; copy the folder again')
        place[last] = array
    return states


def in_16_bits(name: str, array: Tensor) -> Tensor:
    """Return weights in 16 bits, unless they are too large for it; other arrays as they are."""
    if name.startswith(NETWORK) and array.dtype in (torch.float32, torch.float64):
        half = array.to(torch.float16)
        array = half if half.isfinite().all() else array
    return array.contiguous().clone()


def without_copies(arrays: Arrays) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays, each once, and name -> name for those that share their memory with another one."""
    first: dict[tuple, str] = {}
    same = {}
    for name, array in arrays.items():
        place = (array.data_ptr(), array.dtype, array.shape, array.stride())
        if array.numel() and first.setdefault(place, name) != name:
            same[name] = first[place]
    return {name: array for name, array in arrays.items() if name not in same}, same


def read_arrays(path: Path, same: Mapping[str, str]) -> Arrays:
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise NotLoaded(f'{path}: damaged, or not safetensors ({error}); copy the file again') from None
    for name, array in arrays.items():
        if name.startswith(NETWORK) and array.dtype == torch.float16:
            arrays[name] = array.float()
    try:
        return {**arrays, **{name: arrays[other] for name, other in same.items()}}
    except (KeyError, AttributeError, TypeError):
        raise NotLoaded(f'{path}: it lacks weights that {CONFIG} names; copy the folder again') from None


# ------------------------------------------------------------------------------------------------------ folders


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill. It gets its real name at the end; after an error it is removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f'{folder}: there are files in it already; remove it, or name another folder')
    if folder.is_file():
        raise UserError(f'{folder}: there is a file of this name; name another folder')
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix='.') as outer:
        part = Path(outer) / 'new'
        part.mkdir()
        yield part
        part.replace(folder)


def files_of(folder: Path) -> dict[str, Path]:
    """Return the files of a published folder by name; links that lead out of it are refused."""
    if not folder.is_dir():
        raise UserError(f'{folder}: no such folder; expected a model that `parlai persona_zoo push` has written')
    files = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
    for path in files.values():
        if path.resolve().parent != folder.resolve():
            raise UserError(f'{path} is a link that leads out of the folder; expected the file itself')
    return {name: path for name, path in files.items() if not re.match(r'\.', name)}
