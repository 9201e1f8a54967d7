"""How many rare words a response has in common with persona and context: a TF-IDF cosine. Torch only.

Shapes: B queries, R responses, V words of the dictionary; a row of words is padded with -1.
"""

import torch
from torch import Tensor, nn


class Lexical(nn.Module):
    """`weight` times the cosine of query and response, whose words weigh their idf.

    Each distinct word of a text counts once. The idf is ln((1 + n) / (1 + n_word)): n responses were seen in training,
    and n_word of them had the word. A word of every response weighs nothing, and nothing does before the training. Nor
    does `unknown`, which stands for all words that the dictionary lacks.
    """

    seen: Tensor
    having: Tensor

    def __init__(self, words: int, weight: float, unknown: int | None = None):
        super().__init__()
        self.weight, self.unknown = weight, unknown
        self.register_buffer('seen', torch.zeros((), dtype=torch.long))  # n
        self.register_buffer('having', torch.zeros(words, dtype=torch.long))  # n_word

    def count(self, responses: Tensor) -> None:
        """Count the responses of a training step in: (R, W)."""
        rows, words = self.distinct(responses)
        self.having += words.bincount(minlength=len(self.having))
        self.seen += len(rows.unique())

    def idf(self) -> Tensor:
        """Return the idf of all words: (V,)."""
        idf = torch.log((1 + self.seen) / (1 + self.having))
        if self.unknown is not None:
            idf[self.unknown] = 0
        return idf

    def forward(self, queries: Tensor, responses: Tensor) -> Tensor:
        """Return what is added to the scores: (B, W) and (R, W) -> (B, R)."""
        rows, words, weights = self.weighted(queries)
        known, columns = words.unique(return_inverse=True)  # other words of a response have no part in a product
        q = weights.new_zeros(len(queries), len(known))
        q[rows, columns] = weights
        rows, words, weights = self.weighted(responses)
        shared = torch.isin(words, known)
        y = weights.new_zeros(len(responses), len(known))
        y[rows[shared], torch.searchsorted(known, words[shared])] = weights[shared]
        return self.weight * q @ y.T

    def queries(self, texts: Tensor) -> Tensor:
        """Return `weight` times the vectors of queries, as an index multiplies them: (B, W) -> (B, V)."""
        rows, words, weights = self.weighted(texts)
        q = weights.new_zeros(len(texts), len(self.having))
        q[rows, words] = self.weight * weights
        return q

    def weighted(self, texts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return row, number and weight of each distinct word; the weights of a text have length 1, or are all 0."""
        rows, words = self.distinct(texts)
        weights = self.idf()[words]
        lengths = weights.new_zeros(len(texts)).index_add_(0, rows, weights**2).sqrt()
        return rows, words, weights / lengths[rows].clamp(min=torch.finfo(weights.dtype).tiny)

    def distinct(self, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Return row and number of each distinct word of each text."""
        rows, columns = (texts >= 0).nonzero(as_tuple=True)
        places = (rows * len(self.having) + texts[rows, columns]).unique()
        return places // len(self.having), places % len(self.having)
