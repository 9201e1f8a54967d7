"""The options of the inner learning; flags are made from them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from parlai_persona.flags import flag

PREFIX = 'paml'
ALL = 'all'


@dataclass(frozen=True)
class Inner:
    inner_lr: float = flag(0.01, 'alpha, the rate of the inner SGD (sec. 3); where rates are learned, their start')
    inner_steps: int = flag(1, 'training: passes over the support dialogues', least=0)
    eval_steps: int = flag(
        10, 'evaluation and conversation: passes over the support dialogues; 0: no adaptation', least=0
    )
    inner_batch: int = flag(16, 'replies in an inner step (sec. 3); 0: all of the support', least=0)
    prior: float = flag(
        0.0,
        'the gradient of an inner step is the sum over its tokens by their number and this: who has said little '
        'moves the weights less',
        least=0,
    )
    order: str = flag(
        'second',
        'of the meta-gradient: second is exact; first takes the inner gradients for constants',
        choices=('second', 'first'),
    )
    adapt: str = flag(ALL, "what adapts: 'all', or a regular expression that names of parameters match (norm)")
    learn_rates: bool = flag(False, 'learn a rate alpha for each parameter tensor')
    amp: bool = flag(
        False, 'compute in bfloat16 where that is safe (torch.autocast): faster on GPUs, and on CPUs that know it'
    )
    delta: str | None = flag(None, 'become whom this file is, which --paml-save-delta wrote', metavar='FILE')
    save_delta: str | None = flag(
        None,
        'write here what adapting changed in the weights, whenever a conversation begins with dialogues',
        metavar='FILE',
    )

    def adapting(self, names: Iterable[str]) -> list[str]:
        names = list(names)
        found = [name for name in names if self.adapt == ALL or re.search(self.adapt, name)]
        if not found:
            raise ValueError(
                f'--paml-adapt {self.adapt!r} matches no parameter; there are {", ".join(names[:8])} and '
                f'{max(0, len(names) - 8)} more'
            )
        return found
