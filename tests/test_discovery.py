"""An unmodified ParlAI knows `persona:`, at no noticeable cost."""

import os
import subprocess
import sys

import pytest
from conftest import FIXTURES, PATIENCE
from parlai.core.build_data import modelzoo_path
from parlai.core.loader import load_agent_module, load_teacher_module, load_world_module
from parlai.core.opt import Opt
from parlai.core.script import superscript_main

from parlai_persona import compat, discovery, requirements
from parlai_persona.chat import task_worlds
from parlai_persona.chat.worlds import PersonaInteractiveWorld
from parlai_persona.errors import UserError
from parlai_persona.tasks.sample.agents import DefaultTeacher
from parlai_persona.tasks.sample.worlds import InteractiveWorld, SelfChatWorld


def python(code: str, cwd, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, '-c', code],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_tasks_by_short_and_by_dotted_name():
    assert load_teacher_module('persona:sample') is DefaultTeacher
    assert load_teacher_module('parlai_persona.tasks.sample.agents') is DefaultTeacher
    assert load_teacher_module('parlai_persona.tasks.sample.agents:DefaultTeacher') is DefaultTeacher


@pytest.mark.parametrize('task', ['persona:sample', 'parlai_persona.tasks.sample.agents'])
def test_worlds_by_short_and_by_dotted_name(task):
    assert load_world_module(task, interactive_task=True) is InteractiveWorld is PersonaInteractiveWorld
    assert load_world_module(task, selfchat_task=True) is SelfChatWorld


def test_a_task_without_worlds_has_the_default_one():
    from parlai.core.worlds import DialogPartnerWorld

    assert load_world_module('persona:sample', num_agents=2) is DialogPartnerWorld
    assert load_world_module('persona:nothing', interactive_task=True, num_agents=2) is DialogPartnerWorld
    with pytest.raises(AttributeError):
        task_worlds.Nothing  # noqa: B018


def test_an_unknown_agent_says_which_module_is_missing():
    with pytest.raises(UserError, match='persona:nothing.: there is no such agent'):
        load_agent_module('persona:nothing')


def test_the_zoo_is_ours(tmp_path):
    with pytest.raises(UserError, match='zoo:persona/nothing/model: there is no such model in the zoo'):
        modelzoo_path(str(tmp_path), 'zoo:persona/nothing/model')


def test_registering_twice_changes_nothing():
    before = list(sys.meta_path), list(compat.APPLIED)
    discovery.register()
    compat.arm()
    assert (list(sys.meta_path), list(compat.APPLIED)) == before


def test_import_loads_no_torch(tmp_path):
    code = 'import sys, parlai_persona; print({"torch", "numpy", "transformers", "nltk"} & set(sys.modules))'
    done = python(code, tmp_path)
    assert done.stdout.strip() == 'set()', done.stderr


def test_python_use(tmp_path):
    """`import parlai_persona` and ParlAI's scripts work as usual, imported in either order."""
    code = (
        'from parlai.scripts.eval_model import EvalModel\n'
        'import parlai_persona\n'
        'report = EvalModel.main(task="persona:sample", model="repeat_label", num_examples=8)\n'
        'assert float(report["accuracy"]) == 1 and float(report["exs"]) == 8\n'
    )
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr


def test_train_and_eval_with_the_stock_command(tmp_path, monkeypatch, capsys):
    """`parlai train_model -t persona:personachat -m transformer/biencoder …`, from another folder."""
    monkeypatch.chdir(tmp_path)
    common = f'-t persona:personachat --persona-folder {FIXTURES / "personachat"} -mf model'
    tiny = '-m transformer/biencoder --embedding-size 8 --ffn-size 8 --n-heads 2 --n-layers 1'
    learning = '--candidates batch --eval-candidates inline --optimizer adam -lr 1e-3 --num-epochs 2 -bs 2'
    superscript_main(f'train_model {common} {tiny} {learning} --validation-metric hits@1'.split())
    capsys.readouterr()
    superscript_main(f'eval_model {common} -dt valid'.split())
    said = capsys.readouterr().out
    assert 'hits@1' in said and 'persona_f1' in said


