"""The list of agents under the contract, and helpers that the contract tests share.

To put an agent under the contract, append an `Entry` to `AGENTS`: its names, its kind, options that make it tiny.
"""

import argparse
import functools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import parlai.utils.logging as logging
import pytest
import tiny_bert
import tiny_lm
from parlai.core.agents import Agent, create_agent_from_model_file
from parlai.core.loader import load_agent_module, load_teacher_module, load_world_module
from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.teachers import create_task_agent_from_taskname
from parlai.scripts.display_data import DisplayData
from parlai.scripts.interactive import Interactive
from parlai.scripts.train_model import TrainLoop, TrainModel

import parlai_persona  # noqa: F401  registers persona:, before ParlAI is used

TASK = 'persona:sample'
GENERATOR, RANKER, UNTRAINED = 'generator', 'ranker', 'untrained'  # kinds
MODELS = (GENERATOR, RANKER)  # those with a torch model
SCRIPTS = {'train_model': TrainModel, 'interactive': Interactive}
REDEFINED = ['--init-model']  # by TorchRankerAgent, with the meaning that it has anyway
STEPS = 30  # of training, on the examples of two dialogues
TRUNCATE = 256  # tokens: more than a whole dialogue of the sample
QUIET = 'error'
TINY = {
    'optimizer': 'adam',
    'learningrate': 1e-2,
    'lr_scheduler': 'none',
    'gradient_clip': 1.0,
    'batchsize': 8,
    'truncate': TRUNCATE,
    'label_truncate': 24,
    'dict_tokenizer': 're',
}
TINY_LM = {**TINY, 'lm_model': tiny_lm.folder, 'lm_train': 'all'}
TINY_TRANSFORMER = {**TINY, 'n_layers': 1, 'n_heads': 2, 'embedding_size': 16, 'ffn_size': 16}
# What makes an agent of a kind show in an evaluation all that it computes.
SHOW_ALL = {GENERATOR: {'rank_candidates': True}, RANKER: {'return_cand_scores': True}, UNTRAINED: {}}


@functools.cache
def prepared_data() -> str:
    """Return a folder for what tasks prepare, the same for all tests of a process."""
    return tempfile.mkdtemp(prefix='prepared-')


@dataclass(frozen=True)
class Exemption:
    """A part of the contract that an agent does not keep. The test has to fail, and with this exception: one
    that passes is reported, so that no exemption outlives its reason."""

    error: type[Exception]
    reason: str


@dataclass(frozen=True)
class Entry:
    name: str  # as in `-m`
    dotted: str
    kind: str
    options: dict = field(default_factory=lambda: TINY)
    loss: str = 'loss'  # name of the training loss in the agent's report
    shared: tuple[str, ...] = ('model', 'dict')  # attributes that its clones have in common
    no_gradient: dict[str, str] = field(default_factory=dict)  # parameter name pattern -> why it gets none
    exempt: dict[str, Exemption] = field(default_factory=dict)  # 'clause' or 'clause[case]'

    def __str__(self) -> str:
        return self.name


# What ParlAI's own agents do not keep, and why.
NO_MEMORY = 'a row without memories goes through the hops beside rows that have some, but not alone'
NOT_SHARED = 'IrBaselineAgent ignores what is shared, so that every row of a batch reads the dictionary again'
ONLY_LABELS = 'only the cross-entropy of the choice trains it, and messages of persona:sample have no labels'
RELATED_LAST = 'the last of the two updates of theta is the related one, with a head and words of its own'

