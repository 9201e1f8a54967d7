"""One line that says how far a long run is: in a terminal it is rewritten in place, in a log file now and then."""

import shutil
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TextIO

import parlai.utils.logging as logging

TERMINAL_EVERY = 0.5  # seconds between two updates in a terminal
LOG_EVERY = 10.0  # seconds between the first lines in a log file; later ones come after a tenth of the run so far
LOG_AT_LEAST_EVERY = 600.0
ERASE = '\r\x1b[K'  # the line the cursor is in


class ProgressLine:
    """Share done, examples a second and time left of one run.

    A message of ParlAI's log erases the line in a terminal first, so that the two never share one.
    """

    def __init__(
        self, label: str, examples: int = 0, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ):
        self.label, self.clock = label, clock
        self.out = out or sys.stderr
        self.terminal = self.out.isatty()
        self.begun = self.shown = clock()
        self.visible = False  # in a terminal
        self.ever_shown = False
        self.restart(examples)
        if self.terminal:
            logging.logger.addFilter(self.erase)

    def restart(self, examples: int) -> None:
        """Measure the speed from here, after a pause."""
        self.since, self.seen = self.clock(), examples

    def due(self) -> bool:
        """Tell whether it is time for an update."""
        now = self.clock()
        if self.terminal:
            return now - self.shown >= TERMINAL_EVERY
        return now - self.shown >= min(max(LOG_EVERY, (now - self.begun) / 10), LOG_AT_LEAST_EVERY)

    def show(self, share: float | None, examples: int, left: float | None = None, note: str = '') -> None:
        """Write the line. `left` is in seconds; if it is not given, it is computed from the share."""
        now = self.clock()
        if share and left is None:
            left = (now - self.begun) * (1 - share) / share
        parts = [
            f'{min(share, 1):.0%}' if share is not None else '',
            f'{examples:,} examples',
            f'{(examples - self.seen) / (now - self.since):,.0f} examples/s' if now > self.since else '',
            f'{timedelta(seconds=round(max(left, 0)))} left' if left is not None else '',
            note,
        ]
        text = f'{self.label}: ' + ' · '.join(part for part in parts if part)
        if self.terminal:
            text = ERASE + text[: shutil.get_terminal_size().columns - 1]
        self.out.write(text if self.terminal else text + '\n')
        self.out.flush()
        self.shown, self.visible, self.ever_shown = now, self.terminal, True

    def erase(self, _: object = None) -> bool:
        """Erase the line to make room for other output. As a filter of a log, let every record pass."""
        if self.visible:
            self.out.write(ERASE)
            self.out.flush()
            self.visible = False
        return True

    def finish(self) -> None:
        """Leave the line on the screen; later output goes below it."""
        if self.visible:
            self.out.write('\n')
            self.out.flush()
            self.visible = False
        logging.logger.removeFilter(self.erase)
