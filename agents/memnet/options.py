"""Options of what `persona:memnet` reads, and ParlAI's options that it refuses."""

from dataclasses import dataclass

from parlai.core.opt import Opt

from parlai_persona.errors import UserError
from parlai_persona.flags import flag

PREFIX = 'memnet'
NO_EFFECT = {  # ParlAI's flags that this agent does not read -> what to do instead
    **dict.fromkeys(['person_tokens', 'split_lines', 'history_reversed', 'dynamic_batching'], 'leave it out'),
    **dict.fromkeys(['data_parallel', 'model_parallel'], 'use multiprocessing_train'),
    'embedding_type': 'give --memnet-vectors a file',
}


@dataclass(frozen=True)
class Reading:
    """Options of what the agent reads."""

    sentences: int = flag(100, 'number of persona sentences to read, the first ones (N of Table 3); 0: none', least=0)
    candidates: str | None = flag(
        None,
        'file of responses, one a line, up to millions (.gz works): evaluation and chats choose from these (Table 2)',
        metavar='FILE',
    )
    candidate_tokens: int = flag(10, 'words; longer lines of --memnet-candidates are left out (Table 2)', least=1)


@dataclass(frozen=True)
class WordReading(Reading):
    vectors: str | None = flag(
        None, 'text file of word vectors to start from (GloVe, fastText; .txt, .vec, .gz)', metavar='FILE'
    )


def refuse_flags(opt: Opt) -> None:
    """Refuse flags that would have no effect."""
    for name, instead in NO_EFFECT.items():
        if opt.get(name) not in (None, False, 'random'):
            raise UserError(f'--{name.replace("_", "-")} is {opt[name]}; persona:memnet does not know it: {instead}')
    if 'vocab' in (opt['candidates'], opt['eval_candidates'], opt['interactive_candidates']):
        raise UserError('candidates are vocab; persona:memnet chooses among responses: batch, inline or fixed')