AGENTS = [
    Entry(
        'seq2seq',
        'parlai.agents.seq2seq.seq2seq:Seq2seqAgent',
        GENERATOR,
        {**TINY, 'hiddensize': 16, 'embeddingsize': 16, 'numlayers': 1, 'attention': 'dot'},
    ),
    Entry('transformer/generator', 'parlai.agents.transformer.generator:GeneratorAgent', GENERATOR, TINY_TRANSFORMER),
    Entry(
        'transformer/biencoder',
        'parlai.agents.transformer.biencoder:BiencoderAgent',
        RANKER,
        TINY_TRANSFORMER,
        loss='mean_loss',
    ),
    Entry(
        'transformer/polyencoder',
        'parlai.agents.transformer.polyencoder:PolyencoderAgent',
        RANKER,
        {**TINY_TRANSFORMER, 'poly_n_codes': 4},
        loss='mean_loss',
    ),
    Entry(
        'memnn',
        'parlai.agents.memnn.memnn:MemnnAgent',
        RANKER,
        {**TINY, 'embedding_size': 16, 'hops': 2},
        loss='mean_loss',
        exempt={'batches[a bare row]': Exemption(AssertionError, NO_MEMORY)},
    ),
    Entry(
        'hred',
        'parlai.agents.hred.hred:HredAgent',
        GENERATOR,
        {**TINY, 'hiddensize': 16, 'embeddingsize': 16, 'numlayers': 1},
    ),
    Entry(
        'ir_baseline',
        'parlai.agents.ir_baseline.ir_baseline:IrBaselineAgent',
        UNTRAINED,
        {'dict_tokenizer': 're'},
        shared=('dictionary',),
        exempt={'share': Exemption(AssertionError, NOT_SHARED)},
    ),
    Entry(
        'persona:meta_memnn',
        'parlai_persona.agents.meta_memnn.meta_memnn:MetaMemnnAgent',
        RANKER,
        {
            **TINY,
            'meta_memnn_related': 'persona:sample:persona_sample_dialogues=4',
            'meta_memnn_updates': 2,
            'meta_memnn_steps': 2,
            'meta_memnn_beta': 0.1,
        },
        shared=('model', 'dict', 'corpus'),
        no_gradient={'theta.W_primary': RELATED_LAST, 'theta.A_1': RELATED_LAST},
    ),
    Entry(
        'persona:memnet',
        'parlai_persona.agents.memnet.memnet:MemnetAgent',
        RANKER,
        {**TINY, 'memnet_embedding_size': 16, 'memnet_heads': 2, 'memnet_layers': 1, 'memnet_ffn_size': 16},
        shared=('model', 'dict', 'lines', 'response_encodings'),
    ),
    Entry(
        'persona:memnet/pretrained',
        'parlai_persona.agents.memnet.pretrained:PretrainedAgent',
        RANKER,
        {**TINY, 'memnet_pretrained_model': tiny_bert.folder, 'memnet_pretrained_train': 'all', 'memnet_lexical': 5.0},
        shared=('model', 'dict', 'lines', 'response_encodings'),
    ),
    Entry(
        'minimal_generator:MinimalAgent',  # of CONTRIBUTING.md
        'minimal_generator:MinimalAgent',
        GENERATOR,
        {**TINY, 'minimal_size': 16},
    ),
    Entry(
        'persona:paml',
        'parlai_persona.agents.paml.paml:PamlAgent',
        GENERATOR,
        TINY_TRANSFORMER,
        shared=('model', 'dict', 'vectors'),
    ),
    Entry(
        'persona:paml/seq2seq',
        'parlai_persona.agents.paml.seq2seq:Seq2seqAgent',
        GENERATOR,
        {**TINY, 'hiddensize': 16, 'embeddingsize': 16, 'numlayers': 1, 'attention': 'dot'},
        shared=('model', 'dict', 'vectors'),
    ),
    Entry(
        'persona:pednet',
        'parlai_persona.agents.pednet.pednet:PednetAgent',
        GENERATOR,
        {
            **TINY,
            'task': 'persona:congeneric',
            'congeneric_of': 'persona:sample',
            'datapath': prepared_data,
            'pednet_gamma': 0,  # messages of persona:sample have no congeneric contexts
            'pednet_hidden': 16,
            'pednet_layers': 1,
            'pednet_embedding': 16,
        },
        shared=('model', 'dict', 'known_words'),
        no_gradient={'query.*': ONLY_LABELS},
    ),
    Entry(
        'persona:seq2seq',
        'parlai_persona.agents.seq2seq.seq2seq:Seq2seqAgent',
        GENERATOR,
        {**TINY, 'seq2seq_hidden': 16, 'seq2seq_embedding': 16, 'seq2seq_layers': 1},
    ),
    Entry(
        'persona:gpmn',
        'parlai_persona.agents.gpmn.gpmn:GpmnAgent',
        GENERATOR,
        {**TINY, 'gpmn_hidden': 16, 'gpmn_embedding': 16, 'gpmn_layers': 1},
    ),
    Entry(
        'persona:postks',
        'parlai_persona.agents.postks.postks:PostksAgent',
        GENERATOR,
        {**TINY, 'postks_hidden': 16, 'postks_embedding': 16, 'postks_layers': 1, 'postks_warmup': 0.0},
    ),
    Entry('persona:lm', 'parlai_persona.agents.lm.lm:LmAgent', GENERATOR, TINY_LM, shared=('model', 'dict', 'version')),
    Entry(
        'persona:p2bot/transmitter',
        'parlai_persona.agents.p2bot.transmitter:TransmitterAgent',
        GENERATOR,
        {**TINY_LM, 'lm_layout': 'tokens'},
        shared=('model', 'dict', 'version'),
    ),
    Entry(
        'persona:p2bot',
        'parlai_persona.agents.p2bot.p2bot:P2botAgent',
        GENERATOR,
        {**TINY_LM, 'p2bot_perception': 0, 'p2bot_coherence': 0},
        shared=('model', 'dict', 'version'),
    ),
    Entry(
        'persona:p2bot/receiver',
        'parlai_persona.agents.p2bot.receiver:ReceiverAgent',
        RANKER,
        {**TINY, 'p2bot_receiver_encoder': tiny_bert.folder, 'p2bot_receiver_loss': 'ce', 'p2bot_receiver_cosine': 9},
        shared=('model', 'dict', 'caches'),
    ),
    Entry(
        'persona:paml/lm',
        'parlai_persona.agents.paml.lm:LmAgent',
        GENERATOR,
        {**TINY_LM, 'lm_persona': True},
        shared=('model', 'dict', 'version', 'vectors'),
    ),
]


