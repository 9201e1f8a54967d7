"""Measure ParlAI's own agents on Persona-Chat, the peers of the suite's methods.

    python -m benchmarks.suite.baselines --datapath data                 # all of them, about 70 minutes on one core
    python -m benchmarks.suite.baselines --datapath data --only memnn    # one of them
    make results                                                   # RESULTS.md

Every step is a stock `parlai` command, and each row names its commands. After Ctrl-C, run the same line again: it skips
what is finished and resumes a training from its last checkpoint.
"""

import shlex
from pathlib import Path
from typing import NamedTuple

from benchmarks.common.jobs import TEN_MINUTES, Job, arguments, model_file, run_all, training
from benchmarks.common.record import PUBLISHED, RESULTS, data_label, split_label

TASK = 'persona:personachat'
CORPUS = 'Persona-Chat'
OUT = Path('runs/baselines')

RANKING = ('hits@1', 'hits@3', 'hits@5', 'hits@10', 'mrr')
PERSONA = ('persona_recall', 'persona_precision', 'persona_f1', 'persona_used', 'persona_cover_train')
WORDS = ('f1', 'bleu-4', *PERSONA, 'distinct_raw_1', 'distinct_raw_2')
PERPLEXITY = ('ppl_word', 'ppl_token_*')


class Evaluation(NamedTuple):
    name: str
    metrics: tuple[str, ...]
    flags: str = ''
    examples: int = PUBLISHED[CORPUS]['valid'][1]


# A ranker chooses among 20 candidates, and the gold reply is one of them: F1 or BLEU would say nothing new.
RANK = Evaluation('rank', (*RANKING, *PERSONA))
REPEAT = Evaluation('repeat', WORDS)
GENERATE = Evaluation(
    'generate',
    (*PERPLEXITY, *WORDS),
    '--skip-generation false --inference beam --beam-size 3 --beam-min-length 3 --beam-block-ngram 3',
)
RANK_BY_LIKELIHOOD = Evaluation(  # takes 20 decodings an example, so only a part: 2,000 in whole batches of 64
    'rank',
    RANKING,
    '--skip-generation true --rank-candidates true --dynamic-batching none --num-examples 2000',
    examples=2048,
)


class Baseline(NamedTuple):
    name: str
    agent: str
    evaluations: tuple[Evaluation, ...]
    sides: tuple[str, ...] = ('self',)
    train: str = ''  # flags of model and training; '': nothing to train
    dictionary: bool = False  # needs word counts


# 360 tokens hold persona and history of every valid example and of 99.9 % of the training examples. Of longer ones
# ParlAI cuts the beginning, the persona. Batches of similar lengths save half of the time.
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


def job(
    baseline: Baseline,
    evaluation: Evaluation,
    side: str,
    seed: int,
    datapath: str,
    data: str,
    seconds: int = TEN_MINUTES,
) -> Job:
    """Return what trains a baseline for at most so long, with or without the persona, and evaluates it."""
    model = model_file(OUT, name_of(baseline, side, seconds), seed)
    task = f'-t {TASK} --datapath {shlex.quote(datapath)} --persona-side {side}'
    agent, train = f'-mf {model}', {}
    if baseline.train:
        train[training(task, f'-m {baseline.agent} {baseline.train}', seed, model, seconds)] = Path(f'{model}.valid')
    else:
        agent = f'-m {baseline.agent}'
    if baseline.dictionary:
        train[f'parlai build_dict {task} --dict-tokenizer re --dict-file {model}.dict'] = Path(f'{model}.dict')
        agent += f' --dict-file {model}.dict'
    report = model.with_name(f'{evaluation.name}.json')
    flags = f'{evaluation.flags} ' if evaluation.flags else ''
    evaluate = f'parlai eval_model {task} -dt valid {agent} {flags}-bs 64 --report-filename {report}'
    method = baseline.name if side == 'self' else f'{baseline.name}, no persona'
    split = split_label(CORPUS, 'valid', evaluation.examples)
    return Job(method, TASK, data, split, seed, train, evaluate, report, evaluation.metrics, evaluation.examples)


def name_of(baseline: Baseline, side: str, seconds: int) -> str:
    """Return the name of the folder of a model."""
    return f'{baseline.name}-{side}' + f'-{seconds}s' * (seconds != TEN_MINUTES)


def training_dialogues(datapath: str) -> int:
    """Return how many there are: this decides between 'full' and '…-dialogue train subset'."""
    from parlai.core.params import ParlaiParser  # slow to load, and who only needs the commands can do without
    from parlai.core.teachers import create_task_agent_from_taskname

    import parlai_persona  # noqa: F401  tells ParlAI about persona:

    opt = ParlaiParser(True, False).parse_args(['-t', TASK, '-dt', 'train:evalmode', '--datapath', datapath])
    return create_task_agent_from_taskname(opt)[0].num_episodes()


def main() -> None:
    args = arguments(__doc__, [baseline.name for baseline in BASELINES], [1])
    data = data_label(CORPUS, training_dialogues(args.datapath))
    jobs = [
        job(baseline, evaluation, side, seed, args.datapath, data)
        for baseline in BASELINES
        if baseline.name in args.only
        for side in baseline.sides
        for seed in (args.seeds if baseline.train else [0])
        for evaluation in baseline.evaluations
    ]
    run_all(jobs, RESULTS / 'baselines.csv', args.allow_dirty)


if __name__ == '__main__':
    main()
