"""The persona memory network of Mazaré et al. 2018, §4: two encoders and a one-hop memory. Torch only.

B examples; T texts of W words; S persona sentences, N of them to an example; e size of a word, d of an encoding.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from parlai_persona.flags import flag

LAYERS = {'transformer': 4, 'lstm': 2, 'bow': 2}  # §5.1; two linear layers are what §4.2 calls a bag of words
ROWS = {'cpu': 32}  # texts that are encoded at a time: sorted by length, they leave little padding
MANY_ROWS = 512  # where a kernel's start costs more than padding


@dataclass(frozen=True)
class Shape:
    """Encoders and memory."""

    encoder: str = flag(
        'transformer', 'encoder of contexts and of responses (§4.2)', choices=('transformer', 'lstm', 'bow')
    )
    embedding_size: int = flag(
        300, 'size of word vectors, and of what the transformer and the bag of words make of a text', least=1
    )
    hidden_size: int = flag(150, 'LSTM: size of a state; a text takes 2 x layers of them (§5.1)', least=1)
    layers: int = flag(0, 'layers; 0: as in §5.1, 4 of the transformer or 2 of the LSTM', least=0)
    heads: int = flag(6, 'transformer: attention heads (§5.1)', least=1)
    ffn_size: int = flag(1200, 'transformer: inner size of the feed-forward layers', least=1)
    dropout: float = flag(0.0, 'probability (§5.1: 0.2 when trained on Persona-Chat alone)', least=0)
    persona: bool = flag(True, 'read the persona; false is "Persona: No" of Table 1')
    persona_start: str = flag(
        'identity',
        "how the persona's linear layer begins; identity: where sizes allow it",
        choices=('identity', 'random'),
    )

    def depth(self) -> int:
        return self.layers or LAYERS[self.encoder]


class Texts(NamedTuple):
    """Distinct texts, best sorted by length, and which of them each example has."""

    words: Tensor  # (T, W), padded on the right
    lengths: Tensor  # (T,), always on the CPU
    place: Tensor  # (B,)

    def to(self, device: str | torch.device) -> 'Texts':
        return Texts(self.words.to(device), self.lengths, self.place.to(device))


class Memory(NamedTuple):
    """Distinct persona sentences end to end, sentence 0 without words, and which of them each example has."""

    words: Tensor  # (words of all sentences,)
    starts: Tensor  # (S,)
    rows: Tensor  # (B, N) numbers of sentences, padded with 0
    mask: Tensor  # (B, N) bool, where there is one

    def to(self, device: str | torch.device) -> 'Memory':
        return Memory(*(tensor.to(device) for tensor in self))


class BagOfWords(nn.Module):
    """Two linear layers with a tanh between, for each word; their sum over √n (§4.2)."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.size = shape.embedding_size
        self.inner, self.outer = (nn.Linear(self.size, self.size) for _ in range(2))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T, W, e) -> (T, d)"""
        h = self.outer(torch.tanh(self.inner(x)))  # (T, W, d)
        return (h * kept(h, lengths)[..., None]).sum(1) / lengths.to(h).sqrt()[:, None]


class Lstm(nn.Module):
    """Bidirectional; the last states of all layers and directions side by side (§4.2, §5.1)."""

    def __init__(self, shape: Shape):
        super().__init__()
        layers, hidden = shape.depth(), shape.hidden_size
        self.size = 2 * layers * hidden
        self.lstm = nn.LSTM(
            shape.embedding_size,
            hidden,
            layers,
            batch_first=True,
            bidirectional=True,
            dropout=shape.dropout if layers > 1 else 0.0,
        )

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T, W, e) -> (T, d = 2 x layers x hidden)"""
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        last = self.lstm(packed)[1][0]  # (2 x layers, T, hidden)
        return last.transpose(0, 1).flatten(1)