# --------------------------------------------------------------------------------------------- clauses


def clause(*kinds: str, cases: Sequence[str] = ()):
    """Run a test over the agents of these kinds (all by default), and over `cases` where there are any."""

    def parametrise(test):
        name = test.__name__.removeprefix('test_')
        params = []
        for entry in AGENTS:
            if entry.kind not in (kinds or SHOW_ALL):
                continue
            for case in cases or [None]:
                key = f'{name}[{case}]' if case else name
                values, id = ((entry, case), f'{entry.name}-{case}') if case else ((entry,), entry.name)
                params.append(pytest.param(*values, id=id, marks=expected_failure(entry, key)))
        return pytest.mark.parametrize('entry, case' if cases else 'entry', params)(test)

    return parametrise


def expected_failure(entry: Entry, key: str):
    if key not in entry.exempt:
        return ()
    exemption = entry.exempt[key]
    return (pytest.mark.xfail(raises=exemption.error, reason=exemption.reason, strict=True),)


# -------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class Trained:
    """An agent after its training, with what the training left behind."""

    entry: Entry
    agent: Agent
    model_file: str
    losses: list[float]

    def load(self, **options) -> Agent:
        """Load the agent from the model file, for evaluation unless `datatype` says otherwise."""
        return load(self.model_file, **{'datatype': 'valid', **SHOW_ALL[self.entry.kind], **options})


def load(model_file: str, **options) -> Agent:
    return create_agent_from_model_file(model_file, options)


def training_options(entry: Entry, folder: Path, seed: int = 1, steps: int = STEPS) -> dict:
    """Return options of ParlAI's training script for a short and quiet run that logs every step."""
    return {
        'task': TASK,
        'persona_sample_dialogues': 2,
        'model': entry.name,
        'model_file': str(folder / 'model'),
        'max_train_steps': steps,
        'log_every_n_steps': 1,
        'loglevel': QUIET,
        'seed': seed,
        **{name: value() if callable(value) else value for name, value in entry.options.items()},
    }


def train(entry: Entry, folder: Path, seed: int = 1, steps: int = STEPS) -> Trained:
    """A short training with ParlAI's own loop; the model is saved, and stays in memory as well."""
    opt = TrainModel.setup_args().parse_kwargs(**training_options(entry, folder, seed, steps))
    logging.set_log_level(QUIET.upper())
    loop = TrainLoop(opt)
    agent = loop.agent
    losses = [float(log[entry.loss]) for log in loop.train_steps() if entry.kind != UNTRAINED]
    return Trained(entry, agent, str(folder / 'model'), losses)


# ---------------------------------------------------------------------------------------------- flags


