"""Files from strangers: whatever is opened as a model, options, a person or an archive, no code in it runs."""

import io
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from contract import TINY_TRANSFORMER
from parlai.core.agents import create_agent_from_model_file
from parlai.core.opt import Opt
from parlai.scripts.train_model import TrainLoop, TrainModel
from parlai.scripts.vacuum import Vacuum

from parlai_persona.errors import UserError
from parlai_persona.models import saved
from parlai_persona.models.saved import NotLoaded, read_saved

REFUSED = r'is not loaded: .* could run code.*PARLAI_PERSONA_TRUST_PICKLES=1'
NO_CHECKPOINT = r'damaged, or not a file that torch has saved \(Unsupported operand'


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def trap(tmp_path):
    """Yield the path that hostile files would create; it must not exist at the end."""
    path = tmp_path / 'trap'
    yield path
    assert not path.exists()


def zipped(content):
    """Return a file as torch writes it."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def legacy(content):
    """Return a file as torch 1.5 wrote it."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


FORMS = {'plain pickle': pickle.dumps, 'zip': zipped, 'legacy': legacy}
MODELS = {
    'persona:memnet': {'memnet_encoder': 'bow', 'memnet_embedding_size': 8, 'candidates': 'batch'},
    'persona:meta_memnn': {'meta_memnn_mode': 'primary'},
    'persona:paml': TINY_TRANSFORMER,
    'persona:paml/seq2seq': {'hiddensize': 8, 'embeddingsize': 8, 'numlayers': 1},
    'persona:postks': {'postks_hidden': 8, 'postks_embedding': 8, 'postks_layers': 1},
    'transformer/generator': TINY_TRANSFORMER,
    'transformer/biencoder': TINY_TRANSFORMER,
    'seq2seq': {'hiddensize': 8, 'embeddingsize': 8, 'numlayers': 1},
}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Save each model once, untrained; return a function from its name to a copy of its files."""
    made, dictionaries = {}, []

    def files_of(name, folder):
        if name not in made:
            made[name] = tmp_path_factory.mktemp('trained')
            options = {
                **MODELS[name],
                'model': name,
                'task': 'persona:sample',
                'model_file': str(made[name] / 'model'),
                'dict_file': str(made[name] / 'model.dict'),
            }
            if name != 'persona:meta_memnn' and dictionaries:
                shutil.copy(dictionaries[0], options['dict_file'])  # building one takes two seconds
            TrainLoop(TrainModel.setup_args().parse_kwargs(**options)).agent.save()
            if name != 'persona:meta_memnn':
                dictionaries.append(options['dict_file'])
        return Path(shutil.copytree(made[name], folder)) / 'model'

    return files_of


@pytest.mark.parametrize('name', MODELS)
def test_a_model_file(name, trained, tmp_path, trap):
    model = trained(name, tmp_path / 'copy')
    for form, to_bytes in FORMS.items():
        model.write_bytes(to_bytes({'model': Hostile(trap), 'words': [], 'shape': {}}))
        with pytest.raises(NotLoaded, match=NO_CHECKPOINT if form == 'plain pickle' else REFUSED) as error:
            create_agent_from_model_file(str(model))
        assert str(model) in str(error.value) and ('posix.mkdir' in str(error.value) or form == 'plain pickle')


def test_a_checkpoint_of_an_unfinished_training(trained, tmp_path, trap):
    model = trained('persona:paml', tmp_path / 'copy')
    for suffix in ('', '.opt', '.dict'):
        shutil.copy(f'{model}{suffix}', f'{model}.checkpoint{suffix}')
    Path(f'{model}.checkpoint').write_bytes(zipped({'model': Hostile(trap)}))
    with pytest.raises(NotLoaded, match=REFUSED):
        TrainModel.main(
            **TINY_TRANSFORMER, model='persona:paml', task='persona:sample', model_file=str(model), max_train_steps=2
        )


@pytest.mark.parametrize('protocol', range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_options(tmp_path, trap, protocol):
    path = tmp_path / 'model.opt'
    path.write_bytes(pickle.dumps({'model': Hostile(trap), 'not text': b'\xff'}, protocol))
    (tmp_path / 'model').touch()
    with pytest.raises(NotLoaded, match=REFUSED):
        create_agent_from_model_file(str(tmp_path / 'model'))
    with pytest.raises(NotLoaded, match=REFUSED):
        TrainModel.main(init_opt=str(path), task='persona:sample', model='fixed_response')


@pytest.mark.parametrize('protocol', [0, 1])
def test_options_that_are_pickled_as_text(tmp_path, trap, protocol):
    (tmp_path / 'model.opt').write_bytes(pickle.dumps({'model': Hostile(trap)}, protocol))
    with pytest.raises(UserError, match='expected options as JSON'):
        Opt.load(str(tmp_path / 'model.opt'))


def test_vacuum(tmp_path, trap):
    (tmp_path / 'model').write_bytes(zipped({'model': Hostile(trap)}))
    with pytest.raises(NotLoaded, match=REFUSED):
        Vacuum.main(model_file=str(tmp_path / 'model'))


def test_the_archive_of_a_tfidf_retriever(tmp_path, trap):
    from parlai.agents.tfidf_retriever import utils

    parts = {'data': np.ones(1), 'indices': np.zeros(1, int), 'indptr': np.array([0, 1]), 'shape': np.array([1, 1])}
    plain = {'doc_freqs': np.ones(1), 'ngram': 2, 'doc_dict': ({'a': 0}, ['a']), 'number': np.float64(1)}
    np.savez(tmp_path / 'some.npz', metadata=plain, **parts)
    matrix, metadata = utils.load_sparse_csr(str(tmp_path / 'some'))
    assert matrix[0, 0] == 1 and metadata['doc_dict'] == ({'a': 0}, ['a'])
    np.savez(tmp_path / 'some.npz', metadata={'ngram': Hostile(trap)}, **parts)
    with pytest.raises(NotLoaded, match=REFUSED):
        utils.load_sparse_csr(str(tmp_path / 'some'))


def test_a_user_can_trust_pickles(tmp_path, monkeypatch):
    monkeypatch.setenv(saved.TRUST, '1')
    (tmp_path / 'model.opt').write_bytes(pickle.dumps({'model': Hostile(tmp_path / 'ran'), 'b': b'\xff'}))
    assert Opt.load(str(tmp_path / 'model.opt'))['b'] == b'\xff' and (tmp_path / 'ran').exists()


# --------------------------------------------------------------------------------- what must still load


def test_what_checkpoints_of_parlai_hold_is_read(tmp_path):
    """Optimisers and schedulers with numbers of numpy, old options, arrays: none of them can run code."""
    content = {
        'model': {'weight': torch.ones(2)},
        'lr_scheduler': {'_last_lr': [np.float64(0.25), np.float32(1), np.int64(3), np.bool_(True)]},
        'order': np.arange(5),
        'names': frozenset({'a'}),
        'opt': Opt({'task': 'sample'}),
        'optimizer': torch.optim.Adam([torch.zeros(1, requires_grad=True)]).state_dict(),
    }
    for form in (zipped, legacy):
        (tmp_path / 'model').write_bytes(form(content))
        read = read_saved(tmp_path / 'model')
        assert str(read) == str(content) and isinstance(read['opt'], Opt)


def test_a_damaged_model_file(tmp_path):
    whole = zipped({'model': {'weight': torch.arange(1000.0)}})
    path = tmp_path / 'model'
    for content in (whole[: len(whole) // 2], b'', b'text', whole.replace(bytes.fromhex('0000803f'), b'\0\0\0\0')):
        assert content != whole
        path.write_bytes(content)
        with pytest.raises(NotLoaded, match=f'{path}: damaged, or not a file that torch has saved'):
            read_saved(path)
    with pytest.raises(FileNotFoundError):
        read_saved(tmp_path / 'none')
