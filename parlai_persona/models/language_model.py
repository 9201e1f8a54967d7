"""A causal language model of transformers as the network of a generator: what is trained of it, and its cache.

The methods that ParlAI's search calls are at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from parlai_persona.models.precision import precise
from parlai_persona.models.tree import Tree

Past = list[tuple[Tensor, Tensor]]  # keys and values of each layer, each (B, heads, C, size)


@dataclass(frozen=True)
class Context:
    """What a model has read: B rows of C tokens, some of them padding."""

    past: Past
    seen: Tensor  # (B, C), bool: not padding
    last: Tensor  # (B, size): the state after the last token

    def lengths(self) -> Tensor:
        return self.seen.sum(1)

    def select(self, rows: Tensor) -> 'Context':
        if torch.equal(rows, torch.arange(len(self.seen), device=rows.device)):
            return self
        past = [(k.index_select(0, rows), v.index_select(0, rows)) for k, v in self.past]
        return Context(past, self.seen[rows], self.last[rows])


class LanguageModel(nn.Module):
    """A base model with what is trained: adapters, rows for new tokens, and a head that judges replies.

    `fresh` tokens follow those of the base. Their embeddings start from those of the tokens `like`.
    """

    def __init__(self, base: Any, like: Sequence[int] = (), head: bool = False):
        super().__init__()
        self.base = base
        self.known = base.get_input_embeddings().weight.shape[0]
        if like:
            self.fresh = nn.Parameter(base.get_input_embeddings().weight[list(like)].detach().clone())
        if head:
            size = base.get_input_embeddings().weight.shape[1]
            # What the states of all ends have in common is far larger than how they differ.
            self.head = nn.Sequential(nn.BatchNorm1d(size, affine=False), nn.Linear(size, 1))

    # ------------------------------------------------------------------------------------------ reading

    def embed(self, tokens: Tensor) -> Tensor:
        if not hasattr(self, 'fresh'):
            return self.base.get_input_embeddings()(tokens)
        old = self.base.get_input_embeddings()(tokens.clamp(max=self.known - 1))
        new = self.fresh[(tokens - self.known).clamp(min=0)]
        return torch.where((tokens >= self.known)[..., None], new, old)

    def read(self, tokens: Tensor, positions: Tensor, sees: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """Return the states (B, T, size) of tokens (B, T) that see (B, T, C + T) of past and each other; and the past.

        Without a past (None), none is kept.
        """
        embedded = self.embed(tokens)
        mask = torch.zeros_like(sees, dtype=embedded.dtype).masked_fill_(~sees, torch.finfo(embedded.dtype).min)
        out = self.base.base_model(
            inputs_embeds=embedded,
            position_ids=positions,
            attention_mask=mask[:, None],
            past_key_values=None if past is None else cache_of(past),
            use_cache=past is not None,
        )
        kept = [] if past is None else [(layer.keys, layer.values) for layer in out.past_key_values.layers]
        return out.last_hidden_state, kept

    def empty(self, rows: int) -> Context:
        weight = self.base.get_input_embeddings().weight
        seen = torch.zeros(rows, 0, dtype=torch.bool, device=weight.device)
        return Context([], seen, weight.new_zeros(rows, weight.shape[1]))

    def extend(self, context: Context, tokens: Tensor, real: Tensor) -> Context:
        """Read further tokens (B, T), padded on the left; `real` is where there is no padding. The last one is."""
        length = tokens.shape[1]
        positions = (context.lengths()[:, None] + real.cumsum(1) - 1).clamp(min=0)
        own = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril() & real[:, None]
        own = own | torch.eye(length, dtype=torch.bool, device=tokens.device)  # padding sees itself
        sees = torch.cat([context.seen[:, None].expand(-1, length, -1), own], 2)
        states, past = self.read(tokens, positions, sees, context.past)
        return Context(past, torch.cat([context.seen, real], 1), states[:, -1])

    def states(self, tree: Tree, context: Context | None = None) -> Tensor:
        """Return the flattened states that `Tree` names: (B * (T + 1), size)."""
        positions, sees, first = tree.positions, tree.sees, None
        if context is not None:
            positions = positions + context.lengths()[:, None]
            sees = torch.cat([context.seen[:, None].expand(-1, sees.shape[1], -1), sees], 2)
            first = context.last[:, None]
        states, _ = self.read(tree.tokens, positions, sees, context.past if context else None)
        if first is None:
            first = torch.zeros_like(states[:, :1])
        return torch.cat([first, states], 1).flatten(0, 1)

    def forward(self, tree: Tree, context: Context | None = None, ys: Tensor | None = None):
        """Return the scores of the words `ys` (R, L) of the first R leaves, the best words, and the head's judgement.

        Scores are (R, L, words). The head judges all N leaves (N,), or is None.
        """
        assert ys is not None
        states = self.states(tree, context)
        scores = self.output(states[tree.before[: ys.shape[0], : ys.shape[1]]])
        return scores, scores.argmax(-1), self.judge(states[tree.ends])

    def judge(self, states: Tensor) -> Tensor | None:
        """Return the log-odds that a reply is the next one, from the state after its last token."""
        return self.head(states).squeeze(-1) if hasattr(self, 'head') else None

    def log_likelihoods(self, tree: Tree, states: Tensor, pad: int, at_once: int = 512) -> Tensor:
        """Return log p of each leaf's tokens: (N, L), 0 for padding. Scores are made for some tokens at once."""
        real = tree.targets.ne(pad)
        before, targets = tree.before[real], tree.targets[real]
        parts = [
            log_softmax(precise(self.output(states[some])), -1).gather(1, words[:, None]).squeeze(1)
            for some, words in zip(before.split(at_once), targets.split(at_once), strict=True)
        ]
        found = torch.cat(parts)
        return found.new_zeros(real.shape).masked_scatter(real, found)

    # ----------------------------------------------------------------------------------- ParlAI's search

    def encoder(self, context: Context) -> Context:
        return context

    def reorder_encoder_states(self, context: Context, rows: Tensor) -> Context:
        return context.select(rows)

    def decoder(self, tokens: Tensor, context: Context, so_far: Context | None = None) -> tuple[Tensor, Context]:
        """Return the state that predicts the next token: after the context at first, then after the last token."""
        if so_far is None:
            return context.last[:, None], context
        last = tokens[:, -1:]
        grown = self.extend(so_far, last, torch.ones_like(last, dtype=torch.bool))
        return grown.last[:, None], grown

    def reorder_decoder_incremental_state(self, so_far: Context, rows: Tensor) -> Context:
        return so_far.select(rows)

    def output(self, states: Tensor) -> Tensor:
        scores = self.base.get_output_embeddings()(states)
        return torch.cat([scores, states @ self.fresh.T], -1) if hasattr(self, 'fresh') else scores


