"""A dictionary that is damaged or belongs to another model is never used: rows of an embedding mean words."""

import shutil
from pathlib import Path

import pytest
import torch
from contract import TINY_TRANSFORMER
from parlai.core.agents import create_agent_from_model_file
from parlai.scripts.train_model import TrainLoop, TrainModel

from parlai_persona.data.dialogue import DataError

MODELS = {
    'persona:memnet': {'memnet_encoder': 'bow', 'memnet_embedding_size': 8, 'candidates': 'batch'},
    'persona:paml': TINY_TRANSFORMER,
    'persona:paml/seq2seq': {'hiddensize': 8, 'embeddingsize': 8, 'numlayers': 1},
    'persona:gpmn': {'gpmn_hidden': 8, 'gpmn_embedding': 8, 'gpmn_layers': 1},
}
REFUSED = 'words, and not the .* it is damaged, or belongs to another model'


@pytest.fixture(scope='module')
def dictionary(tmp_path_factory):
    """A dictionary of a few words, so that no test has to build one."""
    path = tmp_path_factory.mktemp('words') / 'some.dict'
    words = ['__null__', '__start__', '__end__', '__unk__', 'i', 'you', 'like', 'golf', 'do', '.', '?']
    path.write_text(''.join(f'{word}\t1\n' for word in words))
    return path


@pytest.fixture(scope='module', params=MODELS)
def saved(request, tmp_path_factory, dictionary):
    path = tmp_path_factory.mktemp('saved') / 'model'
    shutil.copy(dictionary, f'{path}.dict')
    options = {
        **MODELS[request.param],
        'model': request.param,
        'task': 'persona:sample',
        'model_file': str(path),
        'dict_file': f'{path}.dict',
    }
    TrainLoop(TrainModel.setup_args().parse_kwargs(**options)).agent.save()
    return path


@pytest.fixture
def model(saved, tmp_path):
    return str(Path(shutil.copytree(saved.parent, tmp_path / 'copy')) / 'model')


def damaged(lines):
    yield lines[: len(lines) // 2]
    yield [*lines[:4], lines[5], lines[4], *lines[6:]]  # as many words, in another order
    yield [*lines[:-1], 'other\t1\n']
    yield [*lines, 'more\t1\n']
    yield []


@pytest.mark.parametrize('suffix', ['', '.checkpoint'])
def test_other_words_are_refused(model, suffix):
    for end in ('', '.opt', '.dict'):
        if suffix:
            shutil.copy(f'{model}{end}', f'{model}{suffix}{end}')
    path = Path(f'{model}{suffix}.dict')
    lines = path.read_text().splitlines(True)
    more = {'init_model': f'{model}.checkpoint', 'load_from_checkpoint': True} if suffix else {}
    for wrong in damaged(lines):
        path.write_text(''.join(wrong))
        with pytest.raises(DataError, match=REFUSED) as error:
            create_agent_from_model_file(model, {'datatype': 'train' if suffix else 'valid', **more})
        assert str(path) in str(error.value) and f'the {len(lines)} that {model}{suffix} ' in str(error.value)
    path.write_text(''.join(lines))
    create_agent_from_model_file(model, more)


def test_without_the_file_the_words_come_from_the_model(model):
    before = create_agent_from_model_file(model).dict.tok2ind
    Path(f'{model}.dict').unlink()
    agent = create_agent_from_model_file(model, {'dict_file': f'{model}.dict'})
    assert agent.dict.tok2ind == before and agent.dict.txt2vec('i like golf') == [
        before[word] for word in ('i', 'like', 'golf')
    ]


def test_a_checkpoint_of_before_loads_without_a_check(model):
    states = torch.load(model, weights_only=True)
    if 'shape' in states:
        pytest.skip('memnet has always saved its words')
    states.pop('words')
    torch.save(states, model)
    create_agent_from_model_file(model)
