"""Damaged files: each parser refuses one with an error of ours, or returns everything in it that is sound."""

import random

import pytest

from benchmarks.suite import mutated_inputs
from benchmarks.suite.mutated_inputs import Parser, failures
from benchmarks.suite.mutations import CHANGES, mutated
from benchmarks.suite.parsers import PARSERS
from parlai_persona.errors import UserError

LINES = (b'one\n', b'two\n', b'three\n')


SECONDS_EACH = ('reddit: whole builds', 'zoo: ', 'transformers: ')


@pytest.mark.parametrize('name', [name for name in PARSERS if not name.startswith(SECONDS_EACH)])
def test_a_few_damaged_files(name):
    assert not failures(PARSERS[name](), 12)


@pytest.mark.slow
@pytest.mark.parametrize('name', [*PARSERS])
def test_many_damaged_files(name):
    assert not failures(PARSERS[name](), 1000, first_seed=1_000_000)


def complaints(read, **options) -> set[str]:
    found = failures(Parser('lines.txt', LINES, read, **options), 60)
    return {failure.split(':')[0] for failure in found.values()}


def test_a_parser_that_fails_is_found_out():
    def strict(path):
        if path.read_bytes() != b''.join(LINES) and path.read_bytes() not in LINES:
            raise UserError('damaged')
        return path.read_text().splitlines()

    assert not complaints(strict)
    assert not complaints(lambda path: path.read_bytes().splitlines())
    assert complaints(lambda path: path.read_bytes().splitlines(), exact=True) == {'damage went unnoticed'}
    assert complaints(lambda path: path.read_bytes().splitlines()[:3]) == {'lost'}
    assert 'UnicodeDecodeError' in complaints(lambda path: path.read_text(encoding='utf-8').split('\n'))
    assert complaints(lambda path: [path.read_text(errors='surrogateescape')] * 9) >= {'UnicodeEncodeError'}


def test_a_parser_that_takes_too_long_is_stopped(monkeypatch):
    monkeypatch.setattr(mutated_inputs, 'SECONDS', 0.05)

    def endless(path):
        while path.stat().st_size > 6:
            pass
        return [path.read_bytes()]

    parser = mutated_inputs.with_alarm(Parser('a.txt', (b'short\n',), endless))
    with mutated_inputs.limits(1 << 40):
        found = failures(parser, 4)
    assert found and all('TimeoutError' in failure for failure in found.values())


@pytest.mark.parametrize('change', CHANGES)
def test_a_change_is_seeded_and_takes_any_content(change):
    for content in (b'', b'\n', b'{"a": [1, {"b": 2}]}\n[3]\n', b''.join(LINES)):
        assert change(content, random.Random(1)) == change(content, random.Random(1))
    assert len({change(b'[1, 2, 3]\n[4]\n[5]\n', random.Random(seed)) for seed in range(30)}) > 2
    assert mutated(b'', random.Random(0)) == mutated(b'', random.Random(0))
