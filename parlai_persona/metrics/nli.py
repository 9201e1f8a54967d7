"""Does a reply entail, contradict or not touch a persona sentence? Classifiers for the consistency C (PAML, eq. 7)."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import lru_cache

from parlai.core.agents import create_agent_from_model_file
from parlai.core.message import Message
from parlai.tasks.multinli.agents import MULTINLI_HYPO_PREFIX as HYPOTHESIS
from parlai.tasks.multinli.agents import MULTINLI_PREMISE_PREFIX as PREMISE

Probabilities = dict[str, float]  # of the names in SCORES
Pair = tuple[str, str]  # premise (the reply), hypothesis (a persona sentence)
SCORES = {'entailment': 1, 'neutral': 0, 'contradiction': -1}
# How the three are called: in MNLI's models, in the release of Dialogue NLI, and shortened.
NAMES = {
    'entailment': 'entailment',
    'entail': 'entailment',
    'entails': 'entailment',
    'positive': 'entailment',
    'neutral': 'neutral',
    'contradiction': 'contradiction',
    'contradict': 'contradiction',
    'contradicts': 'contradiction',
    'negative': 'contradiction',
}
BATCH, LONGEST = 64, 128  # pairs; tokens of a pair, as in the authors' code


class Nli(ABC):
    """C of replies, from the classes of pairs. Each distinct pair is classified once."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.known: dict[Pair, Probabilities] = {}

    def __reduce__(self):
        return load, (self.where,)

    def consistency(self, reply: str, persona: Iterable[str]) -> int:
        """C(u), eq. 7."""
        return sum(SCORES[label] for label in self.classify([(reply, sentence) for sentence in persona]))

    def classify(self, pairs: Sequence[Pair]) -> list[str]:
        return [max(found, key=found.__getitem__) for found in self(pairs)]

    def __call__(self, pairs: Sequence[Pair]) -> list[Probabilities]:
        new = sorted({pair for pair in pairs if pair not in self.known}, key=lambda pair: len(pair[0]) + len(pair[1]))
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            self.known.update(zip(batch, self.probabilities(batch), strict=True))
        return [self.known[pair] for pair in pairs]

    @abstractmethod
    def probabilities(self, pairs: list[Pair]) -> list[Probabilities]:
        """Of the classes, for each pair."""


class TransformersNli(Nli):
    """A sequence classifier of the transformers library, by its name on the hub or from a folder."""

    def __init__(self, name: str):
        super().__init__(name)
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.torch = torch
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(name)
            self.model = AutoModelForSequenceClassification.from_pretrained(name).eval()
        except (OSError, ValueError) as error:
            raise ValueError(
                f'--persona-nli {name}: neither a ParlAI model file nor a classifier that transformers can load: '
                f'{error}'
            ) from None
        self.device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        self.model.to(self.device)
        self.labels = labels([label for _, label in sorted(self.model.config.id2label.items())], name)

    def probabilities(self, pairs: list[Pair]) -> list[Probabilities]:
        premises, hypotheses = map(list, zip(*pairs, strict=True))
        inputs = self.tokenizer(
            premises, hypotheses, padding=True, truncation=True, max_length=LONGEST, return_tensors='pt'
        ).to(self.device)
        with self.torch.inference_mode():
            found = self.model(**inputs).logits.softmax(-1)
        return [dict(zip(self.labels, row, strict=True)) for row in found.tolist()]


class ParlaiNli(Nli):
    """A classifier that ParlAI trained, say on `dialogue_nli` or `persona:nli`, which send the two texts in two
    lines."""

    def __init__(self, model_file: str):
        super().__init__(model_file)
        options = {'datatype': 'valid', 'loglevel': 'error', 'print_scores': True}
        self.agent = create_agent_from_model_file(model_file, options)
        self.labels = labels(getattr(self.agent, 'class_list', [self.agent.id]), model_file)
        plain = self.agent.opt.get('dialog_format')  # a flag of ParlAI's NLI tasks
        self.form = '{}\n{}' if plain else f'{PREMISE}{{}}\n{HYPOTHESIS}{{}}'

    def probabilities(self, pairs: list[Pair]) -> list[Probabilities]:
        observations = []
        for pair in pairs:
            self.agent.reset()
            message = Message(text=self.form.format(*pair), episode_done=True)
            observations.append(Message(dict(self.agent.observe(message))))
        replies = self.agent.batch_act(observations)
        self.agent.reset()
        return [dict(zip(self.labels, reply['probs'], strict=True)) for reply in replies]


@lru_cache(maxsize=4)
def load(where: str) -> Nli:
    """A ParlAI model file, a folder, or a name on the hub."""
    return ParlaiNli(where) if os.path.isfile(f'{where}.opt') else TransformersNli(where)


def labels(names: Sequence[str], where: str) -> list[str]:
    """Which output is which class, from what the model calls them."""
    found = [NAMES.get(name.lower(), '') for name in names]
    if sorted(found) != sorted(SCORES):
        raise ValueError(
            f'--persona-nli {where}: its classes are called {", ".join(names)}; expected {", ".join(SCORES)}, each '
            'once. If you know which is which, write these names into id2label of its config.json'
        )
    return found
