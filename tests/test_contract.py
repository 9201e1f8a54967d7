"""The contract that every agent has to keep, run over the list in `contract.py`. Each test is a clause."""

import copy
import fnmatch
import math
import random
from pathlib import Path

import contract
import pytest
import torch
from contract import (
    MODELS,
    SHOW_ALL,
    Trained,
    changed,
    clause,
    dialogues,
    hear,
    load,
    replies,
    reply,
    scored,
    train,
    value,
)
from parlai.core.loader import load_agent_module
from parlai.core.message import Message
from parlai.scripts.train_model import TrainModel

from parlai_persona import fields
from parlai_persona.errors import UserError
from parlai_persona.zoo.form import files_of, publish, unpack
from parlai_persona.zoo.options import AGENT

NO_PERSONA = {fields.PERSONA: [], fields.PARTNER_PERSONA: []}
pytestmark = pytest.mark.filterwarnings('ignore:size_average and reduce args')  # the poly-encoder's loss


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
    """The trained agent of an entry; each is trained once."""
    done: dict[str, Trained] = {}

    def get(entry: contract.Entry) -> Trained:
        if entry.name not in done:
            done[entry.name] = train(entry, tmp_path_factory.mktemp('agent'))
        return done[entry.name]

    return get


def test_every_exemption_is_of_a_clause():
    """The tests of the clauses themselves check that each exemption still fails as stated."""
    clauses = {name.removeprefix('test_') for name in globals()}
    for entry in contract.AGENTS:
        assert {key.partition('[')[0] for key in entry.exempt} <= clauses, entry


# ------------------------------------------------------------------------------------------ names, flags


@clause()
def test_names(entry, trained):
    """The short and the dotted name load the same class, and a saved agent comes back under either."""
    cls = load_agent_module(entry.name)
    assert load_agent_module(entry.dotted) is cls
    for name in (entry.name, entry.dotted):
        assert type(load(trained(entry).model_file, model=name)) is cls


@clause(cases=list(contract.SCRIPTS))
def test_flags_stay(entry, case):
    """No flag of the script, agent, teacher or world is replaced by one of the same name that means something else.

    ParlAI's parser lets a later flag silently take the place of an earlier one.
    """
    found = contract.meanings(contract.full_parser(entry, case))
    parsers = {'script': contract.SCRIPTS[case].setup_args()}
    parsers |= {owner.__name__: contract.own_parser(owner) for owner in contract.owners(entry, case)}
    for owner, parser in parsers.items():
        wanted = contract.meanings(parser)
        replaced = [flag for flag in wanted if found.get(flag) != wanted[flag] and flag not in contract.REDEFINED]
        assert replaced == [], owner


@clause(cases=list(contract.SCRIPTS))
def test_flags_arrive(entry, case):
    """Every flag of the agent, the teacher and the world reaches `opt`, through the script's own parser."""
    defaults = contract.parse(entry, case, [])
    for owner in contract.owners(entry, case):
        own = contract.own_parser(owner)
        for flags in contract.compatible(own):
            assert [flag for flag, action in flags.items() if action.dest not in defaults] == []
            words = {flag: contract.another(action, defaults[action.dest]) for flag, action in flags.items()}
            line = [word for flag in flags for word in (flag, *words[flag])]
            wanted, opt = own.parse_args(line), contract.parse(entry, case, line)
            for flag, action in flags.items():
                assert wanted[action.dest] != defaults[action.dest], f'{flag}: the test has to set another value'
                assert opt[action.dest] == wanted[action.dest], flag


# ------------------------------------------------------------------------------------ batches, save, share


def assert_same(one, other, tolerance=1e-4):
    """Assert the same text, ranking, scores and loss. Candidates with equal scores may swap places."""
    assert one.get('text') == other.get('text')
    assert contract.value(one, 'loss') == pytest.approx(contract.value(other, 'loss'), abs=tolerance)
    assert contract.scored(one) == pytest.approx(contract.scored(other), abs=tolerance)


def rows():
    """Return dialogues up to a turn, so that their lengths differ."""
    first, second, third, fourth = dialogues()
    return [first[:1], second[:6], third[:2], fourth[:4]]


def bare_row():
    """Return a first turn without a persona."""
    return [changed(dialogues()[0][0], text='hello .', **NO_PERSONA)]


