"""`--memnet-candidates`: the index finds what a look at all candidates finds, and is made when and where it should."""

import gzip
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from parlai.core.agents import create_agent_from_model_file
from parlai.core.message import Message
from parlai.scripts.eval_model import EvalModel
from parlai.scripts.train_model import TrainModel
from test_memnet import QUICK

from parlai_persona.agents.memnet import index, search
from parlai_persona.agents.memnet.index import Maker
from parlai_persona.agents.memnet.model import MemNet, Shape
from parlai_persona.agents.memnet.texts import texts

SIZE, WORDS, COUNT = 8, 50, 300


def response(number):
    return f'{number % 7} {number // 7 + 1} {number % 49 + 1}'


@pytest.fixture
def maker(tmp_path):
    """An index maker over texts of numbers, which are their own word numbers."""
    torch.manual_seed(0)
    net = MemNet(Shape(encoder='bow', embedding_size=SIZE), WORDS).eval()
    source = tmp_path / 'some.txt'
    source.write_text(''.join(f'{response(number)}\n' for number in range(COUNT)))

    def make(**options):
        given = {
            'source': source,
            'folder': tmp_path / 'model.candidates',
            'kind': 'exact',
            'tokens': 3,
            'look_up': lambda text: [int(word) for word in text.split()],
            'net': net,
            'words': ['a'],
            'encode': lambda lines: net.encode_responses(texts(lines)).detach(),
            'ask': lambda lines: net.joint(texts(lines), None).detach(),
        }
        return Maker(**{**given, **options})

    return make


@pytest.fixture
def told(monkeypatch):
    """What is logged."""
    lines = []
    monkeypatch.setattr('parlai.utils.logging.info', lines.append)
    return lines


def brute_force(maker, q):
    lines = dict.fromkeys(response(number) for number in range(COUNT))
    vectors = torch.cat([maker.encode([index.line(maker.look_up(text))]) for text in lines])
    return list(lines), (vectors @ q)


@pytest.mark.parametrize('compiled', [True, False])
def test_exact_is_a_look_at_all(maker, monkeypatch, compiled):
    if compiled:
        pytest.importorskip('numba', reason='the compiled loop is an extra: pip install parlai-persona[fast]')
    else:
        monkeypatch.setitem(sys.modules, 'parlai_persona.agents.memnet.scan', None)
        monkeypatch.delattr('parlai_persona.agents.memnet.scan', raising=False)
    one = maker()
    one.make()
    made = one.open()
    assert (made.codes is not None) == compiled
    torch.manual_seed(1)
    for q in torch.randn(10, SIZE):
        lines, scores = brute_force(one, q)
        found, values = made.search(q, 20)
        best = scores.topk(20)
        assert values == pytest.approx(best.values.tolist(), abs=1e-5)
        assert scores[[lines.index(text) for text in found]].tolist() == pytest.approx(values, abs=1e-5)
    assert len(set(made.search(q, 10_000)[0])) == len(made) == len(set(lines))


def test_bounds_hold():
    scan = pytest.importorskip('parlai_persona.agents.memnet.scan', reason='needs numba')
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((500, 30)) * rng.exponential(1, (500, 1))).astype(np.float32)
    x[0], q = 0, rng.standard_normal(30).astype(np.float32)
    low, high = np.empty(500, np.float32), np.empty(500, np.float32)
    scan.bounds(*scan.encode(x), q, np.float32(np.linalg.norm(q)), low, high)
    true = x.astype(np.float64) @ q
    assert (low <= true).all() and (true <= high).all() and (high - low).mean() < 0.1 * np.abs(true).mean()


def test_short_codes_find_nearly_all(maker, told, monkeypatch):
    pytest.importorskip('faiss', reason="an extra: pip install 'parlai-persona[index]'")
    monkeypatch.setattr(search, 'REDUCED', 3)
    monkeypatch.setattr(search, 'AGAIN', 20)
    one = maker(kind='approximate')
    one.make()
    assert 'recall@1 ' in told[-1]
    assert one.open().reduced.d == 3 and len(one.open()) == COUNT
    made, right = one.open(), 0
    for q in one.queries(20):
        right += made.search(q, 1)[1] == pytest.approx([brute_force(one, q)[1].max().item()], abs=1e-5)
    assert right >= 18


def test_without_faiss(maker, monkeypatch):
    monkeypatch.setitem(sys.modules, 'faiss', None)
    with pytest.raises(ImportError, match=r"pip install 'parlai-persona\[index\]', or take --memnet-index exact"):
        maker(kind='approximate').make()


# --------------------------------------------------------------------------------------------- making


def test_what_stays_of_a_file(maker, tmp_path):
    lines = ['1 2 3', ' 4   5 ', '', '1 2 3', '1 2 3 4', '  ', '6']
    with gzip.open(tmp_path / 'some.gz', 'wt') as file:
        file.write('\n'.join(lines))
    one = maker(source=tmp_path / 'some.gz')
    one.make()
    made = one.open()
    assert [made.text(number) for number in range(len(made))] == ['1 2 3', '4 5', '6']


def test_a_file_with_nothing_in_it(maker, tmp_path):
    (tmp_path / 'long.txt').write_text('1 2 3 4\n\n')
    with pytest.raises(ValueError, match='saw 2 lines, none of 1 to 3 words: raise --memnet-candidate-tokens'):
        maker(source=tmp_path / 'long.txt').make()
    with pytest.raises(FileNotFoundError, match='none.txt: no such file'):
        maker(source=tmp_path / 'none.txt').make()


