"""benchmarks/meta_memnn/mnist.py: its data, its models' meta-gradient, runs side by side, going on, what it learns."""

import gzip
import struct
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.meta_memnn import mnist
from parlai_persona.agents.meta_memnn import meta

RECIPE = mnist.Recipe(batch=16, iterations=12, alpha=1e-2, gamma=1e-2)


@pytest.fixture(scope='module')
def digits():
    """Ten prototypes of 6 x 6 pixels with noise: 200 to train on, 50 to test."""
    rng = np.random.default_rng(0)
    y = np.arange(250) % 10
    x = torch.from_numpy(np.clip(rng.random((10, 36))[y] + rng.normal(0, 0.1, (250, 36)), 0, 1)).float()
    labels = torch.from_numpy(y)
    return mnist.Digits('prototypes', x[:200], labels[:200], x[200:], labels[200:])


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
    digits = mnist.read_mnist(tmp_path)
    assert digits.name == 'MNIST, 5 training images'
    assert digits.x.shape == (5, 4) and digits.test_x.shape == (3, 4)
    assert digits.y.tolist() == [0, 1, 2, 3, 4]
    assert torch.allclose(digits.x[1], torch.tensor([12, 15, 18, 21]) / 255)


def test_images_and_labels_have_to_be_as_many(tmp_path: Path):
    write_mnist(tmp_path)
    (tmp_path / 'train-labels-idx1-ubyte').write_bytes(idx(np.zeros(4, np.uint8)))
    with pytest.raises(ValueError, match='saw 5 images and 4 labels in train'):
        mnist.read_mnist(tmp_path)


WHOLE = idx(np.zeros((2, 3), np.uint8))


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('x', WHOLE[:-1], 'saw 17 bytes, expected 18'),
        ('x', WHOLE + b'0', 'saw 19 bytes, expected 18'),
        ('x', WHOLE[:9], 'saw 9 bytes, expected'),
        ('x', b'\0\0\x0d\x02' + WHOLE[4:], 'begins with 00 00 0d 02, expected 00 00 08'),
        ('x', b'', 'not an idx file'),
        ('x.gz', gzip.compress(WHOLE, mtime=0)[:-9], 'not a whole gzip file'),
        ('x.gz', WHOLE, 'not a whole gzip file'),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        mnist.read_idx(tmp_path / 'x')
    assert str(tmp_path / name) in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match='neither train-images-idx3-ubyte nor train-images-idx3-ubyte.gz'):
        mnist.read_mnist(tmp_path)


@pytest.mark.parametrize('wrong', ['any', 'next'])
def test_three_quarters_of_the_labels_are_wrong(wrong: str):
    y = np.arange(1000) % 10
    label, right = mnist.related_labels(y, wrong, np.random.default_rng(3))
    assert right.sum() == 250
    assert ((label == y) == right).all() and label.min() >= 0 and label.max() <= 9
    assert len(set((label - y)[~right] % 10)) == (9 if wrong == 'any' else 1)
    again, _ = mnist.related_labels(y, wrong, np.random.default_rng(3))
    other, _ = mnist.related_labels(y, wrong, np.random.default_rng(4))
    assert (again == label).all() and (other != label).any()


def test_split_and_batches(digits):
    tasks = mnist.Tasks(digits, [1, 2])
    for valid, train in zip(tasks.valid, tasks.train, strict=True):
        assert sorted([*valid, *train]) == list(range(200)) and len(valid) == 40
    assert (tasks.train[0] != tasks.train[1]).any()
    whole = np.concatenate([tasks.draw(mnist.HELD, number, 32) for number in range(5)], 1)
    assert all(sorted(row) == list(range(160)) for row in whole)  # a pass
    odd = np.concatenate([tasks.draw(mnist.HELD, number, 100) for number in range(8)], 1)
    assert (odd[:, :160] == whole).all() and all(sorted(row[160:320]) == list(range(160)) for row in odd)
    related, primary = tasks.related(whole[:, :32]), tasks.primary(whole[:, :32])
    assert (related.x == primary.x).all()
    assert ((related.label == primary.label) == related.right.bool()).all()


