"""`persona:meta_memnn` as a user meets it: trained by ParlAI's scripts; what it says, saves, shows and refuses."""

import copy
import json
import shutil
from dataclasses import replace

import pytest
import torch
from parlai.core.agents import create_agent, create_agent_from_model_file
from parlai.core.message import Message
from parlai.scripts.eval_model import EvalModel
from parlai.scripts.train_model import TrainModel

from parlai_persona.agents.meta_memnn import weights
from parlai_persona.agents.meta_memnn.learner import MODES, ONE_HEAD
from parlai_persona.agents.meta_memnn.meta_memnn import MetaMemnnAgent
from parlai_persona.agents.meta_memnn.task_examples import profile_lines, task_examples
from parlai_persona.errors import UserError
from parlai_persona.files import draft
from parlai_persona.scripts.persona_weights import PersonaWeights

TASK = 'persona:sample'
RELATED = 'persona:sample:persona_sample_dialogues=4'
QUICK = {
    'task': TASK,
    'persona_sample_dialogues': 6,
    'model': 'persona:meta_memnn',
    'meta_memnn_related': RELATED,
    'batchsize': 8,
    'meta_memnn_batch': 8,
    'meta_memnn_updates': 2,
    'meta_memnn_steps': 2,
    'meta_memnn_beta': 0.1,
    'meta_memnn_embedding_size': 8,
    'meta_memnn_pretraining': 2,
    'learningrate': 0.01,
    'max_train_steps': 6,
    'validation_max_exs': 20,
    'short_final_eval': True,
    'loglevel': 'error',
    'seed': 1,
    'lr_scheduler': 'none',
}


def train(folder, **options):
    """The model file, and the reports of validation and test."""
    path = str(folder / 'model')
    return path, TrainModel.main(**{**QUICK, 'model_file': path, **options})


@pytest.fixture(scope='module')
def learned(tmp_path_factory):
    return train(tmp_path_factory.mktemp('learned'), meta_memnn_histograms=2)[0]


@pytest.mark.parametrize('mode', MODES)
def test_every_mode_trains_and_evaluates(mode, tmp_path):
    path, (valid, test) = train(tmp_path, meta_memnn_mode=mode)
    assert 0 <= valid['accuracy'] <= 1 and 'loss' in valid and 'hits@1' in test
    agent = create_agent_from_model_file(path)
    assert set(agent.corpus.candidates) == ({'primary'} if mode in ONE_HEAD else {'primary', 'related'})
    assert ('eta.H' in dict(agent.model.named_parameters())) == (mode == 'learned')


@pytest.mark.parametrize(
    'options',
    [
        {'meta_memnn_inner': 'adam'},
        {'meta_memnn_split_memory': True},
        {'meta_memnn_shared_candidates': True},
        {'meta_memnn_candidates': 'labels'},
    ],
)
def test_options_that_change_the_model_or_its_learning(tmp_path, options):
    """A model that is saved, loaded and trained further is one that was trained without a pause."""
    whole, _ = train(tmp_path / 'whole', max_train_steps=4, **options)
    paused, _ = train(tmp_path / 'paused', max_train_steps=2, **options)
    train(tmp_path / 'paused', max_train_steps=4, load_from_checkpoint=True, **options)
    weights = [dict(create_agent_from_model_file(path).model.named_parameters()) for path in (whole, paused)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(p, weights[1][name]) for name, p in weights[0].items())


def test_held_out_examples_judge(tmp_path):
    path, (valid, _) = train(tmp_path, meta_memnn_judge='valid', meta_memnn_time='back')
    agent = create_agent_from_model_file(path, {'datatype': 'train'})
    judge = agent.learner.judge
    assert len(judge.members) > 0 and judge.table is not agent.learner.primary.table
    assert agent.learner.draw(judge).table is judge.table
    assert any(word.startswith('#-') for word in agent.corpus.vocabulary.words) and valid['accuracy'] >= 0


def test_held_out_examples_that_cannot_judge(tmp_path, monkeypatch):
    """None of their replies is among the candidates."""
    read = MetaMemnnAgent.read_task

    def unknown_replies(agent, task, own=False, fold='train'):
        found = read(agent, task, own, fold)
        if fold == 'train':
            return found
        return [replace(one, example=replace(one.example, reply='who knows ?')) for one in found]

    monkeypatch.setattr(MetaMemnnAgent, 'read_task', unknown_replies)
    with pytest.raises(UserError, match='--meta-memnn-judge valid: none of the .* replies of the valid split is among'):
        train(tmp_path, meta_memnn_judge='valid')


