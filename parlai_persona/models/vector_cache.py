"""The vectors of texts that come again and again in an evaluation."""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

Item = TypeVar('Item')


class VectorCache:
    """Keeps the vectors of the last `most` items until the weights of the network change."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.weights: tuple[int, int] | None = None
        self.known: dict[Hashable, Tensor] = {}

    def vectors(
        self,
        net: nn.Module,
        items: Sequence[Item],
        encode: Callable[[list[Item]], Tensor],
        key: Callable[[Item], Hashable],
    ) -> Tensor:
        """Return a vector for each item (len(items), d); `encode` makes those of items with new keys."""
        weights = id(net), sum(p._version for p in net.parameters())  # torch counts the changes of each parameter
        if weights != self.weights:
            self.known.clear()
            self.weights = weights
        new = {key(item): item for item in items if key(item) not in self.known}
        if new:
            self.known.update(zip(new, encode(list(new.values())), strict=True))
        found = torch.stack([self.known[key(item)] for item in items])
        while len(self.known) > self.most:
            del self.known[next(iter(self.known))]  # the oldest
        return found
