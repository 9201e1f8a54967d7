"""`zoo:persona/<name>`: the model file on this machine, fetched and unpacked once.

A model's folder is <datapath>/models/persona/<name>/<version>. It appears when it is complete. Other versions are left
alone.
"""

from pathlib import Path

import parlai.utils.logging as logging

from parlai_persona.zoo.registry import FOLDER, Entry

MODEL = 'model'


def default_datapath() -> str:
    """Return the folder that ParlAI's commands use without `--datapath`."""
    from parlai.core.params import ParlaiParser

    parser = ParlaiParser(False, False)
    parser.add_parlai_data_path()
    return parser.parse_args([])['datapath']


def folder_of(entry: Entry, datapath: str | None) -> Path:
    return Path(datapath or default_datapath()) / 'models' / 'persona' / entry.name / str(entry.version)


def is_here(entry: Entry, datapath: str | None) -> bool:
    """Tell whether a model needs no network: it is unpacked already, or comes with the package."""
    return folder_of(entry, datapath).is_dir() or (FOLDER / entry.name / str(entry.version)).is_dir()


def model_file(entry: Entry, datapath: str | None, offline: bool = False) -> str:
    """Return the path of a model on this machine; fetch it first if it is not there."""
    folder = folder_of(entry, datapath)
    if not folder.is_dir():
        from parlai_persona.prepared import locked

        cache = folder.parents[1] / '.downloads'
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / '.lock', f'{entry}: another process is fetching a model'):
            if not folder.is_dir():
                make(entry, folder, cache, offline)
    return str(folder / MODEL)


def make(entry: Entry, folder: Path, cache: Path, offline: bool) -> None:
    """Fetch the files, check them, unpack them."""
    from parlai_persona.zoo.form import new_folder, unpack
    from parlai_persona.zoo.sources import fetch, readable

    logging.info(f'{entry}: {readable(entry.bytes)}, to {folder}')
    files = fetch(entry, cache, offline)
    with new_folder(folder) as part:
        unpack(files, part / MODEL)
    for path in files.values():
        if path.parent == cache:
            path.unlink(missing_ok=True)  # two files may be the same
