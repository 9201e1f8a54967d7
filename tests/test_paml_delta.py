"""Files of `--paml-save-delta`: a damaged or hostile one is refused, never read as other weights."""

import io
import os
import pickle
import random

import pytest
import torch
from mutations import mutated
from safetensors import safe_open
from safetensors.torch import save_file

from parlai_persona.agents.paml.people import read_delta, write_delta
from parlai_persona.data.dialogue import DataError
from parlai_persona.models.checksums import fingerprint, named_fingerprint

THETA = {'a': torch.arange(24.0).reshape(4, 6), 'b': torch.ones(50), 'fixed': torch.zeros(3)}
CHANGE = {'a': torch.linspace(-1, 1, 24).reshape(4, 6).bfloat16(), 'b': torch.full((50,), 0.5).bfloat16()}


def person(path):
    write_delta(path, THETA, {**THETA, **{name: THETA[name] + change.float() for name, change in CHANGE.items()}})


def as_before(path):
    """Write the form of files before there were checksums."""
    torch.save({'of': fingerprint(THETA), 'delta': CHANGE}, path)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize('write', [person, as_before])
def test_both_forms_of_a_file(tmp_path, write):
    write(tmp_path / 'delta')
    read = read_delta(tmp_path / 'delta', THETA)
    assert read['fixed'] is THETA['fixed']
    assert same(read, {**THETA, **{name: THETA[name] + change.float() for name, change in CHANGE.items()}})


def test_what_did_not_change_is_not_written(tmp_path):
    """Copies of a parameter are no change, such as those of adapters that do not adapt."""
    write_delta(tmp_path / 'delta', THETA, {name: p.clone() + (name == 'a') for name, p in THETA.items()})
    with safe_open(tmp_path / 'delta', 'pt') as file:
        assert list(file.keys()) == ['a']


@pytest.mark.parametrize('write', [person, as_before])
def test_a_damaged_file(tmp_path, write):
    path, rng = tmp_path / 'delta', random.Random(0)
    write(path)
    whole, before, refused = path.read_bytes(), read_delta(path, THETA), 0
    for number in range(300):
        path.write_bytes(mutated(whole, rng))
        try:
            assert same(read_delta(path, THETA), before), number
        except DataError as error:
            refused += str(path) in str(error)
    assert refused > 100


@pytest.mark.parametrize(
    'changes, seen',
    [
        ({'a': torch.full((4, 6), float('nan')).bfloat16()}, 'a has values that are not finite'),
        ({'a': torch.ones(6, 4).bfloat16()}, r'a is \[6, 4\] .* expected \[4, 6\] in bfloat16'),
        ({'a': torch.ones(4, 6)}, 'a is .*float32, expected'),
        ({'c': torch.ones(1).bfloat16()}, 'c is .* expected no such parameter'),
    ],
)
def test_what_does_not_fit(tmp_path, changes, seen):
    path = tmp_path / 'delta'
    about = {'of': fingerprint(THETA), 'checksum': named_fingerprint(changes)}
    save_file(changes, path, about)
    with pytest.raises(DataError, match=f'--paml-delta {path}: damaged, .*{seen}'):
        read_delta(path, THETA)
    torch.save({'of': about['of'], 'delta': changes}, path)
    with pytest.raises(DataError, match=f'--paml-delta {path}: damaged, .*{seen}'):
        read_delta(path, THETA)
    save_file(changes, path, {'of': about['of'], 'checksum': '0'})
    with pytest.raises(DataError, match='its checksum is another'):
        read_delta(path, THETA)


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_hostile_file(tmp_path):
    file = io.BytesIO()
    torch.save({'of': fingerprint(THETA), 'delta': Hostile(tmp_path / 'ran')}, file)
    for content in (file.getvalue(), pickle.dumps(Hostile(tmp_path / 'ran')), b'', b'PK'):
        (tmp_path / 'delta').write_bytes(content)
        with pytest.raises(DataError, match='damaged, or not a file that --paml-save-delta wrote'):
            read_delta(tmp_path / 'delta', THETA)
    assert not (tmp_path / 'ran').exists()
