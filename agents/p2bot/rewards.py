"""The rewards of P²Bot's self-play (Liu et al. 2020, sec. 3.3), in the form of TRL's reward functions.

A reward is called as `reward(prompts, completions, **columns)` and returns a number for each completion. A prompt is a
list of chat messages, in which the speaker is the assistant; a system message is not part of the conversation. The
column `persona` holds the sentences of the speaker's persona. `load` makes each of them from files, for
`GRPOTrainer(reward_funcs=[Perception.load('zoo:persona/p2bot_receiver')])`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from parlai.core.agents import create_agent_from_model_file
from parlai.core.opt import Opt
from torch import Tensor
from torch.nn.functional import logsigmoid

from parlai_persona.errors import UserError
from parlai_persona.metrics import nli
from parlai_persona.metrics.perception import Receiver
from parlai_persona.metrics.perception import load as load_receiver
from parlai_persona.models.base import load_base
from parlai_persona.models.language_model import LanguageModel
from parlai_persona.models.layout import PARTNER, SELF
from parlai_persona.models.network import device_of
from parlai_persona.models.precision import autocast
from parlai_persona.models.tokenizer import TokenizerDictionary
from parlai_persona.models.tree import Row, Tokens, plant, rows_of

Chats = Sequence[Any]  # texts, or lists of chat messages
Personas = Sequence[Sequence[str]]
SPEAKERS = {'user': PARTNER, 'assistant': SELF}  # by their roles
QUIET = {'datatype': 'valid', 'loglevel': 'error'}


def text_of(completion: Any) -> str:
    return completion if isinstance(completion, str) else completion[-1]['content']


def turns_of(prompt: Any) -> list[tuple[str, str]]:
    """Return speaker and text of what was said, from the assistant's side."""
    if isinstance(prompt, str):
        return [(PARTNER, prompt)]
    return [(SPEAKERS[one['role']], one['content']) for one in prompt if one['role'] in SPEAKERS]


def log_next(odds: Tensor) -> Tensor:
    """Return R2 (eq. 7) from the log-odds that replies are the next ones."""
    return logsigmoid(odds.float())


@dataclass(frozen=True)
class LanguageStyle:
    """R1 (eq. 6): mean log p of a reply's tokens under a language model that reads nothing else."""

    net: LanguageModel
    dictionary: Any
    amp: bool = False
    __name__ = 'language_style'

    @classmethod
    def load(cls, model: str, datapath: str = '.') -> 'LanguageStyle':
        """Make it from a language model, named as for `-m persona:lm`."""
        opt = Opt({'lm_model': model, 'datapath': datapath})
        net = LanguageModel(load_base(opt).model)
        return cls(net.cuda() if torch.cuda.is_available() else net, TokenizerDictionary(opt))

    @torch.no_grad()
    def __call__(self, prompts: Chats, completions: Chats, **columns: Any) -> list[float]:
        line = self.dictionary.encode('\n')
        before = [*self.dictionary.layout.begin, *line]
        texts = [self.dictionary.txt2vec(text_of(completion)) + line for completion in completions]
        pad = self.dictionary.tok2ind[self.dictionary.null_token]
        rows = [Row() for _ in texts]  # one row of all would be long, and attention is quadratic
        for row, tokens in zip(rows, texts, strict=True):
            row.add(before, tokens)
        tree = plant(rows, pad).to(device_of(self.net))
        with autocast(self.net, self.amp):
            sums = self.net.log_likelihoods(tree, self.net.states(tree), pad).sum(1)
        return [total / len(tokens) for total, tokens in zip(sums.tolist(), texts, strict=True)]


@dataclass(frozen=True)
class Coherence:
    """R2 (eq. 7): log p that the reply is the next one, as a transmitter's head judges it."""

    transmitter: Any
    __name__ = 'coherence'

    @classmethod
    def load(cls, model_file: str) -> 'Coherence':
        """Make it from the model file of a transmitter."""
        agent: Any = create_agent_from_model_file(model_file, QUIET)
        if not getattr(agent, 'JUDGES', False):
            raise UserError(
                f'Coherence of {model_file}: saw a model of {type(agent).__name__}; expected the model file of a '
                'persona:p2bot/transmitter that was trained with --p2bot-distractors 1 or more'
            )
        agent.model.eval()  # in training the head standardises the states of a batch
        return cls(agent)

    @torch.no_grad()
    def __call__(self, prompts: Chats, completions: Chats, persona: Personas, **columns: Any) -> list[float]:
        agent, layout = self.transmitter, self.transmitter.dict.layout
        turns: list[tuple[Tokens, Tokens, list[Tokens]]] = [
            (agent.write(own, turns_of(prompt)), [*layout.words(text_of(completion)), layout.end], [])
            for prompt, completion, own in zip(prompts, completions, persona, strict=True)
        ]
        tree = agent.tree(rows_of(turns))
        with autocast(agent.net, agent.amp):
            odds = agent.net.judge(agent.net.states(tree)[tree.ends])
        return log_next(odds).tolist()


@dataclass(frozen=True)
class Perception:
    """r (eq. 9): the receiver's score of a reply with the speaker's persona (eq. 15)."""

    receiver: Receiver
    __name__ = 'perception'

    @classmethod
    def load(cls, model: str, datapath: str | None = None) -> 'Perception':
        return cls(load_receiver(model, datapath, '--p2bot-receiver'))

    def __call__(self, prompts: Chats, completions: Chats, persona: Personas, **columns: Any) -> list[float]:
        return self.receiver.perception(list(map(text_of, completions)), persona)


@dataclass(frozen=True)
class Consistency:
    """C (PAML, eq. 7): persona sentences that the reply entails, less those that it contradicts."""

    judge: nli.Nli
    __name__ = 'consistency'

    @classmethod
    def load(cls, where: str, datapath: str | None = None) -> 'Consistency':
        return cls(nli.load(where, datapath, '--p2bot-nli'))

    def __call__(self, prompts: Chats, completions: Chats, persona: Personas, **columns: Any) -> list[float]:
        pairs = list(zip(map(text_of, completions), persona, strict=True))
        self.judge([(text, sentence) for text, own in pairs for sentence in own])  # all at once
        return [float(self.judge.consistency(text, own)) for text, own in pairs]
