"""The wheel and the editable install: each built, each imported from another folder, each found by a stock `parlai`.

The virtual environments made here see the packages of the running one (torch, ParlAI, setuptools), but not its
installation of parlai-persona: a path file adds the folder without running the path files in it.
"""

import os
import re
import shutil
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest
from conftest import PATIENCE
from packaging.requirements import Requirement

from parlai_persona.models.packages import PACKAGES

ROOT = Path(__file__).parents[1]
LEAVES = (
    'parlai_persona.tasks.sample.grammar',
    'parlai_persona.tasks.personachat.parse',
    'parlai_persona.data.teacher',
    'parlai_persona.agents',
    'parlai_persona.zoo',
    'parlai_internal.scripts.persona_plugin',
)


def run(*command: object, cwd: Path) -> str:
    clean = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'VIRTUAL_ENV')}
    done = subprocess.run(
        [str(c) for c in command], cwd=cwd, env=clean, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def source(tmp_path) -> Path:
    """Return a copy of the sources, because a build leaves files beside them."""
    names = ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE', 'parlai_persona', 'tasks', 'agents', 'zoo')
    folder = tmp_path / 'source'
    folder.mkdir()
    for name in names:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def fresh(tmp_path) -> Path:
    """The interpreter of a new virtual environment that has everything but parlai-persona."""
    venv.create(tmp_path / 'env', with_pip=False)
    python = tmp_path / 'env' / 'bin' / 'python'
    site = run(python, '-c', 'import sysconfig; print(sysconfig.get_paths()["purelib"])', cwd=tmp_path).strip()
    folders = [path for path in sys.path if path.endswith('site-packages')]  # several where environments are layered
    (Path(site) / 'host.pth').write_text('\n'.join(folders))
    code = 'from importlib.util import find_spec; print(find_spec("parlai_persona"))'
    assert run(python, '-c', code, cwd=tmp_path).strip() == 'None'
    return python


@pytest.mark.parametrize('kind', ['wheel', 'editable'])
def test_an_installation_is_complete(kind, source, fresh, tmp_path):
    pip = [sys.executable, '-m', 'pip', '--python', fresh, 'install', '--quiet', '--no-deps', '--no-index']
    if kind == 'wheel':
        build = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation']
        run(*build, '--wheel-dir', tmp_path, source, cwd=tmp_path)
        shutil.rmtree(source)  # nothing may be taken from there
        run(*pip, next(tmp_path.glob('*.whl')), cwd=tmp_path)
    else:
        run(*pip, '--no-build-isolation', '--editable', source, cwd=tmp_path)
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    code = f'import {", ".join(LEAVES)}; print(parlai_persona.tasks.sample.grammar.__file__)'
    where = run(fresh, '-c', code, cwd=elsewhere)
    assert str(tmp_path) in where
    assert ('source' in where) == (kind == 'editable')
    code = 'from parlai_persona.zoo import registry; print(*registry.FOLDER.glob("*/*/*"), sep="\\n")'
    models = {Path(line).relative_to(Path(line).parents[2]) for line in run(fresh, '-c', code, cwd=elsewhere).split()}
    assert models == {path.relative_to(ROOT / 'zoo') for path in (ROOT / 'zoo').glob('*/*/*') if path.is_file()}
    code = 'from parlai_persona import web; from pathlib import Path; print(Path(web.__file__).parent)'
    page = Path(run(fresh, '-c', code, cwd=elsewhere).strip()) / 'page'
    assert {'index.html', 'page.css', 'page.js'} <= {file.name for file in page.iterdir()}
    stock = Path(sys.executable).parent / 'parlai'
    command = ['eval_model', '-t', 'persona:sample', '-m', 'repeat_label', '-dt', 'valid', '--num-examples', '8']
    assert 'persona_f1' in run(fresh, stock, *command, cwd=elsewhere)


def test_parlais_own_pins_and_ours_can_be_met_together():
    """`pip install parlai-persona[parlai]`: these versions, which a resolver chose for Python 3.10, satisfy both."""
    chosen = {
        'numpy': '1.23.5',
        'tqdm': '4.62.3',
        'tokenizers': '0.15.2',
        'requests': '2.31.0',
        'iopath': '0.1.10',
        'setuptools': '80.8.0',
        'transformers': '4.35.2',
        'regex': '2024.11.6',
        'pandas': '2.1.0',
        'torch': '2.14.1',
    }
    source = (ROOT / 'setup.py').read_text()
    ours = [Requirement(text) for text in re.findall(r"^    '([^']+)',$", source[source.index('REQUIRES = [') :], re.M)]
    theirs = [Requirement(text) for text in metadata.requires('parlai')]
    assert {'numpy', 'setuptools', 'transformers'} <= {r.name for r in ours}
    for requirement in ours + theirs:
        if requirement.name in chosen:
            assert chosen[requirement.name] in requirement.specifier, requirement


@pytest.mark.parametrize('package', PACKAGES.values(), ids=PACKAGES)
def test_extras_have_the_versions_that_messages_name(package):
    assert f"'{package.install.split()[-1]}'" in (ROOT / 'setup.py').read_text()
