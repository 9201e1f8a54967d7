"""The list of models: `models.json`, one entry a version of a model."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from parlai_persona.errors import UserError, nearest, printable
from parlai_persona.files import read_json, write_json
from parlai_persona.zoo.names import check_names

FOLDER = Path(__file__).parent
MODELS = FOLDER / 'models.json'
HASH = re.compile('[0-9a-f]{64}')
SPEC = re.compile(r'(?P<name>[a-z0-9][a-z0-9_]*)(@(?P<version>\d{1,6}))?(/model)?')


class File(NamedTuple):
    bytes: int
    sha256: str


@dataclass(frozen=True)
class About:
    """What the card of a model says."""

    title: str  # one line
    agent: str
    license: str  # as Hugging Face spells it
    attribution: list[str] = field(default_factory=list)
    base: str | None = None  # on Hugging Face's hub
    package: str = ''  # whose weights of the base it was trained on, if not those of the hub
    data: str = ''
    command: str = ''  # that trained it
    cost: str = ''
    seed: int | None = None
    commit: str = ''
    evaluate: str = ''  # the command that measured it
    metric: str = ''
    value: float | None = None  # what it measures
    tolerance: float = 0.0


@dataclass(frozen=True)
class Entry:
    name: str
    version: int
    about: About
    files: dict[str, File]
    hub: str | None = None  # its repository on Hugging Face's hub

    def __str__(self) -> str:
        return f'zoo:persona/{self.name}@{self.version}'

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files.values())


def entries(path: Path | None = None) -> list[Entry]:
    """Return all entries, the newest version of a model first."""
    path = path or MODELS
    try:
        found = [entry_of(each) for each in read_json(path)]
    except UserError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f'{path}: expected a list of models, each with name, version, about and files ({error})'
        ) from None
    return sorted(found, key=lambda entry: (entry.name, -entry.version))


def entry_of(each: Mapping[str, Any]) -> Entry:
    """Return an entry; its names are checked, because they become paths."""
    files = {name: File(int(file['bytes']), str(file['sha256'])) for name, file in each['files'].items()}
    check_names(files)
    for name, file in files.items():
        if not HASH.fullmatch(file.sha256):
            raise UserError(f'{name}: saw {printable(file.sha256[:80])!r}, expected a SHA-256 in hexadecimal digits')
    if not isinstance(each['version'], int) or not SPEC.fullmatch(f'{each["name"]}@{each["version"]}'):
        raise UserError(f'{printable(each["name"])}@{printable(each["version"])}: expected a plain name and a version')
    return Entry(str(each['name']), each['version'], About(**each['about']), files, each.get('hub'))


def write(found: list[Entry], path: Path | None = None) -> None:
    """Write the list of models."""
    plain = [
        {**asdict(entry), 'files': {name: file._asdict() for name, file in entry.files.items()}} for entry in found
    ]
    write_json(path or MODELS, plain)


def find(spec: str) -> Entry:
    """Return the entry of `name` or `name@version`; the newest version if there is none. `/model` may follow."""
    known = entries()
    match = SPEC.fullmatch(spec)
    name = match['name'] if match else spec
    versions = [entry for entry in known if entry.name == name]
    names = list(dict.fromkeys(entry.name for entry in known))
    if not match or not versions:
        raise UserError(
            f'zoo:persona/{printable(spec[:100])}: there is no such model in the zoo. It has '
            f'{", ".join(names) or "none yet"}{nearest(name[:100], names)}'
        )
    for entry in versions:
        if match['version'] in (None, str(entry.version)):
            return entry
    numbers = ', '.join(str(entry.version) for entry in versions)
    raise UserError(f'zoo:persona/{name}: there is no version {match["version"]}. It has {numbers}')
