"""Options that no batch can be made with, and presets of a training in other commands."""

import json

import pytest
from parlai.core.params import ParlaiParser
from parlai.scripts.eval_model import EvalModel
from parlai.scripts.train_model import TrainModel
from test_errors import assert_explained

import parlai_persona  # noqa: F401
from parlai_persona.errors import UserError

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