@clause(*MODELS, cases=['usual rows', 'a bare row'])
def test_batches(entry, case, trained):
    """A batch of one equals its row in a batch of many: reply, ranking, scores and loss; padded rows change nothing."""
    agent = trained(entry).load()
    batch = [bare_row(), *rows()] if case == 'a bare row' else rows()
    together = replies(agent, batch)
    assert len({contract.value(message, 'loss') for message in together}) == len(together)  # the rows do differ
    padded = [hear(agent.clone(), turns) for turns in batch]
    padded.insert(2, Message.padding_example())
    padded = agent.batch_act(padded)
    assert 'text' not in padded.pop(2)
    for turns, row, beside_padding in zip(batch, together, padded, strict=True):
        alone = replies(agent, [turns])[0]
        assert_same(alone, row)
        assert_same(alone, beside_padding)


@clause()
def test_save_and_load(entry, trained):
    """An agent that comes out of its model file answers as the one that went in."""
    made = trained(entry)
    agent = made.load()
    for turns in [bare_row(), *rows()]:
        before = in_evaluation(made)
        assert_same(reply(before, turns), reply(agent.clone(), turns), tolerance=1e-6)


def in_evaluation(made):
    """Return a clone of the trained agent with the options of evaluation."""
    opt = copy.deepcopy(made.agent.opt)
    opt.update(datatype='valid', **contract.SHOW_ALL[made.entry.kind])
    return type(made.agent)(opt, {**made.agent.share(), 'opt': opt})


@clause(*MODELS)
def test_published(entry, trained, tmp_path):
    """A published model answers as the one it was made from, but for what 16 bits change.

    One on a base model comes without the base: a folder of the test's machine takes its place.
    """
    made, base = trained(entry), {name: value() for name, value in entry.options.items() if callable(value)}
    folder, copy = tmp_path / 'published', tmp_path / 'copy' / 'model'
    if not AGENT.fullmatch(entry.name):  # somebody's own class
        with pytest.raises(UserError, match='expected one of this package or of ParlAI'):
            publish(Path(made.model_file), folder, 'card', 'acme/tiny')
        assert not folder.exists() and not [*tmp_path.iterdir()]
        return
    publish(Path(made.model_file), folder, 'card', 'acme/tiny')
    assert all(not path.read_bytes().startswith(b'PK') and path.suffix != '.pt' for path in folder.iterdir())
    private = (str(Path(made.model_file).parent), *base.values())
    assert not any(text.encode() in path.read_bytes() for path in folder.iterdir() for text in private)
    unpack(files_of(folder), copy)
    turns = dialogues('valid')[0]
    one, other = (
        reply(load(str(file), datatype='valid', **SHOW_ALL[entry.kind], **base), turns)
        for file in (made.model_file, copy)
    )
    assert value(other, 'loss') == pytest.approx(value(one, 'loss'), rel=0.02)
    if entry.kind == contract.RANKER:
        assert scored(other) == pytest.approx(scored(one), rel=0.02, abs=0.02)


@clause(*MODELS)
def test_resumed_training(entry, trained, tmp_path):
    """A training that is saved and resumed takes the same step as one that went on: the optimizer's state is back."""
    one = load(trained(entry).model_file, datatype='train')
    learn(one)
    one.save(str(tmp_path / 'model'))
    other = load(str(tmp_path / 'model'), datatype='train')
    assert one.optimizer.state_dict()['state']
    for agent in (one, other):
        random.seed(0)
        torch.manual_seed(0)  # dropout
        learn(agent)
    assert_equal(one, other)


def learn(agent, rows=None):
    """Do a training step on the last turns of these dialogues, by default of some that differ in length."""
    rows = rows or [turns[: 2 * number + 1] for number, turns in enumerate(dialogues('train:ordered'))]
    return agent.batch_act([hear(agent.clone(), turns) for turns in rows])


def parameters(agent):
    return dict(agent.model.named_parameters())


def assert_equal(one, other):
    pairs = zip(parameters(one).items(), parameters(other).items(), strict=True)
    assert [name for (name, mine), (_, theirs) in pairs if not torch.equal(mine, theirs)] == []


@clause()
def test_share(entry, trained):
    """Clones have the model, the dictionary and, in training, the optimizer in common, but not the dialogue."""
    agent = trained(entry).load()
    training = load(trained(entry).model_file, datatype='train')
    for original in (agent, training):
        clone = original.clone()
        names = [*entry.shared, *(['optimizer'] if hasattr(original, 'optimizer') else [])]
        assert [name for name in names if getattr(clone, name) is not getattr(original, name)] == []
    turns = dialogues()[0]
    expected = reply(agent.clone(), turns[:1])
    hear(agent.clone(), dialogues()[1][:3])
    assert_same(reply(agent, turns[:1]), expected)