class Layer(nn.Module):
    """Self-attention and feed-forward layer, each with its norm before it."""

    def __init__(self, shape: Shape):
        super().__init__()
        d = shape.embedding_size
        self.heads, self.dropout = shape.heads, shape.dropout
        self.before_attention, self.before_ffn = nn.LayerNorm(d), nn.LayerNorm(d)
        self.project, self.merge = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.inner, self.outer = nn.Linear(d, shape.ffn_size), nn.Linear(shape.ffn_size, d)

    def forward(self, h: Tensor, attend: Tensor | None) -> Tensor:
        """(T, W, d), (T, 1, 1, W) -> (T, W, d)"""
        h = h + self.drop(self.merge(self.attention(self.before_attention(h), attend)))
        return h + self.drop(self.outer(self.drop(F.relu(self.inner(self.before_ffn(h))))))

    def attention(self, h: Tensor, attend: Tensor | None) -> Tensor:
        # each (T, heads, W, d / heads)
        q, k, v = self.project(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attend, self.dropout if self.training else 0.0)
        return mixed.transpose(1, 2).flatten(2)

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class Transformer(nn.Module):
    """Encoder of Vaswani et al. 2017; mean over the words (§4.2).

    Norms stand before the layers, which needs no warm-up of the learning rate, and one stands on the word vectors,
    so that positions weigh the same whatever the length of vectors from a file.
    """

    def __init__(self, shape: Shape):
        super().__init__()
        self.size = d = shape.embedding_size
        if d % shape.heads or d % 2:
            raise ValueError(
                f'--memnet-embedding-size is {d}; the transformer needs an even number that --memnet-heads '
                f'({shape.heads}) divides'
            )
        self.first, self.last = nn.LayerNorm(d), nn.LayerNorm(d)
        self.stack = nn.ModuleList(Layer(shape) for _ in range(shape.depth()))
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T, W, e) -> (T, d)"""
        keep = kept(x, lengths)  # (T, W)
        attend = None if int(lengths.min()) == x.shape[1] else keep[:, None, None]
        h = self.dropout(self.first(x) + waves(x.shape[1], self.size).to(x))
        for layer in self.stack:
            h = layer(h, attend)
        return (self.last(h) * keep[..., None]).sum(1) / lengths.to(h)[:, None]


def kept(x: Tensor, lengths: Tensor) -> Tensor:
    """Which positions are words: (T, W) bool."""
    return torch.arange(x.shape[1], device=x.device) < lengths.to(x.device)[:, None]


def waves(length: int, size: int) -> Tensor:
    """Positions as sines and cosines (Vaswani et al. 2017, §3.5): (length, size)."""
    rates = torch.exp(torch.arange(0, size, 2) * (-math.log(10_000.0) / size))
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


class Encoder(nn.Module):
    """Texts -> vectors; a text of no words is 0."""

    KINDS: dict[str, type[Transformer] | type[Lstm] | type[BagOfWords]] = {
        'transformer': Transformer,
        'lstm': Lstm,
        'bow': BagOfWords,
    }

    def __init__(self, shape: Shape):
        super().__init__()
        self.inside = self.KINDS[shape.encoder](shape)
        self.dropout = nn.Dropout(0.0 if shape.encoder == 'transformer' else shape.dropout)  # which has its own
        self.size: int = self.inside.size

    def forward(self, embedding: nn.Embedding, words: Tensor, lengths: Tensor) -> Tensor:
        """(T, W) -> (T, d), some rows at a time, each no wider than its longest text."""
        rows = ROWS.get(words.device.type, MANY_ROWS)
        parts = []
        for some, length in zip(words.split(rows), lengths.split(rows), strict=True):
            some = some[:, : max(1, int(length.max()))]
            encoded = self.inside(self.dropout(embedding(some)), length.clamp(min=1))
            parts.append(encoded * (length > 0).to(encoded)[:, None])
        return torch.cat(parts)


class MemNet(nn.Module):
    """u = context + memory of the persona; a response y scores u · y (§4.1)."""

    def __init__(self, shape: Shape, words: int, padding: int = 0):
        super().__init__()
        self.embedding = nn.Embedding(words, shape.embedding_size, padding)
        nn.init.normal_(self.embedding.weight, std=shape.embedding_size**-0.5)
        nn.init.zeros_(self.embedding.weight[padding])
        self.context, self.response = Encoder(shape), Encoder(shape)
        self.size = self.context.size
        self.dropout = nn.Dropout(shape.dropout)
        self.persona = nn.Linear(shape.embedding_size, self.size, bias=False) if shape.persona else None
        if self.persona and shape.persona_start == 'identity' and self.size == shape.embedding_size:
            nn.init.eye_(self.persona.weight)  # at the start, a sentence asks for responses with its words

    def forward(self, contexts: Texts, memory: Memory | None, responses: Texts) -> tuple[Tensor, Tensor]:
        """u (B, d) of the examples, y (B, d) of their responses."""
        return self.joint(contexts, memory), self.encode_responses(responses)

    def joint(self, contexts: Texts, memory: Memory | None) -> Tensor:
        """(B, d)"""
        encoded = self.context(self.embedding, contexts.words, contexts.lengths)  # (T, d)
        h = F.embedding(contexts.place, encoded)
        return h if self.persona is None or memory is None else self.recall(h, memory)

    def recall(self, h: Tensor, memory: Memory) -> Tensor:
        """h plus the sentences of its persona, weighted by how well they fit it: (B, d).

        Without a sentence it is h. The dot products are divided by √d: sentences are sums of words, longer than what
        softmax can tell apart.
        """
        p, m = self.attention(h, memory)
        return h + (p[:, None] @ m).squeeze(1)

    def attention(self, h: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return how much each sentence of its persona counts for h, and the sentences: (B, N) and (B, N, d)."""
        assert len(h) == len(memory.rows), f'{len(h)} contexts, {len(memory.rows)} personas'
        m = F.embedding(memory.rows, self.encode_sentences(memory))  # (B, N, d)
        z = (m @ h[..., None]).squeeze(-1) / math.sqrt(self.size)  # (B, N)
        return z.masked_fill(~memory.mask, torch.finfo(z.dtype).min).softmax(-1) * memory.mask, m

    def encode_sentences(self, memory: Memory) -> Tensor:
        """Linear in the sum of the words (§4.3): (S, d)."""
        assert self.persona is not None
        bags = F.embedding_bag(memory.words, self.embedding.weight, memory.starts, mode='sum')  # (S, e)
        return self.persona(self.dropout(bags))

    def encode_responses(self, responses: Texts) -> Tensor:
        """(B, d)"""
        return F.embedding(responses.place, self.response(self.embedding, responses.words, responses.lengths))
