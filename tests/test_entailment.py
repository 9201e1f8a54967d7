"""`persona:entailment`: reads pairs, learns, is saved without its base, and judges."""

from pathlib import Path

import pytest
import tiny_bert
import torch
from parlai.core.agents import create_agent_from_model_file
from parlai.core.message import Message
from parlai.scripts.train_model import TrainLoop, TrainModel

from parlai_persona.agents.entailment.model import CrossEncoder
from parlai_persona.metrics import nli
from parlai_persona.tasks.nli.pairs import CONTRADICTION, ENTAILMENT, LABELS, NEUTRAL

PAIRS = {
    ('yes , i own a cat .', 'i own a cat .'): ENTAILMENT,
    ('i live in paris .', 'i own a cat .'): NEUTRAL,
    ('yes , i own a dog .', 'i own a cat .'): CONTRADICTION,
    ('i live in paris .', 'i live in paris .'): ENTAILMENT,
    ('i own a cat .', 'i live in paris .'): NEUTRAL,
    ('i live in tokyo .', 'i live in paris .'): CONTRADICTION,
}


def train(folder: Path, **options) -> str:
    """Train a classifier on `PAIRS`; return its model file."""
    lines = [
        f'text:Premise: {one}\\nHypothesis: {other}\tlabels:{label}\tepisode_done:True'
        for (one, other), label in PAIRS.items()
    ]
    (folder / 'pairs_train.txt').write_text('\n'.join(lines) + '\n')
    opt = TrainModel.setup_args().parse_kwargs(
        task='fromfile:parlaiformat',
        fromfile_datapath=str(folder / 'pairs'),
        fromfile_datatype_extension=True,
        model='persona:entailment',
        model_file=str(folder / 'model'),
        entailment_encoder=tiny_bert.folder(),
        batchsize=6,
        learningrate=0.003,
        no_cuda=True,
        loglevel='error',
        seed=1,
        **options,
    )
    loop = TrainLoop(opt)
    list(loop.train_steps())
    loop.save_model()
    return str(folder / 'model')


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The model file of a classifier that has learned `PAIRS` by heart."""
    return train(tmp_path_factory.mktemp('entailment'), entailment_train='all', max_train_steps=300)


def test_parts_by_hand():
    net = CrossEncoder(tiny_bert.model(9), classes=3, padding=0, end=3)
    tokens = torch.tensor([[2, 5, 6, 3, 7, 3, 0], [2, 3, 8, 7, 6, 5, 3]])
    assert net.part(tokens).tolist() == [[0, 0, 0, 0, 1, 1, 0], [0, 0, 1, 1, 1, 1, 1]]


def test_padding_changes_nothing():
    net = CrossEncoder(tiny_bert.model(9), classes=3, padding=0, end=3).eval()
    alone, padded = (
        net(torch.tensor([[2, 5, 3, 7, 3]])),
        net(torch.tensor([[2, 5, 3, 7, 3, 0, 0], [2, 5, 6, 3, 7, 8, 3]])),
    )
    assert torch.allclose(alone[0], padded[0], atol=1e-6)


def test_it_learns_pairs_and_judges(trained):
    judge = nli.load(trained)
    assert judge.labels == list(LABELS)
    assert dict(zip(PAIRS, judge.classify([*PAIRS]), strict=True)) == PAIRS


def test_both_texts_are_read_with_and_without_their_names(trained):
    agent = create_agent_from_model_file(trained, {'loglevel': 'error'})
    plain = agent.dict.txt2vec('i own a cat .\ni live in paris .')
    named = agent.dict.txt2vec('Premise: i own a cat .\nHypothesis: i live in paris .')
    assert plain == named and plain.count(agent.dict.end[0]) == 2


def test_a_checkpoint_holds_what_was_trained(tmp_path):
    """Only adapters and head are in it, and the merged network answers as the one that was trained."""
    trained = train(tmp_path, entailment_train='lora', max_train_steps=5)
    agent = create_agent_from_model_file(trained, {'loglevel': 'error'})
    saved = set(agent.state_dict()['model'])
    assert saved and all('lora' in name or name.startswith('head.') for name in saved)
    learning = create_agent_from_model_file(trained, {'loglevel': 'error', 'datatype': 'train'})
    (one, other), _ = next(iter(PAIRS.items()))
    scores = []
    for version in (agent, learning):
        message = Message(text=f'{one}\n{other}', episode_done=True)
        batch = version.batchify([version.observe(message)])
        version.model.eval()
        scores.append(version.score(batch).detach())
    assert torch.allclose(*scores, atol=1e-4)
