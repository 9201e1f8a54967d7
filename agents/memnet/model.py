"""The persona memory network of Mazaré et al. 2018, §4: on the paper's encoders, or on a pretrained one.

Shapes: B examples; T distinct texts of at most W words; S distinct persona sentences, at most N per example; e size of
a word vector, d of an encoding.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from parlai_persona.agents.memnet.batches import Memory, Texts
from parlai_persona.agents.memnet.encoders import Encoder, MemoryShape, Shape, in_groups
from parlai_persona.agents.memnet.lexical import Lexical
from parlai_persona.models.precision import autocast

COSINE = 20.0  # dot product of two equal encodings by a pretrained encoder


class PersonaMemory(nn.Module):
    """Adds what the persona memory returns to the context: u. A response y scores u · y (§4.1).

    Subclasses encode: they set what is declared here and define `encode_contexts`, `encode_responses` and
    `encode_sentences`.
    """

    size: int  # d
    sharpness: float  # dot products are multiplied by it before the softmax over the persona
    persona: nn.Linear | None
    lexical: Lexical | None

    def forward(self, contexts: Texts, memory: Memory | None, responses: Texts) -> tuple[Tensor, Tensor]:
        """Return u (B, d) of the examples and y (B, d) of the responses."""
        return self.joint(contexts, memory), self.encode_responses(responses)

    def joint(self, contexts: Texts, memory: Memory | None) -> Tensor:
        """Return u, the context with its persona: (B, d)."""
        h = self.encode_contexts(contexts)
        return h if self.persona is None or memory is None else self.recall(h, memory)

    def recall(self, h: Tensor, memory: Memory) -> Tensor:
        """Return h plus the persona sentences, weighted by how well they match h: (B, d). Without sentences it is h."""
        return self.add(h, *self.attention(h, memory))

    @staticmethod
    def add(h: Tensor, p: Tensor, m: Tensor) -> Tensor:
        """Add to each h (B, d) its sentences m (B, N, d), weighted by p (B, N)."""
        return h + (p[:, None] @ m).squeeze(1)

    def attention(self, h: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Return how much each sentence of its persona counts for h, and the sentences: (B, N) and (B, N, d)."""
        assert len(h) == len(memory.rows), f'{len(h)} contexts, {len(memory.rows)} personas'
        m = F.embedding(memory.rows, self.encode_sentences(memory))  # (B, N, d)
        z = (m @ h[..., None]).squeeze(-1) * self.sharpness  # (B, N)
        return z.masked_fill(~memory.mask, torch.finfo(z.dtype).min).softmax(-1) * memory.mask, m

    def encode_contexts(self, contexts: Texts) -> Tensor:
        """Return h: (B, d)."""
        raise NotImplementedError

    def encode_responses(self, responses: Texts) -> Tensor:
        """Return y: (B, d)."""
        raise NotImplementedError

    def encode_sentences(self, memory: Memory) -> Tensor:
        """Return m: (S, d)."""
        raise NotImplementedError

    def response_weights(self) -> dict[str, Tensor]:
        """Return everything that decides about `encode_responses`."""
        raise NotImplementedError


class MemNet(PersonaMemory):
    """The paper's network: two encoders of word vectors, and persona sentences as sums of word vectors."""

    def __init__(self, shape: Shape, words: int, padding: int = 0, unknown: int | None = None):
        super().__init__()
        self.embedding = nn.Embedding(words, shape.embedding_size, padding)
        nn.init.normal_(self.embedding.weight, std=shape.embedding_size**-0.5)
        nn.init.zeros_(self.embedding.weight[padding])
        self.context, self.response = Encoder(shape), Encoder(shape)
        self.size = self.context.size
        self.sharpness = self.size**-0.5  # sums of words are long, and would saturate the softmax
        self.dropout = nn.Dropout(shape.dropout)
        self.persona = persona_layer(shape, shape.embedding_size, self.size)
        self.lexical = Lexical(words, shape.lexical, unknown) if shape.lexical else None

    def encode_contexts(self, contexts: Texts) -> Tensor:
        return F.embedding(contexts.place, self.context(self.embedding, contexts.words, contexts.lengths))

    def encode_responses(self, responses: Texts) -> Tensor:
        return F.embedding(responses.place, self.response(self.embedding, responses.words, responses.lengths))

    def encode_sentences(self, memory: Memory) -> Tensor:
        """Return a linear map of the sum of the words (§4.3): (S, d)."""
        assert self.persona is not None
        bags = F.embedding_bag(memory.words, self.embedding.weight, memory.starts, mode='sum')  # (S, e)
        return self.persona(self.dropout(bags))

    def response_weights(self) -> dict[str, Tensor]:
        return {**self.response.state_dict(), 'embedding': self.embedding.weight}


