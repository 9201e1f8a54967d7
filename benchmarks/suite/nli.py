"""Measure the judges of the consistency C: classifiers of entailment, which the zoo trained on `persona:nli`.

    python -m benchmarks.suite.nli --datapath data                # ten minutes on one core
    python -m benchmarks.suite.nli --datapath data --only minilm  # zoo:persona/nli

Accuracy is that on pairs of sentences that training has not seen. Nor has it seen an utterance of the `cases`, the 268
evaluation cases of Dialogue NLI. Two shares are measured there: of cases where the gold utterance contradicts the
persona less than each contradicting utterance does, and of contradicting utterances that it beats. A tie counts against
the gold utterance, or is broken by lot. Last, C is measured of what people of the valid split say: with their own
persona, and with a stranger's, where a judge should find next to nothing.

Beside the classifiers stand chance and a rule without training: the fewer content words an utterance shares with the
history, with the persona or with both, the more it contradicts. Rows go to results/nli.csv.
"""

import statistics
from collections.abc import Callable, Iterable

from parlai.core.params import ParlaiParser

import parlai_persona  # noqa: F401
from benchmarks.common import record
from benchmarks.common.arms import Report
from benchmarks.common.record import RESULTS
from parlai_persona.metrics import nli
from parlai_persona.metrics.formulas import content_words
from parlai_persona.metrics.nli import Nli
from parlai_persona.tasks.nli.agents import CASES, DefaultTeacher
from parlai_persona.tasks.nli.pairs import CONTRADICTION, LABELS, Pair
from parlai_persona.tasks.nli.parse import Case, read_cases
from parlai_persona.tasks.perception import agents as perception

Figures = dict[str, float]
Judge = Callable[[Case, list[str]], list[float]]  # how much each text contradicts the persona of a case
GOLD_FIRST, BELOW, BY_LOT = 'gold first', 'contradicting below gold', ', ties by lot'
RULES: dict[str, Callable[[Case], list[str]]] = {
    'history': lambda case: case.history,
    'persona': lambda case: case.persona,
    'persona and history': lambda case: case.persona + case.history,
}
CSV, SEED, PEOPLE = RESULTS / 'nli.csv', 1, 200
CLASSIFIERS = {  # name -> model, and pairs of its training
    'parlai': ('zoo:persona/nli@1', 90_000),
    'minilm': ('zoo:persona/nli@2', 32_000),
}


def teacher(datapath: str) -> DefaultTeacher:
    line = ['-t', 'persona:nli', '-dt', 'valid', '--datapath', datapath, '--loglevel', 'error']
    return DefaultTeacher(ParlaiParser(True, False).parse_args(line))


def classifier(model: Nli) -> Judge:
    """Judge by the persona sentence that a text contradicts most."""

    def judge(case: Case, texts: list[str]) -> list[float]:
        answers = iter(model([(text, sentence) for text in texts for sentence in case.persona]))
        return [max(next(answers)[CONTRADICTION] for _ in case.persona) for _ in texts]

    return judge


def fewest_shared_words(known: Callable[[Case], list[str]]) -> Judge:
    """Judge without training: the fewer content words a text shares with the known texts, the more it contradicts."""

    def judge(case: Case, texts: list[str]) -> list[float]:
        words = content_words(' '.join(known(case)))
        return [-len(content_words(text) & words) for text in texts]

    return judge


def ranked(judge: Judge, cases: Iterable[Case]) -> Figures:
    """Return how well a judge ranks the utterances of the evaluation cases."""
    figures: dict[str, list[float]] = {name + ties: [] for ties in ('', BY_LOT) for name in (GOLD_FIRST, BELOW)}
    for case in cases:
        gold, *others = judge(case, [case.gold, *case.contradicting])
        worse, equal = sum(gold < other for other in others), sum(gold == other for other in others)
        first = worse + equal == len(others)
        figures[GOLD_FIRST].append(first and not equal)
        figures[GOLD_FIRST + BY_LOT].append(first / (1 + equal))
        figures[BELOW].append(worse / len(others))
        figures[BELOW + BY_LOT].append((worse + equal / 2) / len(others))
    return {name: statistics.mean(values) for name, values in figures.items()}


def chance(cases: Iterable[Case]) -> Figures:
    """Return what is expected of random scores, which have no ties."""
    by_lot = ranked(lambda case, texts: [0.0] * len(texts), cases)
    return {name: by_lot[name.removesuffix(BY_LOT) + BY_LOT] for name in by_lot}


def report_untrained(report: Report, cases: list[Case]) -> None:
    """Report what chance and the rules reach."""
    task, data = 'persona:nli', 'no training'
    for split in ('valid', 'test'):
        report.add('chance', task, data, split, {'accuracy': 1 / len(LABELS)})
    report.add('chance', task, data, 'cases', chance(cases))
    for name, known in RULES.items():
        figures = ranked(fewest_shared_words(known), cases)
        report.add(f'fewest words shared with the {name}', task, data, 'cases', figures)


def of_people(judge: Nli, datapath: str) -> Figures:
    """Return the mean C of what people say, with their own persona and with that of somebody else."""
    line = ['-t', 'persona:perception', '-dt', 'valid', '--datapath', datapath, '--loglevel', 'error']
    task = perception.DefaultTeacher(ParlaiParser(True, False).parse_args(line))
    own, strange = [], []
    for number, who in enumerate(task.speakers[:PEOPLE]):
        stranger = next(other for other in task.get(number)['label_candidates'] if other != who.label).split('\n')
        own += [judge.consistency(text, who.persona) for text in who.utterances]
        strange += [judge.consistency(text, stranger) for text in who.utterances]
    return {"C with one's own persona": statistics.mean(own), "C with a stranger's": statistics.mean(strange)}


def measure(report: Report, name: str, unseen: dict[str, list[Pair]], cases: list[Case], datapath: str) -> None:
    """Report what a classifier reaches."""
    model, count = CLASSIFIERS[name]
    judge, data = nli.load(model), f'{count:,} pairs without utterances of the cases'
    for split, pairs in unseen.items():
        labels = judge.classify([pair[:2] for pair in pairs])
        accuracy = statistics.mean(one == pair.label for one, pair in zip(labels, pairs, strict=True))
        report.add(name, 'persona:nli', data, split, {'accuracy': accuracy})
    report.add(name, 'persona:nli', data, 'cases', ranked(classifier(judge), cases))
    report.add(name, 'persona:nli', data, f'first {PEOPLE} people of valid', of_people(judge, datapath))


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--datapath', default='data')
    parser.add_argument('--only', nargs='+', choices=CLASSIFIERS, default=[*CLASSIFIERS], help='default: all')
    args = record.parse_arguments(parser)
    task, command = teacher(args.datapath), 'python -m benchmarks.suite.nli --datapath data'
    unseen = {split: task.pairs(split) for split in ('valid', 'test')}
    cases = list(read_cases(task.folder / CASES))
    report_untrained(Report(CSV, command, args.allow_dirty, SEED), cases)
    for name in args.only:
        report = Report(CSV, f'{command} --only {name}', args.allow_dirty, SEED)
        measure(report, name, unseen, cases, args.datapath)


if __name__ == '__main__':
    main()