def test_it_is_made_once_and_anew_when_out_of_date(maker, told):
    made = []

    def encode(lines):
        made.append(len(lines))
        return maker().encode(lines)

    def made_for(**options):
        made.clear()
        told.clear()
        maker(encode=encode, **options).make()
        return sum(made), *re.findall(r'out of date \((.*)\)', ' '.join(told))

    assert made_for() == (COUNT,) and made_for() == (0,)
    assert made_for(words=['b']) == (COUNT, 'words')
    one = maker()
    one.source.write_text(one.source.read_text() + '49 49 49\n')
    assert made_for(words=['b']) == (COUNT + 1, 'file')
    with torch.no_grad():
        one.net.response.inside.outer.bias.add_(1)
    assert made_for(words=['b']) == (COUNT + 1, 'weights')
    with torch.no_grad():
        one.net.context.inside.outer.bias.add_(1)  # no response looks different
    assert made_for(words=['b']) == (0,)
    with pytest.raises(ValueError, match='none of 1 to 2 words'):
        made_for(words=['b'], tokens=2)


def test_what_a_kill_leaves_is_gone_on_with(maker, monkeypatch):
    monkeypatch.setattr(index, 'CHUNK', 32)
    calls = []

    def encode(lines):
        calls.append(len(lines))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return maker().encode(lines)

    with pytest.raises(KeyboardInterrupt):
        maker(encode=encode).make()
    one = maker(encode=encode)
    assert not one.place.exists() and one.part.exists()
    with (one.part / 'vectors.f32').open('ab') as file:
        file.write(b'half a vector')
    one.make()
    assert sum(calls) == COUNT + 32 and not one.part.exists()
    whole = maker(folder=one.folder.with_name('other'))
    whole.make()
    assert (one.place / 'vectors.f32').read_bytes() == (whole.place / 'vectors.f32').read_bytes()


# --------------------------------------------------------------------------------------- conversation


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    path = str(tmp_path_factory.mktemp('trained') / 'model')
    TrainModel.main(**{**QUICK, 'model_file': path})
    return path


REPLIES = ['i like music .', 'you like golf .', 'my home is in berlin .', 'i am fine .', 'i like long replies ' * 3]


@pytest.fixture
def candidates(tmp_path):
    path = tmp_path / 'replies.txt'
    path.write_text('\n'.join(REPLIES))
    return str(path)


def test_replies_come_from_the_file(trained, candidates):
    options = {'memnet_candidates': candidates, 'return_cand_scores': True}
    agent = create_agent_from_model_file(trained, {**options, 'datatype': 'valid'})
    inline = create_agent_from_model_file(trained, {'datatype': 'valid', 'return_cand_scores': True})
    message = {'text': 'what music do you like ?', 'persona': ['i like music .'], 'episode_done': True}
    agent.observe(Message(message))
    inline.observe(Message({**message, 'label_candidates': REPLIES[:4]}))
    one, other = agent.act(), inline.act()
    assert one['text_candidates'] == other['text_candidates'] and len(one['text_candidates']) == 4
    assert one['sorted_scores'] == pytest.approx(other['sorted_scores'], abs=1e-4)
    assert agent.clone().index is agent.index
    agent.observe(Message({**message, 'text': one['text']}))
    assert one['text'] not in agent.act()['text_candidates']  # the partner said it


def test_evaluation_and_conversation(trained, candidates, parlai, tmp_path):
    report = EvalModel.main(
        model_file=trained,
        task='persona:sample',
        datatype='valid',
        num_examples=8,
        memnet_candidates=candidates,
        loglevel='error',
    )
    assert report['exs'] == 8 and report['accuracy'] == 0 and (Path(f'{trained}.candidates') / 'replies.txt').is_dir()
    done = parlai(
        'interactive',
        '-mf',
        trained,
        '-t',
        'persona:sample',
        '--memnet-candidates',
        candidates,
        '--persona',
        'i like music.|i ski.',
        input='hello ?\n[EXIT]\n',
    )
    assert done.returncode == 0 and any(reply in done.stdout for reply in REPLIES[:4]), done.stdout + done.stderr


def test_training_does_not_read_the_file(tmp_path):
    TrainModel.main(
        **{
            **QUICK,
            'model_file': str(tmp_path / 'model'),
            'memnet_candidates': 'none.txt',
            'max_train_steps': 1,
            'validation_max_exs': 1,
        }
    )


def test_one_blocked_look_is_enough(maker, monkeypatch):
    """Vectors are written and coded block by block."""
    whole = maker(folder=maker().folder.with_name('whole'))
    whole.make()
    monkeypatch.setattr(index, 'CHUNK', 16)
    monkeypatch.setattr(search, 'BLOCK', 64)
    one = maker()
    one.make()
    for name in ('vectors.f32', 'codes.i8'):
        if (whole.place / name).exists():
            kind = np.float32 if name == 'vectors.f32' else np.int8
            pair = [np.fromfile(made.place / name, kind).astype(float) for made in (one, whole)]
            assert np.abs(pair[0] - pair[1]).max() <= (1e-5 if kind == np.float32 else 1)