def test_scikit_learns_digits_stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys):
    monkeypatch.setattr(mnist, 'ROOT', tmp_path)
    digits = mnist.load(None)
    assert "learning scikit-learn's digits instead" in capsys.readouterr().out
    assert digits.x.shape == (1438, 64) and digits.test_x.shape == (359, 64) and digits.x.max() == 1
    with pytest.raises(FileNotFoundError):  # but not where a folder was asked for
        mnist.load(tmp_path / 'none')


# ------------------------------------------------------------------------------------------- models


def test_numbers_of_parameters_are_the_papers():
    for params, number in ((mnist.start_theta([1], 784), 7850), (mnist.start_eta([1], 784), 797)):
        assert sum(p.numel() for p in params.values()) == number


def test_weights_are_a_perceptron_on_image_label_and_flag(digits):
    tasks, eta = mnist.Tasks(digits, [1]), mnist.start_eta([1], 36)
    batch, mean = tasks.related(np.arange(20)[None]), digits.x.mean(0)
    hot = [torch.eye(10)[batch.label[0]], torch.eye(2)[batch.right[0]]]
    column = torch.cat([eta['image'][0], eta['label'][0, :, None], eta['right'][0, :, None]])
    expected = torch.sigmoid(torch.cat([batch.x[0] - mean, *hot], 1) @ column + eta['b'][0])
    assert torch.allclose(mnist.weights(eta, batch, mean)[0], expected.squeeze(1), atol=1e-6)


def test_meta_gradient_by_finite_differences(digits):
    tasks = mnist.Tasks(digits, [1, 2])
    theta, eta = ({n: p.double() for n, p in make([1, 2], 36).items()} for make in (mnist.start_theta, mnist.start_eta))
    related, held = tasks.related(tasks.draw(0, 0, 9)), tasks.primary(tasks.draw(1, 0, 8))
    related, held = (replace(batch, x=batch.x.double()) for batch in (related, held))
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


def trained(tasks, recipe, checkpoint: Path | None = None):
    training = mnist.Training(recipe, tasks, checkpoint)
    training.resume()
    training.train(every=5)
    return training


@pytest.mark.parametrize('mode', mnist.MODES)
def test_runs_side_by_side_are_the_runs_alone(digits, mode: str):
    recipe = replace(RECIPE, mode=mode)
    together = trained(mnist.Tasks(digits, [1, 2, 3]), recipe)
    for run, seed in enumerate((1, 2, 3)):
        alone = trained(mnist.Tasks(digits, [seed]), recipe)
        for one, many in ((alone.theta, together.theta), (alone.eta, together.eta), (alone.kept, together.kept)):
            for name, p in one.items():
                assert torch.allclose(p[0], many[name][run], atol=1e-5), name
        assert np.allclose(alone.given[:, 0], together.given[:, run], atol=1e-4)
        assert alone.best[0] == together.best[run] and alone.test()[0] == together.test()[run]


@pytest.mark.parametrize('mode', ['learned', 'random_changing'])
def test_going_on_gives_the_numbers_of_a_run_in_one_go(digits, mode: str, tmp_path: Path):
    tasks, recipe = mnist.Tasks(digits, [1, 2]), replace(RECIPE, mode=mode)
    whole = trained(tasks, recipe)
    first = mnist.Training(recipe, tasks, tmp_path / 'x.pt')
    first.train(every=5, until=7)
    second = trained(tasks, recipe, tmp_path / 'x.pt')
    assert second.iteration == 12 and [p.name for p in tmp_path.iterdir()] == ['x.pt']
    for name, p in {**whole.theta, **whole.eta}.items():
        assert torch.equal(p, {**second.theta, **second.eta}[name])
    assert (whole.given == second.given).all() and (whole.best == second.best).all()
    assert (whole.test() == second.test()).all() and whole.counts.keys() == second.counts.keys()
    for iteration, count in whole.counts.items():
        assert count.sum() == 2 * 160 and (count == second.counts[iteration]).all()


