"""The record in which every task of ours hands its dialogues to the teacher."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """What the partner said (all of it since our last reply) and what we replied."""

    text: str
    reply: str
    candidates: tuple[str, ...] = ()  # the reply among distractors that came with the data, if any did
    kind: str = ''  # what sort of reply it is, where a task knows it


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One speaker's side of a dialogue; the other side of it, where a corpus has both, is another record."""

    id: str
    turns: tuple[Turn, ...]
    persona: tuple[str, ...] = ()  # about the speaker who replies
    partner_persona: tuple[str, ...] = ()
    speaker: str = ''  # who replies, where a corpus knows people


class DataError(ValueError):
    """The data are not what they should be: the message says where, what was seen and what was expected."""


class NoSplit(DataError):
    """The split that was asked for does not exist."""
