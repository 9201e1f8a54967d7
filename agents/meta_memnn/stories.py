"""Dialogues as a memory network reads them: lines to remember, a query and a reply.

The text form is that of Bordes et al. (2017) and Joshi et al. (2017). A memory line has its words, a speaker token
($u the user, $r the system and the facts it was given) and a time token: #n, the number of the line's turn in the
dialogue, or #-n, how many turns ago it was. The query is the user's last line, without tokens.
"""

import re
from dataclasses import dataclass, field

USER, SYSTEM = '$u', '$r'
ARTICLES = frozenset(('a', 'an', 'the'))
TOKEN = re.compile(r'<silence>|\w+|[^\w\s]+')


def tokenize(text: str) -> list[str]:
    """Return lower-case words, apart from punctuation, without articles and final punctuation (Joshi et al.)."""
    words = [word for word in TOKEN.findall(text.lower()) if word not in ARTICLES]
    return words[:-1] if words and words[-1] in ('.', '?', '!') else words


@dataclass(frozen=True, slots=True)
class Example:
    """One reply, and what was said before it."""

    memory: tuple[tuple[str, ...], ...]  # tokens of each line so far, oldest first; speaker and time included
    query: tuple[str, ...]
    reply: str
    profile: int = 0  # how many of the first lines describe the user


@dataclass
class Story:
    """A dialogue in progress: `hear` what the other side said, `say` the reply, make an `example` of it between."""

    back: bool = False  # count time from the query back, not from the start of the dialogue
    lines: list[tuple[tuple[str, ...], int]] = field(default_factory=list)  # words with speaker; number
    number: int = 0
    heard: tuple[str, ...] = ()
    profile: int = 0

    def hear(self, text: str, profile: int = 0) -> None:
        """Add facts, one a line, and the utterance, the last line. The first `profile` facts are about the user."""
        *facts, utterance = text.split('\n')
        if not self.lines:
            self.profile = min(profile, len(facts))
        for fact in facts:
            self.number += 1
            self.lines.append(((*tokenize(fact), SYSTEM), self.number))
        self.number += 1
        self.heard = tuple(tokenize(utterance))

    def say(self, reply: str) -> None:
        """Add the utterance that was heard last, and the reply to it."""
        self.lines += [((*self.heard, USER), self.number), ((*tokenize(reply), SYSTEM), self.number)]
        self.heard = ()

    def example(self, reply: str) -> Example:
        """Return the story so far with this reply."""
        memory = tuple((*words, self.time_token(number)) for words, number in self.lines)
        return Example(memory, self.heard, reply, self.profile)

    def time_token(self, number: int) -> str:
        return f'#-{self.number - number}' if self.back else f'#{number}'