# ----------------------------------------------------------------------------------------- odd input

NO_FIELDS = dict.fromkeys([fields.PERSONA, fields.PARTNER_PERSONA, fields.DIALOGUE_ID, fields.TURN, fields.KIND])
STRANGE = 'zyxt qwrk plomf'
ODD = {
    'first turn without persona': {'text': 'hello .', **NO_PERSONA},
    'empty text': {'text': '', **NO_PERSONA},
    'unseen words': {'text': f'your persona: {STRANGE}.\n{STRANGE} ?', fields.PERSONA: [f'{STRANGE}.']},
    'very long text': {'text': 'do you like music ? ' * 500, fields.PERSONA: ['i like rock music best.'] * 200},
    'no fields of ours': {'text': 'do you like music ?', **NO_FIELDS},
}


@clause(cases=list(ODD))
def test_odd_input(entry, case, trained):
    """Odd input is answered, whether it comes with a label or not."""
    agent = trained(entry).load()
    labelled = changed(dialogues()[0][0], **ODD[case])
    for message in (labelled, changed(labelled, eval_labels=None)):
        assert reply(agent.clone(), [message]).get('text')


@clause(*MODELS, cases=list(ODD))
def test_odd_row(entry, case, trained):
    """A batch with an odd row in it is answered row by row, and every loss is finite."""
    odd = [changed(dialogues()[0][0], **ODD[case])]
    for message in replies(trained(entry).load(), [odd, dialogues()[1][:3]]):
        assert message['text']
        assert math.isfinite(contract.value(message, 'loss'))


@clause(*MODELS, cases=list(ODD))
def test_odd_training(entry, case, trained):
    """Odd input does not stop a training, alone or beside a usual row, nor spoil a parameter."""
    agent = load(trained(entry).model_file, datatype='train')
    odd = [changed(dialogues('train:ordered')[0][0], **ODD[case])]
    learn(agent, [odd])
    learn(agent, [odd, dialogues('train:ordered')[1][:3]])
    assert [name for name, parameter in parameters(agent).items() if not parameter.isfinite().all()] == []


# -------------------------------------------------------------------------------------------- training


@clause(*MODELS)
def test_seed(entry, tmp_path):
    """The same seed gives the same training, parameter by parameter; another seed gives another."""
    runs = []
    for name, seed in (('one', 1), ('same', 1), ('other', 2)):
        torch.rand(len(name))  # a state of the generator that the seed has to replace
        runs.append(train(entry, tmp_path / name, seed, steps=3).agent)
    assert_equal(runs[0], runs[1])
    with pytest.raises(AssertionError):
        assert_equal(runs[0], runs[2])


def test_seed_option(tmp_path):
    """`parlai train_model --seed` seeds the weights, too."""
    entry = next(entry for entry in contract.AGENTS if entry.kind == contract.RANKER)
    for name in ('one', 'same'):
        options = contract.training_options(entry, tmp_path / name, steps=2)
        TrainModel.main(**options, validation_max_exs=1, short_final_eval=True)
    assert_equal(*(load(str(tmp_path / name / 'model')) for name in ('one', 'same')))


@clause(*MODELS)
def test_gradients(entry, trained):
    """A training step sends a gradient to every parameter, except those that the entry lists with their reasons."""
    agent = load(trained(entry).model_file, datatype='train')
    learn(agent)
    missed = {n for n, p in parameters(agent).items() if p.requires_grad and (p.grad is None or not p.grad.any())}
    excused = {pattern: fnmatch.filter(missed, pattern) for pattern in entry.no_gradient}
    assert missed - {name for names in excused.values() for name in names} == set()
    assert [pattern for pattern, names in excused.items() if not names] == [], 'these do get a gradient'


@clause(*MODELS)
def test_loss_falls(entry, trained):
    """The loss on the examples of two dialogues falls clearly within a few dozen steps."""
    losses = trained(entry).losses
    assert sum(losses[-4:]) / 4 < 0.7 * losses[0]


# ------------------------------------------------------------------------------------------- dialogues


@clause()
def test_nothing_leaks(entry, trained):
    """After the end of a dialogue, and after a reset in the middle of one, the agent has forgotten it."""
    agent = trained(entry).load()
    question, dialogue = [changed(dialogues()[0][1], episode_done=True)], dialogues()[1]
    fresh = reply(agent.clone(), question)
    assert dialogue[-1]['episode_done']
    reply(agent, dialogue)
    assert_same(reply(agent, question), fresh)
    reply(agent, dialogue[:3])
    agent.reset()
    assert_same(reply(agent, question), fresh)
