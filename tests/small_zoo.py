"""A zoo of one small model in two versions: `pytest_plugins = ['small_zoo']`. PYTEST_DONT_REWRITE."""

from pathlib import Path

import pytest
import torch
from parlai.core.agents import create_agent, create_agent_from_model_file
from parlai.core.dict import DictionaryAgent
from parlai.core.message import Message
from parlai.scripts.train_model import TrainModel

import parlai_persona  # noqa: F401
from parlai_persona.zoo import download, registry, sources
from parlai_persona.zoo.form import files_of, publish
from parlai_persona.zoo.registry import About, Entry

SIZES = {'memnet_embedding_size': 32, 'memnet_heads': 2, 'memnet_layers': 1, 'memnet_ffn_size': 32}
NAME = 'retriever'
BLOCK = 256  # bytes
REPLIES = ['i have a dog .', 'no , and you ?', 'do you have any pets ?', 'have you a dog ?']


@pytest.fixture(scope='module')
def small_model(tmp_path_factory) -> str:
    """Return the model file of a small agent."""
    folder = tmp_path_factory.mktemp('trained')
    words = DictionaryAgent(TrainModel.setup_args().parse_kwargs(task='persona:sample', dict_tokenizer='re'))
    words.add_to_dict(words.tokenize('do you have any pets ? i have a dog . no , and you ?'))
    words.save(str(folder / 'words'))
    torch.manual_seed(0)
    opt = {'model': 'persona:memnet', 'task': 'persona:sample', 'dict_tokenizer': 're', 'loglevel': 'error', **SIZES}
    agent = create_agent(TrainModel.setup_args().parse_kwargs(dict_file=str(folder / 'words'), **opt))
    agent.save(str(folder / 'model'))
    return str(folder / 'model')


@pytest.fixture(scope='module')
def published(small_model, tmp_path_factory) -> Path:
    """Return a zoo with two versions of a model, and its list beside them."""
    zoo = tmp_path_factory.mktemp('zoo')
    (zoo / 'replies.txt').write_text('\n'.join(REPLIES))
    entries = []
    for version in (1, 2):
        target = zoo / NAME / str(version)
        publish(Path(small_model), target, f'version {version}\n', replies=zoo / 'replies.txt')
        files = files_of(zoo / NAME / str(version))
        about = About('A retriever.', 'persona:memnet', 'mit')
        entries.append(Entry(NAME, version, about, {name: sources.described(path) for name, path in files.items()}))
    registry.write(entries, zoo / 'models.json')
    return zoo


@pytest.fixture
def zoo(published, tmp_path, monkeypatch) -> Path:
    """Return a datapath on a machine that knows these models and has a network."""
    monkeypatch.setattr(registry, 'MODELS', published / 'models.json')
    monkeypatch.setattr(download, 'PAUSE', 0.0)
    monkeypatch.setattr(download, 'BLOCK', BLOCK)
    for name in (*sources.OFFLINE, sources.MIRROR):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / 'data'


def reply(model_file: str) -> list[str]:
    agent = create_agent_from_model_file(model_file, {'datatype': 'valid', 'loglevel': 'error'})
    agent.observe(Message(text='do you have any pets ?', label_candidates=REPLIES, episode_done=True))
    return agent.act()['text_candidates']


def left_over(datapath: Path) -> list[str]:
    """Return what is below the datapath, without locks."""
    return sorted(
        str(path.relative_to(datapath)) for path in datapath.rglob('*') if path.is_file() and path.name != '.lock'
    )
