"""Options that no batch can be made with, and presets: whether they can be read, and in other commands."""

import json
from pathlib import Path

import pytest
from parlai.scripts.eval_model import EvalModel
from parlai.scripts.train_model import TrainModel
from test_errors import assert_explained

import parlai_persona  # noqa: F401

AGENTS = Path(__file__).parents[1] / 'agents'
SAMPLE = '-t persona:sample -mf m'
SEQ2SEQ = f'train_model -m seq2seq {SAMPLE}'


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (f'{SEQ2SEQ} --batchsize 0', '--batchsize is 0; expected 1 or more'),
        (f'{SEQ2SEQ} --batchsize -3', '--batchsize is -3; expected 1 or more'),
        (f'{SEQ2SEQ} --eval-batchsize 0', '--eval-batchsize is 0; expected 1 or more'),
        (f'{SEQ2SEQ} --num-workers -1', '--num-workers is -1; expected 0 or more'),
        (f'eval_model {SAMPLE} --batchsize 0', '--batchsize is 0; expected 1 or more'),
        (f'eval_model {SAMPLE} --batchsize -3', '--batchsize is -3; expected 1 or more'),
        (f'{SEQ2SEQ} -bs 4 --dynamic-batching full', 'saw no --text-truncate and no --label-truncate'),
        (f'{SEQ2SEQ} -bs 4 --dynamic-batching batchsort --text-truncate 9', 'saw no --label-truncate'),
        (f'{SEQ2SEQ} -bs 4 --dynamic-batching full --label-truncate 9', 'saw no --text-truncate'),
        (f'{SEQ2SEQ} -bs 4 --dynamic-batching full --truncate -1', 'saw no --text-truncate and no --label-truncate'),
        (f'{SEQ2SEQ} -bs 4 --num-workers 2', 'saw no --text-truncate and no --label-truncate'),
        (f'{SEQ2SEQ} -bs 2 --dynamic-batching full --text-truncate 3 --label-truncate 1', 'a batch has 8 places for'),
    ],
)
def test_no_batch_can_be_made(command, arguments, said):
    assert_explained(command(*arguments.split()), said)


@pytest.mark.parametrize(
    'arguments',
    [
        '-bs 4 --dynamic-batching full --text-truncate 9 --label-truncate 9',
        '-bs 4 --dynamic-batching full --truncate 16',
        '-bs 4 --num-workers 1 --truncate 16',
        '-bs 1 --dynamic-batching full',  # ParlAI makes no dynamic batches of one row
    ],
)
def test_batches_can_be_made(arguments):
    TrainModel.setup_args().parse_args([*SEQ2SEQ.split()[1:], *arguments.split()])


@pytest.mark.parametrize('path', sorted(AGENTS.glob('*/*.opt')), ids=lambda path: f'{path.parent.name}/{path.stem}')
def test_a_preset_sets_the_options_that_it_names(path):
    name = f'persona:{path.parent.name}' + ('' if path.stem == 'paper' else f'/{path.stem}')
    opt = TrainModel.setup_args().parse_args(['-o', name])
    stated = json.loads(path.read_text())
    assert {option: opt[option] for option in stated} == stated


def test_a_training_of_another_task_has_the_batches_of_the_preset():
    line = ['-o', 'persona:p2bot/transmitter_cpu', '-t', 'persona:sample']
    stated = json.loads((AGENTS / 'p2bot' / 'transmitter_cpu.opt').read_text())
    opt = TrainModel.setup_args().parse_args(line)
    assert 'dialogues_of' in stated and 'dialogues_of' not in opt  # what the preset says of its own task
    expected = {option: value for option, value in stated.items() if option in opt} | {'task': 'persona:sample'}
    assert {option: opt[option] for option in expected} == expected
    assert TrainModel.setup_args().parse_args([*line, '-bs', '7'])['batchsize'] == 7


# ------------------------------------------------------------------- presets of a training in other commands

TINY = [
    '-m',
    'persona:memnet',
    '-t',
    'persona:sample:persona_sample_dialogues=40',
    '--memnet-encoder',
    'bow',
    '--memnet-embedding-size',
    '8',
]
QUICK = ['--dict-tokenizer', 're', '--candidates', 'inline', '--short-final-eval', 'true', '--validation-max-exs', '2']


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """A model that is smaller than that of the preset, and reads less of the persona."""
    file = str(tmp_path_factory.mktemp('trained') / 'm')
    TrainModel.main(*TINY, *QUICK, '--memnet-sentences', '1', '--max-train-steps', '2', '-mf', file, '-bs', '4')
    return file


FEW = ['--num-examples', '64']


def test_a_preset_of_a_training_gives_an_evaluation_its_data_and_the_model_keeps_its_options(model):
    plain = EvalModel.main('-mf', model, '-t', 'persona:sample', *FEW)
    preset = EvalModel.main('-mf', model, '-o', 'persona:memnet/sample', *FEW)
    chosen = EvalModel.main('-mf', model, '-o', 'persona:memnet/sample', *FEW, '--memnet-sentences', '5')
    for name in ('hits@1', 'mrr', 'loss'):
        assert preset[name] == plain[name]
    assert chosen['loss'] != plain['loss']  # the command line is always heard


@pytest.mark.parametrize('action', ['eval_model', 'interactive', 'self_chat'])
def test_a_preset_of_a_training_without_its_model(command, action):
    done = command(action, '-o', 'persona:memnet/sample')
    assert_explained(done, '-o persona:memnet/sample describes a training', 'name the trained model with --model-file')


def test_a_preset_of_a_training_shows_its_data(command):
    done = command('display_data', '-o', 'persona:memnet/sample', '-n', '1')
    assert done.returncode == 0 and 'persona:sample' in done.stdout, done.stderr