def test_a_checkpoint_of_another_recipe_is_refused(digits, tmp_path: Path):
    tasks = mnist.Tasks(digits, [1])
    mnist.Training(RECIPE, tasks, tmp_path / 'x.pt').save()
    with pytest.raises(ValueError, match='name another folder with --runs'):
        trained(tasks, replace(RECIPE, beta=0.5), tmp_path / 'x.pt')
    with pytest.raises(ValueError, match='name another folder'):
        trained(mnist.Tasks(digits, [1], wrong='next'), RECIPE, tmp_path / 'x.pt')


def test_weights_of_the_controls(digits):
    tasks = mnist.Tasks(digits, [1, 2])
    places = tasks.draw(mnist.STEP_2, 0, 30)
    batch = tasks.related(places)

    def given(mode: str, iteration: int = 0) -> torch.Tensor:
        training = mnist.Training(replace(RECIPE, mode=mode), tasks)
        training.iteration = iteration
        return training.related_weights(places, batch)

    assert (given('oracle') == batch.right).all() and (given('ones') == 1).all()
    assert (given('random_fixed') == given('random_fixed', 1)).all()
    assert (given('random_changing') != given('random_changing', 1)).any()


def test_learned_weights_separate():
    """On scikit-learn's digits; wrong labels that point the same way, so that accuracy tells, too."""
    tasks = mnist.Tasks(mnist.small_digits(), [1, 2], 'next')
    recipe = mnist.Recipe(batch=64, iterations=300, alpha=2e-3, gamma=2e-2, images='centred')
    learned, ones = (trained(tasks, replace(recipe, mode=mode)) for mode in ('learned', 'ones'))
    wrong, right = learned.mean_weights(270).T
    assert (right > 0.4).all() and (wrong < 0.1).all()
    assert (learned.test() > ones.test() + 0.3).all()


def test_main_writes_rows_and_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys):
    write_mnist(tmp_path, train=10)
    table = tmp_path / 'results' / 'x.csv'
    monkeypatch.setattr(
        sys,
        'argv',
        [
            'x',
            '--folder',
            str(tmp_path),
            '--modes',
            'learned',
            'ones',
            '--seeds',
            '1',
            '2',
            '--iterations',
            '4',
            '--batch',
            '6',
            '--runs',
            str(tmp_path / 'runs'),
            '--results',
            str(table),
        ],
    )
    for _ in range(2):
        mnist.main()
    rows = mnist.record.read(table)
    assert len(rows) == 2 * (6 + 2) and {row.split for row in rows} == {'test'}
    assert {row.method for row in rows} == {
        f'meta_memnn mnist {mode} (batch 6, iterations 4)' for mode in ('learned', 'ones')
    }
    assert rows[-1].command.endswith('--modes ones --seeds 1 2 --batch 6 --iterations 4')
    assert 'weight_right ' in capsys.readouterr().out


def test_a_figure_without_matplotlib_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(mnist, 'find_spec', lambda name: None)
    monkeypatch.setattr(sys, 'argv', ['x', '--figure', str(tmp_path / 'x.png')])
    with pytest.raises(SystemExit, match='--figure needs matplotlib'):
        mnist.main()


@pytest.mark.slow  # imports matplotlib
def test_figure(digits, tmp_path: Path):
    pytest.importorskip('matplotlib')
    training = trained(mnist.Tasks(digits, [1, 2]), RECIPE)
    mnist.draw_figure(training, tmp_path / 'images' / 'x.png')
    assert (tmp_path / 'images' / 'x.png').read_bytes().startswith(b'\x89PNG')
