"""The persona memory network of Mazaré et al. 2018, §4: two encoders, a one-hop memory, and the loss. Torch only.

Shapes: B examples, with R responses in all processes; T distinct texts of at most W words; S distinct persona
sentences, at most N per example; e size of a word vector, d of an encoding.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from parlai_persona.agents.memnet.batches import Memory, Texts
from parlai_persona.errors import UserError
from parlai_persona.flags import flag

LAYERS = {'transformer': 4, 'lstm': 2, 'bow': 2}  # §5.1; the two layers of a bag of words are those of §4.2
CPU_ROWS = 32  # texts encoded together: they are sorted by length, so small groups have little padding
GPU_ROWS = 512  # starting a GPU kernel costs more than padding does


@dataclass(frozen=True)
class Shape:
    """Options of the encoders and the memory."""

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
    dropout: float = flag(0.0, 'dropout probability (§5.1: 0.2 when trained on Persona-Chat alone)', least=0)
    persona: bool = flag(True, 'read the persona; false is "Persona: No" of Table 1')
    persona_start: str = flag(
        'identity',
        "initial weights of the persona's linear layer; sizes that do not allow identity make it random",
        choices=('identity', 'random'),
    )

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
        """(T, W) -> (T, d), by groups of rows that are cut to the longest text of the group."""
        rows = CPU_ROWS if words.device.type == 'cpu' else GPU_ROWS
        encoded = []
        for group, length in zip(words.split(rows), lengths.split(rows), strict=True):
            group = group[:, : max(1, int(length.max()))]
            h = self.inside(self.dropout(embedding(group)), length.clamp(min=1))
            encoded.append(h * (length > 0).to(h)[:, None])
        return torch.cat(encoded)


class MemNet(nn.Module):
    """Adds what the persona memory returns to the context: u. A response y scores u · y (§4.1)."""

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
            nn.init.eye_(self.persona.weight)  # from the first step, a sentence favours responses with its words

    def forward(self, contexts: Texts, memory: Memory | None, responses: Texts) -> tuple[Tensor, Tensor]:
        """Return u (B, d) of the examples and y (B, d) of the responses."""
        return self.joint(contexts, memory), self.encode_responses(responses)

    def joint(self, contexts: Texts, memory: Memory | None) -> Tensor:
        """Return u, the context with its persona: (B, d)."""
        encoded = self.context(self.embedding, contexts.words, contexts.lengths)  # (T, d)
        h = F.embedding(contexts.place, encoded)
        return h if self.persona is None or memory is None else self.recall(h, memory)

    def recall(self, h: Tensor, memory: Memory) -> Tensor:
        """Return h plus the persona sentences, weighted by how well they match h: (B, d). Without sentences it is h.

        Dot products are divided by √d: sentences are sums of words, and unscaled products would saturate the softmax.
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
        """Return a linear map of the sum of the words (§4.3): (S, d)."""
        assert self.persona is not None
        bags = F.embedding_bag(memory.words, self.embedding.weight, memory.starts, mode='sum')  # (S, e)
        return self.persona(self.dropout(bags))

    def encode_responses(self, responses: Texts) -> Tensor:
        """Return y: (B, d)."""
        return F.embedding(responses.place, self.response(self.embedding, responses.words, responses.lengths))


def scores_in_batch(u: Tensor, y: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Score each example against the responses of the batch, of all processes together (§4.1).

    u, y (B, d) are examples and their responses; `numbers` (B,) has a number other than 0 for each distinct response.
    Return scores (B, R), and the column of each example's own response (B,). Other columns with the text of the own
    response are -inf.
    """
    assert u.shape == y.shape and numbers.shape == u.shape[:1]
    own = torch.arange(len(u), device=u.device)
    all_numbers = numbers
    if processes() > 1:
        size = largest_batch(len(u), u.device)
        own = own + dist.get_rank() * size
        y, all_numbers = (Gather.apply(torch.cat([x, x.new_zeros(size - len(x), *x.shape[1:])])) for x in (y, numbers))
    scores = u.float() @ y.float().T  # (B, R)
    no_negative = (numbers[:, None] == all_numbers) | (all_numbers == 0)  # the same text, or padding
    no_negative.scatter_(1, own[:, None], False)
    return scores.masked_fill(no_negative, -torch.inf), own


def losses_and_ranks(scores: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy and the rank of column `own` of each row of scores (B, C): (B,) each.

    Ties count against `own`. Where it is -1, the results mean nothing.
    """
    label = scores.gather(1, own.clamp(min=0)[:, None])
    return scores.logsumexp(1) - label.squeeze(1), (scores >= label).sum(1).float()


def mean_loss(losses: Tensor) -> Tensor:
    """Return the mean of the losses (B,) as one process has to descend on it.

    DistributedDataParallel averages gradients over processes. Of these means, the average is the gradient of one big
    batch, even if processes have batches of different sizes.
    """
    if processes() == 1:
        return losses.mean()
    examples = torch.tensor(len(losses), device=losses.device)
    dist.all_reduce(examples)
    return losses.sum() * (processes() / examples)


class Gather(torch.autograd.Function):
    """Concatenates the rows of all processes; the gradient of a row is the sum over processes.

    `torch.distributed.nn.functional.all_gather` does the same but is deprecated.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        gathered = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, x.contiguous())
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].contiguous()
        dist.all_reduce(grad)
        first = dist.get_rank() * ctx.rows
        return grad[first : first + ctx.rows]


def processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def largest_batch(size: int, device: torch.device) -> int:
    largest = torch.tensor(size, device=device)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)
