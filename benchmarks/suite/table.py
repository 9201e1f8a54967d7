"""Measure all agents on the same examples: one table for all methods, their baselines and their peers.

    python -m benchmarks.suite.table --datapath data                          # all of it, days on one core
    python -m benchmarks.suite.table --datapath data --only people tfidf ir   # some arms
    make results                                                              # README.md, results/table.md

Models are those of the zoo, else those of the other benchmarks (`runs/…`): what is trained is not trained again. The
judges of consistency and of perception are those of the zoo, and so is the receiver of "best of eight", which chooses
among the replies of a beam. Each agent is measured up to four times:

- `valid`: the first examples of ConvAI2's valid split, original personas, in batches of eight. All agents see the same.
  Retrievers choose among 20 candidates here, one of them the gold reply.
- `reply`: the same examples, but a retriever chooses among all replies of the training split, as it does in a chat.
- `self_chat`: it talks to itself as the people of valid dialogues (`benchmarks/suite/self_chat.py`).
- `train`: seconds that its trainings took, from ParlAI's own record, with whatever else the machine did; of a model of
  the zoo, as its card has it.

hits@1 of a generator is measured where ranking is cheap: by P2Bot's head, and by the token trees of `persona:lm`.
Every step is a command, and each row names its commands. After Ctrl-C, run the same line again: it skips what is
finished, and resumes a training from its last checkpoint.
"""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.common.jobs import TEN_MINUTES, Job, arguments, model_file, program, run_all
from benchmarks.common.judges import JUDGES, RECEIVER
from benchmarks.common.record import RESULTS, Row, append, data_label, hardware, split_label
from benchmarks.p2bot import self_play, transmitter
from benchmarks.paml import table1
from benchmarks.pednet import table2
from benchmarks.suite import baselines
from parlai_persona.zoo import registry

CSV = RESULTS / 'table.csv'
OUT, ZOO = Path('runs/table'), '-mf zoo:persona/'
TASK, CORPUS, EXAMPLES = 'persona:personachat', 'ConvAI2', 512
DATA = data_label('Persona-Chat', 2072)
FORM = f'-t {TASK} --persona-source convai2 --persona-form original -dt valid'
REPLIES = OUT / 'replies' / 'replies.txt'
FIRST = f'{split_label(CORPUS, "valid", EXAMPLES)}, original'
SPLITS = {
    'valid': FIRST,
    'reply': f'{FIRST}, among all training replies',
    'self_chat': 'valid, self-chat in 20 dialogues',
    'train': 'train',
}
RANKED = ('hits@1', 'mrr')
SAID = (
    *('ppl_word', 'f1', 'bleu-4', 'bleu_corpus', 'persona_f1', 'persona_cover_train', 'consistency'),
    *('persona_perception', 'distinct_raw_1', 'distinct_raw_2', 'repetition', 'reply_words', 'answered'),
)
CHAT = (
    *('persona_perception', 'contradiction', 'contradicts_itself', 'contradicts_persona', 'repetition', 'reply_words'),
    *('distinct_raw_2', 'answers_per_second', 'parameters', 'trained_parameters'),
)
GENERATOR, RETRIEVER, TEXTS = 'generator', 'retriever', 'texts'


class Model(NamedTuple):
    """Commands that train a model (and the last file that each writes), and flags that load it."""

    train: dict[str, Path]
    agent: str


class Arm(NamedTuple):
    """An agent of the table. `kind` says what is measured; `model` makes it from the seed and the data folder."""

    name: str  # the column `method`
    kind: str
    model: Callable[[int, str], Model]
    trained: bool = True
    flags: str = ''  # of each evaluation
    own_replies: str = ''  # flags with which a retriever chooses among a file's lines
    note: str = ''  # why its figures cannot be compared with the others
    apart: tuple[str, ...] = ()  # metrics that cannot be compared, if not all of them
    front: bool = True  # stands in the README
    data: str = DATA  # what it learned from


def trained(job: Job, model: Path) -> Model:
    return Model(job.train, f'-mf {model}')


def untrained(agent: str) -> Callable[[int, str], Model]:
    return lambda seed, datapath: Model({}, agent)


def zoo(name: str) -> Callable[[int, str], Model]:
    return untrained(f'{ZOO}{name}')


def pednet(key: str) -> Callable[[int, str], Model]:
    return lambda seed, datapath: trained(table2.job(key, seed, datapath), model_file(table2.OUT, key, seed))


def player(seed: int, datapath: str) -> Model:
    """Return what holds 25 meetings, which a CPU can do; they begin with the transmitter of the zoo."""
    return trained(self_play.job('short', seed, 'original', datapath), model_file(self_play.OUT, 'short', seed))


