"""`zoo:persona/…`: names and versions, and what arrives from servers that cut, stall, lie and swap bytes."""

import json
import multiprocessing
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import zoo_server
from conftest import PATIENCE, room
from parlai.core.build_data import modelzoo_path
from small_zoo import BLOCK, NAME, left_over, reply

import parlai_persona  # noqa: F401
from parlai_persona.errors import UserError
from parlai_persona.metrics import nli, perception
from parlai_persona.zoo import download, registry, sources, store

pytest_plugins = ['small_zoo']
WHOLE = [f'models/persona/{NAME}/2/model{end}' for end in ('', '.dict', '.opt', '.replies')]

# ---------------------------------------------------------------------------------------------- names and versions


@pytest.mark.parametrize('name, version', [('', 2), ('@1', 1), ('@2', 2), ('/model', 2), ('@1/model', 1)])
def test_a_name_is_a_model_file(name, version, zoo, published, small_model, monkeypatch):
    monkeypatch.setenv('PERSONA_ZOO', str(published))
    file = modelzoo_path(str(zoo), f'zoo:persona/{NAME}{name}')
    assert file == str(zoo / 'models' / 'persona' / NAME / str(version) / 'model')
    assert modelzoo_path(str(zoo), f'models:persona/{NAME}{name}') == file
    assert reply(file) == reply(small_model)


@pytest.mark.parametrize('load', [nli.load, perception.load])
def test_judges_come_from_the_zoo(load, zoo, published, monkeypatch):
    """A reward of P²Bot, which TRL's users load, gets a name as it stands."""
    monkeypatch.setenv('PERSONA_ZOO', str(published))
    with pytest.raises(UserError, match=f'{zoo}/models/persona/{NAME}/2/model'):  # found, and it is a retriever
        load(f'zoo:persona/{NAME}', str(zoo))


def test_versions_leave_each_other_alone(zoo, published, monkeypatch):
    monkeypatch.setenv('PERSONA_ZOO', str(published))
    old = Path(modelzoo_path(str(zoo), f'zoo:persona/{NAME}@1'))
    before = old.stat()
    assert modelzoo_path(str(zoo), f'zoo:persona/{NAME}') != str(old)
    assert old.stat() == before
    assert left_over(zoo) == sorted([*WHOLE, *(name.replace('/2/', '/1/') for name in WHOLE)])


@pytest.mark.parametrize(
    'name, expected',
    [
        ('retreiver', f'no such model in the zoo. It has {NAME}. Did you mean {NAME}'),
        ('retriever@3', 'there is no version 3. It has 2, 1'),
        ('', 'no such model'),
        ('../../etc/passwd', 'no such model'),
        ('/etc/passwd', 'no such model'),
        ('retriever/../../x', 'no such model'),
        ('retriever@1/../2', 'no such model'),
        ('retriever@-1', 'no such model'),
        ('\x1b[31m', r'\\x1b\[31m: there is no such model'),
    ],
)
def test_names_that_are_none(name, expected, zoo):
    with pytest.raises(UserError, match=expected):
        modelzoo_path(str(zoo), f'zoo:persona/{name}')
    assert not zoo.exists()


def test_other_zoos_are_left_to_parlai(tmp_path):
    assert modelzoo_path(str(tmp_path), None) is None
    assert modelzoo_path(str(tmp_path), 'somewhere/model') == 'somewhere/model'
    with pytest.raises(UserError, match="'zoo:personachat/x/model': there is no such model in the zoo"):
        modelzoo_path(str(tmp_path), 'zoo:personachat/x/model')  # begins like ours
    with pytest.raises(UserError, match='zoo:blendr/x/model.: there is no such model in the zoo. Did you mean blender'):
        modelzoo_path(str(tmp_path), 'zoo:blendr/x/model')


