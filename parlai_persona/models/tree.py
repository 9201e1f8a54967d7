"""Token trees: many replies scored in one pass of a language model.

Texts that begin alike have their first tokens in common. A token sees the tokens before it on its own way from the
root, and nothing else. So one pass of a dialogue scores all its replies, one pass of a context scores all its
candidates, and one pass of a conversation scores several ways in which it went on. Torch only.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Tokens = list[int]
ROOT = -1  # the place before the first token


class Row:
    """A tree of tokens, which grows by texts; each token stands at a place, after that of its parent."""

    def __init__(self) -> None:
        self.tokens: Tokens = []
        self.parents: list[int] = []
        self.places: dict[tuple[int, int], int] = {}  # of a token after a place
        self.last: Tokens = []  # the last text with a reply
        self.replies: list[list[int]] = []  # the places of each reply, and the one before it in front
        self.others: list[list[int]] = []  # the same for other replies to judge

    def add(self, prompt: Tokens, reply: Tokens, others: Sequence[Tokens] = ()) -> None:
        """Add a reply to a prompt, and other replies to it."""
        self.last = prompt + reply
        self.replies.append(self.planted(self.last)[len(prompt) :])
        self.others += [self.planted(prompt + other)[len(prompt) :] for other in others]

    def planted(self, text: Tokens) -> list[int]:
        """Return the root and the places of a text's tokens; add those that are not there."""
        places = [ROOT]
        for token in text:
            key = places[-1], token
            if key not in self.places:
                self.places[key] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(key[0])
            places.append(self.places[key])
        return places

    def goes_on(self, prompt: Tokens) -> bool:
        """Tell whether a prompt goes on from the last text, or is in the tree already."""
        return prompt[: len(self.last)] == self.last or self.has(prompt)

    def has(self, prompt: Tokens) -> bool:
        place = ROOT
        for token in prompt:
            if (place, token) not in self.places:
                return False
            place = self.places[place, token]
        return True

    def depths(self) -> list[int]:
        found: list[int] = []
        for parent in self.parents:
            found.append(0 if parent == ROOT else found[parent] + 1)
        return found

    def sees(self) -> Tensor:
        """Return what each token sees: (length, length)."""
        rows = torch.eye(len(self.tokens), dtype=torch.bool).numpy()
        for place, parent in enumerate(self.parents):
            if parent != ROOT:
                rows[place] |= rows[parent]
        return torch.from_numpy(rows)


class Tree(NamedTuple):
    """A batch of B rows of T tokens with N leaves: first all replies, then all others.

    A state is named by its place in the flattened (B, T + 1) states. The first one of each row is the last state of
    the context that the row goes on from, if there is one.
    """

    tokens: Tensor  # (B, T)
    positions: Tensor  # (B, T), counted from the end of the context
    sees: Tensor  # (B, T, T), bool
    before: Tensor  # (N, L): the states that predict the tokens of each leaf, padded with 0
    targets: Tensor  # (N, L): those tokens, padded
    ends: Tensor  # (N,): the state after the last token of each leaf

    def to(self, device: torch.device) -> 'Tree':
        return Tree(*(tensor.to(device) for tensor in self))


def rows_of(turns: Iterable[tuple[Tokens, Tokens, Sequence[Tokens]]]) -> list[Row]:
    """Return rows for prompts with their replies and other replies.

    The prompts of a dialogue go on from each other unless the oldest turns were left out, so it becomes one row.
    """
    rows: list[Row] = []
    for prompt, reply, others in turns:
        if not rows or not rows[-1].goes_on(prompt):
            rows.append(Row())
        rows[-1].add(prompt, reply, others)
    return rows


def plant(rows: Sequence[Row], pad: int) -> Tree:
    """Return the tree of these rows."""
    width = max(len(row.tokens) for row in rows)
    tokens = torch.full((len(rows), width), pad)
    positions = torch.zeros(len(rows), width, dtype=torch.long)
    sees = torch.eye(width, dtype=torch.bool).repeat(len(rows), 1, 1)  # a padding token sees itself
    for number, row in enumerate(rows):
        length = len(row.tokens)
        tokens[number, :length] = torch.tensor(row.tokens)
        positions[number, :length] = torch.tensor(row.depths())
        sees[number, :length, :length] = row.sees()
    leaves = [(number, places) for number, row in enumerate(rows) for places in row.replies]
    leaves += [(number, places) for number, row in enumerate(rows) for places in row.others]
    return Tree(tokens, positions, sees, *leaf_tensors(leaves, tokens, pad))


def leaf_tensors(leaves: Sequence[tuple[int, list[int]]], tokens: Tensor, pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return `before`, `targets` and `ends` of a tree."""
    longest = max((len(places) - 1 for _, places in leaves), default=0)
    before = torch.zeros(len(leaves), longest, dtype=torch.long)
    targets = torch.full((len(leaves), longest), pad)
    ends = torch.zeros(len(leaves), dtype=torch.long)
    for number, (row, places) in enumerate(leaves):
        states = row * (tokens.shape[1] + 1) + torch.tensor(places) + 1  # a token at place p has its state at p + 1
        before[number, : len(places) - 1] = states[:-1]
        targets[number, : len(places) - 1] = tokens[row, torch.tensor(places[1:], dtype=torch.long)]
        ends[number] = states[-1]
    return before, targets, ends
