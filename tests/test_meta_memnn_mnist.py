"""benchmarks/meta_memnn/mnist.py: its data, the meta-gradient of its models, what it learns, and the rows it writes."""

import gzip
import struct
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.meta_memnn import digits as data
from benchmarks.meta_memnn import mnist
from parlai_persona.agents.meta_memnn import meta

RECIPE = mnist.Recipe(batch=16, iterations=12, alpha=1e-2, gamma=1e-2)


@pytest.fixture(scope='module')
def digits() -> data.Digits:
    """Ten prototypes of 6 x 6 pixels with noise: 200 to train on, 50 to test."""
    rng = np.random.default_rng(0)
    y = np.arange(250) % 10
    x = torch.from_numpy(np.clip(rng.random((10, 36))[y] + rng.normal(0, 0.1, (250, 36)), 0, 1)).float()
    labels = torch.from_numpy(y)
    return data.Digits('prototypes', x[:200], labels[:200], x[200:], labels[200:])


# --------------------------------------------------------------------------------------------- data


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f'>{array.ndim}I', *array.shape) + array.tobytes()


def write_mnist(folder: Path, train: int = 5, test: int = 3) -> None:
    for name, count in (('train', train), ('t10k', test)):
        images = np.arange(count * 4, dtype=np.uint8).reshape(count, 2, 2) * 3
        (folder / f'{name}-images-idx3-ubyte.gz').write_bytes(gzip.compress(idx(images)))
        (folder / f'{name}-labels-idx1-ubyte').write_bytes(idx(np.arange(count, dtype=np.uint8)))


def test_mnist_is_read_gzipped_or_not(tmp_path: Path):
    write_mnist(tmp_path)
    digits = data.read_digits(tmp_path)
    assert digits.name == 'MNIST, 5 training images'
    assert digits.x.shape == (5, 4) and digits.test_x.shape == (3, 4)
    assert digits.y.tolist() == [0, 1, 2, 3, 4]
    assert torch.allclose(digits.x[1], torch.tensor([12, 15, 18, 21]) / 255)


def test_images_and_labels_have_to_be_as_many(tmp_path: Path):
    write_mnist(tmp_path)
    (tmp_path / 'train-labels-idx1-ubyte').write_bytes(idx(np.zeros(4, np.uint8)))
    with pytest.raises(ValueError, match='saw 5 images and 4 labels in train'):
        data.read_digits(tmp_path)


WHOLE = idx(np.zeros((2, 3), np.uint8))


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('x', WHOLE[:-1]),
        ('x', WHOLE + b'0'),
        ('x', WHOLE[:9]),
        ('x', b'\0\0\x0d\x02' + WHOLE[4:]),
        ('x', b''),
        ('x.gz', gzip.compress(WHOLE, mtime=0)[:-9]),
        ('x.gz', WHOLE),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match='is not a whole idx file of bytes: .*Fetch it again') as error:
        data.read_idx(tmp_path / 'x')
    assert str(tmp_path / name) in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match='neither train-images-idx3-ubyte nor train-images-idx3-ubyte.gz'):
        data.read_digits(tmp_path)


@pytest.mark.parametrize('wrong', ['any', 'next'])
def test_three_quarters_of_the_labels_are_wrong(wrong: str):
    y = torch.arange(1000) % 10
    made = data.Digits('', torch.zeros(1000, 1), y, y, y)
    tasks, again, other = data.Tasks(made, 3, wrong), data.Tasks(made, 3, wrong), data.Tasks(made, 4, wrong)
    y = y[tasks.train]
    assert tasks.right.sum() == 200 and len(y) == 800
    assert ((tasks.label == y) == tasks.right.bool()).all() and tasks.label.min() >= 0 and tasks.label.max() <= 9
    assert len(set(((tasks.label - y)[tasks.right == 0] % 10).tolist())) == (9 if wrong == 'any' else 1)
    assert (again.label == tasks.label).all() and (other.label != tasks.label).any()


