"""`parlai persona_zoo`, a chat by a name of the zoo, and the models that come with the package."""

import shlex

import pytest
import zoo_server
from parlai.core.script import superscript_main
from parlai.scripts.eval_model import EvalModel
from parlai.scripts.train_model import TrainModel
from real_data import DATAPATH, real
from small_zoo import NAME, reply

from benchmarks.suite.zoo import RECIPES, list_in_readme
from parlai_persona.models.packages import packaged
from parlai_persona.models.saved import NotLoaded
from parlai_persona.zoo import registry, sources, store
from parlai_persona.zoo.card import PERSONA, card, usage

pytest_plugins = ['small_zoo']
FOLDERS = {'persona:nli': 'dialogue_nli_material', 'persona:personalized_babi': 'personalized-dialog'}  # of the data


def test_list(command, zoo, published, monkeypatch):
    monkeypatch.setenv('PERSONA_ZOO', str(published))
    store.model_file(registry.find(f'{NAME}@1'), str(zoo))
    done = command('persona_zoo', 'list', '--datapath', str(zoo))
    size = sources.readable(registry.find(NAME).bytes)
    assert done.stdout.splitlines() == [
        f'  retriever@2           {size}  A retriever.',
        f'* retriever@1           {size}  A retriever.',
        '',
        '* is on this machine. parlai interactive -mf zoo:persona/NAME talks.',
        'persona_zoo show NAME says more.',
    ]
    assert command('persona_zoo', '--datapath', str(zoo)).stdout == done.stdout


def test_list_says_who_only_judges(command, tmp_path):
    assert ' talks (nli and p2bot_receiver judge).\n' in command('persona_zoo', '--datapath', str(tmp_path)).stdout


def test_show(command, zoo):
    done = command('persona_zoo', 'show', f'{NAME}@1')
    entry = registry.find(f'{NAME}@1')
    load = f'parlai interactive -mf zoo:persona/retriever@1 {PERSONA}'
    assert done.stdout.rstrip() == card(NAME, entry.about, load).rstrip()
    assert done.stdout.startswith('---\nlicense: mit\n')


def test_get(command, zoo, published, monkeypatch):
    with zoo_server.serving(published, []) as (url, _):
        monkeypatch.setenv('PERSONA_ZOO', url)
        done = command('persona_zoo', 'get', NAME, '--datapath', str(zoo))
    said = done.stdout.splitlines()
    size = sources.readable(registry.find(NAME).bytes)
    assert f'zoo:persona/retriever@2: {size}, to {zoo}/models/persona/retriever/2' in said[0]
    assert f'model.safetensors, 32.9 kB, from {url}' in done.stdout
    assert said[-1] == f'zoo:persona/retriever@2 is {zoo}/models/persona/retriever/2/model'


def test_offline(command, zoo, monkeypatch):
    monkeypatch.setenv('PERSONA_ZOO', 'http://127.0.0.1:9')
    done = command('persona_zoo', 'get', NAME, '--offline', 'true', '--datapath', str(zoo))
    assert done.returncode == 1 and 'so the network was left alone' in done.stderr and 'Traceback' not in done.stderr


def test_push_and_get(command, zoo, small_model, tmp_path):
    (tmp_path / 'replies.txt').write_text('hello\n')
    about = ('--license', 'cc-by-4.0', '--data', 'mine', '--replies', 'replies.txt')
    done = command('persona_zoo', 'push', 'mine', '-mf', small_model, *about)
    assert done.stdout.splitlines() == [
        'Wrote README.md, config.json, model.safetensors, replies.txt, state.json into mine.',
        'Complete README.md, then publish it: hf upload OWNER/mine mine',
    ]
    said = (tmp_path / 'mine' / 'README.md').read_text()
    assert 'license: cc-by-4.0' in said and '| data | mine |' in said and '| agent | `persona:memnet` |' in said
    done = command('persona_zoo', 'get', './mine', '-mf', 'copy/model')
    assert done.stdout == f'Wrote copy/model. Use it: parlai interactive -mf copy/model {PERSONA}\n'
    assert reply(str(tmp_path / 'copy' / 'model')) == reply(small_model)
    done = command('persona_zoo', 'get', './mine', '-mf', 'copy/model')
    assert done.returncode == 1 and '-mf copy/model: there is a model already' in done.stderr