def test_steps_are_not_put_together(tmp_path):
    with pytest.raises(UserError, match='--update-freq 2: an iteration takes a step after each of its batches'):
        train(tmp_path, update_freq=2)


def test_two_related_tasks(tmp_path):
    path, _ = train(tmp_path, meta_memnn_related=f'{RELATED},persona:sample:persona_sample_dialogues=3')
    assert list(create_agent_from_model_file(path).corpus.candidates) == ['primary', 'related0', 'related1']


def test_it_learns(tmp_path):
    """An overfit: the loss on six dialogues falls, and most of their replies are found among twenty candidates."""
    path, _ = train(tmp_path, max_train_steps=250, meta_memnn_mode='primary', meta_memnn_related=None)
    report = EvalModel.main(
        model_file=path, task=TASK, persona_sample_dialogues=6, datatype='train:evalmode', loglevel='error'
    )
    assert report['accuracy'] > 0.7


def test_related_tasks_do_not_take_the_options_of_the_own_task():
    opt = TrainModel.setup_args().parse_kwargs(**{**QUICK, 'model_file': None})
    assert len({met.dialogue for met in task_examples(opt, TASK, own=True)}) == 6
    assert len({met.dialogue for met in task_examples(opt, RELATED)}) == 4


def test_lines_about_a_speaker():
    lines = Message(text='your persona: i ski.\nmale young\nhello', persona=['i ski.'], partner_persona=['male young'])
    assert profile_lines(lines) == 2
    assert profile_lines(Message(text='hello')) == 0


# ------------------------------------------------------------------------------------------ replies


def test_the_candidates_of_the_message_come_first(learned):
    agent = create_agent_from_model_file(learned, {'datatype': 'valid', 'interactive_mode': False})
    question = Message(text='do you like music ?', label_candidates=['yes .', 'no .'], episode_done=True)
    agent.observe(question)
    reply = agent.act()
    assert sorted(reply['text_candidates']) == ['no .', 'yes .'] and 'loss' not in reply.get('metrics', {})
    agent.observe(Message(text='do you like music ?', episode_done=True))
    assert agent.act()['text'] in agent.corpus.candidates['primary']


def test_a_label_outside_the_list_has_no_loss_but_counts_as_wrong(learned):
    agent = create_agent_from_model_file(learned, {'datatype': 'valid'})
    agent.observe(Message(text='hi', eval_labels=['what nobody ever said'], episode_done=True))
    reply = agent.act()
    assert reply['text'] != 'what nobody ever said' and 'loss' not in reply.get('metrics', {})


def test_long_lists_of_candidates_are_looked_up_once(learned):
    agent = create_agent_from_model_file(learned, {'datatype': 'valid'})
    listed = [f'reply number {n} .' for n in range(150)]
    seen = []
    for _ in range(2):
        agent.observe(Message(text='hi', label_candidates=listed, episode_done=True))
        assert len(agent.act()['text_candidates']) == 100
        seen.append(agent.other_replies)
    assert seen[0] is seen[1] and seen[0].replies is listed


# ------------------------------------------------------------------------------------------ weights


def test_weights_of_related_examples(learned, tmp_path):
    jsonl, png = tmp_path / 'deep' / 'weights.jsonl', tmp_path / 'weights.png'
    said = PersonaWeights.main(model_file=learned, weights_output=str(jsonl), loglevel='error')
    lines = [json.loads(line) for line in jsonl.read_text().splitlines()]
    assert said == f'wrote {len(lines)} examples to {jsonl}'
    assert len({(line['dialogue'], line['turn']) for line in lines}) == len(lines) > 20
    found = [line['weight'] for line in lines]
    assert found == sorted(found, reverse=True) and 0 < found[-1] < found[0] < 1
    assert {'task', 'text', 'reply'} < set(lines[0])
    agent = create_agent_from_model_file(learned, {'datatype': 'train'})
    assert agent.learner.all_weights().max() == pytest.approx(found[0], abs=1e-6)
    assert [h['iteration'] for h in agent.histograms] == [2, 4, 6]
    assert all(sum(h['counts']) == len(lines) for h in agent.histograms)
    pytest.importorskip('matplotlib', reason='pictures are an extra: pip install parlai-persona[plots]')
    assert weights.draw(agent.histograms, png) == 3
    assert png.read_bytes()[:4] == b'\x89PNG'


def test_no_histograms_no_picture(tmp_path):
    with pytest.raises(ValueError, match='--meta-memnn-histograms'):
        weights.draw([], tmp_path / 'weights.png')
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_nothing(tmp_path):
    path = tmp_path / 'weights.jsonl'
    path.write_text('before')

    with pytest.raises(OSError, match='disk full'), draft(path) as part:
        part.write_text('half')
        raise OSError('disk full')
    assert path.read_text() == 'before' and list(tmp_path.iterdir()) == [path]


