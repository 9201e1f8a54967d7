"""`--memnet-candidates`: search finds the best of all candidates, and the index is built when and where it should."""

import gzip
import json
import random
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import in_room, room
from mutations import mutated
from parlai.core.agents import create_agent_from_model_file
from parlai.core.message import Message
from parlai.scripts.eval_model import EvalModel
from parlai.scripts.interactive import Interactive
from parlai.scripts.train_model import TrainModel
from test_memnet import QUICK

from parlai_persona import prepared
from parlai_persona.agents.memnet import index
from parlai_persona.agents.memnet.batches import Line
from parlai_persona.agents.memnet.encoders import Shape
from parlai_persona.agents.memnet.index import IndexBuilder
from parlai_persona.agents.memnet.model import MemNet
from parlai_persona.errors import UserError

SIZE, WORDS, COUNT = 8, 50, 300


def response(number):
    return f'{number % 7} {number // 7 + 1} {number % 49 + 1}'


class WatchedBuilder(IndexBuilder):
    """Notes how many lines are encoded together, and is interrupted at a given call."""

    encoded: list[int] = []
    interrupted_at = 0

    def encode(self, lines):
        self.encoded.append(len(lines))
        if len(self.encoded) == self.interrupted_at:
            raise KeyboardInterrupt
        return super().encode(lines)


@pytest.fixture
def builder(tmp_path, monkeypatch):
    """Make builders of an index over texts of numbers, which are their own word numbers."""
    torch.manual_seed(0)
    net = MemNet(Shape(encoder='bow', embedding_size=SIZE), WORDS).eval()
    source = tmp_path / 'some.txt'
    source.write_text(''.join(f'{response(number)}\n' for number in range(COUNT)))
    monkeypatch.setattr(WatchedBuilder, 'encoded', [])

    def make(**options):
        given = {
            'source': source,
            'folder': tmp_path / 'model.candidates',
            'tokens': 3,
            'look_up': lambda text: [int(word) for word in text.split()],
            'words': ['a'],
            'net': net,
        }
        return WatchedBuilder(**{**given, **options})

    return make


@pytest.fixture
def log(monkeypatch):
    """Collect what is logged."""
    lines = []
    monkeypatch.setattr('parlai.utils.logging.info', lines.append)
    return lines


def score_all(one, q):
    lines = dict.fromkeys(response(number) for number in range(COUNT))
    vectors = torch.cat([one.encode([Line.of(one.look_up(text))]) for text in lines])
    return list(lines), vectors @ q


def without_compiled_scan(monkeypatch):
    monkeypatch.setitem(sys.modules, 'parlai_persona.agents.memnet.scan', None)
    monkeypatch.delattr('parlai_persona.agents.memnet.scan', raising=False)


@pytest.mark.parametrize('compiled', [True, False])
def test_search_finds_the_best_of_all(builder, monkeypatch, compiled):
    if compiled:
        pytest.importorskip('numba', reason='the compiled loop is an extra: pip install parlai-persona[fast]')
    else:
        without_compiled_scan(monkeypatch)
    one = builder()
    made = one.open()
    assert (made.codes is not None) == compiled
    torch.manual_seed(1)
    for q in torch.randn(10, SIZE):
        lines, scores = score_all(one, q)
        found, values = zip(*made.search(q, 20), strict=True)
        best = scores.topk(20)
        assert list(values) == pytest.approx(best.values.tolist(), abs=1e-5)
        assert scores[[lines.index(text) for text in found]].tolist() == pytest.approx(list(values), abs=1e-5)
    assert len({text for text, _ in made.search(q, 10_000)}) == len(made) == len(set(lines))


