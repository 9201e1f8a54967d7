"""Finds or makes the prepared files of `persona:congeneric`, below the datapath."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any

from parlai.core.loader import load_teacher_module
from parlai.core.opt import Opt
from parlai.utils.distributed import is_distributed

from parlai_persona.data.messages import MARKS
from parlai_persona.data.other_task import default_options, episodes, from_all_workers, teacher
from parlai_persona.data.specific_words import SpecificOptions
from parlai_persona.data.teacher import PersonaTeacher
from parlai_persona.errors import UserError
from parlai_persona.flags import flag, from_opt
from parlai_persona.metrics.perception import Perceived
from parlai_persona.metrics.teacher import Measured
from parlai_persona.models.packages import MINILM
from parlai_persona.tasks.congeneric.examples import Split, examples
from parlai_persona.tasks.congeneric.labels import Encoder, Entailment, Labeller, Overlap
from parlai_persona.tasks.congeneric.prepare import Preparation, PreparedSplit, Recipe

PREFIX = 'congeneric'
LABELS = ('overlap', 'encoder', 'nli')
KEPT = 20  # masked contexts that are prepared, the own one included; so a smaller K needs nothing new
FORMAT = 1  # of the files
WITHOUT_EFFECT = {
    'mutators',
    'teacher_seed',
    *(f'persona_{one.name}' for one in (*fields(Measured), *fields(Perceived))),
}


@dataclass(frozen=True)
class Congeneric:
    """Congeneric contexts"""

    of: str = flag('persona:personachat', 'the task with the dialogues', metavar='TASK')
    turns: int = flag(1, 'messages of the context (the paper: 1)', least=1)
    k: int = flag(15, 'masked contexts, the own one included (K of sec. 3.3.3)', least=1)
    labels: str = flag(
        'overlap',
        'what finds the sentence that a reply expresses: shared words, an encoder (the paper: BERT), or a classifier '
        'of entailment',
        choices=LABELS,
    )
    encoder: str = flag(
        MINILM,
        f"for `encoder`: a name on Hugging Face's hub, a folder, or {MINILM}, a Python package with all-MiniLM-L6-v2",
        metavar='WHAT',
    )
    nli: str | None = flag(None, 'for `nli`: the classifier, as for --persona-nli', metavar='MODEL')
    none: float = flag(
        0.0,
        'the label is -1 unless a sentence scores more than this (overlap: 0 to 1; encoder: cosine; nli: probability)',
    )
    pool: int = flag(100_000, 'training contexts to search, at most; of a larger split, a random sample', least=1)
    seed: int = flag(0, 'seed of this sample')
    check: bool = flag(True, 'read the other task again at each start, to see whether its data have changed')


def open_split(opt: Mapping[str, Any], fold: str, training: PreparedSplit | None = None) -> PreparedSplit:
    """Open the files of a split, and make them first if need be; `training` is the training split, if it is another."""
    options: Congeneric = from_opt(Congeneric, opt, PREFIX)
    made_with = recipe(opt, options)
    name = ''.join(letter if letter.isalnum() else '-' for letter in options.of)
    key = blake2b(made_with.description.encode(), digest_size=6).hexdigest()
    # Every worker takes part in the gathering, whichever of them makes the files.
    gathered = gather(other_split(opt, options.of, fold)) if is_distributed() else None

    def source() -> Iterator[dict[str, Any]]:
        return examples(gathered or other_split(opt, options.of, fold), options.turns)

    folder = Path(opt['datapath']) / PREFIX / f'{name}-{key}'
    return Preparation(folder / fold, made_with, source, training, options.check).open()


def other_split(opt: Mapping[str, Any], task: str, fold: str) -> Split:
    """Return the episodes of the other task, one after the other from the disk if the task can do that."""
    training = {'persona_candidates': 'none'} if fold == 'train' else {}  # reading them would take most of the time
    ours = issubclass(load_teacher_module(task), PersonaTeacher)
    other = teacher(Opt({**opt, **training, 'persona_metrics': False}), task, fold, stream=ours)
    return Split(other.id, episodes(other), getattr(other, 'MARKS', MARKS), candidates=fold != 'train')


def gather(split: Split) -> Split:
    return split._replace(episodes=from_all_workers(list(split.episodes)))


def recipe(opt: Mapping[str, Any], options: Congeneric) -> Recipe:
    specific: SpecificOptions = from_opt(SpecificOptions, opt, PREFIX)
    neighbours = max(options.k, KEPT) - 1
    judge = {'overlap': '', 'encoder': options.encoder, 'nli': options.nli}[options.labels]
    others = {name: opt.get(name, value) for name, value in default_options(Opt(opt), options.of).items()}
    description = {
        'format': FORMAT,
        **{name: getattr(options, name) for name in ('of', 'turns', 'labels', 'none', 'pool', 'seed')},
        'judge': judge,
        'neighbours': neighbours,
        'specific': asdict(specific),
        'other': {name: str(value) for name, value in sorted(others.items()) if name not in WITHOUT_EFFECT},
    }
    return Recipe(
        specific,
        neighbours,
        options.pool,
        options.seed,
        options.none,
        lambda training: labeller(options, training, opt.get('datapath')),
        json.dumps(description),
    )


def labeller(options: Congeneric, training: PreparedSplit, datapath: str | None) -> Labeller:
    if options.labels == 'overlap':
        return Overlap(*training.replies)
    if options.labels == 'encoder':
        return Encoder(options.encoder)
    if not options.nli:
        raise UserError('--congeneric-labels nli: name the classifier with --congeneric-nli MODEL')
    return Entailment(options.nli, datapath)