@pytest.mark.parametrize(
    'name', ['../model', '/etc/passwd', 'a/b.json', 'model.pt', 'run.py', '.json', 'x\\y.json', '']
)
def test_hostile_names_of_files(name, published, tmp_path, zoo, monkeypatch):
    entries = json.loads((published / 'models.json').read_text())
    entries[0]['files'][name] = {'bytes': 1, 'sha256': '0' * 64}
    (tmp_path / 'models.json').write_text(json.dumps(entries))
    monkeypatch.setattr(registry, 'MODELS', tmp_path / 'models.json')
    with pytest.raises(UserError, match='is no file of a published model'):
        modelzoo_path(str(zoo), f'zoo:persona/{NAME}')


@pytest.mark.parametrize(
    'key, value', [('name', '../x'), ('name', '/x'), ('name', 'a b'), ('version', -1), ('version', '../1')]
)
def test_hostile_entries(key, value, published, tmp_path):
    entries = json.loads((published / 'models.json').read_text())
    entries[0][key] = value
    (tmp_path / 'models.json').write_text(json.dumps(entries))
    with pytest.raises(UserError, match='models.json|expected a plain name and a version'):
        registry.entries(tmp_path / 'models.json')


@pytest.mark.parametrize('digits', ['../../x', '', '0' * 63, 'g' * 64])
def test_hostile_hashes(digits, published, tmp_path):
    entries = json.loads((published / 'models.json').read_text())
    entries[0]['files']['config.json']['sha256'] = digits
    (tmp_path / 'models.json').write_text(json.dumps(entries))
    with pytest.raises(UserError, match='config.json: saw .* expected a SHA-256'):
        registry.entries(tmp_path / 'models.json')


# -------------------------------------------------------------------------------------------------------- sources


def test_a_model_is_unpacked_once(zoo, published, monkeypatch, tmp_path):
    shutil.copytree(published, tmp_path / 'mirror')
    monkeypatch.setenv('PERSONA_ZOO', str(tmp_path / 'mirror'))
    file = modelzoo_path(str(zoo), f'zoo:persona/{NAME}')
    shutil.rmtree(tmp_path / 'mirror')
    assert modelzoo_path(str(zoo), f'zoo:persona/{NAME}') == file


def test_the_package_comes_first(zoo, published, monkeypatch):
    monkeypatch.setattr(sources, 'FOLDER', published)
    monkeypatch.setenv('PERSONA_ZOO', 'http://127.0.0.1:9')
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    assert reply(modelzoo_path(str(zoo), f'zoo:persona/{NAME}'))


def test_nowhere(zoo, monkeypatch, tmp_path):
    monkeypatch.setenv('PERSONA_ZOO', str(tmp_path / 'nothing'))
    with pytest.raises(UserError) as error:
        modelzoo_path(str(zoo), f'zoo:persona/{NAME}')
    assert str(error.value) == (
        f'zoo:persona/{NAME}@2 cannot be had (the package: not there; {tmp_path}/nothing: not there; '
        "Hugging Face's hub: not published there yet): name a folder or an address that has it with PERSONA_ZOO"
    )
    assert left_over(zoo) == []


def test_the_hub(zoo, published, small_model, monkeypatch, tmp_path):
    """A model on the hub is a repository with a tag for each version."""
    entry = replace(registry.entries()[0], hub='acme/retriever')
    shutil.copytree(published / NAME / '2', tmp_path / 'hub' / 'acme' / 'retriever' / 'resolve' / 'v2')
    with zoo_server.serving(tmp_path / 'hub', [zoo_server.cut]) as (url, _):
        monkeypatch.setenv('HF_ENDPOINT', url)
        assert reply(store.model_file(entry, str(zoo))) == reply(small_model)