def padded(rows: Sequence[Sequence[int]], pad: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Return the tokens of rows, padded on the left, and where there is no padding: (B, T) each."""
    width = max(map(len, rows))
    tokens = torch.tensor([[*[pad] * (width - len(row)), *row] for row in rows], device=device)
    real = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows], device=device)
    return tokens, real


def cache_of(past: Past) -> Any:
    """Return the past as a cache of transformers, which shares its tensors and leaves them alone."""
    from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

    layers: list[Any] = []
    for keys, values in past:
        layer = DynamicLayer()
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values  # an update would copy them
        layers.append(layer)
    return Cache(layers) if layers else DynamicCache()


def joined(parts: Sequence[tuple[Context | None, int, int]], device: torch.device) -> tuple[Past, Tensor]:
    """Return the past of parts of contexts, padded on the left, and where there is no padding (R, C).

    A part is a context, a row of it, and how many of the row's tokens: the first ones.
    """
    lengths = torch.tensor([length for *_, length in parts])
    width = int(lengths.max())
    seen = torch.arange(width) >= width - lengths[:, None]
    past: Past = []
    for context in {id(one): one for one, _, length in parts if one and length}.values():
        own = [place for place, (one, _, length) in enumerate(parts) if one is context and length]
        rows = torch.tensor([parts[place][1] for place in own])
        wanted = context.seen.cpu()[rows]
        wanted &= wanted.cumsum(1) <= lengths[own, None]
        columns = torch.zeros(len(own), width, dtype=torch.long)
        columns[seen[own]] = wanted.nonzero()[:, 1]
        index = rows[:, None].to(device), slice(None), columns.to(device)
        if not past:
            past = [
                (filled(keys, len(parts), width), filled(values, len(parts), width)) for keys, values in context.past
            ]
        for whole, some in zip(past, context.past, strict=True):
            for target, source in zip(whole, some, strict=True):
                target[own] = source[index].transpose(1, 2)
    return past, seen.to(device)


def filled(tensor: Tensor, rows: int, width: int) -> Tensor:
    """Return zeros for so many rows and tokens of a layer (B, heads, C, size)."""
    _, heads, _, size = tensor.shape
    return tensor.new_zeros(rows, heads, width, size)
