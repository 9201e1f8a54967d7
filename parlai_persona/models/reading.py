"""Read prompts with a language model, without reading again what it has read before."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from parlai_persona.models.language_model import Context, LanguageModel, joined, padded
from parlai_persona.models.network import device_of
from parlai_persona.models.tree import Tokens


@dataclass(eq=False)
class Kept:
    """What one row of a batch has read: a row of a context."""

    tokens: Tokens = field(default_factory=list)
    context: Context | None = None
    number: int = 0  # of the row
    version: object = None  # of the weights

    def common(self, prompt: Tokens, version: object) -> int:
        """Return how many tokens at the start of the prompt were read with these weights; never all of it."""
        if version is not self.version:
            return 0
        pairs = zip(self.tokens, prompt[:-1], strict=False)
        return next((n for n, (old, new) in enumerate(pairs) if old != new), min(len(self.tokens), len(prompt) - 1))


def read(net: LanguageModel, prompts: Sequence[Tokens], kept: Sequence[Kept], version: object, pad: int) -> Context:
    """Return the context of each prompt; read equal prompts once, and keep what was read."""
    device = device_of(net)
    places = {tuple(prompt): number for number, prompt in reversed(list(enumerate(prompts)))}
    firsts = sorted(places.values())
    known = [kept[number].common(prompts[number], version) for number in firsts]
    parts = [(kept[place].context, kept[place].number, length) for place, length in zip(firsts, known, strict=True)]
    past, seen = joined(parts, device)
    new = [prompts[number][length:] for number, length in zip(firsts, known, strict=True)]
    before = Context(past, seen, net.empty(len(new)).last)
    context = net.extend(before, *padded(new, pad, device))
    rows = [firsts.index(places[tuple(prompt)]) for prompt in prompts]
    for one, prompt, row in zip(kept, prompts, rows, strict=True):
        one.tokens, one.context, one.number, one.version = prompt, context, row, version
    return context.select(torch.tensor(rows, device=device))