# The stock command without ParlAI's own scripts, which take seconds to import.
STOCK = 'import parlai.scripts\nparlai.scripts.__path__ = []\nfrom parlai.__main__ import main\nmain()'


def users_parlai_internal(folder, regular: bool) -> None:
    scripts = folder / 'parlai_internal' / 'scripts'
    scripts.mkdir(parents=True)
    (scripts / 'mine.py').write_text(
        'from parlai.core.script import ParlaiScript, register_script\n'
        '@register_script("mine")\n'
        'class Mine(ParlaiScript):\n'
        '    @classmethod\n'
        '    def setup_args(cls):\n'
        '        from parlai.core.params import ParlaiParser\n'
        '        return ParlaiParser(False, False, "A script of the user")\n'
        '    def run(self):\n'
        '        from parlai.core.loader import REGISTERED_REPOS\n'
        '        print("mine runs;", "persona:" in REGISTERED_REPOS)\n'
    )
    if regular:
        (folder / 'parlai_internal' / '__init__.py').touch()
        (scripts / '__init__.py').touch()


def mine(folder) -> str:
    """What `parlai mine` says."""
    code = STOCK.replace('import', 'import sys\nsys.argv.append("mine")\nimport', 1)
    return python(code, folder, PYTHONPATH=str(folder)).stdout


def test_a_users_own_parlai_internal_keeps_working(tmp_path):
    """A namespace package beside ours: both are found."""
    users_parlai_internal(tmp_path, regular=False)
    assert 'mine runs; True' in mine(tmp_path)


def test_a_users_regular_parlai_internal_needs_one_line(tmp_path):
    """A package with `__init__.py` files hides ours, as always in Python. README says to add this one line."""
    users_parlai_internal(tmp_path, regular=True)
    assert 'mine runs; False' in mine(tmp_path)
    (tmp_path / 'parlai_internal' / 'scripts' / 'persona.py').write_text('import parlai_persona\n')
    assert 'mine runs; True' in mine(tmp_path)


# ---------------------------------------------------------------------------------- missing or wrong ParlAI


def test_no_parlai(monkeypatch):
    monkeypatch.setattr(requirements, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match=r'no ParlAI is installed: pip install --no-deps parlai==1\.7\.2'):
        requirements.check()


def test_another_parlai(tmp_path):
    done = python('import parlai; parlai.__version__ = "1.6.0"\nimport parlai_persona', tmp_path)
    assert done.returncode == 1
    message = 'needs ParlAI 1.7.2, but 1.6.0 is installed: pip install --no-deps parlai==1.7.2'
    assert message in done.stderr
    done = python('import parlai; parlai.__version__ = "1.6.0"\n' + STOCK, tmp_path)
    assert done.returncode == 0, "somebody else's ParlAI keeps working without us"
    assert f'The persona: plugin is off. parlai-persona {message}' in done.stdout + done.stderr


def test_no_pkg_resources(monkeypatch):
    monkeypatch.setattr(requirements, 'find_spec', lambda name: None if name == 'pkg_resources' else object())
    with pytest.raises(ImportError, match=r"pkg_resources.*: pip install 'setuptools>=70,<80\.9'"):
        requirements.check()


def test_presets(tmp_path):
    """`-o persona:x` is the method's paper.opt, alone or with presets of the user's own."""
    opt = Opt.load_init('persona:meta_memnn')
    assert opt['model'] == 'persona:meta_memnn'
    own = tmp_path / 'own.opt'
    own.write_text('{"learningrate": 0.5}')
    assert Opt.load_init(f'persona:meta_memnn,{own}') == {**opt, 'learningrate': 0.5}
    assert Opt.load_init('persona:memnet')['memnet_layers'] == 4
    assert Opt.load_init('persona:memnet/small')['memnet_layers'] == 1  # another preset of the same method
    with pytest.raises(
        FileNotFoundError,
        match='choose one of persona:entailment/minilm, persona:gpmn, persona:gpmn/small, persona:memnet, ',
    ):
        Opt.load_init('persona:nothing')
