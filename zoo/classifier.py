"""A classifier of transformers as a published model: the folder that transformers reads, in 16 bits."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from parlai_persona.errors import UserError
from parlai_persona.files import read_json, write_json
from parlai_persona.models.saved import NotLoaded
from parlai_persona.zoo.names import CARD, CONFIG, WEIGHTS

TOKENIZER = (
    *('tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'added_tokens.json'),
    *('vocab.txt', 'vocab.json', 'merges.txt', 'spiece.model', 'sentencepiece.bpe.model'),
)
PRIVATE = ('name_or_path', '_file')  # how entries end that say where the trainer's files were


def publish(model: Path, folder: Path) -> None:
    """Copy weights, config and tokenizer; leave out where they were on the trainer's machine."""
    for name in (CONFIG, WEIGHTS):
        if not (model / name).is_file():
            raise UserError(f'{model}: saw no {name}; expected a folder that save_pretrained has written')
    try:
        weights = load_file(model / WEIGHTS)
    except SafetensorError as error:
        raise NotLoaded(f'{model / WEIGHTS}: damaged, or not safetensors ({error}); copy the file again') from None
    halves = {name: w.to(torch.float16) if w.dtype == torch.float32 else w for name, w in weights.items()}
    (folder / WEIGHTS).write_bytes(save(halves, {'format': 'pt'}))
    for name in (CONFIG, *TOKENIZER):
        if (model / name).is_file():
            if name.endswith('config.json'):
                write_json(folder / name, without_places(model / name))
            else:
                shutil.copyfile(model / name, folder / name)


def without_places(path: Path) -> dict[str, Any]:
    entries = read_json(path)
    if not isinstance(entries, dict):
        raise NotLoaded(f'{path}: saw a {type(entries).__name__}, expected entries by name; copy the file again')
    return {name: value for name, value in entries.items() if not name.endswith(PRIVATE)}


def unpack(files: Mapping[str, Path], folder: Path, config: Any) -> None:
    """Copy the files that transformers reads into a new folder."""
    if not isinstance(config, dict) or 'model_type' not in config or WEIGHTS not in files:
        raise NotLoaded(
            f'{", ".join(sorted(files)) or "an empty folder"}: not a published model; expected {CONFIG} with an agent '
            f'or a model of transformers, {WEIGHTS} and {CARD}'
        )
    if 'auto_map' in json.dumps(config):
        raise NotLoaded(f'{files[CONFIG]}: it asks for Python code of its own, which is never loaded')
    folder.mkdir(parents=True)
    for name in (CONFIG, WEIGHTS, *TOKENIZER):
        if name in files:
            shutil.copyfile(files[name], folder / name)
