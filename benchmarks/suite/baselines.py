"""ParlAI's own agents on Persona-Chat: the peers that the suite's methods are measured against.

    python -m benchmarks.suite.baselines --datapath data                 # all of them, about 70 minutes on one core
    python -m benchmarks.suite.baselines --datapath data --only memnn    # one of them
    make results                                                   # RESULTS.md

Every step is a stock `parlai` command; it is printed, and stands in the row of each number that comes out of it.
What is finished is skipped, a training that was interrupted goes on from its last checkpoint: after Ctrl-C, run
the same line again.
"""

import argparse
import fnmatch
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from parlai.core.params import ParlaiParser
from parlai.core.teachers import create_task_agent_from_taskname

import parlai_persona  # noqa: F401  tells ParlAI about persona:
from benchmarks.common.commands import Progress, execute
from benchmarks.common.record import RESULTS, Row, append, commit, data_label, find, hardware, split_label

TASK = 'persona:personachat'
CORPUS = 'Persona-Chat'
VALIDATED = 1000  # examples of the valid split that choose the checkpoint

RANKING = ('hits@1', 'hits@3', 'hits@5', 'hits@10', 'mrr')
PERSONA = ('persona_recall', 'persona_precision', 'persona_f1', 'persona_used', 'persona_cover_train')
WORDS = ('f1', 'bleu-4', *PERSONA, 'distinct_raw_1', 'distinct_raw_2')
PERPLEXITY = ('ppl_word', 'ppl_token_*')


@dataclass(frozen=True)
class Evaluation:
    name: str
    metrics: tuple[str, ...]
    flags: str = ''
    batch: int = 64


# A ranker's reply is one of 20 candidates of which the gold reply is one: its F1 or BLEU would say nothing new.
RANK = Evaluation('rank', (*RANKING, *PERSONA))
REPEAT = Evaluation('repeat', WORDS)
GENERATE = Evaluation(
    'generate',
    (*PERPLEXITY, *WORDS),
    '--skip-generation false --inference beam --beam-size 3 --beam-min-length 3 --beam-block-ngram 3',
)
RANK_BY_LIKELIHOOD = Evaluation(  # 20 decodings an example: a part has to do
    'rank', RANKING, '--skip-generation true --rank-candidates true --dynamic-batching none --num-examples 2000'
)


@dataclass(frozen=True)
class Baseline:
    name: str
    agent: str
    evaluations: tuple[Evaluation, ...]
    sides: tuple[str, ...] = ('self',)
    train: str = ''  # flags of model and training; none: nothing to train
    dictionary: bool = False  # needs word counts


# 360 tokens hold persona and history of every valid and of 99.9 % of all training examples; of what is longer,
# ParlAI cuts the oldest first, which is the persona. Batches of like length save half of the time.
TOKENS = '--dict-tokenizer re --text-truncate 360 --label-truncate 40 --dynamic-batching batchsort'
RANKER = f'{TOKENS} --candidates batch --eval-candidates inline -vmt hits@1 -vmm max'
GENERATOR = f'{TOKENS} --skip-generation true -vmt ppl -vmm min'
BASELINES = (
    Baseline('random_candidate', 'random_candidate', (RANK,)),
    Baseline('repeat_label', 'repeat_label', (REPEAT,)),
    Baseline('ir_baseline', 'ir_baseline --history_size 100', (RANK,), ('self', 'none'), dictionary=True),
    Baseline('ir_baseline-last', 'ir_baseline --history_size 1', (RANK,), ('none',), dictionary=True),
    Baseline(
        'memnn',
        'memnn',
        (RANK,),
        ('self', 'none'),
        f'{RANKER} --embedding-size 128 --hops 3 --memsize 60 --num-epochs 12 '
        '--optimizer adam -lr 0.005 --weight-decay 0.0001 --gradient-clip 5 -bs 128',
    ),
    Baseline(
        'biencoder',
        'transformer/biencoder',
        (RANK,),
        ('self', 'none'),
        f'{RANKER} --embedding-size 128 --ffn-size 256 --n-layers 1 --n-heads 2 --reduction-type mean '
        '--share-encoders false --num-epochs 10 --optimizer adam -lr 0.0005 --gradient-clip 1 -bs 128',
    ),
    Baseline(
        'seq2seq',
        'seq2seq',
        (GENERATE, RANK_BY_LIKELIHOOD),
        ('self',),
        f'{GENERATOR} --rnn-class gru --embeddingsize 128 --hiddensize 128 --numlayers 1 '
        '--attention general --lookuptable all --dropout 0.2 --num-epochs 3 '
        '--optimizer adam -lr 0.001 --gradient-clip 1 -bs 32',
    ),
    Baseline(
        'transformer',
        'transformer/generator',
        (GENERATE, RANK_BY_LIKELIHOOD),
        ('self', 'none'),
        f'{GENERATOR} --embedding-size 128 --ffn-size 256 --n-layers 2 --n-heads 4 --dropout 0.1 --num-epochs 5 '
        '--optimizer adam -lr 0.001 --gradient-clip 1 -bs 32',
    ),
)
SCHEDULE = (
    f'--lr-scheduler none --validation-every-n-epochs 1 --validation-max-exs {VALIDATED} --validation-patience 3 '
    '--eval-dynamic-batching off --short-final-eval true --save-after-valid true --save-every-n-secs 60 '
    '--log-every-n-secs 30'
)


