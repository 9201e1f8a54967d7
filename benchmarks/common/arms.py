"""Arms of a comparison: each in a process of its own, in turns, so that a slow minute hits all alike."""

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
    """The medians of several turns."""
    seen: dict[str, list[Figures]] = {arm: [] for arm in arms}
    for turn in range(turns):
        for arm in arms:
            seen[arm].append(measure(arm))
            name, value = next(iter(seen[arm][-1].items()))
            print(f'{turn + 1}/{turns} {arm}: {name} {value:.4g}', flush=True)
    return {
        arm: {name: statistics.median(one[name] for one in found) for name in found[0]} for arm, found in seen.items()
    }


def parlai(*arguments: str) -> None:
    program = Path(sys.executable).with_name('parlai')
    subprocess.run([program, *arguments, '--loglevel', 'warn'], check=True, stdout=subprocess.DEVNULL)


def dictionary(path: Path, task: str, datapath: str) -> None:
    """If it is not there: lower case, ParlAI's regular expression."""
    if not path.exists():
        parlai(
            'build_dict',
            '-t',
            task,
            '--datapath',
            datapath,
            '--dict-file',
            str(path),
            '--dict-tokenizer',
            're',
            '--dict-lower',
            'true',
        )
