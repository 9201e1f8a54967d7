"""The order of a training epoch: a new permutation each time, divided between workers."""

import random
from typing import Any

from parlai.core.opt import Opt
from parlai.utils.distributed import get_rank, num_workers

from parlai_persona.data.candidates import shuffled


class SeededEpochs:
    """Mixin for a teacher with numbered episodes: an epoch visits each once. (ParlAI's own draw with replacement.)

    All workers draw the same order, because they have `seed` and `starttime` in common.
    """

    opt: Opt
    random: bool
    index: Any

    def __init__(self, opt: Opt, shared=None):
        self.epoch_order: dict[str, list[int]] = shared['epoch_order'] if shared else {}
        super().__init__(opt, shared)  # type: ignore[call-arg]

    def share(self):
        return {**super().share(), 'epoch_order': self.epoch_order}  # type: ignore[misc]

    def next_episode_idx(self, num_eps: int | None = None, loop: bool | None = None) -> int:
        """Return, in training, the next episode of this worker's part of the permutation."""
        if not self.random:
            return super().next_episode_idx(num_eps, loop)  # type: ignore[misc]
        self.index.value += 1  # the rows of a batch share this counter
        episodes = num_eps or self.num_episodes()  # type: ignore[attr-defined]
        self.epoch, position = divmod(self.index.value * num_workers() + get_rank(), episodes)
        return self.order(self.epoch, episodes)[position]

    def order(self, epoch: int, episodes: int) -> list[int]:
        key = epoch_key(self.opt, epoch)
        if key not in self.epoch_order:
            self.epoch_order.clear()
            self.epoch_order[key] = shuffled(range(episodes), random.Random(key))
        return self.epoch_order[key]


def epoch_key(opt: Opt, epoch: int) -> str:
    """Return the seed of the order of an epoch."""
    seed = opt.get('seed')
    return f'{opt.get("starttime") if seed is None else seed}/{epoch}'
