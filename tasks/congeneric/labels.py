"""Which sentence of the persona does the reply express? Three labellers of p* (PEDNet, sec. 3.3.3)."""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from parlai_persona.fields import NO_SENTENCE
from parlai_persona.metrics import nli
from parlai_persona.metrics.formulas import words
from parlai_persona.models.encoder import encoder_place, load_encoder

ENCODER_FLAG, NLI_FLAG = '--congeneric-encoder', '--congeneric-nli'
BATCH, LONGEST = 64, 128  # texts that are encoded together, and tokens of one
CACHED = 50_000  # texts whose vectors are kept
Pair = tuple[str, Sequence[str]]  # a reply and a persona


class Labeller(ABC):
    """Scores how well a reply expresses each sentence of a persona."""

    def labels(self, pairs: Sequence[Pair], none: float) -> list[int]:
        """Return the place of the best sentence for each pair; NO_SENTENCE if its score is not above `none`."""
        return [place_of_best(scores, none) for scores in self.scores(pairs)]

    @abstractmethod
    def scores(self, pairs: Sequence[Pair]) -> list[list[float]]: ...


def place_of_best(scores: Sequence[float], none: float) -> int:
    best = max(range(len(scores)), key=scores.__getitem__, default=NO_SENTENCE)  # of equal ones, the first
    return best if best != NO_SENTENCE and scores[best] > none else NO_SENTENCE


class Overlap(Labeller):
    """Dice's coefficient of the two sets of words, each word weighted by its idf in training replies: 0 to 1."""

    def __init__(self, counts: dict[str, int], replies: int):
        self.counts, self.replies = counts, replies  # in how many replies each word is; how many there are
        self.known = lru_cache(2**16)(self.weighted)

    @staticmethod
    def count(replies: Iterable[str]) -> tuple[dict[str, int], int]:
        counts: Counter[str] = Counter()
        number = 0
        for number, reply in enumerate(replies, 1):  # noqa: B007
            counts.update(set(words(reply)))
        return dict(counts), number

    def weighted(self, text: str) -> tuple[dict[str, float], float]:
        idf = {word: math.log((self.replies + 1) / (self.counts.get(word, 0) + 1)) for word in words(text)}
        return idf, math.fsum(idf.values())

    def scores(self, pairs: Sequence[Pair]) -> list[list[float]]:
        return [[self.dice(reply, sentence) for sentence in persona] for reply, persona in pairs]

    def dice(self, reply: str, sentence: str) -> float:
        (idf, total), (others, other_total) = self.known(reply), self.known(sentence)
        shared = math.fsum(idf[word] for word in idf.keys() & others.keys())
        return 2 * shared / (total + other_total) if shared else 0.0


class Encoder(Labeller):
    """The cosine of two means over words of the second-to-last layer of an encoder (the paper: BERT)."""

    def __init__(self, where: str, device: str | None = None):
        self.model, self.tokenizer, _ = load_encoder(encoder_place(where, None, ENCODER_FLAG), ENCODER_FLAG)
        self.device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        self.model.to(self.device)
        self.known: dict[str, Tensor] = {}

    def scores(self, pairs: Sequence[Pair]) -> list[list[float]]:
        texts = dict.fromkeys(text for reply, persona in pairs for text in (reply, *persona))
        if len(self.known) > CACHED:
            self.known.clear()
        self.encode([text for text in texts if text not in self.known])
        return [
            (torch.stack([self.known[one] for one in persona]) @ self.known[reply]).tolist() if persona else []
            for reply, persona in pairs
        ]

    @torch.inference_mode()
    def encode(self, texts: list[str]) -> None:
        """Encode texts, those of similar length together."""
        texts = sorted(texts, key=len)
        for first in range(0, len(texts), BATCH):
            batch = texts[first : first + BATCH]
            inputs = self.tokenizer(batch, padding=True, truncation=True, max_length=LONGEST, return_tensors='pt')
            inputs = inputs.to(self.device)
            states = self.model(**inputs, output_hidden_states=True).hidden_states[-2]  # (B, T, d)
            mask = inputs['attention_mask'][..., None]  # (B, T, 1)
            means = (states * mask).sum(1) / mask.sum(1)  # (B, d)
            self.known.update(zip(batch, torch.nn.functional.normalize(means, dim=1).cpu(), strict=True))


class Entailment(Labeller):
    """The probability that the reply entails the sentence, by a classifier as for --persona-nli."""

    def __init__(self, where: str, datapath: str | None = None):
        self.classifier = nli.load(where, datapath, NLI_FLAG)

    def scores(self, pairs: Sequence[Pair]) -> list[list[float]]:
        chances = iter(self.classifier([(reply, sentence) for reply, persona in pairs for sentence in persona]))
        found = [[next(chances)['entailment'] for _ in persona] for _, persona in pairs]
        self.classifier.known.clear()  # the pairs of a large data set would fill the memory
        return found
