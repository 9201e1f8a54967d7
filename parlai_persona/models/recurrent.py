"""The parts of recurrent generators: a reader of texts, attention, and a decoder that attends to what was read.

Shapes: B examples; K texts that an example attends to; T words of a text; L layers; d size of a state; e size of an
embedding; V words of the dictionary; S texts that were read together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from parlai.core.torch_generator_agent import TorchGeneratorModel
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from parlai_persona.errors import UserError
from parlai_persona.flags import flag


@dataclass(frozen=True)
class Sizes:
    """The flags of every recurrent network."""

    hidden: int = flag(800, 'numbers in a state of the GRUs', least=2)
    layers: int = flag(2, 'layers of the GRUs', least=1)
    embedding: int = flag(300, 'numbers in the embedding of a word', least=1)
    dropout: float = flag(0.2, 'share of numbers to drop between layers and before the output', least=0, most=1)
    read_dropout: float = flag(
        0.0, 'share of numbers to drop in the embeddings of words that are read', least=0, most=1
    )
    bidirectional: bool = flag(False, 'read texts in both directions, each with half of the numbers of a state')
    attention: str = flag(
        'mlp',
        "how a state is compared with what was read: Bahdanau's network with one layer, a matrix, or a product",
        choices=('mlp', 'general', 'dot'),
    )
    gated: bool = flag(
        False, 'decode with two GRUs, one that sees the words and one that sees the persona, mixed by a gate'
    )
    tied: bool = flag(False, 'use the embeddings of words in the output too')

    def __post_init__(self) -> None:
        if self.bidirectional and self.hidden % 2:
            raise UserError(
                f'{self.hidden} numbers in a state cannot be halved for two directions: take an even number'
            )


class Memory(NamedTuple):
    """Texts that the decoder attends to: to each by itself, and then to their mean.

    The W words of all K texts of an example stand one after the other: texts differ in length, and most of a K x T
    table would be padding.
    """

    h: Tensor  # (B, W, d): states of the words
    keys: Tensor  # (B, W, d): what a state is compared with
    is_word: Tensor  # (B, W)
    text: Tensor  # (B, W): which text a word is of
    share: Tensor  # (B, K): weight of each text in the mean

    def rows(self, places: Tensor) -> Memory:
        return Memory(*(part[places] for part in self))


@dataclass
class Encoded:
    """What the decoder starts from."""

    start: Tensor  # (L, B, d)
    memories: tuple[Memory, ...]

    def rows(self, places: Tensor) -> Encoded:
        return Encoded(self.start[:, places], tuple(memory.rows(places) for memory in self.memories))


class Reader(nn.Module):
    """Reads texts with a GRU: u, h = Encode(X)."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.layers, directions = sizes.layers, 1 + sizes.bidirectional
        self.gru = nn.GRU(
            sizes.embedding,
            sizes.hidden // directions,
            sizes.layers,
            batch_first=True,
            dropout=sizes.dropout if sizes.layers > 1 else 0.0,
            bidirectional=sizes.bidirectional,
        )

    def forward(self, words: Tensor, is_word: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last states u (L, B, d) and the states of all words h (B, T, d). Padding is on the right."""
        lengths = is_word.sum(1).clamp(min=1)
        packed = pack_padded_sequence(words, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, last = self.gru(packed)  # last: (L * directions, B, d / directions)
        h, _ = pad_packed_sequence(states, batch_first=True, total_length=words.shape[1])
        by_layer = last.view(self.layers, -1, *last.shape[1:])  # (L, directions, B, …)
        return by_layer.transpose(1, 2).flatten(2), h


class Attention(nn.Module):
    """c_t = Attention(s_{t-1}, h): the mean of h, weighted by how well the state fits each."""

    def __init__(self, kind: str, state: int, memory: int):
        super().__init__()
        self.query: nn.Module = nn.Identity() if kind == 'dot' else nn.Linear(state, memory, bias=kind == 'mlp')
        self.key: nn.Module = nn.Linear(memory, memory, bias=False) if kind == 'mlp' else nn.Identity()
        self.score = nn.Linear(memory, 1, bias=False) if kind == 'mlp' else None

    def memory(self, h: Tensor, is_word: Tensor, places: Tensor, share: Tensor) -> Memory:
        """Return the memory of examples with the texts at `places` (B, K) of h (S, T, d) and is_word (S, T)."""
        length = h.shape[1]
        there = is_word[places].flatten(1)  # (B, K T)
        most = max(1, int(there.sum(1).max()))  # W
        order = (~there).byte().argsort(dim=1, stable=True)[:, :most]  # (B, W): words before padding
        text = order // length
        rows = places.gather(1, text) * length + order % length  # in h as a list of words
        words = h.flatten(0, 1).index_select(0, rows.flatten()).view(*rows.shape, -1)
        return Memory(words, self.key(words), there.gather(1, order), text, share)

    def forward(self, s: Tensor, memory: Memory) -> Tensor:
        """Return the vector c (B, d) of each state s (B, d)."""
        weights = self.weights(s, memory) * memory.share.gather(1, memory.text)  # (B, W)
        return (weights[:, None] @ memory.h)[:, 0]

    def weights(self, s: Tensor, memory: Memory) -> Tensor:
        """Return how much each word weighs in its text for the states (B, W)."""
        query = self.query(s)  # (B, d)
        if self.score is None:
            scores = (memory.keys @ query[..., None])[..., 0]
        else:
            scores = self.score(torch.tanh(memory.keys + query[:, None]))[..., 0]
        return softmax_in_texts(scores, memory)


def softmax_in_texts(scores: Tensor, memory: Memory) -> Tensor:
    """Return the softmax of the scores of words (B, W) among the words of the same text; 0 for padding."""
    lowest, texts = torch.finfo(scores.dtype).min, memory.share.shape
    scores = scores.masked_fill(~memory.is_word, lowest)
    top = scores.new_full(texts, lowest).scatter_reduce(1, memory.text, scores.detach(), 'amax')  # (B, K)
    e = (scores - top.gather(1, memory.text)).exp() * memory.is_word
    total = e.new_zeros(texts).scatter_add(1, memory.text, e)
    return e / total.gather(1, memory.text).clamp(min=torch.finfo(e.dtype).tiny)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Return the softmax over the last dimension where the mask is true; all zeros where it is nowhere true."""
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, lowest).softmax(-1) * mask


