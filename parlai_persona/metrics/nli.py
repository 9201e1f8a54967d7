"""Judge whether a reply entails or contradicts a persona sentence: classifiers for the consistency C (PAML, eq. 7)."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import lru_cache

import torch
from parlai.core.agents import create_agent_from_model_file
from parlai.core.build_data import modelzoo_path
from parlai.core.message import Message
from parlai.tasks.multinli.agents import MULTINLI_HYPO_PREFIX as HYPOTHESIS
from parlai.tasks.multinli.agents import MULTINLI_PREMISE_PREFIX as PREMISE

from parlai_persona.errors import UserError
from parlai_persona.models import pretrained

Probabilities = dict[str, float]  # of each class in SCORES
Pair = tuple[str, str]  # premise (the reply), hypothesis (a persona sentence)
SCORES = {'entailment': 1, 'neutral': 0, 'contradiction': -1}
# Names that MNLI's models and the release of Dialogue NLI give to the three classes, and short forms.
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
FLAG = '--persona-nli'
BATCH, LONGEST = 64, 128  # pairs in a batch; tokens in a pair, as in the authors' code


class Nli(ABC):
    """A classifier that scores the consistency C of replies. Each distinct pair is classified once."""

    def __init__(self, where: str, flag: str = FLAG) -> None:
        self.where, self.flag = where, flag
        self.known: dict[Pair, Probabilities] = {}

    def __reduce__(self):
        return load, (self.where,) if self.flag == FLAG else (self.where, self.flag)  # as `load` was called

    def consistency(self, reply: str, persona: Iterable[str]) -> int:
        """Return C(u), eq. 7: +1 for each sentence that the reply entails, -1 for each that it contradicts."""
        return sum(SCORES[label] for label in self.classify([(reply, sentence) for sentence in persona]))

    def classify(self, pairs: Sequence[Pair]) -> list[str]:
        """Return the most probable class of each pair."""
        return [max(chances, key=chances.__getitem__) for chances in self(pairs)]

    def __call__(self, pairs: Sequence[Pair]) -> list[Probabilities]:
        new = sorted({pair for pair in pairs if pair not in self.known}, key=lambda pair: len(pair[0]) + len(pair[1]))
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            self.known.update(zip(batch, self.probabilities(batch), strict=True))
        return [self.known[pair] for pair in pairs]

    @abstractmethod
    def probabilities(self, pairs: list[Pair]) -> list[Probabilities]:
        """Return the probability of each class, for each pair."""


class TransformersNli(Nli):
    """A sequence classifier of the transformers library, loaded from a folder or by its name on the hub."""

    def __init__(self, name: str, flag: str = FLAG):
        super().__init__(name, flag)
        try:
            self.model, self.tokenizer, _ = pretrained.load('classifier', name, flag=flag)
        except pretrained.NotLoaded as error:
            raise UserError(
                f'{error}\n{name} is neither a ParlAI model file nor a classifier that transformers can load'
            ) from None
        self.device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        self.model.to(self.device)
        self.labels = class_names([name for _, name in sorted(self.model.config.id2label.items())], name, flag)

    def probabilities(self, pairs: list[Pair]) -> list[Probabilities]:
        premises, hypotheses = map(list, zip(*pairs, strict=True))
        inputs = self.tokenizer(
            premises, hypotheses, padding=True, truncation=True, max_length=LONGEST, return_tensors='pt'
        ).to(self.device)
        with torch.inference_mode():
            probabilities = self.model(**inputs).logits.softmax(-1)
        return [dict(zip(self.labels, row, strict=True)) for row in probabilities.tolist()]


class ParlaiNli(Nli):
    """A classifier that ParlAI trained on a task with the two texts on two lines, such as `persona:nli`."""

    def __init__(self, model_file: str, flag: str = FLAG):
        super().__init__(model_file, flag)
        options = {'datatype': 'valid', 'loglevel': 'error', 'print_scores': True}
        self.agent = create_agent_from_model_file(model_file, options)
        self.labels = class_names(getattr(self.agent, 'class_list', [self.agent.id]), model_file, flag)
        plain = self.agent.opt.get('dialog_format')  # ParlAI's NLI tasks then leave out "Premise:" and "Hypothesis:"
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
def load(where: str, datapath: str | None = None, flag: str = FLAG) -> Nli:
    """Load a classifier: a model file or zoo name of ParlAI, a folder, or a name on the hub. `flag` is for errors."""
    where = modelzoo_path(datapath, where)
    return ParlaiNli(where, flag) if os.path.isfile(f'{where}.opt') else TransformersNli(where, flag)


def class_names(names: Sequence[str], where: str, flag: str = FLAG) -> list[str]:
    """Return our class for each output of a model, found by the model's own names."""
    classes = [NAMES.get(str(name).lower(), '') for name in names]
    if sorted(classes) != sorted(SCORES):
        raise UserError(
            f'{flag} {where}: its classes are called {", ".join(map(str, names))}; expected {", ".join(SCORES)}, each '
            'once. If you know which is which, write these names into id2label of its config.json'
        )
    return classes