@dataclass(frozen=True)
class Job:
    """A baseline with or without the persona, and a seed: its commands, and the files they leave."""

    baseline: Baseline
    side: str
    seed: int
    folder: Path
    datapath: str
    minutes: float

    @property
    def method(self) -> str:
        return self.baseline.name if self.side == 'self' else f'{self.baseline.name}, no persona'

    @property
    def model(self) -> Path:
        return self.folder / f'{self.baseline.name}-{self.side}-{self.seed}' / 'model'

    @property
    def task(self) -> str:
        return f'-t {TASK} --datapath {shlex.quote(self.datapath)} --persona-side {self.side}'

    @property
    def preparation(self) -> str:
        if self.baseline.dictionary:
            return f'parlai build_dict {self.task} --dict-tokenizer re --dict-file {self.model}.dict'
        if self.baseline.train:
            return (
                f'parlai train_model {self.task} -m {self.baseline.agent} {self.baseline.train} --seed {self.seed} '
                f'--max-train-time {60 * self.minutes:g} {SCHEDULE} -mf {self.model}'
            )
        return ''

    @property
    def prepared(self) -> Path:
        """The file that the last step of the preparation leaves: train_model's final validation, or the dictionary."""
        return Path(f'{self.model}.{"dict" if self.baseline.dictionary else "valid"}')

    def report(self, evaluation: Evaluation) -> Path:
        return self.model.with_name(f'{evaluation.name}.json')

    def command(self, evaluation: Evaluation) -> str:
        model = f'-mf {self.model}' if self.baseline.train else f'-m {self.baseline.agent}'
        if self.baseline.dictionary:
            model += f' --dict-file {self.model}.dict'
        flags = f'{evaluation.flags} ' if evaluation.flags else ''
        return (
            f'parlai eval_model {self.task} -dt valid {model} {flags}-bs {evaluation.batch} '
            f'--report-filename {self.report(evaluation)}'
        )


# ------------------------------------------------------------------------------------------- one job


def prepare(job: Job, threads: int, progress: Progress) -> None:
    """Train, or count words, unless that is finished."""
    script = job.model.with_name('command.txt')
    if script.exists() and script.read_text(encoding='utf-8') != job.preparation:
        sys.exit(f'{script.parent} was made by another command; remove it to run\n{job.preparation}')
    if job.prepared.exists():
        return
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(job.preparation, encoding='utf-8')
    execute(job.preparation, job.model.with_name('log.txt'), threads, progress)


def evaluate(job: Job, evaluation: Evaluation, threads: int, progress: Progress) -> dict[str, float]:
    """The figures that ParlAI reports, by name; `exs` is the number of examples."""
    report = job.report(evaluation)
    execute(job.command(evaluation), job.model.with_name('log.txt'), threads, progress)
    return json.loads(report.read_text(encoding='utf-8'))['report']


