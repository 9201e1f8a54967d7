"""Files that are whole or absent, and files of text and JSON."""

import gzip
import os

import pytest

from parlai_persona.errors import UserError
from parlai_persona.files import draft, open_text, parse_json, read_json, read_text, typed_path, write_json


def test_a_draft_gets_its_name_at_the_end_only(tmp_path):
    path = tmp_path / 'new' / 'folder' / 'x.txt'
    with draft(path) as part:
        assert part.parent == path.parent and part.name == f'.x.txt.{os.getpid()}.part'
        part.write_text('whole')
        assert not path.exists()
    assert path.read_text() == 'whole' and list(path.parent.iterdir()) == [path]


def test_a_failed_draft_leaves_what_was_there(tmp_path):
    path = tmp_path / 'x.txt'
    path.write_text('old')
    with pytest.raises(KeyboardInterrupt), draft(path) as part:
        part.write_text('half')
        raise KeyboardInterrupt
    assert path.read_text() == 'old' and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('name', ['x.txt', 'x.csv', 'x.txt.gz'])
def test_only_line_feeds_end_lines_and_only_the_first_may_begin_with_a_mark(tmp_path, name):
    content = '\ufeffa\rb\u2028c\n\ufeffd\n\ne'.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith('.gz') else content)
    with open_text(tmp_path / name) as lines:
        assert list(lines) == ['a\rb\u2028c\n', '\ufeffd\n', '\n', 'e']
    assert read_text(tmp_path / name) == 'a\rb\u2028c\n\ufeffd\n\ne'


def test_a_byte_that_is_not_utf8_is_named_by_its_place(tmp_path):
    (tmp_path / 'x.txt').write_bytes(b'one\nab\xffc\n')
    with pytest.raises(UserError, match=r'x.txt, line 2: byte 3 of the line is 0xff, which is not UTF-8; save'):
        read_text(tmp_path / 'x.txt')


@pytest.mark.parametrize(
    ('name', 'said'),
    [('nosuch', 'cannot read the file .*nosuch: No such file'), ('a\0b', 'cannot read the file .*null')],
)
def test_a_file_that_cannot_be_opened(tmp_path, name, said):
    with pytest.raises(UserError, match=said):
        read_text(tmp_path / name)


def test_a_typed_path(monkeypatch):
    monkeypatch.setenv('HOME', '/home/jo')
    assert str(typed_path('~/x')) == '/home/jo/x' and str(typed_path('a/~')) == 'a/~'
    with pytest.raises(UserError, match='~nosuchuser/x: there is no user'):
        typed_path('~nosuchuser/x')


def test_json(tmp_path):
    write_json(tmp_path / 'x.json', {'é': [1, None]})
    assert (tmp_path / 'x.json').read_text() == '{\n "\\u00e9": [\n  1,\n  null\n ]\n}\n'
    assert read_json(tmp_path / 'x.json') == {'é': [1, None]}
    for content in (b'{"a": ', b'[' * 100_000, b'\xff'):
        (tmp_path / 'x.json').write_bytes(content)
        with pytest.raises(UserError, match='x.json: expected JSON'):
            read_json(tmp_path / 'x.json')


def test_json_is_a_value_that_can_be_written():
    assert parse_json('{"a": "\\ud83d\\ude00"}') == parse_json(b'{"a": "\xf0\x9f\x98\x80"}') == {'a': '😀'}
    assert parse_json(r'"a\\ud800"') == r'a\ud800'  # a backslash and letters
    for damaged in ('{', '[' * 100_000, r'["\ud800"]', r'{"\uDFFF": 1}', b'"\xed\xa0\x80"', b'"\xff"'):
        with pytest.raises(ValueError, match='.'):
            parse_json(damaged)
