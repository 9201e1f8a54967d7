"""What a user sees of an error: one or two lines that name the place and what to do, and no traceback."""

import errno
import gzip
import subprocess
from pathlib import Path

import pytest

from parlai_persona.compat import errors
from parlai_persona.errors import UserError, nearest, printable


def assert_explained(done: subprocess.CompletedProcess, *parts: str) -> None:
    """Check that a command failed with one or two lines on the error stream, with these parts in them."""
    assert done.returncode in (1, 2), done.stdout[-500:]
    assert 'Traceback' not in done.stdout + done.stderr, done.stderr[-2000:]
    said = [line for line in done.stderr.splitlines() if line and not line.startswith(('\r', 'Building dictionary'))]
    assert 1 <= len(said) <= 2, done.stderr
    for part in parts:
        assert part in done.stderr


def test_text_is_shown_without_control_characters():
    assert printable('a\x1b[31mb\r\x00\u202e\ud800\ttab\nline é 😀') == (
        'a\\x1b[31mb\\r\\x00\\u202e\\ud800\ttab\nline é 😀'
    )


def test_the_nearest_name():
    assert nearest('persona:memnett', ['persona:memnet', 'persona:paml']) == '. Did you mean persona:memnet?'
    assert nearest('valid', ['validity', 'invalid', 'valids']) == '. Did you mean valids?'  # the nearest of several
    assert nearest('zzz', ['persona:memnet']) == ''


@pytest.mark.parametrize(
    ('error', 'said'),
    [
        (UserError('saw x, expected y'), 'saw x, expected y'),
        (OSError(errno.ENOSPC, 'No space left on device', 'm.opt'), 'm.opt: No space left on device. The disk is full'),
        (OSError(errno.ENOSPC, 'No space left on device'), 'No space left on device. The disk is full'),
        (PermissionError(errno.EACCES, 'Permission denied', '/m'), '/m: Permission denied. Choose another path'),
        (ConnectionResetError(104, 'Connection reset by peer'), '[Errno 104] Connection reset by peer: a process that'),
        (MemoryError(), 'Out of memory (MemoryError): lower --batchsize'),
        (RuntimeError('[enforce fail] DefaultCPUAllocator: can\'t allocate memory\nmore'), 'Out of memory ([enforce'),
        (KeyError('x'), None),
        (RuntimeError('unknown'), None),
    ],
)  # fmt: skip
def test_an_error_is_explained_or_keeps_its_traceback(error, said, capsys):
    errors.end(type(error), error, None)
    shown = capsys.readouterr().err
    assert shown.startswith(f'parlai: {said}') if said else f'{type(error).__name__}: ' in shown