@pytest.mark.parametrize('compiled', [True, False])
def test_search_adds_the_lexical_term(builder, monkeypatch, compiled):
    """The lexical term decides: it is as large as the dot products."""
    if compiled:
        pytest.importorskip('numba', reason='the compiled loop is an extra: pip install parlai-persona[fast]')
    else:
        without_compiled_scan(monkeypatch)
    torch.manual_seed(0)
    net = MemNet(Shape(encoder='bow', embedding_size=SIZE, lexical=2.0), WORDS).eval()
    rows = torch.tensor([[int(word) for word in response(number).split()] for number in range(0, COUNT, 3)])
    net.lexical.count(rows)
    one = builder(net=net)
    made = one.open()
    assert (made.codes is not None) == compiled
    texts = list(dict.fromkeys(response(number) for number in range(COUNT)))
    words = torch.tensor([[int(word) for word in text.split()] for text in texts])
    for q in torch.randn(10, SIZE):
        query = torch.randint(0, WORDS, (1, 6))
        added = net.lexical(query, words)[0]
        expected = one.encode([Line.of(row.tolist()) for row in words]) @ q + added
        found = made.search(q, 20, net.lexical.queries(query)[0].numpy())
        assert [score for _, score in found] == pytest.approx(expected.topk(20).values.tolist(), abs=1e-5)
        assert expected[[texts.index(text) for text, _ in found]].tolist() == pytest.approx(
            [s for _, s in found], abs=1e-5
        )
        assert added.std() > 0.1


def test_bounds_hold():
    scan = pytest.importorskip('parlai_persona.agents.memnet.scan', reason='needs numba')
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((500, 30)) * rng.exponential(1, (500, 1))).astype(np.float32)
    x[0], q = 0, rng.standard_normal(30).astype(np.float32)
    low, high = np.empty(500, np.float32), np.empty(500, np.float32)
    scan.bounds(*scan.encode(x), q, np.float32(np.linalg.norm(q)), low, high)
    true = x.astype(np.float64) @ q
    assert (low <= true).all() and (true <= high).all() and (high - low).mean() < 0.1 * np.abs(true).mean()


@pytest.mark.parametrize(
    'vectors, best',
    [
        # the code of 1.49 stands for 1, between .51 and 1.49; that of 1.4 is exact
        ([(127, 1.49), (0, 1.4), (0, 0), (0, 0)], '0'),
        # the code of 1.51 stands for 2, between 1.51 and 2.49; that of 1.6 is exact
        ([(127, 1.51), (0, 1.6), (0, 0), (0, 0)], '1'),
    ],
)
def test_search_prunes_by_bounds_and_not_by_what_codes_stand_for(builder, monkeypatch, vectors, best):
    pytest.importorskip('numba', reason='the compiled loop is an extra: pip install parlai-persona[fast]')
    monkeypatch.setattr(WatchedBuilder, 'encode', lambda self, lines: torch.tensor(vectors))
    one = builder(net=MemNet(Shape(encoder='bow', embedding_size=2), WORDS))
    one.source.write_text('0\n1\n2\n3\n')
    made = one.open()
    assert made.codes is not None
    assert made.search(torch.tensor([0.0, 1.0]), 1)[0][0] == best


# --------------------------------------------------------------------------------------------- making


def test_which_lines_are_kept(builder, tmp_path):
    lines = ['1 2 3', ' 4   5 ', '', '1 2 3', '1 2 3 4', '  ', '6']
    with gzip.open(tmp_path / 'some.gz', 'wt') as file:
        file.write('\n'.join(lines))
    made = builder(source=tmp_path / 'some.gz').open()
    assert [made.texts[number] for number in range(len(made))] == ['1 2 3', '4 5', '6']


def test_a_file_without_candidates(builder, tmp_path):
    (tmp_path / 'long.txt').write_text('1 2 3 4\n\n')
    with pytest.raises(ValueError, match='saw 2 lines, none of 1 to 3 words: raise --memnet-candidate-tokens'):
        builder(source=tmp_path / 'long.txt').open()
    with pytest.raises(UserError, match='none.txt: no such file'):
        builder(source=tmp_path / 'none.txt').open()