def baseline(name: str, seconds: int = TEN_MINUTES) -> Callable[[int, str], Model]:
    """Return what makes one of ParlAI's agents, as in baselines.py, but trained for at most so long."""
    one = next(own for own in baselines.BASELINES if own.name == name)

    def model(seed: int, datapath: str) -> Model:
        job = baselines.job(one, one.evaluations[0], 'self', seed, datapath, '', seconds)
        path = model_file(baselines.OUT, baselines.name_of(one, 'self', seconds), seed)
        loaded = f'-mf {path}' if one.train else f'-m {one.agent}'
        return Model(job.train, f'{loaded} --dict-file {path}.dict' if one.dictionary else loaded)

    return model


def published(name: str) -> Callable[[int, str], Model]:
    """Return what says the replies of a published file."""
    agent = '-m benchmarks.suite.peers:PublishedAgent --published'
    return lambda seed, datapath: Model({}, f'{agent} {shlex.quote(datapath)}/peers/{name}')


UNKNOWN_WORDS = ('ppl_word',)  # their dictionaries have one token for all unknown words
HALF_AN_HOUR = 1800  # seconds, in which our own seq2seq has learned
TRAINED_BEFORE = ('train_seconds',)  # without the training of the model that it begins with
FIXED = f'--eval-candidates fixed --fixed-candidates-path {REPLIES} --ignore-bad-candidates true'
LISTED = f'--label_candidates_file {REPLIES}'
WRITES = '--skip-generation false'
EIGHT = f'{WRITES} --inference beam --beam-size 8'
BEAM = f'{WRITES} --inference beam --beam-size 3 --beam-min-length 3 --beam-block-ngram 3 --dynamic-batching none'
RANK = '--dynamic-batching none'
LANGUAGE_MODELS = (
    *('gpt-4-turbo', 'gpt-4o-mini', 'gpt-3.5-turbo', 'gemini-1.5-pro', 'Llama3-1-8B-Instruct'),
    *('Mistral-7B-Instruct', 'Qwen2-7B-Instruct', 'Gemma-7B-Instruct'),
)
PUBLISHED = 'published replies'
MORE_DATA = f'{PUBLISHED}; learned from all of the training data and from Dialogue NLI'
ANSWERED = f'{PUBLISHED}, told to answer as a persona; only to the examples that its file has'
NO_PERSONA = 'reads no persona: it becomes someone from their dialogues, and was given none here'

ARMS = {
    'people': Arm('People', TEXTS, untrained('-m repeat_label'), trained=False),
    'random': Arm(
        'Random reply', RETRIEVER, untrained('-m random_candidate'), trained=False, own_replies=LISTED, front=False
    ),
    'tfidf': Arm(
        'TF-IDF, characters',
        RETRIEVER,
        untrained('-m benchmarks.suite.peers:TfidfAgent'),
        trained=False,
        own_replies=f'--replies {REPLIES}',
    ),
    'ir': Arm('ParlAI ir_baseline', RETRIEVER, baseline('ir_baseline'), trained=False, own_replies=LISTED),
    'parlai-memnn': Arm('ParlAI memnn', RETRIEVER, baseline('memnn'), flags=RANK, own_replies=FIXED, front=False),
    'biencoder': Arm('ParlAI biencoder', RETRIEVER, baseline('biencoder'), flags=RANK, own_replies=FIXED),
    'memnet': Arm('persona:memnet', RETRIEVER, zoo('memnet@1'), own_replies=FIXED),
    'memnet-minilm': Arm('persona:memnet/pretrained', RETRIEVER, zoo('memnet_minilm@1'), own_replies=FIXED),
    'parlai-seq2seq': Arm(
        'ParlAI seq2seq', GENERATOR, baseline('seq2seq', HALF_AN_HOUR), apart=UNKNOWN_WORDS, flags=BEAM
    ),
    'parlai-transformer': Arm(
        'ParlAI transformer',
        GENERATOR,
        baseline('transformer', HALF_AN_HOUR),
        apart=UNKNOWN_WORDS,
        flags=BEAM,
        front=False,
    ),
    'seq2seq': Arm('persona:seq2seq', GENERATOR, pednet('seq2seq'), apart=UNKNOWN_WORDS, flags=WRITES, front=False),
    'gpmn': Arm('persona:gpmn', GENERATOR, pednet('gpmn'), apart=UNKNOWN_WORDS, flags=WRITES, front=False),
    'postks': Arm('persona:postks', GENERATOR, pednet('postks'), apart=UNKNOWN_WORDS, flags=WRITES, front=False),
    'pednet': Arm('persona:pednet', GENERATOR, zoo('pednet@2'), apart=UNKNOWN_WORDS, flags=WRITES),
    'pednet-eight': Arm(
        'persona:pednet, best of eight',
        GENERATOR,
        zoo('pednet@2'),
        apart=UNKNOWN_WORDS,
        flags=f'{EIGHT} --pednet-receiver {RECEIVER}',
        front=False,
    ),
    'paml': Arm(
        'persona:paml, not adapted',
        GENERATOR,
        zoo('paml@1'),
        apart=UNKNOWN_WORDS,
        flags=f'{table1.BEAM} --persona-side none',
        note=NO_PERSONA,
    ),
    'zero-shot': Arm(
        'SmolLM2, zero-shot',
        GENERATOR,
        untrained(f'{transmitter.ARMS["zero-shot"].agent} {transmitter.BASE}'),
        trained=False,
        flags=f'{WRITES} {transmitter.ARMS["zero-shot"].evaluation}',
    ),
    'transmitter': Arm('persona:p2bot/transmitter', GENERATOR, zoo('p2bot@1'), flags=WRITES),
    'transmitter-eight': Arm(
        'persona:p2bot/transmitter, best of eight', GENERATOR, zoo('p2bot@1'), flags=f'{EIGHT} --lm-receiver {RECEIVER}'
    ),
    'p2bot': Arm('persona:p2bot, 25 meetings', GENERATOR, player, apart=TRAINED_BEFORE, flags=WRITES),
    'lmedr': Arm('LMEDR', TEXTS, published('lmedr_original.tsv'), trained=False, note=MORE_DATA, data=PUBLISHED),
    **{
        name: Arm(
            name,
            TEXTS,
            published(f'llm_zero_shot/{name}.csv'),
            trained=False,
            note=ANSWERED,
            data=PUBLISHED,
            front=name == LANGUAGE_MODELS[0],
        )
        for name in LANGUAGE_MODELS
    },
}


