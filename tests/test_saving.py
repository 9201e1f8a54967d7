"""A training that was stopped anywhere and resumed equals one that was not; a save that was killed is whole."""

import json
import time
from pathlib import Path
from unittest import mock

import contract
import paml_tasks
import pytest
import tiny_bert
import tiny_lm
import torch
from parlai.core.worlds import DynamicBatchWorld
from parlai.scripts.train_model import TrainLoop, TrainModel, set_seed
from parlai.utils import logging

import parlai_persona  # noqa: F401
from parlai_persona.compat import saving
from parlai_persona.tasks.reddit import agents

BASE = {
    'loglevel': 'error',
    'batchsize': 3,
    'optimizer': 'adam',
    'learningrate': 0.01,
    'lr_scheduler': 'none',
    'seed': 5,
}
MEMNET = {
    'model': 'persona:memnet',
    'memnet_encoder': 'bow',
    'memnet_embedding_size': 8,
    'memnet_dropout': 0.2,
    'dict_tokenizer': 're',
    'candidates': 'batch',
}
GENERATOR = {
    'model': 'persona:paml',
    'n_layers': 1,
    'n_heads': 2,
    'embedding_size': 8,
    'ffn_size': 8,
    'dropout': 0.1,
    'dict_tokenizer': 're',
    'text_truncate': 40,
    'label_truncate': 20,
}
SAMPLE = {'task': 'persona:sample', 'persona_sample_dialogues': 12}
KINDS = {
    'memnet': {**MEMNET, **SAMPLE},
    'one row': {**MEMNET, **SAMPLE, 'batchsize': 1, 'candidates': 'inline'},
    'several tasks': {**MEMNET, **SAMPLE, 'task': f'persona:sample,{paml_tasks.TASK}'},
    'a task of ParlAI': {**GENERATOR, 'task': 'integration_tests:multiturn'},
    'a schedule': {**GENERATOR, **SAMPLE, 'lr_scheduler': 'invsqrt', 'warmup_updates': 7},
    'dynamic batches': {**GENERATOR, **SAMPLE, 'dynamic_batching': 'full'},
    'dynamic batches of several tasks': {
        **GENERATOR,
        **SAMPLE,
        'task': f'persona:sample,{paml_tasks.TASK}',
        'dynamic_batching': 'batchsort',
    },
    'people': {**GENERATOR, 'task': 'persona:few_shot', 'few_shot_of': paml_tasks.TASK, 'few_shot_by': 'speaker'},
    'comments': {**MEMNET, 'task': 'persona:reddit'},
    'whole dialogues': {
        'model': 'persona:p2bot/transmitter',
        'task': 'persona:dialogues',
        'dialogues_of': 'persona:sample',
        'persona_sample_dialogues': 12,
        'lm_rank': 2,
        'lm_dropout': 0.1,
        'lm_layout': 'tokens',
        'lr_scheduler': 'invsqrt',
    },
    'a falling temperature': {
        'model': 'persona:p2bot/receiver',
        'task': 'persona:perception',
        'perception_of': 'persona:sample',
        'persona_sample_dialogues': 12,
        'p2bot_receiver_tau_updates': 8,
        'p2bot_receiver_hide': 0.5,
    },
    'a warm-up that ends after the resumption': {
        'model': 'persona:postks',
        **SAMPLE,
        'postks_hidden': 8,
        'postks_embedding': 8,
        'postks_layers': 2,
        'postks_warmup': 0.17,  # the first 6 of 32 steps
        'dict_tokenizer': 're',
    },
}


KINDS['two networks by turns'] = {
    'model': 'persona:pednet',
    'task': 'persona:congeneric',
    'congeneric_of': 'persona:sample',
    'persona_sample_dialogues': 12,
    'datapath': contract.prepared_data(),
    'pednet_hidden': 8,
    'pednet_layers': 2,
    'pednet_embedding': 8,
    'dict_tokenizer': 're',
}
KINDS['no seed'] = {**KINDS['two networks by turns'], 'seed': None}
QUIET = {'p2bot_perception': 0, 'p2bot_coherence': 0}
KINDS['meetings'] = {**KINDS['whole dialogues'], 'model': 'persona:p2bot', **QUIET, 'label_truncate': 6}


class Stopped(Exception):
    """Takes the place of a kill."""