def test_it_is_built_once_and_again_when_out_of_date(builder, log):
    def encoded_for(**options):
        WatchedBuilder.encoded.clear()
        log.clear()
        builder(**options).open()
        return sum(WatchedBuilder.encoded), *re.findall(r'out of date \((.*)\)', ' '.join(log))

    assert encoded_for() == (COUNT,) and encoded_for() == (0,)
    assert encoded_for(words=['b']) == (COUNT, 'words')
    one = builder()
    one.source.write_text(one.source.read_text() + '49 49 49\n')
    assert encoded_for(words=['b']) == (COUNT + 1, 'file')
    with torch.no_grad():
        one.net.response.inside.outer.bias.add_(1)
    assert encoded_for(words=['b']) == (COUNT + 1, 'weights')
    with torch.no_grad():
        one.net.context.inside.outer.bias.add_(1)  # does not change how responses are encoded
    assert encoded_for(words=['b']) == (0,)
    with pytest.raises(ValueError, match='none of 1 to 2 words'):
        encoded_for(words=['b'], tokens=2)


def test_an_interrupted_build_continues(builder, monkeypatch):
    monkeypatch.setattr(index, 'CHUNK', 32)
    monkeypatch.setattr(WatchedBuilder, 'interrupted_at', 4)
    one = builder()
    with pytest.raises(KeyboardInterrupt):
        one.open()
    assert not one.finished.exists() and one.part.exists()
    with (one.part / 'vectors.f32').open('ab') as file:
        file.write(b'half a vector')
    one.open()
    assert sum(WatchedBuilder.encoded) == COUNT + 32 and not one.part.exists()
    whole = builder(folder=one.folder.with_name('other'))
    whole.open()
    assert (one.finished / 'vectors.f32').read_bytes() == (whole.finished / 'vectors.f32').read_bytes()


# ------------------------------------------------------------------------------------------ damaged files


FILES = ('texts.txt', 'starts.npy', 'vectors.f32', 'codes.i8', 'margins.npy', 'stamp.json')


@pytest.fixture(params=FILES)
def finished(request, builder):
    """Build a small index; return its builder, its answers and the path of one of its files."""
    one = builder()
    one.source.write_text(''.join(one.source.read_text().splitlines(True)[:20]))
    before = best_texts(one.open())
    if not (one.finished / request.param).exists():
        pytest.skip('written only with numba')
    return one, before, one.finished / request.param


def says_the_same(stamp: bytes, sound: bytes) -> bool:
    """Tell whether a damaged stamp differs only in white space, or in a name that says nothing."""
    try:
        found = json.loads(stamp)
        return all(found[part].items() >= own.items() for part, own in json.loads(sound).items())
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


@pytest.mark.parametrize('count', [30, pytest.param(300, marks=pytest.mark.slow)])
def test_each_damage_to_a_file_is_found(finished, count):
    """Building again takes most of the time, so this only asks what is wrong."""
    one, _, path = finished
    whole, rng, made_from = path.read_bytes(), random.Random(path.name), one.made_from()
    for number in range(count):
        path.write_bytes(mutated(whole, rng))
        fault = index.fault(one.finished, made_from, index.TEXTS + index.VECTORS + index.CODES)
        if path.name != 'stamp.json':
            assert fault == f'{path.name} damaged or missing', number
        elif not fault:
            assert says_the_same(path.read_bytes(), whole), number


@pytest.mark.parametrize('count', [2, pytest.param(15, marks=pytest.mark.slow)])
def test_a_damaged_file_is_built_again(finished, log, count):
    one, before, path = finished
    whole, rng = path.read_bytes(), random.Random(path.name)
    for number in range(count):
        path.write_bytes(mutated(whole, rng))
        log.clear()
        assert best_texts(one.open()) == before, number
        if path.read_bytes() != whole:
            assert path.name == 'stamp.json' and says_the_same(path.read_bytes(), whole), number
        else:
            said = ('damaged', 'out of date') if path.name == 'stamp.json' else (path.name,)
            assert any(word in line for word in said for line in log), number


@pytest.mark.parametrize('name', FILES)
def test_a_missing_file_is_built_again(builder, log, name):
    one = builder()
    before = best_texts(one.open())
    (one.finished / name).unlink(missing_ok=True)
    assert best_texts(one.open()) == before
    assert name in ' '.join(log) or not one.open().scan


