"""Does a sentence look like one of Persona-Chat's personas? A bag-of-words classifier (sec. 3.2)."""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec
import parlai.utils.logging as logging
from parlai.core.opt import Opt

from parlai_persona.data.dialogue import DataError
from parlai_persona.files import write_json
from parlai_persona.tasks.personachat.build import paths
from parlai_persona.tasks.personachat.parse import read_views
from parlai_persona.tasks.reddit import dump, text
from parlai_persona.tasks.reddit.stage import GONE, UNREADABLE, Comment

LINES = 50_000  # of each dump, to draw random sentences from
PER_PERSONA = 3  # random sentences for each of a persona
FORMS = ('revised', 'original')  # the paper used the revised ones


@dataclass(frozen=True)
class Classifier:
    """Log odds of a sentence: bias + the mean weight of its tokens; words that training did not see have none."""

    weights: dict[str, float]
    bias: float

    def score(self, tokens: Sequence[str]) -> float:
        return self.bias + sum(self.weights.get(text.lower(token), 0.0) for token in tokens) / len(tokens)

    def save(self, path: Path) -> None:
        write_json(path, {'bias': self.bias, 'weights': self.weights})

    @classmethod
    def load(cls, path: Path) -> 'Classifier':
        try:
            read = json.loads(path.read_text(encoding='utf-8'))
            return cls({str(word): float(weight) for word, weight in read['weights'].items()}, float(read['bias']))
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise DataError(f'--classifier {path}: {error!r}; expected a file that an earlier build wrote') from None


def train(positive: Sequence[str], negative: Sequence[str]) -> Classifier:
    """Logistic regression on the shares that words have in a sentence."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import normalize

    counts = CountVectorizer(analyzer=tokens, min_df=2)
    rows = normalize(counts.fit_transform([*positive, *negative]), norm='l1')
    model = LogisticRegression(C=100.0, max_iter=1000, class_weight='balanced')
    model.fit(rows, [1] * len(positive) + [0] * len(negative))
    weights = dict(zip(counts.get_feature_names_out(), map(float, model.coef_[0]), strict=True))
    return Classifier(weights, float(model.intercept_[0]))


def tokens(sentence: str) -> list[str]:
    return [text.lower(token) for token, _ in text.tokens(sentence)]


def persona_sentences(opt: Opt) -> list[str]:
    """Of Persona-Chat's training split, each once."""
    for form in FORMS:
        asked = {**opt, 'persona_source': 'personachat', 'persona_form': form, 'persona_side': 'both'}
        asked |= {'persona_candidates': 'none', 'persona_folder': opt.get('persona_folder')}
        try:
            dialogues = list(read_views(paths(Opt(asked), 'train')))
        except DataError as error:
            missing = error
            continue
        logging.info(f'persona sentences for the classifier: Persona-Chat, {form}')
        return sorted({line for dialogue in dialogues for line in (*dialogue.persona, *dialogue.partner_persona)})
    raise missing


def random_sentences(files: Iterable[Path], count: int, cleaning: text.Cleaning, seed: int) -> list[str]:
    """Sentences of 4 to 20 tokens from the beginnings of the dumps."""
    found = [sentence for path in files for sentence in first_sentences(path, cleaning)]
    return random.Random(seed).sample(found, min(count, len(found)))


def first_sentences(path: Path, cleaning: text.Cleaning) -> Iterator[str]:
    decode = msgspec.json.Decoder(Comment).decode
    blocks = dump.blocks(dump.Source(path), 1 << 22)
    for line in islice((line for block in blocks for line in block.split(b'\n')), LINES):
        try:
            comment = decode(line)
        except UNREADABLE:
            continue
        if comment.body not in GONE:
            _, sentences = text.read(text.clean(comment.body, cleaning))
            yield from (sentence.text for sentence in sentences if text.lengthy(sentence))


def from_data(opt: Opt, files: Sequence[Path], cleaning: text.Cleaning, seed: int) -> Classifier:
    positive = persona_sentences(opt)
    negative = random_sentences(files, PER_PERSONA * len(positive), cleaning, seed)
    if not negative:
        raise DataError(f'saw no sentence of 4 to 20 tokens in {", ".join(map(str, files))}; nothing to train on')
    return train(positive, negative)
