"""The encoders of Mazaré et al. 2018, §4.2: bag of words, LSTM and Transformer. Torch only.

Shapes: T distinct texts of at most W words; e size of a word vector, d of an encoding.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from parlai_persona.errors import UserError
from parlai_persona.flags import flag

LAYERS = {'transformer': 4, 'lstm': 2, 'bow': 2}  # §5.1; the two layers of a bag of words are those of §4.2
CPU_ROWS = 32  # texts encoded together: they are sorted by length, so small groups have little padding
GPU_ROWS = 512  # starting a GPU kernel costs more than padding does


@dataclass(frozen=True)
class MemoryShape:
    """Options of the memory, and of the scores."""

    dropout: float = flag(0.0, 'dropout probability (§5.1: 0.2 when trained on Persona-Chat alone)', least=0)
    persona: bool = flag(True, 'read the persona; false is "Persona: No" of Table 1')
    persona_start: str = flag(
        'identity',
        "initial weights of the persona's linear layer; sizes that do not allow identity make it random",
        choices=('identity', 'random'),
    )
    lexical: float = flag(
        0.0,
        'add so many times the TF-IDF cosine of a response with persona and context to its score; 0: do not',
        least=0,
    )


@dataclass(frozen=True)
class Shape(MemoryShape):
    """Options of the paper's network."""

    encoder: str = flag(
        'transformer', 'encoder of contexts and of responses (§4.2)', choices=('transformer', 'lstm', 'bow')
    )
    embedding_size: int = flag(
        300, 'size of word vectors, and of the encodings by the transformer and the bag of words', least=1
    )
    hidden_size: int = flag(150, 'LSTM: size of a state; an encoding has 2 x layers states (§5.1)', least=1)
    layers: int = flag(0, 'number of layers; 0 is the number of §5.1: 4 for the transformer, 2 for the LSTM', least=0)
    heads: int = flag(6, 'transformer: attention heads (§5.1)', least=1)
    ffn_size: int = flag(1200, 'transformer: inner size of the feed-forward layers', least=1)

    def depth(self) -> int:
        return self.layers or LAYERS[self.encoder]


class BagOfWords(nn.Module):
    """Two linear layers with a tanh between them on each word, summed and divided by √(number of words) (§4.2)."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.size = shape.embedding_size
        self.inner, self.outer = (nn.Linear(self.size, self.size) for _ in range(2))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T, W, e) -> (T, d)"""
        h = self.outer(torch.tanh(self.inner(x)))  # (T, W, d)
        return (h * word_mask(h, lengths)[..., None]).sum(1) / lengths.to(h).sqrt()[:, None]


class Lstm(nn.Module):
    """Bidirectional LSTM: the last states of all layers and directions, concatenated (§4.2, §5.1)."""

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
    """Self-attention and a feed-forward layer, with a norm before each."""

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
    """Encoder of Vaswani et al. 2017, averaged over the words (§4.2).

    Norms come before the layers, so that the learning rate needs no warm-up. Another norm scales the word vectors,
    so that vectors from a file, however long, weigh the same against positions.
    """

    def __init__(self, shape: Shape):
        super().__init__()
        self.size = d = shape.embedding_size
        if d % shape.heads or d % 2:
            raise UserError(
                f'--memnet-embedding-size is {d}; the transformer needs an even multiple of --memnet-heads '
                f'({shape.heads})'
            )
        self.first, self.last = nn.LayerNorm(d), nn.LayerNorm(d)
        self.stack = nn.ModuleList(Layer(shape) for _ in range(shape.depth()))
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T, W, e) -> (T, d)"""
        keep = word_mask(x, lengths)  # (T, W)
        attend = None if int(lengths.min()) == x.shape[1] else keep[:, None, None]
        h = self.dropout(self.first(x) + waves(x.shape[1], self.size).to(x))
        for layer in self.stack:
            h = layer(h, attend)
        return (self.last(h) * keep[..., None]).sum(1) / lengths.to(h)[:, None]


def word_mask(x: Tensor, lengths: Tensor) -> Tensor:
    """Return which positions hold words and not padding: (T, W) bool."""
    return torch.arange(x.shape[1], device=x.device) < lengths.to(x.device)[:, None]


def waves(length: int, size: int) -> Tensor:
    """Return sines and cosines of the positions (Vaswani et al. 2017, §3.5): (length, size)."""
    rates = torch.exp(torch.arange(0, size, 2) * (-math.log(10_000.0) / size))
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


KINDS: dict[str, type[Transformer | Lstm | BagOfWords]] = {'transformer': Transformer, 'lstm': Lstm, 'bow': BagOfWords}


class Encoder(nn.Module):
    """Encodes texts as vectors; a text without words is 0."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.inside = KINDS[shape.encoder](shape)
        self.dropout = nn.Dropout(
            0.0 if shape.encoder == 'transformer' else shape.dropout
        )  # the transformer has its own
        self.size: int = self.inside.size

    def forward(self, embedding: nn.Embedding, words: Tensor, lengths: Tensor) -> Tensor:
        """(T, W) -> (T, d)"""
        return in_groups(lambda group, length: self.inside(self.dropout(embedding(group)), length), words, lengths)


def in_groups(encode: Callable[[Tensor, Tensor], Tensor], words: Tensor, lengths: Tensor) -> Tensor:
    """Encode texts by groups of rows that are cut to the longest text of the group: (T, W) -> (T, d)."""
    rows = CPU_ROWS if words.device.type == 'cpu' else GPU_ROWS
    encoded = []
    for group, length in zip(words.split(rows), lengths.split(rows), strict=True):
        h = encode(group[:, : max(1, int(length.max()))], length.clamp(min=1))
        encoded.append(h * (length > 0).to(h)[:, None])
    return torch.cat(encoded)