# ------------------------------------------------------------------------------------------------ commands


def commands(key: str, what: str, seed: int, datapath: str) -> tuple[dict[str, Path], str, Path]:
    """Return the commands that train an arm and evaluate it in one way, and the report."""
    arm, where = ARMS[key], f'{FORM} --datapath {shlex.quote(datapath)}'
    model = arm.model(seed, datapath)
    report = model_file(OUT, key, seed).with_name(f'{what}.json')
    flags, train = [model.agent, arm.flags], dict(model.train)
    if arm.kind == RETRIEVER and what != 'valid':
        flags.append(arm.own_replies)
        train[f'python -m benchmarks.suite.peers --datapath {shlex.quote(datapath)} --outfile {REPLIES}'] = REPLIES
    if what == 'self_chat':
        start = 'python -m benchmarks.suite.self_chat'
        flags = ['--people true'] if arm.kind == TEXTS else flags
    else:
        start = f'{program(model.agent)} eval_model'
        where += f' -bs 8 --num-examples {EXAMPLES}'
    judges = '' if arm.kind == RETRIEVER and what == 'valid' else JUDGES
    command = ' '.join([start, where, *flags, judges, f'--report-filename {report}'])
    return train, ' '.join(command.split()), report


def job(key: str, what: str, seed: int, datapath: str) -> Job:
    """Return what measures an arm in one way."""
    arm = ARMS[key]
    train, evaluate, report = commands(key, what, seed, datapath)
    said = {GENERATOR: (*RANKED, *SAID), RETRIEVER: RANKED, TEXTS: SAID}[arm.kind]
    metrics = {'valid': said, 'reply': SAID, 'self_chat': CHAT}[what]
    examples = 0 if what == 'self_chat' else EXAMPLES
    return Job(arm.name, TASK, arm.data, SPLITS[what], seed, train, evaluate, report, metrics, examples)


def ways(key: str) -> list[str]:
    """Return the ways in which an arm is measured by commands."""
    if ARMS[key].kind == TEXTS:
        return ['valid', 'self_chat'] if key == 'people' else ['valid']
    return ['valid', 'reply', 'self_chat'] if ARMS[key].kind == RETRIEVER else ['valid', 'self_chat']


def training_time(key: str, seed: int, datapath: str) -> list[Row]:
    """Return how long the trainings of a model took, by ParlAI's record or the zoo's; nothing if there is none."""
    train, agent = ARMS[key].model(seed, datapath)
    columns = (ARMS[key].name, TASK, DATA, SPLITS['train'], seed)
    if agent.startswith(ZOO):
        about = registry.find(agent.removeprefix(ZOO)).about
        minutes, _, machine = about.cost.partition(' minutes on ')
        return [Row(*columns, 'train_seconds', 60 * float(minutes), about.command, about.commit, machine)]
    records = [path.with_suffix('.trainstats') for path in train.values() if path.suffix == '.valid']
    if not records:
        return []
    seconds = sum(json.loads(path.read_text(encoding='utf-8'))['train_time'] for path in records)
    return [Row(*columns, 'train_seconds', seconds, ' && '.join(train), hardware=hardware(1))]


def main() -> None:
    args = arguments(__doc__, ARMS, [1])
    for key in args.only:
        for seed in args.seeds if ARMS[key].trained else [0]:
            run_all([job(key, what, seed, args.datapath) for what in ways(key)], CSV, args.allow_dirty)
            append(training_time(key, seed, args.datapath), CSV, allow_dirty=args.allow_dirty)


if __name__ == '__main__':
    main()
