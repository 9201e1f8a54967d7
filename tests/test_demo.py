"""The demo from start to end, here with one epoch of training, and the attention that it draws."""

import contextlib
import io
import re
from itertools import product
from unittest.mock import Mock

import pytest
import torch
from parlai.core.agents import create_agent_from_model_file

from parlai_persona import demo, fields
from parlai_persona.models.saved import NotLoaded


@pytest.fixture(scope='module')
def shown(tmp_path_factory):
    """The folder of a demo with nobody at the keyboard, and what it prints."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        folder = tmp_path_factory.mktemp('demo')
        patch.chdir(folder)
        (folder / 'brief.opt').write_text('{"num_epochs": 1}')
        patch.setattr(demo, 'PRESET', f'{demo.PRESET},{folder}/brief.opt')
        patch.setattr('sys.stdin', io.StringIO())
        patch.setattr(demo, 'packaged', Mock(side_effect=NotLoaded('no package')))
        patch.setenv('PARLAI_DATAPATH', str(folder / 'data'))
        demo.main()
        yield demo.FOLDER.resolve(), out.getvalue()


def test_the_demo_trains_evaluates_and_talks(shown):
    _, text = shown
    assert len(re.findall(r'^train: 100% · 8,000 examples · .* left · loss \d\.\d{3}$', text, re.M)) == 1
    assert re.search(r'replies that need the persona +\d\.\d{3} of 1\.000 +\d\.\d{3} of 0\.100\n', text)
    chats = re.split(r'[34]\. Talking to ', text)[1:]
    assert len(chats) == 2 and chats[1].startswith('zoo:persona/memnet')
    for chat, line in product(chats, demo.SCRIPT):
        _, reply, *drawn = chat[chat.index(f'   you:   {line}') :].splitlines()[: 2 + len(demo.PERSONA)]
        assert reply.startswith('   model: ') and len(reply) > 12
        assert [bar.split(' | ')[1] for bar in drawn] == list(demo.PERSONA)
        assert sum(float(bar.split(' | ')[0].split()[-1]) for bar in drawn) == pytest.approx(1, abs=0.03)
    assert 'To talk to it yourself: .venv/bin/parlai interactive -mf zoo:persona/memnet -t persona:sample' in text


@pytest.mark.parametrize('base, expected', [(NotLoaded('no package'), 'memnet'), (None, 'p2bot')])
def test_the_demo_talks_to_p2bot_where_its_base_is(base, expected, monkeypatch):
    monkeypatch.setattr(demo, 'packaged', Mock(side_effect=base))
    assert demo.best_of_zoo() == expected


def test_attention_is_the_softmax_of_sentences_and_context(shown):
    folder, _ = shown
    agent = create_agent_from_model_file(str(folder / 'model'), {'loglevel': 'error'})
    net, persona, said = agent.net, list(demo.PERSONA), 'do you have any pets ?'
    with torch.no_grad():
        words = torch.tensor([agent.dict.txt2vec(said)])
        h = net.context(net.embedding, words, torch.tensor([words.shape[1]]))[0]
        bags = [net.embedding.weight[agent.dict.txt2vec(sentence)].sum(0) for sentence in persona]
        z = torch.stack([net.persona(bag) @ h for bag in bags]) / net.size**0.5
    own = {'text': said, 'episode_done': True, 'label_candidates': ['yes .', 'no .']}
    for repeated, expected in (
        (persona, z.softmax(0).tolist()),
        (persona[:1], [1]),
        ([*persona, '', persona[0]], [*z.softmax(0).tolist(), 0, 0]),
    ):
        agent.observe({**own, 'persona': repeated})
        assert agent.act()[fields.PERSONA_WEIGHTS] == pytest.approx(expected, abs=1e-5)