def test_split_and_batches(digits):
    tasks, other = data.Tasks(digits, 1), data.Tasks(digits, 2)
    assert sorted([*tasks.valid.tolist(), *tasks.train.tolist()]) == list(range(200)) and len(tasks.valid) == 40
    assert (tasks.train != other.train).any()
    even, odd = tasks.batches(data.HELD, 32), tasks.batches(data.HELD, 100)
    whole = np.concatenate([next(even) for _ in range(5)])
    assert sorted(whole) == list(range(160))  # a pass
    odd = np.concatenate([next(odd) for _ in range(8)])
    assert (odd[:160] == whole).all() and sorted(odd[160:320]) == list(range(160))
    related, primary = tasks.related(whole[:32]), tasks.primary(whole[:32])
    assert (related.x == primary.x).all() and (primary.label == digits.y[tasks.train[whole[:32]]]).all()
    assert ((related.label == primary.label) == related.right.bool()).all()


def test_scikit_learns_digits_stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys):
    monkeypatch.setattr(data, 'ROOT', tmp_path)
    digits = data.read_digits(None)
    assert "learning scikit-learn's digits instead" in capsys.readouterr().out
    assert digits.x.shape == (1438, 64) and digits.test_x.shape == (359, 64) and digits.x.max() == 1
    with pytest.raises(FileNotFoundError):  # but not where a folder was asked for
        data.read_digits(tmp_path / 'none')


# ------------------------------------------------------------------------------------------- models


def test_numbers_of_parameters_are_the_papers():
    for params, number in ((mnist.start_theta(1, 784), 7850), (mnist.start_eta(1, 784), 797)):
        assert sum(p.numel() for p in params.values()) == number


def test_weights_are_a_perceptron_on_image_label_and_flag(digits):
    tasks, eta = data.Tasks(digits, 1), mnist.start_eta(1, 36)
    batch, mean = tasks.related(np.arange(20)), digits.x.mean(0)
    hot = [torch.eye(10)[batch.label], torch.eye(2)[batch.right]]
    column = torch.cat([eta['image'], eta['label'][:, None], eta['right'][:, None]])
    expected = torch.sigmoid(torch.cat([batch.x - mean, *hot], 1) @ column + eta['b'])
    assert torch.allclose(mnist.weights(eta, batch, mean), expected.squeeze(1), atol=1e-6)


def test_meta_gradient_by_finite_differences(digits):
    tasks = data.Tasks(digits, 1)
    theta, eta = ({n: p.double() for n, p in make(1, 36).items()} for make in (mnist.start_theta, mnist.start_eta))
    related, held = tasks.related(np.arange(9)), tasks.primary(np.arange(50, 58))
    related, held = (batch._replace(x=batch.x.double()) for batch in (related, held))
    mean = torch.full((36,), 0.3, dtype=torch.float64)

    def outer(eta: meta.Params) -> tuple[dict, torch.Tensor]:
        return meta.meta_gradient(
            mnist.losses,
            mnist.losses,
            lambda e: [mnist.weights(e, related, mean)],
            theta,
            eta,
            [related],
            held,
            meta.SGD(0.05),
        )

    found, _ = outer(eta)
    for name, p in eta.items():
        for place in range(0, p.numel(), 7):
            up, down = ({n: q.clone() for n, q in eta.items()} for _ in range(2))
            up[name].view(-1)[place] += 1e-5
            down[name].view(-1)[place] -= 1e-5
            slope = (outer(up)[1] - outer(down)[1]).item() / 2e-5
            assert found[name].view(-1)[place].item() == pytest.approx(slope, rel=1e-5, abs=1e-8)


# ------------------------------------------------------------------------------------------ training


def trained(tasks, recipe):
    return mnist.Training(recipe, tasks).train(every=5)


@pytest.mark.parametrize('mode', mnist.MODES)
def test_the_same_seed_is_the_same_run(digits, mode: str):
    recipe = replace(RECIPE, mode=mode)
    one, again, other = (trained(data.Tasks(digits, seed), recipe) for seed in (1, 1, 2))
    for name, p in one.theta.items():
        assert torch.equal(p, again.theta[name]) and not torch.equal(p, other.theta[name])
    assert one.figures() == again.figures() and len(one.figures()) == (6 if mode == 'learned' else 2)