def test_an_index_of_before_checksums_is_built_again(builder, log):
    one = builder()
    before = best_texts(one.open())
    (one.finished / 'stamp.json').write_text(json.dumps(one.made_from()))
    assert best_texts(one.open()) == before and 'no checksums' in ' '.join(log)


@pytest.mark.parametrize('name', ['texts.txt', 'starts.npy', 'vectors.f32', 'chunks.txt', 'stamp.json'])
@pytest.mark.parametrize('count', [1, pytest.param(12, marks=pytest.mark.slow)])
def test_what_an_interrupted_build_left_is_checked(builder, monkeypatch, name, count):
    monkeypatch.setattr(index, 'CHUNK', 32)
    whole = builder(folder=builder().folder.with_name('whole'))
    whole.open()
    rng = random.Random(name)
    for number in range(count):
        one = builder(folder=builder().folder.with_name(str(number)))
        monkeypatch.setattr(WatchedBuilder, 'encoded', [])
        monkeypatch.setattr(WatchedBuilder, 'interrupted_at', 6)
        with pytest.raises(KeyboardInterrupt):
            one.open()
        (one.part / name).write_bytes(mutated((one.part / name).read_bytes(), rng))
        monkeypatch.setattr(WatchedBuilder, 'interrupted_at', 0)
        one.open()
        for kept in ('texts.txt', 'starts.npy', 'vectors.f32'):
            assert (one.finished / kept).read_bytes() == (whole.finished / kept).read_bytes(), number


# ------------------------------------------------------------------------------------ several processes


class SlowBuilder(IndexBuilder):
    def encode(self, lines):
        time.sleep(0.01)
        return super().encode(lines)


@pytest.fixture
def slow(builder, monkeypatch):
    """Make builders that take 0.2 s."""
    monkeypatch.setattr(index, 'CHUNK', 16)
    return lambda **options: SlowBuilder(**vars(builder(**options)))


def other_net():
    torch.manual_seed(2)
    return MemNet(Shape(encoder='bow', embedding_size=SIZE), WORDS).eval()


def best_texts(made):
    return [made.search(q, 5) for q in torch.randn(4, SIZE, generator=torch.Generator().manual_seed(1))]


@pytest.mark.parametrize('offset', [0, 0.05, 0.1])
def test_two_that_build_one_index_at_the_same_time(slow, tmp_path, log, offset):
    """Threads here, because a process takes seconds to start; `index_processes.py` has processes."""
    alone = best_texts(slow(folder=tmp_path / 'alone').open())
    with ThreadPoolExecutor() as pool:
        first = pool.submit(slow().open)
        time.sleep(offset)
        second = pool.submit(slow().open)
        assert best_texts(first.result()) == best_texts(second.result()) == alone
    assert ['waiting' in line for line in log].count(True) == 1
    assert [path.name for path in slow().folder.iterdir() if path.suffix != '.lock'] == ['some.txt']


def test_two_models_of_one_name_each_answer_with_their_own_weights(slow, tmp_path):
    nets = [slow().net, other_net()]
    alone = [best_texts(slow(net=net, folder=tmp_path / str(number)).open()) for number, net in enumerate(nets)]
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda net: best_texts(slow(net=net).open()), nets * 2))
    assert found == alone * 2 and alone[0] != alone[1]


def test_a_reader_keeps_its_index_when_a_newer_one_is_published(builder):
    made = builder().open()
    before = best_texts(made)
    assert best_texts(builder(net=other_net()).open()) != before == best_texts(made)