def owners(entry: Entry, script: str) -> Iterator[type]:
    """Yield the classes that add flags of their own to a script."""
    yield load_agent_module(entry.name)
    yield load_teacher_module(TASK)
    if script == 'interactive':
        yield load_world_module(TASK, interactive_task=True)


def own_parser(owner: type) -> ParlaiParser:
    """Return a parser that knows only the flags of this class."""
    parser = ParlaiParser(False, False)
    owner.add_cmdline_args(parser, None)
    return parser


def full_parser(entry: Entry, script: str) -> ParlaiParser:
    parser = SCRIPTS[script].setup_args()
    parser.add_extra_args(['--model', entry.name, '--task', TASK])
    return parser


def parse(entry: Entry, script: str, line: list[str]) -> Opt:
    return SCRIPTS[script].setup_args().parse_args(['--model', entry.name, '--task', TASK, *line])


def actions(parser: ParlaiParser) -> dict[str, argparse.Action]:
    return {flag: a for flag, a in parser._option_string_actions.items() if a.dest not in ('help', 'helpall')}


def meanings(parser: ParlaiParser) -> dict[str, tuple]:
    """Map each flag to what it sets and how. The help text shows which class has added it."""
    return {
        flag: (a.dest, a.type, a.nargs, set(a.choices or ()), getattr(a, 'real_help', a.help))
        for flag, a in actions(parser).items()
    }


def compatible(parser: ParlaiParser) -> Iterator[dict[str, argparse.Action]]:
    """Yield the first flag of every action, in groups of flags that can be given together."""
    exclusive = [group._group_actions[1:] for group in parser._mutually_exclusive_groups]
    later = {id(action) for group in exclusive for action in group}
    first = {a.option_strings[0]: a for a in actions(parser).values()}
    yield {flag: action for flag, action in first.items() if id(action) not in later}
    for flag, action in first.items():
        if id(action) in later:
            yield {flag: action}


def another(action: argparse.Action, default) -> list[str]:
    """Return a value other than the default of this flag, as written on the command line."""
    if action.nargs == 0:
        return []
    if action.choices:
        return [next(str(choice) for choice in action.choices if choice not in (default, None))]
    if action.type in (int, float):
        return [str((default or 0) + action.type(3))]
    return [{'bool': str(not default), 'floats': '0.25,0.5'}.get(action.type, 'something')]


# ----------------------------------------------------------------------------------------- conversation


@functools.cache
def dialogues(datatype: str = 'valid', count: int = 4) -> list[list[Message]]:
    """The first dialogues of a split as the teacher sends them."""
    opt = DisplayData.setup_args().parse_kwargs(task=TASK, datatype=datatype, loglevel=QUIET)
    teacher = create_task_agent_from_taskname(opt)[0]
    found: list[list[Message]] = [[]]
    while len(found) <= count:
        found[-1].append(Message(teacher.act()))
        if found[-1][-1]['episode_done']:
            found.append([])
    return found[:count]


def changed(message: Message, **fields) -> Message:
    """Return a copy with other fields; those that are None are left out."""
    return Message({name: value for name, value in {**message, **fields}.items() if value is not None})


def hear(agent: Agent, turns: Sequence[Message]):
    """Let the agent live through the turns but the last, each with its true reply, and observe that one."""
    for turn in turns[:-1]:
        agent.observe(changed(turn))
        if hasattr(agent, 'self_observe'):
            agent.self_observe(Message(text='not what it should remember'))
    return agent.observe(changed(turns[-1]))


def reply(agent: Agent, turns: Sequence[Message]) -> Message:
    """Return the agent's reply to the last of these turns."""
    hear(agent, turns)
    return agent.act()


def replies(agent: Agent, rows: Sequence[Sequence[Message]]) -> list[Message]:
    """Return its replies to the last turns of several dialogues in one batch."""
    return agent.batch_act([hear(agent.clone(), turns) for turns in rows])


def value(message: Message, metric: str) -> float | None:
    found = message.get('metrics', {}).get(metric)
    return None if found is None else float(found)


def scored(message: Message) -> dict[str, float]:
    """Candidate -> score, or -> rank for an agent that shows no scores."""
    ranked = message.get('text_candidates', [])
    scores = message.get('sorted_scores', message.get('cand_scores'))
    return dict(zip(ranked, range(len(ranked)) if scores is None else map(float, scores), strict=True))
