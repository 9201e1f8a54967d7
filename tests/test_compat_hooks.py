"""Fixes run after the import of their module: once, in order, and only if the user wants them."""

import importlib
import inspect
import sys

import pytest

from parlai_persona.compat import hooks


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Yield the name of a module that nobody has imported, with a mechanism and a registry of its own."""
    (tmp_path / 'broken.py').write_text('def answer():\n    return 41\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(hooks, 'FIXES', {})
    monkeypatch.setattr(hooks, 'APPLIED', [])
    monkeypatch.setattr(sys, 'meta_path', [f for f in sys.meta_path if not isinstance(f, hooks.PostImport)])
    monkeypatch.delitem(sys.modules, 'broken', raising=False)
    yield 'broken'
    sys.modules.pop('broken', None)


def register(module, calls, found=True):
    @hooks.fixes(module)
    def answer_right(mended):
        calls.append(mended.answer())
        mended.answer = lambda: 42
        return found

    return answer_right


def test_a_fix_runs_after_the_import_and_before_the_importer_goes_on(module):
    calls = []
    register(module, calls)
    hooks.arm()
    assert calls == []
    from broken import answer

    assert (answer(), calls, hooks.APPLIED) == (42, [41], ['answer_right'])
    importlib.import_module(module)
    assert calls == [41]


def test_a_module_that_is_imported_already_is_mended_at_once(module):
    broken = importlib.import_module(module)
    calls = []
    register(module, calls)
    hooks.arm()
    assert (broken.answer(), calls) == (42, [41])


def test_arming_again_changes_nothing(module):
    importlib.import_module(module)
    calls = []
    register(module, calls)
    hooks.arm()
    finders = list(sys.meta_path)
    hooks.arm()
    assert sys.meta_path == finders and calls == [41]


def test_fixes_run_in_the_order_of_registration(module):
    calls = []
    register(module, calls)
    register(module, calls)
    hooks.arm()
    importlib.import_module(module)
    assert calls == [41, 42]


def test_a_reloaded_module_is_mended_again(module):
    calls = []
    register(module, calls)
    hooks.arm()
    assert importlib.reload(importlib.import_module(module)).answer() == 42
    assert calls == [41, 41]


def test_a_fix_that_found_no_defect_is_not_said_to_be_applied(module):
    register(module, [], found=False)
    hooks.arm()
    importlib.import_module(module)
    assert hooks.APPLIED == []


@pytest.mark.parametrize('skipped, answer', [('all', 41), ('other, answer_right', 41), ('other', 42), ('', 42)])
def test_the_user_can_leave_fixes_out(module, skipped, answer, monkeypatch):
    monkeypatch.setenv(hooks.SKIP, skipped)
    register(module, [])
    hooks.arm()
    assert importlib.import_module(module).answer() == answer


def test_the_source_of_a_mended_module_can_still_be_read(module):
    hooks.fixes(module)(lambda mended: True)
    hooks.arm()
    assert inspect.getsource(importlib.import_module(module).answer) == 'def answer():\n    return 41\n'


def test_a_module_that_is_not_there_is_missed_as_usual(module):
    hooks.fixes('no_such_module')(lambda mended: True)
    hooks.arm()
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_module'"):
        importlib.import_module('no_such_module')


def test_a_function_is_replaced_wherever_it_was_imported_by_name(module, monkeypatch):
    broken = importlib.import_module(module)
    importer = type(sys)('importer')
    importer.answer = broken.answer
    monkeypatch.setitem(sys.modules, 'importer', importer)

    def right():
        return 42

    hooks.replace_everywhere(broken.answer, right)
    assert broken.answer is importer.answer is right