class StackedGru(nn.Module):
    """One step of a GRU with several layers."""

    def __init__(self, inputs: int, sizes: Sizes):
        super().__init__()
        widths = [inputs] + [sizes.hidden] * (sizes.layers - 1)
        self.cells = nn.ModuleList(nn.GRUCell(width, sizes.hidden) for width in widths)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """Return the new states (L, B, d)."""
        new: list[Tensor] = []
        for cell, old in zip(self.cells, state, strict=True):
            x = cell(self.dropout(x) if new else x, old)
            new.append(x)
        return torch.stack(new)


class GatedGru(nn.Module):
    """One step of two GRUs that a gate mixes (Yao et al. 2017; Lian et al. 2019, HGFU).

    The first sees the last word and the first vector, the second the first vector and all others.
    """

    def __init__(self, sizes: Sizes, vectors: Sequence[int]):
        super().__init__()
        self.of_words = StackedGru(sizes.embedding + vectors[0], sizes)
        self.of_persona = StackedGru(sum(vectors), sizes)
        self.look = nn.ModuleList(nn.Linear(sizes.hidden, sizes.hidden) for _ in range(2))
        self.gate = nn.Linear(2 * sizes.hidden, sizes.hidden)

    def forward(self, word: Tensor, vectors: Sequence[Tensor], state: Tensor) -> Tensor:
        by_word = self.of_words(torch.cat([word, vectors[0]], -1), state)
        by_persona = self.of_persona(torch.cat([*vectors], -1), state)
        seen = [torch.tanh(look(new)) for look, new in zip(self.look, (by_word, by_persona), strict=True)]
        r = torch.sigmoid(self.gate(torch.cat(seen, -1)))  # (L, B, d)
        return r * by_word + (1 - r) * by_persona


class PlainGru(nn.Module):
    """One step of a GRU that sees the last word and all vectors: s_t = GRU([e(y_{t-1}); c_t; …], s_{t-1})."""

    def __init__(self, sizes: Sizes, vectors: Sequence[int]):
        super().__init__()
        self.gru = StackedGru(sizes.embedding + sum(vectors), sizes)

    def forward(self, word: Tensor, vectors: Sequence[Tensor], state: Tensor) -> Tensor:
        return self.gru(torch.cat([word, *vectors], -1), state)


