"""Compare what `persona:congeneric` finds with the valid files that PEDNet's authors released.

    python -m benchmarks.pednet.released --datapath data          # half an hour on one core, most of it the encoders
    python -m benchmarks.pednet.released --datapath data --only specific overlap

Their contexts, replies and personas are read as they are; our counts are those of the training split at hand. Parts:

specific  The specific words: how many, in how many contexts there are none, and how well both agree. Agreement of two
          sets is the size of what they share by that of their union (1 if both are empty), averaged over contexts.
overlap, encoder, nli
          The labels: how many are the same where the authors' is a sentence; and of all, if as many replies as theirs
          have none (those with the lowest scores).
foreseen  How often the sentence nearest to the *context* is the labelled one, that nearest to the reply: what a rule
          without training knows of the choice that PEDNet has to learn. Beside it a rule that reads no context: the
          sentence of the most common words.

The definition of specific words was chosen by these very files (tasks/congeneric/README.md), so their agreement is no
test of it. Rows go to results/pednet_released.csv.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.common import record
from benchmarks.common.arms import Figures, Report, run_parts
from benchmarks.common.judges import NLI
from benchmarks.pednet.corpus import TASK as OTHER
from benchmarks.pednet.corpus import dialogues
from parlai_persona.data.specific_words import SpecificOptions, SpecificWords
from parlai_persona.models.packages import MINILM
from parlai_persona.tasks.congeneric.examples import CONTEXT, Split, examples
from parlai_persona.tasks.congeneric.labels import Encoder, Entailment, Labeller, Overlap, place_of_best
from parlai_persona.tasks.congeneric.parse import Released, read_released

CSV = record.RESULTS / 'pednet_released.csv'
TASK = 'persona:congeneric:released'
DATA = record.data_label('Persona-Chat', 2072)


def released(args: argparse.Namespace) -> list[Released]:
    folder = Path(args.datapath) / 'pednet'
    return list(read_released(folder / 'demo.dev1', folder / 'demo.dev2'))


def training(args: argparse.Namespace) -> list[dict]:
    split = [episode for episode in dialogues(args.datapath) if episode[0]['dialogue_id'].startswith('train')]
    return list(examples(Split(OTHER, split), 1))


def specific(report: Report, args: argparse.Namespace) -> None:
    ones = released(args)
    pairs = [(example[CONTEXT], example['persona']) for example in training(args)]
    report.add('the authors', TASK, 'Persona-Chat, full', 'valid', sizes([one.specific for one in ones]))
    arms = {'ours': SpecificOptions(), 'ours, at most 4': SpecificOptions(most=4)}
    arms['ours, nothing added'] = SpecificOptions(smoothing=0.0)
    for name, options in arms.items():
        table = SpecificWords.count(pairs, options)
        found = [table.find(one.context, one.persona) for one in ones]
        report.add(name, TASK, DATA, 'valid', {**sizes(found), **agreement(found, [one.specific for one in ones])})


def sizes(found: Sequence[Sequence[str]]) -> Figures:
    return {
        'specific words': float(np.mean([len(one) for one in found])),
        'contexts with none': float(np.mean([not one for one in found])),
    }


def agreement(found: Sequence[Sequence[str]], theirs: Sequence[Sequence[str]]) -> Figures:
    pairs = [(set(one), set(other)) for one, other in zip(found, theirs, strict=True)]
    shared = sum(len(one & other) for one, other in pairs)
    return {
        'agreement': float(np.mean([jaccard(one, other) for one, other in pairs])),
        'of ours, theirs too': shared / max(sum(len(one) for one, _ in pairs), 1),
        'of theirs, ours too': shared / max(sum(len(other) for _, other in pairs), 1),
    }


def jaccard(one: set, other: set) -> float:
    return len(one & other) / len(one | other) if one | other else 1.0


def labels(report: Report, args: argparse.Namespace, name: str, labeller: Labeller) -> None:
    ones = released(args)
    scores = labeller.scores([(one.reply, one.persona) for one in ones])
    theirs = np.array([one.label for one in ones])
    highest = np.array([max(row) for row in scores])
    none = float(np.quantile(highest, (theirs == -1).mean()))
    mine = np.array([place_of_best(row, -np.inf) for row in scores])
    some = theirs != -1
    figures = {
        'same label where theirs is a sentence': float((mine == theirs)[some].mean()),
        'by chance': float(np.mean([1 / len(one.persona) for one in ones if one.label != -1])),
        'replies with no score above 0': float((highest <= 0).mean()),
        'score with as many below': none,
        'same label, as many with none': float((np.where(highest > none, mine, -1) == theirs).mean()),
    }
    figures['same whether none'] = float(((highest > none) == some).mean())
    report.add(name, TASK, DATA, 'valid', figures)


def overlap(report: Report, args: argparse.Namespace) -> None:
    counts = Overlap.count(example['labels'][0] for example in training(args))
    labels(report, args, 'labels by overlap', Overlap(*counts))


def encoder(report: Report, args: argparse.Namespace) -> None:
    labels(report, args, f'labels by {MINILM}', Encoder(MINILM))


def entailment(report: Report, args: argparse.Namespace) -> None:
    labels(report, args, 'labels by entailment', Entailment(NLI))


def foreseen(report: Report, args: argparse.Namespace) -> None:
    ones = released(args)
    overlap = Overlap(*Overlap.count(example['labels'][0] for example in training(args)))
    rules: dict[str, Labeller] = {'overlap': overlap, MINILM: Encoder(MINILM)}
    replies = [(one.reply, one.persona) for one in ones]
    contexts = [(one.context, one.persona) for one in ones]
    labelled = {f'labelled by {name}': np.array(rule.labels(replies, 0.0)) for name, rule in rules.items()}
    labelled['labelled by the authors'] = np.array([one.label for one in ones])
    chance = np.array([1 / len(one.persona) for one in ones])
    for name, rule in rules.items():
        chosen = np.array(rule.labels(contexts, -np.inf))
        shares = {whose: float((chosen == label)[label != -1].mean()) for whose, label in labelled.items()}
        report.add(f'sentence nearest to the context by {name}', TASK, DATA, 'valid', shares)
    plainest = np.array([plain_place(one.persona, overlap) for one in ones])
    shares = {whose: float((plainest == label)[label != -1].mean()) for whose, label in labelled.items()}
    report.add('sentence of the most common words', TASK, DATA, 'valid', shares)
    by_chance = {whose: float(chance[label != -1].mean()) for whose, label in labelled.items()}
    report.add('sentence by chance', TASK, DATA, 'valid', by_chance)


def plain_place(persona: Sequence[str], overlap: Overlap) -> int:
    """Return the place of the sentence whose words have the lowest mean idf."""
    idf = [overlap.known(sentence)[0].values() for sentence in persona]
    return min(range(len(persona)), key=lambda place: np.mean([*idf[place]] or [np.inf]))


def main() -> None:
    parser = record.parser(__doc__)
    parts = {'specific': specific, 'overlap': overlap, 'encoder': encoder, 'nli': entailment, 'foreseen': foreseen}
    run_parts(parts, parser, CSV, 'python -m benchmarks.pednet.released')


if __name__ == '__main__':
    main()
