"""How a dialogue is written for a language model: the persona, then the turns, each with a mark of who speaks.

The prompt of a turn goes on from the prompt and the reply of the turn before it, so a dialogue can be read in one pass.
Every part has its own tokens, whatever stands beside it. What people say is words, even if it looks like a mark.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from parlai_persona.fields import SILENCE

Tokens = list[int]
PARTNER, SELF = 'partner', 'self'  # who speaks; self is who replies
LAYOUTS = {  # name: the marks of a persona, of either speaker, and of the end of a turn
    'words': ('My persona:', 'Them:', 'Me:', '\n'),
    'tokens': ('<persona>', '<partner>', '<self>', '<end>'),
}


@dataclass(frozen=True)
class Layout:
    """Writes prompts; `words` returns the tokens of a text."""

    words: Callable[[str], Tokens]
    begin: Tokens  # of every prompt
    persona_mark: Tokens
    partner_mark: Tokens
    self_mark: Tokens
    end: int

    def persona(self, sentences: Iterable[str]) -> Tokens:
        tokens = [token for sentence in sentences for token in self.words(sentence)]
        return [*self.persona_mark, *tokens, self.end] if tokens else []

    def turn(self, speaker: str, text: str) -> Tokens:
        mark = self.self_mark if speaker == SELF else self.partner_mark
        return [*mark, *self.words(text), self.end]

    def prompt(self, persona: Iterable[str], turns: Sequence[tuple[str, str]], room: int | None) -> Tokens:
        """Return the tokens to reply to, at most `room`: the oldest turns are left out first, the persona never."""
        head = [*self.begin, *self.persona(persona)]
        said = [self.turn(speaker, text) for speaker, text in turns if text != SILENCE]
        if room is not None:
            said = latest(said, room - len(head) - len(self.self_mark))
        return [*head, *(token for turn in said for token in turn), *self.self_mark]


def latest(said: Sequence[Tokens], room: int) -> list[Tokens]:
    """Return the latest turns that fit; of the last one, its end at least."""
    start = len(said)
    while start and len(said[start - 1]) <= room:
        start -= 1
        room -= len(said[start])
    if start == len(said) and said:
        return [said[-1][-max(room, 1) :]]
    return list(said[start:])