@pytest.mark.parametrize(
    'words, expected',
    [
        ('lisst', 'persona_zoo lisst: expected list, show NAME, get NAME, or push FOLDER'),
        ('run', 'expected list, show NAME'),
        ('show', 'expected list, show NAME'),
        ('list now', 'expected list, show NAME'),
        ('show retrever', 'It has retriever. Did you mean retriever?'),
        ('push mine', '-mf MODEL is missing: the model to publish'),
        ('push mine -mf nothing', '-mf nothing: no such model file'),
        ('get ./mine', '-mf MODEL is missing: where the model is to be written'),
        ('get ./mine -mf x', 'mine: no such folder'),
    ],
)
def test_what_is_not_understood(words, expected, command, zoo):
    done = command('persona_zoo', *words.split())
    assert done.returncode == 1 and expected in done.stderr and 'Traceback' not in done.stderr


def test_a_chat_by_name(command, zoo, published, monkeypatch):
    monkeypatch.setenv('PERSONA_ZOO', str(published))
    chat = ('-mf', f'zoo:persona/{NAME}', '--datapath', str(zoo), '--persona', 'none')
    done = command('interactive', *chat, input='do you have any pets ?\n[EXIT]\n')
    assert done.returncode == 0, done.stderr
    ranked = reply(store.model_file(registry.find(NAME), str(zoo)))
    best = next(text for text in ranked if text != 'do you have any pets ?')  # it repeats nobody
    assert f'[Memnet]: {best}\n' in done.stdout and "The model's persona:\n  - none\n" in done.stdout


# ------------------------------------------------------------------------------------------ what is in the package


@pytest.mark.parametrize('entry', registry.entries(), ids=str)
def test_the_package_has_what_its_list_says(entry):
    folder = registry.FOLDER / entry.name / str(entry.version)
    assert folder.exists() or entry.hub or sources.RELEASE, 'nobody could get it'
    if folder.exists():
        assert {path.name: sources.described(path) for path in folder.iterdir()} == entry.files
        about = card(entry.name, entry.about, usage(entry.about.agent, str(entry)))
        assert (folder / 'README.md').read_text(encoding='utf-8') == about


def test_the_package_is_small():
    files = [path for path in registry.FOLDER.glob('*/*/*') if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 40_000_000
    assert {path.parent.parent.name for path in files} <= {entry.name for entry in registry.entries()}


def test_a_chat_with_a_model_of_the_package(command):
    """No network, no data, no training: the model that books a table asks what a customer wants."""
    chat = 'hello\nmay i have a table for two\n[EXIT]\n'
    done = command('interactive', '-mf', 'zoo:persona/meta_memnn', '--datapath', 'data', input=chat)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('[MetaMemnn]:') == 2


def test_the_readme_lists_the_models(tmp_path):
    readme = registry.FOLDER / 'README.md'
    written = readme.read_text()
    (tmp_path / 'README.md').write_text(written)
    list_in_readme(registry.entries(), tmp_path / 'README.md')
    assert (tmp_path / 'README.md').read_text() == written, 'write it by `make zoo`'
    assert '| [`meta_memnn@1`](meta_memnn/1/README.md) |' in written


@pytest.mark.slow
@pytest.mark.parametrize('recipe', RECIPES, ids=lambda recipe: recipe.name)
def test_recipes_are_commands(recipe):
    """The options of each training and evaluation are known, and the preset is one of the agent on the card."""
    for command in recipe.trainings:
        opt = TrainModel.setup_args().parse_args(shlex.split(command)[2:])
        assert opt['model'] == recipe.about.agent and opt['seed'] == recipe.about.seed
    EvalModel.setup_args().parse_args([*shlex.split(recipe.about.evaluate)[2:], '-m', recipe.about.agent])


@pytest.mark.slow
@pytest.mark.parametrize('entry', registry.entries(), ids=str)
def test_expected_results(entry, tmp_path):
    """The command of the card measures what the card says, with the published weights."""
    words = shlex.split(entry.about.evaluate)[1:]
    real(FOLDERS.get(words[words.index('-t') + 1], 'Persona-Chat'))
    if entry.about.package:
        try:
            packaged(entry.about.package.partition(' ')[0], '')
        except NotLoaded as error:
            pytest.skip(str(error))
    words = [store.model_file(entry, str(tmp_path)) if word.startswith('zoo:') else word for word in words]
    report = superscript_main([*words, '--datapath', str(DATAPATH), '--loglevel', 'error'])
    assert float(report[entry.about.metric]) == pytest.approx(entry.about.value, abs=entry.about.tolerance)