def test_weights_need_a_model_that_learned_them(tmp_path):
    with pytest.raises(UserError, match='nothing to write'):
        PersonaWeights.main(model_file='x', loglevel='error')
    with pytest.raises(UserError, match='saw no model file'):
        PersonaWeights.main(model_file=str(tmp_path / 'none'), weights_output='x', loglevel='error')
    path, _ = train(tmp_path, meta_memnn_mode='multitask')
    with pytest.raises(UserError, match="in mode 'multitask', expected"):
        PersonaWeights.main(model_file=path, weights_output='x', loglevel='error')


# -------------------------------------------------------------------------------------- checkpoints


def as_version_0_1(states):
    """A checkpoint as version 0.1.0 wrote it: parameters and moments of one run, arrays, a frozenset."""
    states = copy.deepcopy(states)
    learner = states['learner']
    states['model'] = {name: p[None, None, None] if p.dim() == 0 else p[None] for name, p in states['model'].items()}
    states['model']['eta.w'] = states['model']['eta.w'].unsqueeze(-1)
    for optimizer in (states['optimizer'], learner['eta_optimizer']):
        for moments in optimizer['state'].values():
            moments.update({name: value[None] for name, value in moments.items() if name != 'step'})
    pools = [{'order': [pool['order'].numpy()], 'rngs': [pool['rng']]} for pool in learner['pools']]
    states['learner'] = {
        'theta': {},
        'eta': {},
        'optimizers': [None, learner['eta_optimizer']],
        'iteration': learner['iteration'],
        'touched': frozenset(name.replace('_', '.', 1) for name in learner['touched']),
        'rngs': [learner['rng']],
        'pools': pools,
    }
    return states


def test_checkpoints_of_version_0_1_go_on(learned, tmp_path):
    """They load without unpickling: parameters are the same, also after the next iteration."""
    new = create_agent_from_model_file(learned, {'datatype': 'train'})
    shutil.copy(f'{learned}.opt', tmp_path / 'model.opt')
    torch.save(as_version_0_1(torch.load(learned, weights_only=True)), tmp_path / 'model')
    old = create_agent_from_model_file(str(tmp_path / 'model'), {'datatype': 'train'})
    # the order in which the optimisers of version 0.1.0 number the parameters
    assert [list(group) for group in (old.learner.theta, old.learner.eta)] == [
        ['A_0', 'A_1', 'H', 'W_primary', 'W_related'],
        ['A_0', 'H', 'w', 'b'],
    ]
    for steps in range(3):
        assert old.learner.iteration == new.learner.iteration == 6 + steps
        for (name, mine), theirs in zip(old.model.named_parameters(), new.model.parameters(), strict=True):
            assert torch.equal(mine, theirs), name
        assert old.learner.iterate() == new.learner.iterate()


# ------------------------------------------------------------------------------------------- errors


def refuse(match, error=ValueError, **options):
    opt = TrainModel.setup_args().parse_kwargs(**{**QUICK, **options})
    with pytest.raises(error, match=match):
        create_agent(opt)


def test_errors_say_what_to_do(tmp_path, monkeypatch):
    refuse('name one with --meta-memnn-related', meta_memnn_related='')
    refuse('--meta-memnn-hops is 0; it has to be 1 or more', meta_memnn_hops=0)
    refuse('has learned nothing yet: saw no model file', datatype='valid')
    other = tmp_path / 'model'
    torch.save({'model': {}}, other)
    refuse('saw no candidates, words; expected a model of persona:meta_memnn', model_file=str(other))
    monkeypatch.setattr('parlai_persona.agents.meta_memnn.meta_memnn.is_distributed', lambda: True)
    refuse('Use train_model instead of multiprocessing_train', UserError)


def test_another_mode_than_the_checkpoint(learned):
    """A checkpoint with two heads does not go into a model with one."""
    with pytest.raises(ValueError, match="was trained in mode 'learned'"):
        create_agent_from_model_file(learned, {'datatype': 'valid', 'meta_memnn_mode': 'primary'})


def test_an_example_whose_reply_cannot_be_chosen_teaches_nothing(learned):
    agent = create_agent_from_model_file(learned, {'datatype': 'train'})
    before = {name: p.clone() for name, p in agent.model.named_parameters()}
    agent.observe(Message(text='hi', labels=['what nobody ever said'], episode_done=True))
    agent.act()
    assert all(torch.equal(p, before[name]) for name, p in agent.model.named_parameters())