def test_an_iteration_by_the_book(digits):
    """Eqs. 3-10 in plain autograd, with torch's own losses."""
    tasks = data.Tasks(digits, 1)
    one, book = (mnist.Training(RECIPE, tasks) for _ in range(2))
    places = [np.arange(start, start + 16) for start in (0, 16, 32)]
    one.iterate(0, *places)
    first, related, held = tasks.related(places[0]), tasks.related(places[1]), tasks.primary(places[2])
    w = mnist.weights(book.eta, first, book.mean)
    (w * mnist.losses(book.theta, first)).sum().backward()
    book.theta_optimizer.step()
    eta = {name: p.requires_grad_() for name, p in book.eta.items()}
    names = list(book.theta)
    loss = (mnist.weights(eta, related, book.mean) * mnist.losses(book.theta, related)).sum()
    grads = torch.autograd.grad(loss, list(book.theta.values()), create_graph=True)
    ahead = {name: book.theta[name] - RECIPE.beta * g for name, g in zip(names, grads, strict=True)}
    mnist.losses(ahead, held).sum().backward()
    book.eta_optimizer.step()
    for mine, others in ((one.theta, book.theta), (one.eta, book.eta)):
        for name, p in mine.items():
            assert torch.allclose(p, others[name], atol=1e-6), name
    wrong = first.right == 0
    assert one.given[0, 0].tolist() == pytest.approx([float(w[wrong].sum()), int(wrong.sum())], rel=1e-5)


def test_weights_of_the_controls(digits):
    tasks, places = data.Tasks(digits, 1), np.arange(30)
    batch = tasks.related(places)

    def given(mode: str, iteration: int = 0) -> torch.Tensor:
        return mnist.Training(replace(RECIPE, mode=mode), tasks).related_weights(iteration, places, batch)

    assert (given('oracle') == batch.right).all() and (given('ones') == 1).all()
    assert (given('random_fixed') == given('random_fixed', 1)).all()
    assert (given('random_changing') != given('random_changing', 1)).any()


def test_learned_weights_separate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Learned on scikit-learn's digits. All wrong labels point the same way, so accuracy shows the effect too."""
    monkeypatch.setattr(data, 'ROOT', tmp_path)
    tasks = data.Tasks(data.read_digits(None), 1, 'next')
    recipe = mnist.Recipe(batch=64, iterations=300, alpha=2e-3, gamma=2e-2, images='centred')
    learned, ones = (trained(tasks, replace(recipe, mode=mode)) for mode in ('learned', 'ones'))
    figures = learned.figures()
    assert figures['weight_right'] > 0.4 and figures['weight_wrong'] < 0.1
    assert figures['accuracy'] > ones.figures()['accuracy'] + 0.3
    assert [(h['iteration'], h['head']) for h in learned.histograms[:3]] == [(0, 'wrong'), (0, 'right'), (30, 'wrong')]
    assert all(sum(h['counts']) == (863 if h['head'] == 'wrong' else 288) for h in learned.histograms)


def test_main_writes_rows_and_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys):
    write_mnist(tmp_path, train=10)
    table = tmp_path / 'results' / 'x.csv'
    command = f'x --folder {tmp_path} --modes learned ones --seeds 1 2 --iterations 4 --batch 6 --results {table}'
    monkeypatch.setattr(sys, 'argv', command.split())
    monkeypatch.setattr(mnist.record, 'commit', lambda: 'abc1234')  # uncommitted changes are no error here
    mnist.main()
    assert 'weight_right ' in capsys.readouterr().out
    rows = mnist.record.read(table)
    assert len(rows) == 2 * (6 + 2) and {row.split for row in rows} == {'test'}
    assert {row.method for row in rows} == {
        f'meta_memnn mnist {mode} (batch 6, iterations 4)' for mode in ('learned', 'ones')
    }
    assert rows[-1].command.endswith('--modes ones --seeds 2 --batch 6 --iterations 4')
    monkeypatch.setattr(mnist.Training, 'train', None)  # nothing is trained twice
    mnist.main()
    assert mnist.record.read(table) == rows


@pytest.mark.slow  # imports matplotlib
def test_figure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pytest.importorskip('matplotlib')
    write_mnist(tmp_path, train=10)
    command = f'x --folder {tmp_path} --modes learned --seeds 1 --iterations 4 --batch 6 --results {tmp_path}/x.csv'
    monkeypatch.setattr(sys, 'argv', [*command.split(), '--figure', str(tmp_path / 'images' / 'x.png')])
    mnist.main()
    assert (tmp_path / 'images' / 'x.png').read_bytes().startswith(b'\x89PNG')