def test_debugging_shows_the_traceback_too(command):
    done = command('display_data', '-t', 'persona:own', '--loglevel', 'debug')
    assert 'Traceback' in done.stderr and 'parlai: --own-file is missing' in done.stderr


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ('trian_model', "invalid choice: 'trian_model'. Did you mean train_model?"),
        ('train_model -m persona:memnett -t persona:sample', 'Did you mean persona:memnet?'),
        ('train_model -m persona:memnet -t persona:sampel', 'Did you mean persona:sample?'),
        ('train_model -m persona:memnet:Foo -t persona:sample', "'persona:memnet:Foo': there is no such agent"),
        ('train_model -m transformer/generatr -t persona:sample', 'Did you mean transformer/generator?'),
        ('train_model -m parlai_persona.agents.memnet.memnet:MemnetAgnt', 'Did you mean MemnetAgent?'),
        ('train_model -m a__b -t persona:sample', "agent 'a__b': there is no such agent"),
        ('train_model -m persona:memnet -t persona:sample --memnet-sentnces 3', 'Did you mean --memnet-sentences?'),
        ('interactive -m repeat_query --persona none', '--persona belongs to another command, or to a task (-t)'),
        ('train_model -m persona:memnet -t persona:sample --batchsize few', "invalid int value: 'few'"),
        (f'train_model -m persona:memnet -t persona:sample --batchsize {"9" * 5000}', 'invalid int value'),
        ('train_model -o persona:memnet/smal', 'Did you mean persona:memnet/small?'),
        ('train_model -o nosuch.opt', '-o nosuch.opt: there is no such file'),
        ('train_model -t persona:sample', 'specify either a model_file or dict_file'),
        ('display_data', 'No task specified'),
        ('display_data -t persona:sample -bs 2', 'Simple view only support batchsize=1'),
        ('display_data -t persona:sample:foo', 'there is no FooTeacher in parlai_persona.tasks.sample.agents'),
        ('display_data -t persona:../x', "task 'persona:../x': there is no such task"),
        ('display_data -t persona:sample -dt tset', 'Did you mean test?'),
        ('display_data -t persona:sample:persona_sid=none', 'no option persona-sid. Did you mean persona-side?'),
        ('display_data -t persona:personachat:persona_sid=none', 'Did you mean persona-side?'),
        (f'display_data -t persona:sample:persona_candidates_count={"9" * 5000}', 'expected a whole number'),
        ('display_data -t persona:own', '--own-file is missing'),
        ('display_data -t persona:few_shot --few-shot-shots -5', '--few-shot-shots is -5; it has to be -1 or more'),
        ('display_data -t persona:personachat --persona-folder nowhere', '--persona-folder nowhere: no such folder'),
        ('display_data -t persona:reddit', '--reddit-data is missing'),
        ('display_data -t persona:few_shot --few-shot-of persona:few_shot', '--few-shot-of persona:few_shot: it is'),
        ('display_data -t persona:congeneric --congeneric-of persona:dialogues --dialogues-of persona:congeneric',
         'it is made of itself; name a task with dialogues'),
        ('eval_model -t persona:sample -mf nowhere', 'Model file does not exist'),
        ('eval_model -t persona:sample -mf zoo:blendr/x/model', 'no such model in the zoo. Did you mean blender?'),
        ('eval_model -t persona:sample -mf zoo:persona/nosuch/model', 'no such model in the zoo'),
        ('interactive -m repeat_query -t persona:sample --persona nowhere.txt', 'cannot read the file nowhere.txt'),
        ('self_chat -m repeat_query -t persona:sample --persona 9999999', 'there is no persona 9999999'),
        ('self_chat -m repeat_query -t persona:sample --partner-model-file nowhere', 'nowhere.opt: no such file'),
        ('eval_model -m repeat_query -t persona:sample --persona-receiver nowhere', '--persona-receiver nowhere: saw'),
        ('persona_weights --weights-output x', 'saw no model file'),
        ('persona_weights', 'nothing to write'),
        ('persona_perception -t persona:sample', '-mf MODEL is missing'),
        ('persona_perception -mf nowhere -t persona:sample', 'saw no file nowhere.opt'),
        ('persona_babi_generate --babi nowhere --output x', '--babi nowhere: no such folder'),
        ('persona_reddit build --input nowhere --output x', '--input nowhere: saw no such file'),
    ],
)  # fmt: skip
def test_a_wrong_command_line(command, arguments, said):
    assert_explained(command(*arguments.split()), said)


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_):
        raise AssertionError('a download waits before it is tried again')

    monkeypatch.setattr('time.sleep', refuse)


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ('display_data -t persona:personachat', ('personachat.tgz', '--datapath', '--persona-folder')),
        ('display_data -t persona:few_shot', ('personachat.tgz', '--datapath', '--persona-folder')),
        ('interactive -m repeat_query -t persona:personachat', ('personachat.tgz', '--persona-folder')),
        ('self_chat -m repeat_query -t persona:personachat', ('personachat.tgz', '--persona-folder')),
        ('display_data -t persona:personalized_babi', ('--babi-folder', '--datapath')),
        ('display_data -t babi:task1k:1', ('babi', '--datapath')),
        ('eval_model -mf zoo:blender/blender_90M/model -t persona:sample', ('blender', '--datapath')),
    ],
)
def test_missing_data_without_a_network(command, offline, arguments, said):
    assert_explained(command(*arguments.split(), '--datapath', 'data'), 'no connection to', *said)


CHAT = 'interactive -m repeat_query -t persona:personachat --datapath data --persona'


