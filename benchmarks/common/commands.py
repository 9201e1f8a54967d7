"""Run a stock `parlai` command. Ctrl-C stops it; a later run resumes."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path


def execute(command: str, log: Path) -> None:
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
            process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            sys.exit(f'\nStopped during: {command}\nRun the same line again to go on.')
    if process.returncode:
        last = ''.join(log.read_text(encoding='utf-8').splitlines(keepends=True)[-15:])
        sys.exit(f'{last}\nExit status {process.returncode} of: {command}\nAll of its output: {log}')
