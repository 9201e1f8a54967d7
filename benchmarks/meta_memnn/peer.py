"""ParlAI's own `memnn` on personalised-bAbI task 3: the peer that `speed.py` times an epoch of.

It is as close to ours as its flags allow: embedding 20, 3 hops, memory 250, time features, batch 32, Adam, and the same
list of candidates. Its network differs: four tables of embeddings instead of two, means over words instead of sums.
"""

import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FLAGS = (
    '-t personalized_dialog:SmallTask:3 -m memnn --memsize 250 --hops 3 --embedding-size 20 --time-features true '
    '--batchsize 32 --optimizer adam --learningrate 0.001 --num-epochs 1 --text-truncate -1 --label-truncate -1 '
    '--candidates fixed --eval-candidates fixed --fixed-candidate-vecs replace --encode-candidate-vecs false '
    '--short-final-eval true --validation-max-exs 1 --log-every-n-secs 1000'
)


def arguments(folder: Path, datapath: str, replies: Sequence[str]) -> list[str]:
    """Return what follows `parlai train_model`. The dictionary and the list of candidates are kept in `folder`."""
    listed = folder / 'replies.txt'
    listed.write_text(''.join(f'{reply}\n' for reply in replies), encoding='utf-8')
    named = {'fixed-candidates-path': listed, 'datapath': os.path.abspath(datapath), 'model-file': folder / 'memnn'}
    return [*FLAGS.split(), *(word for name, path in named.items() for word in (f'--{name}', str(path)))]


class Peer:
    """The agent, and an epoch of batches that are already read, tokenised and made into vectors."""

    def __init__(self, words: Sequence[str]):
        from parlai.core.message import Message
        from parlai.scripts.train_model import TrainLoop, setup_args
        from parlai.utils import logging

        logging.disable()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            loop = TrainLoop(setup_args().parse_args(list(words)))
            self.agent, self.done = loop.agent, 0
            self.batches: list[list[Any]] = []

            def keep(observations: Sequence[Any]) -> list[Message]:
                self.batches.append(list(observations))
                return [Message({'id': 'kept', 'episode_done': False}) for _ in observations]

            act, self.agent.batch_act = self.agent.batch_act, keep
            for _ in range(-(-loop.world.num_examples() // loop.opt['batchsize'])):
                loop.world.parley()
            self.agent.batch_act, self.pad = act, self.agent._build_mems
        lists = [[message['memory_vecs'] for message in batch] for batch in self.batches]
        self.padded = {id(memories[0]): self.pad(memories) for memories in lists}

    def step(self) -> None:
        """Learn from the next batch."""
        self.agent.batch_act(self.batches[self.done % len(self.batches)])
        self.agent.reset_metrics()
        self.done += 1

    def step_padded(self) -> None:
        """Learn from it with memories that were padded before: that is more than half of ParlAI's step."""
        self.agent._build_mems = lambda memories: self.padded[id(memories[0])]
        self.step()
        self.agent._build_mems = self.pad