@pytest.mark.parametrize(
    ('typed', 'said'),
    [
        ('/list', 'no connection to'),
        ('/persona 3', 'no connection to'),
        ('/persona ~nosuchuser/x.txt', 'no user with this home folder'),
        ('/persona a\0b.txt', 'embedded null byte'),
    ],
)
def test_a_chat_without_data_goes_on_after_an_error(command, offline, monkeypatch, typed, said):
    lines = iter([typed, 'still here', '[EXIT]'])
    monkeypatch.setattr('builtins.input', lambda prompt='': next(lines))
    done = command(*CHAT.split(), 'i fly.')
    assert done.returncode == 0 and 'Traceback' not in done.stdout + done.stderr
    assert said in done.stdout and '[RepeatQueryAgent]: still here' in done.stdout


def test_an_empty_persona_is_not_a_random_one(command):
    done = command('interactive', '-m', 'repeat_query', '-t', 'persona:sample', '--persona', '')
    assert_explained(done, "--persona '': '' holds no sentence; a persona is")


# ------------------------------------------------------------------------------------------- damaged files

LINE = b'1 hi\thello\n'
KINDS = {  # kind of file -> its sound content, and the command that reads it
    'text format': (LINE, 'display_data -t persona:personachat --persona-folder .'),
    'own dialogues': (b'them: hi\nme: hello\n\n' * 2, 'display_data -t persona:own --own-file FILE'),
    'persona': (b'i fly.\n', 'interactive -m repeat_query -t persona:sample --persona FILE'),
    'vectors': (b'hi 1 2\n', 'train_model -m persona:memnet -t persona:sample -mf m --memnet-encoder bow '
                '--memnet-embedding-size 2 --memnet-vectors FILE'),
    'ranks': (b'hi 1 2\n', 'eval_model -m repeat_query -t persona:sample --metrics persona --persona-metrics-ranks '
              'FILE'),
    'options': (b'{"task": "persona:sample"}', 'display_data -o FILE'),
}  # fmt: skip


def read(command, kind: str, content: bytes, folder: Path):
    """Run the command that reads a file of this kind with this content."""
    name = 'train_self_original.txt' if kind == 'text format' else 'file.txt'
    (folder / name).write_bytes(content)
    return command(*KINDS[kind][1].replace('FILE', name).split())


@pytest.mark.parametrize('kind', ['text format', 'own dialogues', 'persona', 'vectors', 'ranks'])
def test_invalid_utf8_is_named_by_file_and_line(command, tmp_path, kind):
    done = read(command, kind, KINDS[kind][0] + b'\xff\xfe' + KINDS[kind][0], tmp_path)
    assert_explained(done, '.txt, line ', 'UTF-8')


@pytest.mark.parametrize(
    ('kind', 'content', 'said'),
    [
        ('text format', b'9' * 5000 + b' hi\thello\n', '.txt, line 1: saw'),
        ('text format', b'', 'no dialogue'),
        ('vectors', b'hi 1 ' + b'9' * 5000 + b'\n', 'file.txt:1: saw '),
        ('options', b'[' * 100_000, 'expected options as JSON'),
        ('options', b'{"batchsize": ' + b'9' * 5000 + b'}', 'expected options as JSON'),
        ('options', b'{"task": ', 'expected options as JSON'),
        ('options', b'\xef\xbb\xbf{}', 'Unexpected UTF-8 BOM'),
        ('options', b'{"nosuch": 1}', 'nosuch'),
    ],
)
def test_a_damaged_file_is_named(command, tmp_path, kind, content, said):
    assert_explained(read(command, kind, content, tmp_path), said)


@pytest.mark.parametrize('kind', ['text format', 'own dialogues', 'persona'])
def test_a_byte_order_mark_is_dropped(command, monkeypatch, tmp_path, kind):
    monkeypatch.setattr('builtins.input', lambda prompt='': '[EXIT]')
    done = read(command, kind, b'\xef\xbb\xbf' + KINDS[kind][0], tmp_path)
    assert done.returncode == 0 and '\ufeff' not in done.stdout, done.stderr


def test_a_damaged_gzip_file_is_named(tmp_path):
    from parlai_persona.files import read_text

    whole = gzip.compress(b'hi there\n' * 999)
    for content, said in ((whole[:-9], 'damaged or ends in the middle'), (b'hi', 'expected a file made by gzip')):
        (tmp_path / 'x.gz').write_bytes(content)
        with pytest.raises(UserError, match=f'x.gz.*{said}'):
            read_text(tmp_path / 'x.gz')
