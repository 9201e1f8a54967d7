"""Slices of files: each row is found under its number, in whichever file it is."""

import pyarrow as pa
import pytest

from parlai_persona.tasks.reddit.pipeline import storage


def test_rows_come_back_by_their_number(tmp_path):
    files = []
    for name, numbers in (('a', [0, 0, 2]), ('b', []), ('c', [1, 2, 2, 2])):
        rows = range(len(numbers))
        table = pa.table(
            {
                'part': pa.array(numbers, pa.int32()),
                'text': pa.array([f'{name}{k}' for k in rows], pa.string()),
                'list': pa.array([[k] * k for k in rows], pa.list_(pa.int64())),
            }
        )
        storage.write_slices(table, 'part', 4, tmp_path / f'{name}.arrow')
        files.append(tmp_path / f'{name}.arrow')
    found = [storage.read_slice(files, number) for number in range(4)]
    assert [table.column('text').to_pylist() for table in found] == [['a0', 'a1'], ['c0'], ['a2', 'c1', 'c2', 'c3'], []]
    assert found[2].column('list').to_pylist() == [[2, 2], [1], [2, 2], [3, 3, 3]]
    assert set(found[3].column('part').to_pylist()) == set() and found[3].schema == found[0].schema


def test_a_row_of_no_slice_is_an_error(tmp_path):
    """Rows that no slice takes would be lost without a word."""
    with pytest.raises(ValueError, match='saw 5 among the numbers of `part`, expected 0 to 1'):
        storage.write_slices(pa.table({'part': pa.array([0, 5], pa.int32())}), 'part', 2, tmp_path / 'x.arrow')
    assert not list(tmp_path.iterdir())