def rows(job: Job, evaluation: Evaluation, report: dict[str, float], data: str, threads: int) -> list[Row]:
    command = ' && '.join(filter(None, (job.preparation, job.command(evaluation))))
    split = split_label(CORPUS, 'valid', int(report['exs']))
    wanted = [name for pattern in evaluation.metrics for name in fnmatch.filter(report, pattern)]
    if not wanted:
        sys.exit(f'none of {", ".join(evaluation.metrics)} in {job.report(evaluation)}: saw {", ".join(report)}')
    stamp = {'command': command, 'commit': commit(), 'hardware': hardware(threads)}
    return [Row(job.method, TASK, data, split, job.seed, name, report[name], **stamp) for name in wanted]


def measured(job: Job, evaluation: Evaluation, data: str, path: Path) -> bool:
    """Whether the rows of an evaluation are there; an error if they come from other flags."""
    same = {'method': job.method, 'task': TASK, 'data': data, 'seed': job.seed, 'metric': evaluation.metrics[0]}
    found = find(path, **same)
    other = [row.command for row in found if not row.command.endswith(job.command(evaluation))]
    other += [row.command for row in found if not row.command.startswith(job.preparation)]
    if other:
        sys.exit(f'{path} has {job.method} by another command; remove its rows to measure it anew:\n{other[0]}')
    return bool(found)


def training_dialogues(datapath: str) -> int:
    """How many the teacher has: this decides between 'full' and '…-dialogue train subset'."""
    opt = ParlaiParser(True, False).parse_args(['-t', TASK, '-dt', 'train:evalmode', '--datapath', datapath])
    return create_task_agent_from_taskname(opt)[0].num_episodes()


# ----------------------------------------------------------------------------------------------- all jobs


def work(jobs: list[Job], path: Path, threads: int, data: str) -> None:
    def minutes_left() -> float:
        return sum(job.minutes for job in jobs if job.baseline.train and not job.prepared.exists())

    progress = Progress(len(jobs), minutes_left)
    for number, job in enumerate(jobs, 1):
        pending = [e for e in job.baseline.evaluations if not measured(job, e, data, path)]
        if pending and job.preparation:
            progress.begin(number, f'{job.method}, seed {job.seed}: {job.preparation.split()[1]}')
            prepare(job, threads, progress)
            progress.done('ready')
        for evaluation in pending:
            progress.begin(number, f'{job.method}, seed {job.seed}: {evaluation.name}')
            new = rows(job, evaluation, evaluate(job, evaluation, threads, progress), data, threads)
            append(new, path)
            progress.done(', '.join(f'{row.metric} {row.value:.4g}' for row in new[:4]))
        if not pending:
            print(f'[{number}/{len(jobs)}] {job.method}, seed {job.seed}: is in {path.name}')


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--datapath', required=True, help="ParlAI's data folder; what is missing in it is downloaded")
    parser.add_argument('--only', nargs='+', choices=[b.name for b in BASELINES], help='these alone (default: all)')
    parser.add_argument('--minutes', type=float, default=10, help='most time to train a model (default: %(default)s)')
    parser.add_argument('--seeds', type=int, nargs='+', default=[1], help='of what is trained (default: %(default)s)')
    parser.add_argument('--threads', type=int, default=1, help='CPU threads (default: %(default)s)')
    parser.add_argument('--out', type=Path, default=Path('runs/baselines'), help='for models (default: %(default)s)')
    parser.add_argument('--results', type=Path, default=RESULTS / 'baselines.csv', help='CSV file to add rows to')
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    jobs = [
        Job(baseline, side, seed, args.out, args.datapath, args.minutes)
        for baseline in BASELINES
        if not args.only or baseline.name in args.only
        for side in baseline.sides
        for seed in (args.seeds if baseline.train else [0])
    ]
    work(jobs, args.results, args.threads, data_label(CORPUS, training_dialogues(args.datapath)))


if __name__ == '__main__':
    main()
