"""`--embedding-type glove`, `fasttext` and `fasttext_cc` from a local file."""

import functools
from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from parlai_persona.compat.hooks import fixes

if TYPE_CHECKING:
    import torch

# For each type of vectors, the file that ParlAI would download and its address.
FILES = {
    'fasttext_cc': (
        'crawl-300d-2M.vec',
        'https://dl.fbaipublicfiles.com/fasttext/vectors-english/crawl-300d-2M.vec.zip',
    ),
    'fasttext': ('wiki.en.vec', 'https://dl.fbaipublicfiles.com/fasttext/vectors-wiki/wiki.en.vec'),
    'glove': ('glove.840B.300d.txt', 'https://nlp.stanford.edu/data/glove.840B.300d.zip'),
}


class Vectors(NamedTuple):
    """The part of torchtext's class of this name that ParlAI uses."""

    stoi: dict[str, int]  # word -> row
    vectors: 'torch.Tensor'  # words x dimensions
    dim: int


@fixes('parlai.core.torch_agent')
def vectors_without_torchtext(module: Any) -> bool:
    """`--embedding-type glove|fasttext|fasttext_cc` needs torchtext, and its last version is for torch 2.3.

    Detected by importing torchtext at the first use. Without it, the vectors are read from a file of the user in the
    folder that ParlAI uses, `<datapath>/models/<type>_vectors/`. Any name ending in `.txt` or `.vec` works. Only the
    words of the agent's dictionary are kept.
    """
    get = module.TorchAgent._get_embtype

    @functools.wraps(get)
    def get_embtype(self, emb_type):
        kind = emb_type.removesuffix('-fixed')
        if kind not in FILES or _torchtext_works():
            return get(self, emb_type)
        return load_vectors(find_vectors(Path(self.opt['datapath']), kind), self.dict.tok2ind), kind

    module.TorchAgent._get_embtype = get_embtype
    return True


def _torchtext_works() -> bool:
    try:
        import torchtext.vocab  # noqa: F401
    except (ImportError, OSError):  # OSError: its library was built for another torch
        return False
    return True


def find_vectors(datapath: Path, kind: str) -> Path:
    """Return the user's vector file of this kind: the one with ParlAI's own name, else the only one in the folder."""
    folder = datapath / 'models' / f'{kind}_vectors'
    name, url = FILES[kind]
    if (folder / name).is_file():
        return folder / name
    files = sorted(path for path in folder.glob('*') if path.suffix in ('.txt', '.vec'))
    if len(files) == 1:
        return files[0]
    seen = ', '.join(path.name for path in files) or 'none'
    raise FileNotFoundError(
        f'--embedding-type {kind} needs one vector file (*.txt or *.vec) in {folder}, saw: {seen}. '
        f'Put yours there under any name, or unpack {url} there.'
    )


def load_vectors(path: Path, words: Container[str]) -> Vectors:
    """Load the vectors of those of the words that the file has."""
    import torch

    from parlai_persona.models.vectors import read_vectors, vector_size

    found, size = read_vectors(path, words), vector_size(path)
    rows = torch.stack([*found.values()]) if found else torch.empty(0, size)
    return Vectors({word: row for row, word in enumerate(found)}, rows, size)
