"""What a user sees of an error: one or two lines that name the place and what to do, and no traceback."""

import errno
import subprocess

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
    assert nearest('zzz', ['persona:memnet']) == ''


@pytest.mark.parametrize(
    ('error', 'said'),
    [
        (UserError('saw x, expected y'), 'saw x, expected y'),
        (OSError(errno.ENOSPC, 'No space left on device', 'm.opt'), 'm.opt: No space left on device. The disk is full'),
        (OSError(errno.ENOSPC, 'No space left on device'), 'No space left on device. The disk is full'),
        (PermissionError(errno.EACCES, 'Permission denied', '/m'), '/m: Permission denied. Choose another path'),
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
        ('train_model -m persona:memnet -t persona:sample --batchsize few', "invalid int value: 'few'"),
        (f'train_model -m persona:memnet -t persona:sample --batchsize {"9" * 5000}', 'invalid int value'),
        ('train_model -o persona:memnet/smal', 'Did you mean persona:memnet/small?'),
        ('train_model -o nosuch.opt', '-o nosuch.opt: there is no such file'),
        ('train_model -t persona:sample', 'specify either a model_file or dict_file'),
        ('display_data', 'No task specified'),
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
        ('eval_model -t persona:sample -mf nowhere', 'Model file does not exist'),
        ('eval_model -t persona:sample -mf zoo:blendr/x/model', 'no such model in the zoo. Did you mean blender?'),
        ('eval_model -t persona:sample -mf zoo:persona/nosuch/model', 'no such model in the zoo'),
        ('interactive -m repeat_query -t persona:sample --persona nowhere.txt', 'cannot read the file nowhere.txt'),
        ('self_chat -m repeat_query -t persona:sample --persona 9999999', 'there is no persona 9999999'),
        ('persona_weights --weights-output x', 'saw no model file'),
        ('persona_weights', 'nothing to write'),
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