def train(folder: Path, steps: int, options: dict, save_at: int = -1, stop_at: int = -1, start: str = 'today') -> list:
    """Train so many steps; return what each step was about. Save a checkpoint after one of them, stop after another."""
    given = {name: value for name, value in {**BASE, **options}.items() if value is not None}
    opt = TrainModel.setup_args().parse_kwargs(
        **given, max_train_steps=steps, model_file=str(folder / 'model'), load_from_checkpoint=True
    )
    opt['starttime'] = start
    set_seed(BASE['seed'])  # for the first weights
    loop, seen = TrainLoop(opt), []
    learn, get_time = type(loop.agent).batch_act, loop._get_time

    def watched(observations):
        seen.append([str(one.get('full_text', one.get('labels'))) for one in observations])
        return learn(loop.agent, observations)

    def after_a_step(world):
        times = get_time(world)
        if loop._train_steps == save_at:
            loop.save_model('.checkpoint')
        if loop._train_steps == stop_at:
            raise Stopped
        return times

    loop.agent.batch_act, loop._get_time = watched, after_a_step
    set_seed(BASE['seed'])  # as `TrainModel` does at this moment
    try:
        list(loop.train_steps())
        return seen
    except Stopped:
        return seen


@pytest.fixture(autouse=True)
def one_thread():
    """Sums of several threads may differ in their last bits from run to run; sampled words then differ."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / 'model', weights_only=False)['model']


def differences(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> dict[str, float]:
    """Return the largest difference of each weight that differs."""
    unequal = [name for name in mine if not torch.equal(mine[name], theirs[name])]
    return {name: (mine[name] - theirs[name]).abs().max().item() for name in unequal}


def with_small_buffer(init):
    """Return a constructor of dynamic batches that makes 30 rows, not 1,021."""

    def small(self, opt, world):
        clone = world.clone
        made = iter(range(30))
        world.clone = lambda: clone() if next(made, None) is not None else None
        self.reset = lambda: None
        init(self, opt, world)
        del self.reset
        world.clone, self._BUFFER_SIZE = clone, 30
        self.worlds = self.worlds[:30]
        self.reset()

    return small


@pytest.fixture
def comments(tmp_path):
    folder = tmp_path / 'comments'
    folder.mkdir()
    for fold in ('train', 'valid', 'test'):
        rows = [{'persona': [f'i own {n} cats'], 'context': f'c {n}', 'response': f'r {n} !'} for n in range(8)]
        (folder / f'{fold}.jsonl').write_text(''.join(f'{json.dumps(row)}\n' for row in rows))
    return {'reddit_data': str(folder)}


@pytest.mark.parametrize('kind', KINDS)
def test_a_resumed_training_sees_what_an_uninterrupted_one_sees(kind, tmp_path, comments, monkeypatch):
    monkeypatch.setattr(DynamicBatchWorld, '__init__', with_small_buffer(DynamicBatchWorld.__init__))
    options = {**KINDS[kind], **(comments if kind == 'comments' else {})}
    if 'lm_rank' in options:
        options['lm_model'] = tiny_lm.folder()
    if kind == 'a falling temperature':
        options['p2bot_receiver_encoder'] = tiny_bert.folder()
    whole = train(tmp_path / 'whole', 9, options)
    part = train(tmp_path / 'part', 9, options, save_at=4, stop_at=6)
    assert part == whole[:6]
    rest = train(tmp_path / 'part', 9, options, start='tomorrow')
    assert rest == whole[4:]
    mine, theirs = weights(tmp_path / 'whole'), weights(tmp_path / 'part')
    assert differences(mine, theirs) == {}


def test_data_in_pieces_have_no_place_in_dynamic_batches(comments, tmp_path, monkeypatch, caplog):
    """Rows wait with examples that were read, and others with none: nobody knows which are over."""
    monkeypatch.setattr(DynamicBatchWorld, '__init__', with_small_buffer(DynamicBatchWorld.__init__))
    options = {**GENERATOR, **comments, 'task': 'persona:reddit', 'dynamic_batching': 'batchsort'}
    train(tmp_path, 6, options, save_at=3, stop_at=4)
    assert not [*tmp_path.glob('*.place')] and (tmp_path / 'model.checkpoint').exists()


def test_a_validation_that_saves_is_over_for_a_resumption(tmp_path):
    """Validations come after the same steps, whether the training was stopped between them or not."""
    options = {**KINDS['memnet'], 'validation_every_n_steps': 3, 'save_after_valid': True, 'validation_max_exs': 4}
    validated: list[int] = []

    def steps(folder, **more) -> list[int]:
        validated.clear()
        with mock.patch.object(TrainLoop, '_run_eval', autospec=True, side_effect=noted):
            train(folder, 8, options, **more)
        return [*validated]

    run_eval = TrainLoop._run_eval

    def noted(loop, *args, **kwargs):
        validated.append(loop._train_steps)
        return run_eval(loop, *args, **kwargs)

    assert steps(tmp_path / 'whole') == [3, 6]
    assert steps(tmp_path / 'part', stop_at=5) == [3] and steps(tmp_path / 'part') == [6]


def test_a_save_waits_for_the_end_of_an_update(tmp_path):
    """Three batches make an update. Gradients of the first two would be lost, so they are not saved."""
    options = {**GENERATOR, **SAMPLE, 'update_freq': 3}
    train(tmp_path / 'whole', 9, options)
    train(tmp_path / 'part', 9, {**options, 'save_every_n_secs': 1e-9}, stop_at=8)
    assert json.loads((tmp_path / 'part' / 'model.checkpoint.trainstats').read_text())['parleys'] == 7 * 3
    train(tmp_path / 'part', 9, options)
    mine, theirs = weights(tmp_path / 'whole'), weights(tmp_path / 'part')
    assert differences(mine, theirs) == {}


def test_slow_reading_changes_no_place(comments, tmp_path, monkeypatch):
    """ParlAI's loader thread read comments while the place was set: one training in ten resumed in another order."""
    quick = agents.read
    monkeypatch.setattr(agents, 'read', lambda piece: (time.sleep(0.1), quick(piece))[1])
    options = {**KINDS['comments'], **comments}
    whole = train(tmp_path / 'whole', 9, options)
    train(tmp_path / 'part', 9, options, save_at=4, stop_at=6)
    assert train(tmp_path / 'part', 9, options) == whole[4:]


