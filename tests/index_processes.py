"""A program for `test_memnet_index.py`: processes build one index at the same time, and are killed at random moments.

They are forked from this process, which has run no thread of torch before.
"""

import multiprocessing
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from parlai_persona.agents.memnet import index
from parlai_persona.agents.memnet.encoders import Shape
from parlai_persona.agents.memnet.index import IndexBuilder
from parlai_persona.agents.memnet.model import MemNet

SIZE, WORDS, COUNT = 8, 50, 300
CHUNK = 16
BUILD_SECONDS = 1.0
FORK = multiprocessing.get_context('fork')


class SlowBuilder(IndexBuilder):
    def encode(self, lines):
        time.sleep(BUILD_SECONDS * CHUNK / COUNT)
        return super().encode(lines)


def look_up(text):
    return [int(word) for word in text.split()]


def new_builder(folder):
    torch.manual_seed(0)
    folder.mkdir()
    source = folder / 'some.txt'
    source.write_text(''.join(f'{n % 7} {n // 7 + 1} {n % 49 + 1}\n' for n in range(COUNT)))
    net = MemNet(Shape(encoder='bow', embedding_size=SIZE), WORDS).eval()
    return SlowBuilder(source, folder / 'model.candidates', 3, look_up, ['a'], net)


def answers(builder):
    made = builder.open()
    return [made.search(q, 5) for q in torch.randn(4, SIZE, generator=torch.Generator().manual_seed(1))]


def start(builder, wanted, delay=0.0):
    """Start a process that opens the index; it ends with 0 if the answers are the wanted ones."""

    def work():
        time.sleep(delay)
        os._exit(0 if answers(builder) == wanted else 3)

    process = FORK.Process(target=work)
    process.start()
    return process


def exits(processes):
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def main(folder):
    index.CHUNK = CHUNK
    index.compiled_scan = lambda: None  # compiled code does not survive a fork
    one = new_builder(folder / 'together')
    wanted = answers(replace(one, folder=folder / 'alone'))
    for offset in (0, 0.1, 0.3, 0.6, 0.9):
        builder = replace(one, folder=folder / f'offset {offset}')
        seen = exits([start(builder, wanted, number * offset) for number in range(3)])
        assert seen == [0, 0, 0], f'offset {offset}: {seen}'
    rng = random.Random(0)
    for round in range(10):
        builder = replace(one, folder=folder / f'killed {round}')
        killed, other = start(builder, wanted), start(builder, wanted, 0.05)
        time.sleep(rng.uniform(0, BUILD_SECONDS))
        killed.kill()
        seen = exits([killed, other])
        assert seen[0] in (0, -signal.SIGKILL) and seen[1] == 0, f'killed in round {round}: {seen}'
    print('all answered')


if __name__ == '__main__':
    main(Path(sys.argv[1]))
