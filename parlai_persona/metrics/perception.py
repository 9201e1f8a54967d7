"""Would a listener recognise the persona from what a speaker says? A receiver judges (P²Bot, Liu et al. 2020, sec. 4).

The agent `persona:p2bot/receiver` learns to. Anything with the methods of `Receiver` can take its place.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

from parlai.core.agents import create_agent_from_model_file
from parlai.core.build_data import modelzoo_path
from torch import Tensor

from parlai_persona.data.candidates import OtherPersonas, example_rng
from parlai_persona.data.dialogue import DataError
from parlai_persona.errors import UserError
from parlai_persona.flags import flag, from_opt
from parlai_persona.metrics import formulas

PREFIX = 'persona'
FLAG = f'--{PREFIX}-receiver'
METHODS = ('perception', 'relevance', 'cumulative')


class Receiver(Protocol):
    """Scores how well utterances fit personas; a higher score is a better fit."""

    def perception(self, utterances: Sequence[str], personas: Sequence[Sequence[str]]) -> list[float]:
        """Return the score of each utterance with the persona at the same place (eq. 15)."""

    def relevance(self, utterances: Sequence[str], persona: Sequence[str]) -> Tensor:
        """Return U (eq. 11): a row for each utterance, a column for each sentence of the persona."""

    def cumulative(self, utterances: Sequence[str], personas: Sequence[Sequence[str]]) -> list[float]:
        """Return c (eq. 14) of all these utterances together with each persona."""


@dataclass(frozen=True)
class Perceived:
    receiver: str | None = flag(
        None,
        'report whether this receiver recognises the persona from what its speaker says (P2Bot, sec. 5.4): the model '
        'file of a persona:p2bot/receiver',
        metavar='MODEL',
    )
    receiver_among: int = flag(
        32, 'number of personas to recognise it among, itself included; the others are drawn from the split', least=2
    )


class Perception:
    """Scores what a speaker says, and ranks their persona among others of the split.

    The others share no sentence with it or with the partner's persona. They depend only on the dialogue, so every agent
    is judged with the same ones.
    """

    def __init__(self, receiver: Receiver, personas: Callable[[], Iterable[Sequence[str]]], among: int):
        self.receiver, self.personas, self.among = receiver, personas, among

    @cached_property
    def others(self) -> OtherPersonas:
        return OtherPersonas(self.personas())

    def scores(self, utterances: Sequence[str], persona: Sequence[str]) -> list[float]:
        """Return the score of each utterance with the persona (eq. 15)."""
        return self.receiver.perception(utterances, [persona] * len(utterances))

    def nearest(self, utterance: str, persona: Sequence[str]) -> str:
        """Return the sentence of the persona that fits the utterance best."""
        return persona[int(self.receiver.relevance([utterance], persona)[0].argmax())]

    def choices(self, persona: Sequence[str], partners: Sequence[str], dialogue_id: str) -> list[Sequence[str]]:
        """Return the personas among which this one is to be recognised, itself first.

        They are the candidates that `-t persona:perception` has for this dialogue.
        """
        try:
            others = self.others.draw((*persona, *partners), self.among - 1, example_rng(0, dialogue_id, 0))
        except DataError as error:
            raise UserError(f'{FLAG}-among {self.among}: dialogue {dialogue_id!r}: {error}: lower it') from None
        return [persona, *others]

    def rank(self, utterances: Sequence[str], choices: Sequence[Sequence[str]]) -> int:
        """Return the place of the first persona by what was said in the whole dialogue; 1 is the best."""
        return formulas.score_rank(self.receiver.cumulative(utterances, choices))


def from_options(opt: Mapping[str, Any], personas: Callable[[], Iterable[Sequence[str]]]) -> Perception | None:
    """Return what `--persona-receiver` asks for; `personas` reads those of the split when they are first needed."""
    asked = from_opt(Perceived, opt, PREFIX)
    if not asked.receiver:
        return None
    return Perception(load(asked.receiver, opt.get('datapath')), personas, asked.receiver_among)


@lru_cache(maxsize=4)
def load(model: str, datapath: str | None = None, flag: str = FLAG) -> Receiver:
    """Load a receiver from its model file, or from the zoo; `flag` names the option in error messages."""
    model_file = modelzoo_path(datapath, model)
    if not os.path.isfile(f'{model_file}.opt'):
        raise UserError(f'{flag} {model_file}: saw no file {model_file}.opt; expected a model file of a receiver')
    agent = create_agent_from_model_file(model_file, {'datatype': 'valid', 'loglevel': 'error'})
    if not all(hasattr(agent, name) for name in METHODS):
        raise UserError(
            f'{flag} {model_file}: saw a model of {type(agent).__name__}; expected one of persona:p2bot/receiver'
        )
    return agent
