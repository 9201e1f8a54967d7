"""Training of the classifier of persona sentences (sec. 3.2): Persona-Chat's against random ones of the dumps."""

import random
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import parlai.utils.logging as logging
import pyarrow as pa
import pyarrow.compute as pc
from parlai.core.opt import Opt

from parlai_persona.data.dialogue import DataError
from parlai_persona.tasks.personachat.build import paths
from parlai_persona.tasks.personachat.parse import read_views
from parlai_persona.tasks.reddit.pipeline import dump
from parlai_persona.tasks.reddit.pipeline.comments import COMMENTS, columns, is_gone, read_one_by_one, read_texts
from parlai_persona.tasks.reddit.pipeline.names import Names
from parlai_persona.tasks.reddit.pipeline.options import Options
from parlai_persona.tasks.reddit.pipeline.sentences import Classifier, has_length
from parlai_persona.tasks.reddit.pipeline.tokens import tokenize

LINES = 50_000  # of each dump, to draw random sentences from
PER_PERSONA = 3  # random sentences for each of a persona
FORMS = ('revised', 'original')  # the paper used the revised ones


def train(positive: Sequence[str], negative: Sequence[str]) -> Classifier:
    """Fit a logistic regression to the shares that words have in a sentence."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import normalize

    sentences = pc.ascii_lower(tokenize(pa.array([*positive, *negative])).texts()).to_pylist()
    counts = CountVectorizer(analyzer=str.split, min_df=2)
    rows = normalize(counts.fit_transform(sentences), norm='l1')
    model = LogisticRegression(C=100.0, max_iter=1000, class_weight='balanced')
    model.fit(rows, [1] * len(positive) + [0] * len(negative))
    weights = dict(zip(counts.get_feature_names_out(), map(float, model.coef_[0]), strict=True))
    return Classifier(weights, float(model.intercept_[0]))


def persona_sentences(opt: Opt) -> list[str]:
    """Return each sentence of Persona-Chat's training personas once."""
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


def random_sentences(files: Iterable[Path], count: int, options: Options, names: Names) -> list[str]:
    """Draw sentences of 4 to 20 tokens from the beginnings of the dumps."""
    found = [sentence for path in files for sentence in first_sentences(path, options, names)]
    return random.Random(options.seed).sample(found, min(count, len(found)))


def first_sentences(path: Path, options: Options, names: Names) -> list[str]:
    lines = (line for block in dump.blocks(dump.Source(path), 1 << 22) for line in block.split(b'\n'))
    comments, _ = read_one_by_one(islice(lines, LINES), COMMENTS)
    bodies = columns(comments).column('body')
    tokens = read_texts(bodies.filter(pa.array(~is_gone(bodies))), options, names)
    return tokens.sentences(np.flatnonzero(has_length(tokens))).to_pylist()


def from_data(opt: Opt, files: Sequence[Path], options: Options, names: Names) -> Classifier:
    """Train a classifier on Persona-Chat and the dumps."""
    positive = persona_sentences(opt)
    negative = random_sentences(files, PER_PERSONA * len(positive), options, names)
    if not negative:
        raise DataError(f'saw no sentence of 4 to 20 tokens in {", ".join(map(str, files))}; nothing to train on')
    return train(positive, negative)