class PretrainedMemNet(PersonaMemory):
    """The same memory on one pretrained encoder of contexts, responses and persona sentences.

    A text is the mean of the encoder's last states. All encodings have the same length, so that dot products are
    `COSINE` times the cosines that such encoders were trained for.
    """

    def __init__(
        self,
        shape: MemoryShape,
        encoder: Any,
        words: int,
        unknown: int | None,
        marks: tuple[list[int], list[int]],  # the tokens before and after a text
        amp: bool,
    ):
        super().__init__()
        self.encoder, self.marks, self.amp = encoder, marks, amp
        self.size, self.sharpness = encoder.config.hidden_size, 1.0
        self.persona = persona_layer(shape, self.size, self.size)
        self.lexical = Lexical(words, shape.lexical, unknown) if shape.lexical else None

    def encode_contexts(self, contexts: Texts) -> Tensor:
        return F.embedding(contexts.place, self.encode(contexts.words, contexts.lengths))

    def encode_responses(self, responses: Texts) -> Tensor:
        return self.encode_contexts(responses)

    def encode_sentences(self, memory: Memory) -> Tensor:
        """Return a linear map of the encodings: (S, d)."""
        assert self.persona is not None
        ends = torch.cat([memory.starts[1:], memory.starts.new_tensor([len(memory.words)])])
        lengths = (ends - memory.starts).cpu()  # (S,)
        words = pad_sequence(memory.words.split(lengths.tolist()), batch_first=True)  # (S, W)
        words = F.pad(words, (0, 1))  # if there are no words at all, W is 0
        order = lengths.argsort()
        return self.persona(self.encode(words[order], lengths[order]))[order.argsort()]

    def encode(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Return encodings of length √`COSINE`; a text without words is 0: (T, W) -> (T, d)."""
        return in_groups(self.read, words, lengths)

    def read(self, words: Tensor, lengths: Tensor) -> Tensor:
        """(T, W) -> (T, d)"""
        tokens, is_token = marked(words, lengths, *self.marks)  # (T, W + marks)
        with autocast(self, self.amp):
            states = self.encoder(input_ids=tokens, attention_mask=is_token.long()).last_hidden_state
        mean = (states.float() * is_token[..., None]).sum(1) / is_token.sum(1, keepdim=True)
        return F.normalize(mean, dim=-1) * math.sqrt(COSINE)

    def response_weights(self) -> dict[str, Tensor]:
        return self.encoder.state_dict()


def persona_layer(shape: MemoryShape, inner: int, outer: int) -> nn.Linear | None:
    """Return the linear layer of persona sentences, if they are read."""
    if not shape.persona:
        return None
    layer = nn.Linear(inner, outer, bias=False)
    if shape.persona_start == 'identity' and inner == outer:
        nn.init.eye_(layer.weight)  # from the first step, a sentence favours responses with its words
    return layer


def marked(words: Tensor, lengths: Tensor, begin: list[int], end: list[int]) -> tuple[Tensor, Tensor]:
    """Put marks around each text, and return where there are tokens: (T, W) -> (T, W + marks) twice."""
    lengths = lengths.to(words.device)[:, None]
    marks = len(begin) + len(end)
    tokens = F.pad(words, (len(begin), len(end)))
    tokens[:, : len(begin)] = tokens.new_tensor(begin)
    places = len(begin) + lengths + torch.arange(len(end), device=words.device)  # (T, marks at the end)
    tokens.scatter_(1, places, tokens.new_tensor(end).expand(len(tokens), -1))
    return tokens, torch.arange(tokens.shape[1], device=words.device) < lengths + marks