class RecurrentGenerator(TorchGeneratorModel):
    """A generator with a GRU that attends to its memories before each word.

    A method writes `encoder`, which returns an `Encoded` with a memory for each of `kinds` (how it is attended to) and
    `widths` (the size of its states). The output is softmax([s_t; c_t]) (eq. 2 of PEDNet), with c_t from the first one.
    """

    def __init__(
        self, sizes: Sizes, words: int, start: int, end: int, pad: int, kinds: Sequence[str], widths: Sequence[int]
    ):
        super().__init__(padding_idx=pad, start_idx=start, end_idx=end)
        self.embeddings = nn.Embedding(words, sizes.embedding, padding_idx=pad)
        nn.init.normal_(self.embeddings.weight, std=sizes.embedding**-0.5)
        nn.init.zeros_(self.embeddings.weight[pad])
        pairs = zip(kinds, widths, strict=True)
        self.attend: Any = nn.ModuleList(Attention(kind, sizes.hidden, width) for kind, width in pairs)
        self.step = (GatedGru if sizes.gated else PlainGru)(sizes, widths)
        self.dropout, self.read_dropout = nn.Dropout(sizes.dropout), nn.Dropout(sizes.read_dropout)
        self.project = nn.Linear(sizes.hidden + widths[0], sizes.embedding)
        self.score = nn.Linear(sizes.embedding, words)
        if sizes.tied:
            self.score.weight = self.embeddings.weight

    def encoder(self, *inputs: Any) -> Encoded:
        raise NotImplementedError

    def read(self, reader: Reader, texts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return u (L, N, d), h (N, T, d) and where there is a word (N, T) of texts (N, T)."""
        is_word = texts != self.NULL_IDX
        return *reader(self.read_dropout(self.embeddings(texts)), is_word), is_word

    def decoder(self, words: Tensor, encoded: Encoded, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return [s_t; c_t] of all words (B, T, 2d) and the last state; after the first call, of the last word only."""
        if state is None:
            state = encoded.start
        else:
            words = words[:, -1:]
        outputs = []
        for word in self.embeddings(words).unbind(1):
            vectors = [attend(state[-1], memory) for attend, memory in zip(self.attend, encoded.memories, strict=True)]
            state = self.step(word, vectors, state)
            outputs.append(torch.cat([state[-1], vectors[0]], -1))
        return torch.stack(outputs, 1), state

    def output(self, latent: Tensor) -> Tensor:
        """Return scores of the words (…, V)."""
        return self.score(self.project(self.dropout(latent)))

    def reorder_encoder_states(self, encoder_states: Encoded, indices: Any) -> Encoded:
        return encoder_states.rows(torch.as_tensor(indices, device=encoder_states.start.device))

    def reorder_decoder_incremental_state(self, incremental_state: Tensor, inds: Any) -> Tensor:
        return incremental_state[:, torch.as_tensor(inds, device=incremental_state.device)]


def idle(part: nn.Module) -> Tensor:
    """Return 0, with gradients of 0 for all parameters of a part that a step does not need.

    With several processes, each parameter needs a gradient at every step.
    """
    return 0 * torch.stack([parameter.sum() for parameter in part.parameters()]).sum()


def one_text(h: Tensor, is_word: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the arguments of `Attention.memory` for a single text of each example: h (B, T, d), is_word (B, T)."""
    return h, is_word, torch.arange(len(h), device=h.device)[:, None], h.new_ones(len(h), 1)


def products(query: Tensor, vectors: Tensor, is_there: Tensor) -> Tensor:
    """Return query · v (B, N) for the vectors (B, N, d) of each row; the lowest number where there is none."""
    found = (vectors @ query[..., None])[..., 0]
    return found.masked_fill(~is_there, torch.finfo(found.dtype).min)


def distinct(texts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct texts (S, T) of texts (B, N, T), and the place of each among them (B, N)."""
    found, places = texts.flatten(0, 1).unique(dim=0, return_inverse=True)
    return found, places.view(texts.shape[:2])
