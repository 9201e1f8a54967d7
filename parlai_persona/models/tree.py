"""Token trees: many replies scored in one pass of a language model.

A row is a trunk of tokens, with replies on it, and branches that leave it: other replies to the same words. A token
sees the tokens before it on its own way from the root, and nothing else. So one pass of a dialogue scores all its
replies, and one pass of a context scores all its candidates. Torch only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

Tokens = list[int]


@dataclass
class Row:
    """Tokens in a line, and what to score on it."""

    trunk: Tokens = field(default_factory=list)
    replies: list[tuple[int, int]] = field(default_factory=list)  # first and last + 1, on the trunk
    branches: list[tuple[int, Tokens]] = field(default_factory=list)  # after so many tokens of the trunk


class Tree(NamedTuple):
    """A batch of B rows of T tokens with N leaves: first all replies on trunks, then all branches.

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
    """Return rows for prompts with their replies and other replies; a prompt that goes on from a row extends it.

    The prompts of a dialogue go on from each other unless the oldest turns were left out, so it becomes one row.
    """
    rows: list[Row] = []
    for prompt, reply, others in turns:
        row = rows[-1] if rows else Row()
        if not rows or prompt[: len(row.trunk)] != row.trunk:
            row = Row()
            rows.append(row)
        row.trunk = prompt + reply
        row.replies.append((len(prompt), len(row.trunk)))
        row.branches += [(len(prompt), other) for other in others]
    return rows


def plant(rows: Sequence[Row], pad: int) -> Tree:
    """Return the tree of these rows."""
    grown = [grow(row) for row in rows]
    width = max(len(tokens) for tokens, _, _ in grown)
    tokens = torch.full((len(rows), width), pad)
    positions = torch.zeros(len(rows), width, dtype=torch.long)
    sees = torch.eye(width, dtype=torch.bool).repeat(len(rows), 1, 1)  # a padding token sees itself
    leaves: list[tuple[int, int, int, Tokens]] = []  # row, state before, first token's place, tokens
    branches: list[tuple[int, int, int, Tokens]] = []
    for number, (row, (line, places, starts)) in enumerate(zip(rows, grown, strict=True)):
        trunk = len(row.trunk)
        tokens[number, : len(line)] = torch.tensor(line)
        positions[number, : len(line)] = torch.tensor(places)
        sees[number, : len(line), : len(line)] = visible(trunk, row, starts, len(line))
        leaves += [(number, first, first, row.trunk[first:last]) for first, last in row.replies]
        branches += [
            (number, after, start, branch) for (after, branch), start in zip(row.branches, starts, strict=True)
        ]
    return Tree(tokens, positions, sees, *leaf_tensors(leaves + branches, width + 1, pad))


def grow(row: Row) -> tuple[Tokens, list[int], list[int]]:
    """Return the tokens of a row, their positions, and where each branch starts."""
    tokens, positions, starts = list(row.trunk), list(range(len(row.trunk))), []
    for after, branch in row.branches:
        starts.append(len(tokens))
        tokens += branch
        positions += range(after, after + len(branch))
    return tokens, positions, starts


def visible(trunk: int, row: Row, starts: Sequence[int], length: int) -> Tensor:
    """Return what each token of a row sees: (length, length)."""
    sees = torch.ones(length, length, dtype=torch.bool).tril()
    for (after, branch), start in zip(row.branches, starts, strict=True):
        sees[start : start + len(branch), after:start] = False
    return sees


def leaf_tensors(
    leaves: Sequence[tuple[int, int, int, Tokens]], states: int, pad: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return `before`, `targets` and `ends` of a tree."""
    longest = max((len(tokens) for _, _, _, tokens in leaves), default=0)
    before = torch.zeros(len(leaves), longest, dtype=torch.long)
    targets = torch.full((len(leaves), longest), pad)
    ends = torch.zeros(len(leaves), dtype=torch.long)
    for number, (row, after, start, tokens) in enumerate(leaves):
        first = row * states
        ways = [after, *range(start + 1, start + len(tokens))]  # a token at place p has its state at p + 1
        before[number, : len(tokens)] = first + torch.tensor(ways)
        targets[number, : len(tokens)] = torch.tensor(tokens)
        ends[number] = first + start + len(tokens)
    return before, targets, ends