@pytest.mark.slow
def test_processes_that_build_one_index_and_are_killed(tmp_path):
    program = Path(__file__).with_name('index_processes.py')
    done = subprocess.run([sys.executable, str(program), str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


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


def test_a_chat_keeps_the_index_of_published_replies(trained, tmp_path, monkeypatch):
    """The second start encodes nothing. Without a folder that can be written, the result is the same."""
    for file in Path(trained).parent.glob('model*'):
        if file.is_file():
            shutil.copy(file, tmp_path)
    (tmp_path / 'model.replies').write_text('\n'.join(REPLIES))

    def chat():
        options = {'interactive_mode': True, 'datatype': 'valid', 'return_cand_scores': True}
        agent = create_agent_from_model_file(str(tmp_path / 'model'), options)
        agent.observe(Message(text='what music do you like ?', persona=['i like music .'], episode_done=True))
        return agent.index, agent.act()

    with monkeypatch.context() as patch:
        patch.setattr('os.access', lambda path, mode: False)
        index, by_list = chat()
        assert index is None and not (tmp_path / 'model.candidates').exists()
    index, first = chat()
    monkeypatch.setattr(IndexBuilder, 'encode', lambda *_: pytest.fail('encoded again'))
    again, second = chat()
    assert len(index) == len(again) == len(REPLIES)  # long ones too
    assert by_list['text_candidates'] == first['text_candidates'] == second['text_candidates']
    assert by_list['sorted_scores'] == pytest.approx(second['sorted_scores'], abs=1e-4)


def test_evaluation_and_conversation(trained, candidates, monkeypatch, capsys):
    report = EvalModel.main(
        model_file=trained,
        task='persona:sample',
        datatype='valid',
        num_examples=8,
        memnet_candidates=candidates,
        loglevel='error',
    )
    assert report['exs'] == 8 and report['accuracy'] == 0 and (Path(f'{trained}.candidates') / 'replies.txt').is_dir()
    typed = iter(['hello ?', '[EXIT]'])
    monkeypatch.setattr('builtins.input', lambda prompt='': next(typed))
    Interactive.main(
        model_file=trained, task='persona:sample', memnet_candidates=candidates, persona='i like music.|i ski.'
    )
    said = capsys.readouterr().out
    assert any(reply in said for reply in REPLIES[:4]), said


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


def test_chunks_make_the_same_index(builder, monkeypatch):
    whole = builder(folder=builder().folder.with_name('whole'))
    whole.open()
    monkeypatch.setattr(index, 'CHUNK', 16)
    one = builder()
    one.open()
    for name in ('vectors.f32', 'codes.i8'):
        if (whole.finished / name).exists():
            kind = np.float32 if name == 'vectors.f32' else np.int8
            pair = [np.fromfile(made.finished / name, kind).astype(float) for made in (one, whole)]
            assert np.abs(pair[0] - pair[1]).max() <= (1e-5 if kind == np.float32 else 1)


# -------------------------------------------------------------------------------------------- full disks


@pytest.mark.parametrize('file', ['stamp.json', 'texts.txt', 'starts.npy', 'vectors.f32'])
def test_a_full_disk_leaves_the_index_of_before_and_the_next_build_finishes(builder, log, file):
    """Each file is larger than those that are written before it; the stamp is not, and is written after two of them."""
    one = builder()
    one.open()
    before = {path.name: path.read_bytes() for path in one.finished.iterdir()}
    one.source.write_text(one.source.read_text() + '1 2\n3 4\n')
    with pytest.MonkeyPatch.context() as patched:
        if file == 'stamp.json':
            patched.setattr(prepared, 'write_json', in_room(prepared.write_json, 10))
        with (
            nullcontext() if file == 'stamp.json' else room(len(before[file])),
            pytest.raises(OSError, match='File too large') as raised,
        ):
            builder().open()
    assert Path(raised.value.filename).name == file
    assert {path.name: path.read_bytes() for path in one.finished.iterdir()} == before
    assert len(builder().open()) == 302 and not list(one.folder.rglob('*.part'))


@pytest.mark.parametrize('file', ['codes.i8', 'margins.npy'])
def test_a_full_disk_while_codes_are_written(builder, log, monkeypatch, file):
    """They are written last, and the next process writes them again."""
    pytest.importorskip('numba')
    one = builder()
    one.open()
    size = (one.finished / file).stat().st_size - 1
    for name in index.CODES:
        (one.finished / name).unlink()
    with room(size), pytest.raises(OSError, match='File too large') as raised:
        builder().open()
    assert Path(raised.value.filename).name in index.CODES
    assert builder().open().codes is not None and not list(one.folder.rglob('*.part'))
