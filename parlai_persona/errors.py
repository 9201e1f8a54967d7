"""Errors that a user can correct, and text that is safe to show in a terminal."""

import difflib
import re
from collections.abc import Iterable

# Control characters, marks that change the direction of a text, and halves of characters, which cannot be printed.
HIDDEN = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]')


class UserError(ValueError):
    """Something that the user can correct: the message says what was seen, where, what was expected and what to do.

    A `parlai` command prints the message without a traceback (see `compat.errors`).
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Return '. Did you mean …?' with the most similar of the known names; nothing if none is similar."""
    similar = difflib.get_close_matches(name, list(known))
    return f'. Did you mean {similar[0]}?' if similar else ''


def printable(text: object) -> str:
    r"""Return the text with control characters escaped, such as `\x1b`. Line feeds and tabs stay."""
    return HIDDEN.sub(lambda match: match[0].encode('unicode_escape').decode(), str(text))
