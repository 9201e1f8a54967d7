"""Options, and what a TorchAgent expects: a history, which here is turns and persona apart, and a dictionary."""

from dataclasses import dataclass
from typing import NamedTuple

from parlai.core.dict import DictionaryAgent
from parlai.core.message import Message
from parlai.core.opt import Opt

from parlai_persona.agents.memnet.texts import Line
from parlai_persona.fields import PARTNERS_PERSONA, PERSONA, YOUR_PERSONA
from parlai_persona.flags import flag

OWN, PARTNERS = YOUR_PERSONA.strip(), PARTNERS_PERSONA.strip()
READ = 1_000_000  # persona sentences to remember while a dictionary is built
UNREAD = {  # flags of ParlAI's that would be passed over in silence -> what to do
    **dict.fromkeys(['person_tokens', 'split_lines', 'history_reversed', 'dynamic_batching'], 'leave it out'),
    **dict.fromkeys(['data_parallel', 'model_parallel'], 'use multiprocessing_train'),
    'embedding_type': 'give --memnet-vectors a file',
}


@dataclass(frozen=True)
class Material:
    """What to read, and what to choose from."""

    sentences: int = flag(100, 'sentences of a persona to read, the first ones (N of Table 3); 0: none', least=0)
    vectors: str | None = flag(
        None, 'text file of word vectors (GloVe, fastText; .txt, .vec, .gz) to start from', metavar='FILE'
    )
    candidates: str | None = flag(
        None,
        'a response a line (or .gz), up to millions: evaluation and conversation choose from these (Table 2)',
        metavar='FILE',
    )
    index: str = flag(
        'exact',
        'search among --memnet-candidates: the best one, or nearly always the best one and sooner (FAISS)',
        choices=('exact', 'approximate'),
    )
    candidate_tokens: int = flag(10, 'words; longer lines of --memnet-candidates are left out (Table 2)', least=1)


class Example(NamedTuple):
    """What a message asks."""

    context: Line
    persona: list[Line]
    label: str | None
    said: frozenset[str]  # what the dialogue has had already


class Turns:
    """What was said in a dialogue, and the persona of the one who is to reply.

    The persona is the field of that name; where a message has none, as with ParlAI's own teachers, it is the lines
    of the text that say so. No such line is part of what was said.
    """

    def __init__(self, opt: Opt, size: int = 1, **_):
        self.size, self.delimiter = size, opt.get('delimiter', '\n')
        self.reset()

    def reset(self) -> None:
        self.turns: list[str] = []
        self.persona: list[str] = []
        self.added = ''

    def update_history(self, observation: Message, temp_history: str | None = None) -> None:
        text = observation.get('text')
        lines = [] if text is None else text.split('\n')
        own = [line.removeprefix(OWN).strip() for line in lines if line.startswith(OWN)]
        if PERSONA in observation:
            self.persona = list(observation[PERSONA])
        elif own:
            self.persona = own
        said = [line for line in lines if not line.startswith((OWN, PARTNERS))]
        if said:
            self.turns.append('\n'.join(said))
        self.added = temp_history or ''

    def add_reply(self, text: str) -> None:
        self.turns.append(text)

    def context(self) -> str:
        """The last `--history-size` turns; all of them if that is less than 1."""
        return self.delimiter.join(self.turns[-self.size :] if self.size > 0 else self.turns) + self.added

    def said(self) -> frozenset[str]:
        """Every line of the dialogue."""
        return frozenset(line for turn in self.turns for line in turn.split('\n'))


class PersonaDictionary(DictionaryAgent):
    """Also counts the words of personas that stand in a field of their own: a sentence once, not at every turn."""

    def act(self):
        read = self.__dict__.setdefault('read', {})
        for sentence in self.observation.get(PERSONA) or ():
            if sentence not in read:
                if len(read) >= READ:
                    read.clear()
                read[sentence] = None
                self.add_to_dict(self.tokenize(sentence))
        return super().act()


def without_repeats(ranked, scores, examples):
    """Without what the dialogue has had already, unless nothing else is left (`--repeat-blocking-heuristic`)."""
    kept = []
    for replies, values, example in zip(ranked, scores, examples, strict=True):
        pairs = [pair for pair in zip(replies, values, strict=True) if pair[0] not in example.said]
        kept.append(tuple(zip(*pairs, strict=True)) if pairs else (replies, values))
    return [list(replies) for replies, _ in kept], [list(values) for _, values in kept]


def check(opt: Opt) -> None:
    """That no flag was given which has no effect."""
    for name, instead in UNREAD.items():
        if opt.get(name) not in (None, False, 'random'):
            raise ValueError(f'--{name.replace("_", "-")} is {opt[name]}; persona:memnet does not know it: {instead}')
    if 'vocab' in (opt['candidates'], opt['eval_candidates'], opt['interactive_candidates']):
        raise ValueError('candidates are vocab; persona:memnet chooses among responses: batch, inline or fixed')
