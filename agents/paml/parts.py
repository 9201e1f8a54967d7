"""What the mixin is made of: a person as an agent sees one, a dictionary, losses in full precision, batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from parlai.core.dict import DictionaryAgent
from parlai.core.message import Message
from torch import Tensor, nn

from parlai_persona import fields

Turns = list[Message]  # of one dialogue, vectorised


@dataclass(frozen=True)
class Task:
    """A person: dialogues, and which of them to learn from and to answer."""

    dialogues: list[Turns]
    folds: list[dict[str, list[int]]]
    training: bool

    def turns(self, places: Sequence[int]) -> Turns:
        return [turn for place in places for turn in self.dialogues[place]]


class TaskDictionary(DictionaryAgent):
    """Counts the words of a person's dialogues."""

    def act(self):
        for dialogue in self.observation.get(fields.DIALOGUES) or ():
            for turn in dialogue[fields.MESSAGES]:
                for text in (turn['text'], *turn['labels']):
                    self.add_to_dict(self.tokenize(text))
        return {'id': 'Dictionary'} if fields.DIALOGUES in self.observation else super().act()


def precise(scores: Tensor) -> Tensor:
    """In 32 bits at least."""
    return scores.float() if scores.dtype in (torch.bfloat16, torch.float16) else scores


class FullPrecision(nn.Module):
    def __init__(self, criterion: nn.Module):
        super().__init__()
        self.criterion = criterion

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        return self.criterion(precise(scores), labels)


def alike(turns: Turns, batch: float) -> list[Turns]:
    """In parts of like length, so that little is padded; what a further batch costs is `batch` tokens."""
    ordered = sorted(turns, key=lambda turn: len(turn['text_vec']))
    lengths = [len(turn['text_vec']) for turn in ordered]
    count = len(ordered)
    # best[i]: the least cost of the first i turns, and where their last part begins
    best: list[tuple[float, int]] = [(0.0, 0)]
    for end in range(1, count + 1):
        best.append(min((best[start][0] + (end - start) * lengths[end - 1] + batch, start) for start in range(end)))
    parts, end = [], count
    while end:
        start = best[end][1]
        parts.append(ordered[start:end])
        end = start
    return parts
