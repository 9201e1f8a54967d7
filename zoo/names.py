"""Names of files in published models. All that come from outside are checked against them."""

import re
from collections.abc import Iterable

from parlai_persona.errors import UserError, printable

WEIGHTS, CONFIG, STATE, DICTIONARY, REPLIES, CARD = (
    'model.safetensors',
    'config.json',
    'state.json',
    'dictionary.txt',
    'replies.txt',
    'README.md',
)
FILE = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.-]*\.(safetensors|json|txt|md|model)')  # no folder, pickle or program


def check_names(names: Iterable[str]) -> None:
    """Refuse names that lead out of a folder, and kinds of files that a published model does not have."""
    for name in names:
        if not isinstance(name, str) or not FILE.fullmatch(name):
            raise UserError(
                f'{printable(name)!r} is no file of a published model: expected a plain name that ends in '
                '.safetensors, .json, .txt or .md'
            )
