"""The commands of `compatibility.py`: ParlAI's agents with what they can do, and its scripts and options.

All models are small enough to train in a second. The data are ParlAI's own `integration_tests`. Pretrained models and
word vectors are made here, so nothing is downloaded.
"""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

STEPS = '--optimizer adam --learningrate 0.005 --max-train-steps 6 --batchsize 8 --validation-max-exs 16'
CHECKPOINTS = '--validation-every-n-steps 3 --save-after-valid True'
RECURRENT = '--hiddensize 16 --embeddingsize 16 --numlayers 1'
TRANSFORMER = '--n-layers 1 --n-heads 2 --embedding-size 16 --ffn-size 16'
HUGGING_FACE = '--text-truncate 32 --label-truncate 16'
TWO = '--distributed-world-size 2 --ddp-backend ddp'
REPORT = r'REPORT +\| test:'
RESUMED = rf'(?s)Loading existing model.*model\.checkpoint.*{REPORT}'


class Command(NamedTuple):
    """A `parlai` command, a pattern that its output must match, and what is typed into it."""

    line: str
    expect: str
    typed: str = ''

    def arguments(self) -> list[str]:
        """Return Python's arguments: `-c` and a program, or a `parlai` command and the data folder."""
        words = shlex.split(self.line)
        if words[0] == '-c':
            return words
        return ['-m', 'parlai', *words, *([] if words[0] == 'vacuum' else ['--datapath', 'data'])]


class Agent(NamedTuple):
    """One of ParlAI's agents: how it is trained, on which task, and what it can do."""

    name: str
    kind: str  # generator, ranker, retriever (learns nothing by gradients), classifier
    flags: str = ''
    task: str = 'integration_tests:candidate'
    embeddings: bool = False  # can start from word vectors

    def train(self, extra: str = '', script: str = 'train_model') -> str:
        """Return the command that trains it; in the folder of a cell the model is always called `model`."""
        steps = '--batchsize 1 --num-epochs 1 --datatype train:ordered' if self.kind == 'retriever' else STEPS
        quiet = '--skip-generation True --validation-metric ppl' if self.kind == 'generator' else ''
        return f'{script} -t {self.task} -m {self.name} -mf model {self.flags} {steps} {quiet} {extra}'

    def use(self, script: str, extra: str = '') -> str:
        """Return a command for the agent that the `train` cell trained."""
        generate = '--skip-generation False' if self.kind == 'generator' else ''
        return f'{script} -mf agents/{self.name.replace("/", "_")} {generate} {extra}'

    def answer(self, script: str, extra: str = '') -> str:
        """Return a command in which it answers; a generator with little training often ends a reply at once."""
        beam = '--inference beam --beam-size 2 --beam-min-length 3' if self.kind == 'generator' else ''
        candidates = '--label_candidates_file candidates.txt' if self.name == 'ir_baseline' else ''
        return self.use(script, f'{extra} {beam}{candidates}')


GENERATION, CLASSES = 'integration_tests:nocandidate', 'integration_tests:classifier'
TRANSFORMER_RANKER = f'{TRANSFORMER} --candidates batch'
SEQ2SEQ = Agent('seq2seq', 'generator', RECURRENT, GENERATION, embeddings=True)
GENERATOR = Agent('transformer/generator', 'generator', TRANSFORMER, GENERATION, embeddings=True)
GPT2 = Agent('hugging_face/gpt2', 'generator', f'--model-name tiny-gpt2 {HUGGING_FACE}', GENERATION)
AGENTS = [
    SEQ2SEQ,
    Agent('hred', 'generator', RECURRENT, 'integration_tests:multiturn_nocandidate', embeddings=True),
    GENERATOR,
    GPT2,
    Agent('hugging_face/dialogpt', 'generator', f'--gpt2-size small {HUGGING_FACE}', GENERATION),
    Agent('hugging_face/t5', 'generator', f'--t5-model-arch t5-small {HUGGING_FACE}', GENERATION),
    Agent('transformer/biencoder', 'ranker', TRANSFORMER_RANKER, embeddings=True),
    Agent('transformer/polyencoder', 'ranker', TRANSFORMER_RANKER),
    Agent('memnn', 'ranker'),
    Agent('transformer/classifier', 'classifier', f'{TRANSFORMER} --classes one zero', CLASSES),
    Agent('ir_baseline', 'retriever'),
    Agent('tfidf_retriever', 'retriever', '--retriever-hashsize 4096'),
]

# -------------------------------------------------------- what agents do: the commands, none if it does not apply


def resumed(command: str) -> list[Command]:
    """Train to step 6, then resume from the checkpoint to step 12."""
    return [Command(command, REPORT), Command(command.replace('--max-train-steps 6', '--max-train-steps 12'), RESUMED)]


def evaluate(agent: Agent) -> list[Command]:
    return [Command(agent.use('eval_model', f'-t {agent.task} --metrics all --num-examples 20'), 'rouge_L')]


