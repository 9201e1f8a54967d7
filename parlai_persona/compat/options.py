"""Options that ParlAI accepts and then fails with: sizes of batches, and presets of a training in other commands."""

import functools
from typing import Any

from parlai_persona.compat.hooks import fixes
from parlai_persona.errors import UserError

LEAST = {'batchsize': 1, 'eval_batchsize': 1, 'num_workers': 0}
ROUNDED = 8  # ParlAI counts the tokens of a text up to a multiple of this


@fixes('parlai.core.params')
def sizes_of_batches(module: Any) -> bool:
    """A batch size of 0 or less is taken as 1, and dynamic batches without limits of the texts end in a traceback.

    ParlAI 1.7.2 does this on every stack. Both are now errors of the command line, before anything is loaded.
    """
    parse = module.ParlaiParser.parse_args

    @functools.wraps(parse)
    def parse_and_check(self, *args, **kwargs):
        opt = parse(self, *args, **kwargs)
        for name, least in LEAST.items():
            if opt.get(name) is not None and opt[name] < least:
                raise UserError(f'--{name.replace("_", "-")} is {opt[name]}; expected {least} or more')
        if (opt.get('dynamic_batching') and opt['batchsize'] > 1) or opt.get('num_workers'):
            check_dynamic_batches(opt)
        return opt

    module.ParlaiParser.parse_args = parse_and_check
    return True


def check_dynamic_batches(opt: Any) -> None:
    """Check that ParlAI can compute how many texts fit into a batch, and that one text does."""
    limits = {name: opt.get(name) or opt.get('truncate') or -1 for name in ('text_truncate', 'label_truncate')}
    missing = [f'no --{name.replace("_", "-")}' for name, limit in limits.items() if limit < 0]
    which = '--dynamic-batching' if opt.get('dynamic_batching') else '--num-workers'
    if missing:
        raise UserError(
            f'{which} makes batches of about as many tokens as --batchsize texts of the longest length: saw '
            f'{" and ".join(missing)}; give the most tokens of a context and of a response'
        )
    places = sum(limits.values()) * opt['batchsize']
    longest = sum(-(-limit // ROUNDED) * ROUNDED for limit in limits.values())
    if longest > places:
        raise UserError(
            f'{which}: a batch has {places} places for tokens (--batchsize times the sum of --text-truncate and '
            f'--label-truncate), but one example can take {longest}; raise --batchsize'
        )