def test_a_training_may_end_in_its_first_step_after_a_resumption(tmp_path):
    """A schedule that ends with the training raises an error in the last step; ParlAI has counted no epochs by then."""
    options = {**KINDS['memnet'], 'lr_scheduler': 'linear', 'warmup_updates': 1}
    train(tmp_path / 'whole', 5, options)
    train(tmp_path / 'part', 5, options, save_at=4, stop_at=4)
    train(tmp_path / 'part', 5, options)
    mine, theirs = weights(tmp_path / 'whole'), weights(tmp_path / 'part')
    assert differences(mine, theirs) == {}


# ------------------------------------------------------------------------------------------- whole saves


@pytest.fixture
def saved(tmp_path):
    """Two saves of one name: the first is there, the second complete under other names."""

    def write(end: str, content: str) -> None:
        for kind in ('', '.opt', '.dict', '.trainstats'):
            (tmp_path / f'model{end}{kind}').write_text(f'{content}{kind}')

    write('', 'first')
    return tmp_path, write


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


FIRST = {f'model{kind}': f'first{kind}' for kind in ('', '.opt', '.dict', '.trainstats')}
SECOND = {name: text.replace('first', 'second') for name, text in FIRST.items()}


@pytest.mark.parametrize('renames', range(6))
def test_a_kill_while_renaming_leaves_one_save_or_the_other(saved, monkeypatch, renames):
    """The kill comes before the list is complete (0), or after so many files have their names."""
    folder, write = saved
    done, replace = iter(range(renames)), Path.replace

    def dies(self, target):
        if next(done, None) is None:
            raise Stopped
        return replace(self, target)

    def save():
        with saving.commit(str(folder / 'model')):
            write(saving.DRAFT, 'second')

    with monkeypatch.context() as killed:
        killed.setattr(Path, 'replace', dies)
        if renames < 5:
            with pytest.raises(Stopped):
                save()
        else:
            save()
    saving.finish(str(folder / 'model'))
    assert content(folder) == (SECOND if renames else FIRST)


def test_a_save_that_fails_leaves_the_one_before(saved):
    folder, write = saved
    with pytest.raises(Stopped), saving.commit(str(folder / 'model')):
        write(saving.DRAFT, 'second')
        raise Stopped
    saving.finish(str(folder / 'model'))
    assert content(folder) == FIRST


def test_a_dictionary_that_is_there_stays(saved):
    """An agent writes its dictionary only where none is. The place of one that is there is held by an empty file."""
    folder, write = saved
    with saving.commit(str(folder / 'model')):
        assert (folder / 'model.saving.dict').read_text() == ''
        (folder / 'model.saving').write_text('second')
    assert content(folder) == {**FIRST, 'model': 'second'}


def test_a_checkpoint_without_a_place_says_so(tmp_path, monkeypatch):
    options = KINDS['memnet']
    train(tmp_path, 4, options, save_at=2, stop_at=3)
    (tmp_path / 'model.checkpoint.place').unlink()
    said = []
    monkeypatch.setattr(logging, 'warning', said.append)
    train(tmp_path, 4, options)
    assert any('its data start again from the beginning: there is no' in line for line in said)
