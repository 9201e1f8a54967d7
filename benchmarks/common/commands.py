"""Run stock `parlai` commands one after another, with progress. Ctrl-C stops them; a later run resumes."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path


class Progress:
    """Show one line: `[3/10] memnn, seed 1 2:10 · 31:02 in all`."""

    def __init__(self, jobs: int):
        self.jobs, self.title, self.live = jobs, '', sys.stdout.isatty()
        self.start = self.began = self.shown = time.monotonic()

    def begin(self, number: int, title: str) -> None:
        self.title = f'[{number}/{self.jobs}] {title}'
        self.began = self.shown = time.monotonic()
        print(self.title, end='\r' if self.live else '\n', flush=True)

    def tick(self) -> None:
        """Call this every second; a terminal shows every call, a log file one a minute."""
        now = time.monotonic()
        if self.live or now > self.shown + 60:
            self.shown = now
            line = f'{self.title} {clock(now - self.began)} · {clock(now - self.start)} in all '
            print(line, end='\r' if self.live else '\n', flush=True)

    def done(self, result: str) -> None:
        print(f'{self.title}: {result} ({clock(time.monotonic() - self.began)}){" " * 20 * self.live}', flush=True)


def clock(seconds: float) -> str:
    return f'{int(seconds) // 60}:{int(seconds) % 60:02}'


def execute(command: str, log: Path, progress: Progress) -> None:
    """Run `parlai …` on one thread with the console script beside this Python; its output goes to `log`.

    Ctrl-C or SIGTERM also stops the command. ParlAI first finishes a checkpoint that it is writing, and we wait for it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # also where a shell started us in the background
    name, *arguments = shlex.split(command)
    program = Path(sys.executable).with_name(name)
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('a', encoding='utf-8') as output:
        print(f'$ {command}', file=output, flush=True)
        process = subprocess.Popen([program, *arguments], stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            while process.poll() is None:
                time.sleep(1)
                progress.tick()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            sys.exit(f'\nStopped during: {command}\nRun the same line again to go on.')
    if process.returncode:
        last = ''.join(log.read_text(encoding='utf-8').splitlines(keepends=True)[-15:])
        sys.exit(f'{last}\nExit status {process.returncode} of: {command}\nAll of its output: {log}')