def generate(inference: str) -> Callable[[Agent], list[Command]]:
    """Evaluate a generator with one of ParlAI's ways of decoding."""

    def commands(agent: Agent) -> list[Command]:
        flags = f'-t {agent.task} --num-examples 12 --batchsize 4 --inference {inference}'
        return [Command(agent.use('eval_model', flags), 'bleu-4')] if agent.kind == 'generator' else []

    return commands


def candidates(agent: Agent) -> list[Command]:
    """Measure hits@k: a generator ranks the task's candidates; a ranker those of a file, encoded once, then reused."""
    if agent.kind == 'generator':
        flags = '-t integration_tests:candidate --num-examples 12 --rank-candidates True'
        return [Command(agent.use('eval_model', flags), 'hits@1')]
    flags = f'-t {agent.task} --num-examples 12 --eval-candidates fixed --fixed-candidates-path candidates.txt'
    once = Command(agent.use('eval_model', f'{flags} --ignore-bad-candidates True'), 'hits@1')
    return [once, once] if agent.kind == 'ranker' else []


def interactive(agent: Agent) -> list[Command]:
    return [Command(agent.answer('interactive'), r'\[\w+\]: .', typed='1 2 3\n4 5\n[EXIT]\n')]


def self_chat(agent: Agent) -> list[Command]:
    """Let an agent talk to itself; its first line is given."""
    flags = '--selfchat-max-turns 3 --outfile chat --seed-messages-from-file candidates.txt'
    return [Command(agent.answer('self_chat', flags), r'\[\w+_2\]: .')]


def processes(agent: Agent) -> list[Command]:
    """Train in two processes on the CPU. ParlAI needs the dictionary before; its classifier shares no gradients."""
    train = Command(agent.train(TWO, 'multiprocessing_train'), REPORT)
    return [dictionary(agent.task), train] if agent.kind in ('generator', 'ranker') else []


def dictionary(task: str) -> Command:
    return Command(f'build_dict -t {task} --dict-file model.dict', 'dictionary built')


def vectors(agent: Agent) -> list[Command]:
    line = agent.train('--embedding-type glove')
    return [Command(line, rf'(?s)Initialized embeddings for [1-9].*{REPORT}')] if agent.embeddings else []


ACTIVITIES: dict[str, Callable[[Agent], list[Command]]] = {
    'train': lambda agent: [Command(agent.train(), REPORT)],
    'resume': lambda agent: resumed(agent.train(CHECKPOINTS)) if agent.kind != 'retriever' else [],
    'evaluate': evaluate,
    'hits@k': candidates,
    'greedy': generate('greedy'),
    'beam': generate('beam --beam-size 3 --beam-min-length 2 --beam-block-ngram 2'),
    'top-k': generate('topk --topk 3'),
    'nucleus': generate('nucleus --topp 0.5'),
    'interactive': interactive,
    'self_chat': self_chat,
    '2 processes': processes,
    'glove': vectors,
}

# --------------------------------------------------------------------------------------------- scripts and options


def trained(extra: str, expect: str = REPORT) -> list[Command]:
    return [Command(GENERATOR.train(extra), expect)]