def test_the_hub_without_a_network(zoo, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9')
    with pytest.raises(UserError, match="Hugging Face's hub: no connection.: .*PERSONA_ZOO") as error:
        store.model_file(replace(registry.entries()[0], hub='acme/retriever'), str(zoo))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('how', ['argument', 'HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE'])
def test_offline_never_touches_the_network(how, zoo, published, monkeypatch):
    (entry, *_) = registry.entries()
    if how != 'argument':
        monkeypatch.setenv(how, '1')
    with zoo_server.serving(published, []) as (url, asked):
        monkeypatch.setenv('PERSONA_ZOO', url)
        with pytest.raises(
            UserError, match='so the network was left alone. On a machine with a network: `parlai persona'
        ):
            store.model_file(replace(entry, hub='acme/x'), str(zoo), offline=how == 'argument')
    assert asked == []


# ---------------------------------------------------------------------------------------------------- bad servers


def get(zoo: Path, published: Path, monkeypatch, *plan) -> tuple[str, list[str | None]]:
    with zoo_server.serving(published, list(plan)) as (url, asked):
        monkeypatch.setenv('PERSONA_ZOO', url)
        return modelzoo_path(str(zoo), f'zoo:persona/{NAME}'), asked


@pytest.mark.parametrize(
    'plan',
    [
        (),
        (zoo_server.cut,),
        (zoo_server.cut,) * 8,
        (zoo_server.cut, zoo_server.ignores_range),
        (zoo_server.cut, zoo_server.other_part),
        (zoo_server.cut, zoo_server.has_fewer),
        (zoo_server.says_less,),
        (zoo_server.says_more,),
        (zoo_server.fails,) * 4,
    ],
    ids=lambda plan: ' '.join(step.__name__ for step in plan) or 'well',
)
def test_a_server_that_fails_for_a_while(plan, zoo, published, small_model, monkeypatch):
    file, asked = get(zoo, published, monkeypatch, *plan)
    assert left_over(zoo) == WHOLE
    assert reply(file) == reply(small_model)


def test_what_has_arrived_is_not_asked_for_again(zoo, published, monkeypatch):
    size = (published / NAME / '2' / 'model.safetensors').stat().st_size
    _, asked = get(zoo, published, monkeypatch, zoo_server.cut, zoo_server.cut)
    first = whole_blocks(size // 2)
    second = first + whole_blocks((size - first) // 2)
    assert asked == [None, f'bytes={first}-', f'bytes={second}-']


def whole_blocks(count: int) -> int:
    return count // BLOCK * BLOCK


def test_a_server_that_stalls_once(zoo, published, small_model, monkeypatch):
    monkeypatch.setattr(download, 'TIMEOUT', 2.0)
    file, asked = get(zoo, published, monkeypatch, zoo_server.stall)
    assert reply(file) == reply(small_model) and asked[0] is None and asked[-1].startswith('bytes=')


@pytest.mark.parametrize(
    'step, expected',
    [
        (zoo_server.swaps, 'model.safetensors has another SHA-256 than the registry says'),
        (zoo_server.sends_more, 'the server sent more than the [0-9,]+ bytes that the registry says'),
        (zoo_server.other_part, 'sent another part of the file than asked for'),
        (zoo_server.has_fewer, 'the server has fewer bytes than the registry says'),
        (zoo_server.fails, 'the server answered 503'),
        (zoo_server.refuses, 'the server answered 403'),
        (zoo_server.redirects('file:///etc/passwd'), 'redirects to something that is not HTTP'),
        (zoo_server.redirects('/retriever/2/model.safetensors'), 'the server redirects without end'),
        (zoo_server.redirects('/../../../etc/passwd'), 'the server answered 404'),
        (zoo_server.redirects('http://127.0.0.1:9/x'), 'no connection'),
        (zoo_server.redirects('http://[x/'), 'something that is not an address'),
    ],
)
def test_a_server_that_is_bad_for_good(step, expected, zoo, published, monkeypatch):
    with pytest.raises(UserError, match=f'127.0.0.1:[0-9]+: .*{expected}.*PERSONA_ZOO') as error:
        get(zoo, published, monkeypatch, *(step,) * 400)
    assert '\n' not in str(error.value)
    assert not [name for name in left_over(zoo) if '/.downloads/' not in name]
    assert not (zoo / 'models' / 'persona' / NAME).exists() or not os.listdir(zoo / 'models' / 'persona' / NAME)


def test_a_server_that_stalls_for_good(zoo, published, monkeypatch):
    monkeypatch.setattr(download, 'TIMEOUT', 0.05)
    with pytest.raises(UserError, match='no byte came within 0.05 seconds; [0-9,]+ of [0-9,]+ bytes are here'):
        get(zoo, published, monkeypatch, *(zoo_server.stall,) * 40)


def test_the_next_command_goes_on(zoo, published, small_model, monkeypatch):
    """What arrived before a download was given up counts, from another server too."""
    monkeypatch.setattr(download, 'ATTEMPTS', 1)
    size = (published / NAME / '2' / 'model.safetensors').stat().st_size
    with pytest.raises(UserError, match='the same command goes on from there'):
        get(zoo, published, monkeypatch, zoo_server.cut, zoo_server.fails)
    file, asked = get(zoo, published, monkeypatch)
    assert asked == [f'bytes={whole_blocks(size // 2)}-'] and reply(file) == reply(small_model)


def test_a_bad_start_of_a_download_is_thrown_away(zoo, published, small_model, monkeypatch):
    weights = registry.find(NAME).files['model.safetensors']
    part = zoo / 'models' / 'persona' / '.downloads' / weights.sha256
    part.parent.mkdir(parents=True)
    part.write_bytes(b'?' * 100)
    file, asked = get(zoo, published, monkeypatch)
    assert asked == ['bytes=100-', None] and reply(file) == reply(small_model)


def test_a_redirect_to_another_server_is_followed(zoo, published, small_model, monkeypatch):
    """Releases and hubs send their clients to other machines; the hash says whether the right bytes came."""
    with zoo_server.serving(published, []) as (url, _):
        step = zoo_server.redirects(f'{url}/{NAME}/2/model.safetensors')
        file, _ = get(zoo, published, monkeypatch, step)
    assert reply(file) == reply(small_model)


def test_swapped_bytes_in_a_folder(zoo, published, tmp_path, monkeypatch):
    shutil.copytree(published, tmp_path / 'mirror')
    weights = tmp_path / 'mirror' / NAME / '2' / 'model.safetensors'
    weights.write_bytes(weights.read_bytes()[:-1] + b'?')
    monkeypatch.setenv('PERSONA_ZOO', str(tmp_path / 'mirror'))
    with pytest.raises(UserError, match='mirror: model.safetensors has another SHA-256'):
        modelzoo_path(str(zoo), f'zoo:persona/{NAME}')
    assert left_over(zoo) == [] and weights.exists()


def test_two_processes_get_one_good_copy(zoo, published, small_model, monkeypatch):
    fork = multiprocessing.get_context('fork')
    said = fork.Queue()
    with zoo_server.serving(published, [zoo_server.cut] * 3) as (url, asked):
        monkeypatch.setenv('PERSONA_ZOO', url)
        get = partial(modelzoo_path, str(zoo), f'zoo:persona/{NAME}')
        processes = [fork.Process(target=lambda: said.put(get())) for _ in range(2)]
        for process in processes:
            process.start()
        files = {said.get(timeout=PATIENCE) for _ in processes}
        for process in processes:
            process.join()
    assert len(asked) == 4  # by one of them
    assert left_over(zoo) == WHOLE
    assert len(files) == 1 and reply(*files) == reply(small_model)


def test_a_full_disk_leaves_nothing(zoo, published, monkeypatch):
    monkeypatch.setenv('PERSONA_ZOO', str(published))
    with room(10_000), pytest.raises((OSError, RuntimeError)):
        modelzoo_path(str(zoo), f'zoo:persona/{NAME}')
    assert left_over(zoo) == []
    assert modelzoo_path(str(zoo), f'zoo:persona/{NAME}')
    assert left_over(zoo) == WHOLE
