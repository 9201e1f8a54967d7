"""A receiver that needs no training: it counts the words that an utterance shares with a sentence of a persona."""

import json
from pathlib import Path

import torch
from parlai.core.agents import Agent

from parlai_persona.metrics.formulas import words


class ListenerAgent(Agent):
    calls = 0  # of `cumulative`, by all listeners

    def relevance(self, utterances, persona):
        shared = [[len({*words(said)} & {*words(sentence)}) for sentence in persona] for said in utterances]
        return torch.tensor(shared, dtype=torch.float)

    def perception(self, utterances, personas):
        pairs = zip(utterances, personas, strict=True)
        return [self.relevance([said], persona).max().item() for said, persona in pairs]

    def cumulative(self, utterances, personas):
        ListenerAgent.calls += 1
        return [self.relevance(utterances, persona).max(1).values.mean().item() for persona in personas]


def listener(folder: Path) -> str:
    """Write the options of such an agent; return its model file."""
    path = folder / 'listener'
    path.with_suffix('.opt').write_text(json.dumps({'model': 'listener:ListenerAgent'}))
    return str(path)
