"""The records that each of our tasks gives to its teacher, and the errors that data can raise."""

from dataclasses import dataclass

from parlai_persona.errors import UserError


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of the partner and our reply to it."""

    text: str
    reply: str
    candidates: tuple[str, ...] = ()  # the reply among distractors, if the data have any
    kind: str = ''  # the sort of reply, if the task knows it


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One speaker's side of a dialogue. If a corpus has the other side too, that is a second record."""

    id: str
    turns: tuple[Turn, ...]
    persona: tuple[str, ...] = ()  # of the speaker who replies
    partner_persona: tuple[str, ...] = ()
    speaker: str = ''  # who replies, if the corpus knows people


class DataError(UserError):
    """The data are wrong; the message says where, what was seen and what was expected."""


class NoSplit(DataError):
    """The requested split does not exist."""
