"""Where the files of a model come from: the package, `PERSONA_ZOO`, the release, Hugging Face's hub, in this order."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import parlai.utils.logging as logging

from parlai_persona.errors import UserError
from parlai_persona.models.checksums import file_blocks
from parlai_persona.zoo.download import NotThere, download, size
from parlai_persona.zoo.registry import FOLDER, Entry, File

OFFLINE = ('HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE')
MIRROR = 'PERSONA_ZOO'
RELEASE = ''  # the address of the release's files, <name>/<version>/<file> below it. Nothing is published yet.


class Source(Protocol):
    def get(self, entry: Entry, name: str, cache: Path) -> Path:
        """Return the path of a file, which may be damaged; it is `cache` if the file had to be copied."""


class Folder:
    """Files as <name>/<version>/<file>, as in the package."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __str__(self) -> str:
        return 'the package' if self.folder == FOLDER else str(self.folder)

    def get(self, entry: Entry, name: str, cache: Path) -> Path:
        path = self.folder / entry.name / str(entry.version) / name
        if not path.is_file():
            raise NotThere('not there')
        return path


class Web:
    """The same folders below an address."""

    def __init__(self, url: str):
        self.url = url.rstrip('/')

    def __str__(self) -> str:
        return self.url

    def address(self, entry: Entry, name: str) -> str:
        return f'{self.url}/{entry.name}/{entry.version}/{name}'

    def get(self, entry: Entry, name: str, cache: Path) -> Path:
        address, file = self.address(entry, name), entry.files[name]
        if size(cache) < file.bytes:
            logging.info(f'{entry}: {name}, {readable(file.bytes)}, from {self}')
        download(address, file, cache)
        return cache


class Hub(Web):
    """A repository on Hugging Face's hub, in which version 1 is the tag `v1`."""

    def __init__(self) -> None:
        super().__init__("Hugging Face's hub")

    def address(self, entry: Entry, name: str) -> str:
        from huggingface_hub import hf_hub_url

        if not entry.hub:
            raise NotThere('not published there yet')
        return hf_hub_url(entry.hub, name, revision=f'v{entry.version}', endpoint=os.environ.get('HF_ENDPOINT'))


def is_offline() -> bool:
    return any(os.environ.get(name, '').upper() in ('1', 'ON', 'YES', 'TRUE') for name in OFFLINE)


def sources(offline: bool) -> Iterator[Source]:
    """Yield the sources in order; offline, those on this machine."""
    yield Folder(FOLDER)
    mirror = os.environ.get(MIRROR, '')
    web = [mirror] if mirror.startswith(('http://', 'https://')) else []
    if mirror and not web:
        yield Folder(Path(mirror).expanduser())
    if not offline:
        yield from map(Web, filter(None, [*web, RELEASE]))
        yield Hub()


def fetch(entry: Entry, cache: Path, offline: bool) -> dict[str, Path]:
    """Return the files of a model by name, each with the right hash, from the first source that has them all."""
    offline = offline or is_offline()
    problems = []
    for source in sources(offline):
        try:
            return {name: verified(source, entry, name, cache) for name in entry.files}
        except NotThere as problem:
            problems.append(f'{source}: {problem}')
    if offline:
        advice = (
            f'offline ({" or ".join(OFFLINE)}=1, or --offline), so the network was left alone. On a machine with a '
            f'network: `parlai persona_zoo get {entry.name}`; then copy its folder models/persona below --datapath'
        )
    else:
        advice = f'name a folder or an address that has it with {MIRROR}'
    raise UserError(f'{entry} cannot be had ({"; ".join(problems)}): {advice}')


def verified(source: Source, entry: Entry, name: str, cache: Path) -> Path:
    """Return one file, after comparing its hash with that of the registry."""
    file = entry.files[name]
    kept = cache / file.sha256
    had = kept.exists()
    path = source.get(entry, name, kept)
    if sha256(path) != file.sha256:
        if path == kept:
            path.unlink()
            if had:  # perhaps a part of it was wrong before
                return verified(source, entry, name, cache)
        raise NotThere(f'{name} has another SHA-256 than the registry says')
    return path


def sha256(path: Path) -> str:
    state = hashlib.sha256()
    for block in file_blocks(path):
        state.update(block)
    return state.hexdigest()


def described(path: Path) -> File:
    return File(path.stat().st_size, sha256(path))


def readable(count: int) -> str:
    """Return a number of bytes as people read it."""
    return f'{count / 1e6:.1f} MB' if count >= 1e5 else f'{count / 1e3:.1f} kB'