PYTHON = """
import parlai_persona
from parlai.scripts.train_model import TrainModel
from parlai.scripts.eval_model import EvalModel
TrainModel.main(task='integration_tests:nocandidate', model='seq2seq', model_file='model', hiddensize=8,
                embeddingsize=8, numlayers=1, max_train_steps=4, batchsize=8, skip_generation=True)
print(EvalModel.main(task='integration_tests:nocandidate', model_file='model', num_examples=8))
"""
NUMBERS = '-t integration_tests:candidate'
VECTORS = 'Initialized embeddings for [1-9]'
BPE = GENERATOR.train('--dict-tokenizer bpe --dict-maxtokens 30').replace('-mf model', '-mf ./model')
LOCAL_BPE = '--dict-tokenizer bytelevelbpe --bpe-vocab tiny-gpt2/vocab.json --bpe-merge tiny-gpt2/merges.txt'
HALF = GPT2.train(CHECKPOINTS).replace('tiny-gpt2', 'half-gpt2')
SCHEDULERS = ('reduceonplateau', 'fixed', 'invsqrt', 'cosine', 'linear', 'none')  # seq2seq reads checkpoints strictly
SCHEDULED = f'{CHECKPOINTS} --warmup-updates 4 --lr-scheduler'
OPTIONS: dict[str, list[Command]] = {
    **{f'`--lr-scheduler {name}`, resumed': resumed(SEQ2SEQ.train(f'{SCHEDULED} {name}')) for name in SCHEDULERS},
    **{
        f'`--optimizer {name}`': trained(f'--optimizer {name}')
        for name in ('sgd', 'adamw', 'adamax', 'adafactor', 'mem_eff_adam')
    },
    **{
        f'`--embedding-type {name}`': trained(f'--embedding-type {name}', VECTORS)
        for name in ('glove-fixed', 'fasttext', 'fasttext_cc')
    },
    '`--tensorboard-log True`': trained('--tensorboard-log True'),
    '`--dynamic-batching full`': trained('--dynamic-batching full --truncate 16'),
    '`-dt train:stream`': trained('-dt train:stream'),
    '`--num-workers 1`': [
        dictionary('integration_tests:candidate'),
        *trained('--num-workers 1 --dynamic-batching full --truncate 16 --batchsize 8'),
    ],
    '`--fp16 True` (no effect on a CPU)': trained('--fp16 True'),
    '`--special-tok-lst`': trained('--special-tok-lst [a],[b]'),
    '`--dict-tokenizer bpe`': [Command(BPE, REPORT)],
    '`--dict-tokenizer bytelevelbpe`, local files': trained(LOCAL_BPE),
    'GPT-2 stored in half precision': [Command(HALF, r'new best ppl: \d')],
    '`build_dict`': [dictionary('integration_tests:candidate')],
    '`display_data`': [Command(f'display_data {NUMBERS} --num-examples 3', 'loaded 500 episodes')],
    '`display_model`': [Command(GENERATOR.use('display_model', f'{NUMBERS} --num-examples 3'), 'model:')],
    '`data_stats`': [Command(f'data_stats {NUMBERS}', 'utterances')],
    '`verify_data`': [Command(f'verify_data {NUMBERS}', 'missing_text')],
    '`token_stats`': [Command(f'token_stats {NUMBERS}', 'p99')],
    '`convert_to_parlai`': [Command(f'convert_to_parlai {NUMBERS} --outfile data.txt', 'saving output to')],
    '`convert_to_json`': [Command(f'convert_to_json {NUMBERS} --world-logs data', 'saved to file')],
    '`eval_model --world-logs`': [
        Command(SEQ2SEQ.use('eval_model', f'{NUMBERS} --num-examples 8 --world-logs logs'), 'saved to file')
    ],
    '`vacuum`': [*trained(''), Command('vacuum -mf model', 'Saving to')],
    '`profile_train`': [Command(GENERATOR.train(script='profile_train'), 'function calls')],
    '`multiprocessing_eval`': [Command(f'multiprocessing_eval -mf agents/seq2seq -t {GENERATION} {TWO}', 'ppl')],
    'Python: `TrainModel.main`, `EvalModel.main`': [Command(f'-c {shlex.quote(PYTHON)}', "'ppl': PPLMetric")],
}

# --------------------------------------------------------------------------------------------------- fixtures


def make_fixtures(folder: Path) -> None:
    """Make tiny pretrained models under the names that ParlAI's agents use, word vectors, and a file of candidates."""
    make_gpt2(folder / 'tiny-gpt2', half=False)
    make_gpt2(folder / 'half-gpt2', half=True)
    make_gpt2(folder / 'microsoft' / 'DialoGPT-small', half=False)
    make_t5(folder / 't5-small')
    for kind in ('glove', 'fasttext', 'fasttext_cc'):
        path = folder / 'data' / 'models' / f'{kind}_vectors' / 'digits.vec'
        path.parent.mkdir(parents=True, exist_ok=True)
        header = '' if kind == 'glove' else '7 4\n'
        path.write_text(header + ''.join(f'{digit} {digit}.5 -1 0.25 2e-1\n' for digit in range(7)))
    (folder / 'candidates.txt').write_text('1 2 3 4\n0 0 1 2\n5 4 3 2\n')


def make_gpt2(folder: Path, half: bool) -> None:
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2Model

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(['1 2 3 4 5 6 0'], 264, special_tokens=['<|endoftext|>'], show_progress=False)
    tokenizer.save_model(str(folder))
    sizes = {'vocab_size': tokenizer.get_vocab_size(), 'n_positions': 128, 'n_embd': 16, 'n_layer': 2, 'n_head': 2}
    model = GPT2Model(GPT2Config.from_dict({**sizes, 'bos_token_id': 0, 'eos_token_id': 0}))
    (model.half() if half else model).save_pretrained(folder)


def make_t5(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import T5Config, T5ForConditionalGeneration, T5TokenizerFast  # type: ignore[attr-defined]

    folder.mkdir(parents=True, exist_ok=True)
    unigram = Tokenizer(models.Unigram())
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ['<pad>', '</s>', '<unk>']
    trainer = trainers.UnigramTrainer(vocab_size=40, special_tokens=special, unk_token='<unk>', show_progress=False)
    unigram.train_from_iterator(['1 2 3 4 5 6 0'], trainer)
    unigram.save(str(folder / 'tokenizer.json'))
    tokenizer = T5TokenizerFast.from_pretrained(folder, extra_ids=0, model_max_length=64)
    tokenizer.save_pretrained(folder)
    sizes = {'vocab_size': len(tokenizer) + 8, 'd_model': 16, 'd_kv': 8, 'd_ff': 16, 'num_layers': 1, 'num_heads': 2}
    config = T5Config.from_dict({**sizes, 'decoder_start_token_id': 0})
    T5ForConditionalGeneration(config).save_pretrained(folder)
