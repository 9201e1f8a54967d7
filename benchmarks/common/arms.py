"""Measure the arms of a comparison: each in its own process, in turns, so that a slow minute hits all of them."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Figures = dict[str, float]


def child(module: str, *arguments: str, threads: int | None = None) -> Any:
    """Run a module with these arguments; return the JSON in the last line that it prints."""
    environment = {**os.environ, **({'OMP_NUM_THREADS': str(threads)} if threads else {})}
    done = subprocess.run(
        [sys.executable, '-m', module, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def in_turns(arms: Sequence[str], turns: int, measure: Callable[[str], Figures]) -> dict[str, Figures]:
    """Measure each arm several times; return the medians."""
    measured: dict[str, list[Figures]] = {arm: [] for arm in arms}
    for turn in range(turns):
        for arm in arms:
            measured[arm].append(measure(arm))
            name, value = next(iter(measured[arm][-1].items()))
            print(f'{turn + 1}/{turns} {arm}: {name} {value:.4g}', flush=True)
    return {
        arm: {name: statistics.median(one[name] for one in own) for name in own[0]} for arm, own in measured.items()
    }


def parlai(*arguments: str) -> None:
    """Run a `parlai` command quietly."""
    program = Path(sys.executable).with_name('parlai')
    subprocess.run([program, *arguments, '--loglevel', 'warn'], check=True, stdout=subprocess.DEVNULL)


def dictionary(path: Path, task: str, datapath: str) -> None:
    """Build a lower-cased dictionary with ParlAI's regular expression, unless it is there."""
    if not path.exists():
        where = ('-t', task, '--datapath', datapath, '--dict-file', str(path))
        parlai('build_dict', *where, '--dict-tokenizer', 're', '--dict-lower', 'true')
