"""The visitors: each has conversations of their own, which end by themselves; numbers, sizes and rates are limited."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.exceptions import HTTPException

from parlai_persona.web.judge import Ballot
from parlai_persona.web.models import Pane
from parlai_persona.web.options import Limits

MINUTE = 60.0  # seconds


class Rate:
    """Allows so many requests a minute; unused ones are saved up for one minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float]):
        self.most, self.clock = per_minute, clock
        self.left, self.since = float(per_minute), clock()

    def take(self) -> None:
        now = self.clock()
        self.left = min(self.most, self.left + (now - self.since) * self.most / MINUTE)
        self.since = now
        if self.left < 1:
            raise HTTPException(429, f'too many requests: saw more than {self.most} in a minute. Wait a moment')
        self.left -= 1

    @property
    def full(self) -> bool:
        return self.left + (self.clock() - self.since) * self.most / MINUTE >= self.most


class Session:
    """A visitor, whom only the id gives access to."""

    def __init__(self, panes: list[Pane], rate: Rate, now: float):
        self.id = secrets.token_urlsafe(24)
        self.panes, self.rate, self.used = panes, rate, now
        self.busy = False
        self.ballot: Ballot | None = None  # what a judge is asked

    @property
    def readers(self) -> list[Pane]:
        """Return the panes whose agents read a persona."""
        return [pane for pane in self.panes if not pane.adapts]

    @property
    def learners(self) -> list[Pane]:
        """Return the panes whose agents become a person from dialogues."""
        return [pane for pane in self.panes if pane.adapts]

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Do one thing at a time."""
        if self.busy:
            raise HTTPException(409, 'the last message is not answered yet. Wait for the answer')
        self.rate.take()
        self.busy = True
        try:
            yield
        finally:
            self.busy = False


class Sessions:
    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self.limits, self.clock = limits, clock
        self.known: dict[str, Session] = {}
        self.addresses: dict[str, Rate] = {}  # how often conversations are opened from there

    def open(self, panes: list[Pane], address: str, left: str = '') -> Session:
        """Begin a conversation; end the one that its visitor leaves for it, unless an answer is on its way there."""
        self.count(address)
        last = self.known.get(left)
        if last and not last.busy:
            self.end(last)
        if len(self.known) >= self.limits.sessions:
            raise HTTPException(
                503,
                f'all {self.limits.sessions} conversations are in use; one ends by itself when it is left. Try later',
            )
        session = Session(panes, Rate(self.limits.rate, self.clock), self.clock())
        self.known[session.id] = session
        return session

    def count(self, address: str) -> None:
        """Count a request from an address; refuse it if there are too many."""
        self.forget()
        self.addresses.setdefault(address, Rate(self.limits.rate, self.clock)).take()

    def find(self, asked: str) -> Session:
        self.forget()
        session = self.known.get(asked)
        if session is None:
            raise HTTPException(410, 'this conversation has ended, or the server was started again')
        session.used = self.clock()
        return session

    def end(self, session: Session) -> None:
        self.known.pop(session.id, None)

    def forget(self) -> None:
        """End the conversations that nobody uses, and forget addresses that have been quiet."""
        oldest = self.clock() - self.limits.idle
        self.known = {name: one for name, one in self.known.items() if one.busy or one.used >= oldest}
        self.addresses = {name: rate for name, rate in self.addresses.items() if not rate.full}
