"""`persona:paml` in ParlAI: it learns from people, adapts to them, is saved and resumed, and converses."""

import copy
import json
import math

import paml_tasks
import pytest
import tiny_lm
import torch
from parlai.core.agents import create_agent_from_model_file
from parlai.core.message import Message
from parlai.scripts.eval_model import EvalModel
from parlai.scripts.interactive import Interactive
from parlai.scripts.train_model import TrainLoop, TrainModel

from parlai_persona import fields
from parlai_persona.agents.paml.people import batches_of_like_length
from parlai_persona.chat.context import TaskContext
from parlai_persona.data.dialogue import DataError
from parlai_persona.errors import UserError
from parlai_persona.tasks.few_shot.conversation import PersonConversation

LEARN = {
    **paml_tasks.TRAINING,
    **paml_tasks.TINY['persona:paml'],
    'model': 'persona:paml',
    'optimizer': 'adam',
    'learningrate': 0.01,
    'paml_inner_lr': 1.0,
    'paml_inner_batch': 0,
    'paml_eval_steps': 2,
    'paml_inner_steps': 2,
    'batchsize': 4,
    'truncate': 64,
    'label_truncate': 16,  # longer than all replies; ends those of a network that has not learned to
    'seed': 2,
}


def train(folder, steps: int, **more):
    """Train with ParlAI's own loop and return the losses."""
    options = {**LEARN, 'model_file': str(folder / 'model'), 'max_train_steps': steps, 'log_every_n_steps': 1, **more}
    loop = TrainLoop(TrainModel.setup_args().parse_kwargs(**paml_tasks.options(**options)))
    return [float(log['loss']) for log in loop.train_steps()]


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('paml')
    losses = train(folder, 40)
    assert losses[-1] < 0.5 * losses[0]
    return str(folder / 'model')


def load(model_file, **more):
    return create_agent_from_model_file(model_file, {'datatype': 'valid', 'loglevel': 'error', **more})


def evaluate(model_file, **more):
    report = EvalModel.main(**paml_tasks.options(model_file=model_file, datatype='valid', batchsize=2, **more))
    return {name: float(value) for name, value in report.items()}


def test_it_becomes_everyone(trained):
    """Only their own dialogues tell people apart: without adapting, a pet and a job are one guess in four."""
    adapted, plain = evaluate(trained), evaluate(trained, paml_eval_steps=0)
    assert adapted['exs'] == plain['exs'] == 3 * 2 * len(paml_tasks.PEOPLE)
    assert adapted['ppl'] < 0.9 * plain['ppl']
    assert adapted['accuracy'] > plain['accuracy']
    shots = evaluate(trained, few_shot_shots=0)
    assert shots['ppl'] == pytest.approx(plain['ppl'])


def test_each_reply_has_metrics_of_its_own(trained):
    """Reply and loss are those of the adapted network asked turn by turn, whatever else is in batch and folds."""
    agent = load(trained)
    task = paml_tasks.message(paml_tasks.teacher())
    seen = agent.observe(copy.deepcopy(task))
    replies = agent.act()[fields.REPLIES]
    assert [len(fold) for fold in replies] == [2, 2, 2]
    theta = list(agent.people(seen['task']))
    for fold in range(3):
        told = task[fields.DIALOGUES][fold][fields.MESSAGES]
        for turn, reply in enumerate(replies[fold]):
            one = load(trained)
            for before in told[:turn]:
                one.observe(Message({'text': before['text'], 'eval_labels': before['labels'], 'episode_done': False}))
                one.self_observe(Message(text='not what it remembers'))
            last = told[turn]
            one.observe(Message({'text': last['text'], 'eval_labels': last['labels'], 'episode_done': False}))
            one.person.append({name: theta[fold][name] for name in one.theta()})
            alone = one.act()
            assert alone['text'] == reply['text']
            assert float(alone['metrics']['loss']) == pytest.approx(float(reply['metrics']['loss']), rel=1e-5)


def test_the_loss_without_padding_is_that_of_parlai(trained):
    agent = load(trained)
    task = agent.observe(paml_tasks.message(paml_tasks.teacher()))['task']
    turns = task.turns([0, 1, 2])
    nll = agent.loss(turns)(agent.theta())
    plain = agent.compute_loss(agent.batchify(turns))
    assert nll.mean().item() == pytest.approx(plain.item(), rel=1e-5)


def test_batches_of_like_length_by_hand():
    """Lengths are 9, 10, 30. Two batches cost 20 + 30 plus twice the batch cost; one costs 90 plus the batch cost."""
    turns = [{'text_vec': [0] * length} for length in (30, 9, 10)]

    def lengths(batch: float) -> list[list[int]]:
        return sorted(sorted(len(turn['text_vec']) for turn in part) for part in batches_of_like_length(turns, batch))

    assert lengths(39) == [[9, 10], [30]] and lengths(41) == [[9, 10, 30]] and lengths(0.5) == [[9], [10], [30]]


@pytest.mark.parametrize(
    'inner',
    [
        {'paml_inner_batch': 0},
        {'paml_inner_batch': 3},
        {'paml_adapt': 'norm'},
        {'paml_learn_rates': True},
        {'paml_amp': True},
        {'paml_order': 'first'},
        {'paml_pointer': True},
    ],
)
def test_ways_to_learn(tmp_path, inner):
    losses = train(tmp_path, 6, paml_inner_lr=0.3, **inner)
    assert losses[-1] < losses[0] and all(map(math.isfinite, losses))
    report = evaluate(str(tmp_path / 'model'), few_shot_folds=1)
    assert report['ppl'] < 60 and report['exs'] == 2 * len(paml_tasks.PEOPLE)


def test_people_are_not_gathered_over_batches(trained):
    agent = load(trained, datatype='train', update_freq=2)
    with pytest.raises(UserError, match='--update-freq 2: the people of a step come in one batch'):
        agent.batch_act([agent.observe(paml_tasks.message(paml_tasks.teacher('train')))])


def test_people_are_not_mixed_with_single_turns(trained):
    agent = load(trained, datatype='train')
    person = agent.observe(paml_tasks.message(paml_tasks.teacher('train')))
    turn = agent.clone().observe(Message(text='hello', labels=['hi'], episode_done=True))
    with pytest.raises(UserError, match='whole dialogues and single turns, from several tasks after -t'):
        agent.batchify([person, turn])


def test_only_what_should_adapt_does(trained):
    agent = load(trained, paml_adapt='norm')
    task = agent.observe(paml_tasks.message(paml_tasks.teacher()))['task']
    theta = next(agent.people(task))
    changed = {name for name, p in agent.theta().items() if not torch.equal(theta[name], p)}
    assert changed == {name for name in theta if 'norm' in name} and changed
    with pytest.raises(ValueError, match="--paml-adapt 'adapter' matches no parameter; there are embeddings.weight"):
        load(trained, paml_adapt='adapter').answer(task)


def test_a_prior_makes_steps_smaller(trained):
    """A step is divided by the number of its tokens plus the prior."""
    lengths = {}
    for prior in (0, 50, 500):
        agent = load(trained, paml_prior=prior, paml_inner_batch=0, paml_eval_steps=1)
        task = agent.observe(paml_tasks.message(paml_tasks.teacher()))['task']
        theta = next(agent.people(task))
        lengths[prior] = sum((theta[name] - p).square().sum() for name, p in agent.theta().items()).sqrt().item()
    tokens = 50 * lengths[50] / (lengths[0] - lengths[50])
    assert lengths[500] == pytest.approx(lengths[0] * tokens / (tokens + 500), rel=1e-3) and 20 < tokens < 200


def test_learned_rates_are_saved_and_differ(tmp_path):
    train(tmp_path, 5, paml_learn_rates=True, paml_inner_lr=0.3)
    agent = load(str(tmp_path / 'model'))
    rates = agent.rates(agent.theta())
    values = {round(rate.item(), 5) for rate in rates.values()}
    assert len(values) > 3 and all(0.1 < value < 0.9 for value in values)
    fresh = load(str(tmp_path / 'model'), paml_learn_rates=False)
    assert set(fresh.rates(fresh.theta()).values()) == {0.3}


def test_a_plain_generator_adapts_too(tmp_path):
    """The fine-tuning baseline: ParlAI's own checkpoint, loaded as `persona:paml`."""
    options = {**LEARN, 'model': 'transformer/generator', 'task': paml_tasks.TASK}
    options['model_file'] = str(tmp_path / 'plain')
    options = {name: value for name, value in options.items() if not name.startswith('paml_')}
    loop = TrainLoop(TrainModel.setup_args().parse_kwargs(**options, max_train_steps=10, loglevel='error'))
    list(loop.train_steps())
    loop.save_model()
    fine_tuned = evaluate(str(tmp_path / 'plain'), model='persona:paml', paml_inner_lr=0.1, paml_eval_steps=3)
    plain = evaluate(str(tmp_path / 'plain'), model='persona:paml', paml_eval_steps=0)
    assert fine_tuned['ppl'] < plain['ppl']


def test_a_delta_is_someone(trained, tmp_path, monkeypatch, capsys):
    path = tmp_path / 'someone.pt'
    talk(monkeypatch, trained, ['i am old . do you have a pet ?', '[EXIT]'], person='3', paml_save_delta=str(path))
    said = capsys.readouterr().out
    assert f'The change is in {path}.' in said
    weights = sum(p.nbytes for p in load(trained).theta().values())
    assert path.stat().st_size < 0.6 * weights + 40_000
    with pytest.raises(UserError, match='--paml-delta is for chats'):
        learning = load(trained, paml_delta=str(path), datatype='train')
        learning.batch_act([learning.observe(paml_tasks.message(paml_tasks.teacher('train')))])
    agent = load(trained, paml_delta=str(path))
    agent.observe(Message({'text': 'i am old . do you have a pet ?', 'episode_done': False}))
    assert f'[Paml]: {agent.act()["text"]}' in said
    with pytest.raises(DataError, match='no such file; --paml-save-delta writes one'):
        load(trained, paml_delta=str(tmp_path / 'nobody'))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match='not a file that --paml-save-delta wrote'):
        load(trained, paml_delta=str(path))


def test_a_delta_of_other_weights_is_refused(trained, tmp_path, monkeypatch):
    path = tmp_path / 'someone.pt'
    train(tmp_path, 1)
    talk(monkeypatch, trained, ['[EXIT]'], person='3', paml_save_delta=str(path))
    with pytest.raises(DataError, match='the change of other weights than those of this model'):
        load(str(tmp_path / 'model'), paml_delta=str(path))


# ------------------------------------------------------------------------------------ at the keyboard


def talk(monkeypatch, model_file: str, lines: list[str], **more) -> None:
    typed = iter(lines)
    monkeypatch.setattr('builtins.input', lambda prompt='': next(typed))
    Interactive.main(**paml_tasks.options(model_file=model_file, few_shot_of=paml_tasks.TASK, **more))


def test_a_conversation_with_someone(trained, tmp_path, monkeypatch, capsys):
    file = tmp_path / 'me.txt'
    file.write_text(
        'them: i am old . do you have a pet ?\nthem: well ?\nme: yes , my bird\nme: is here .\n\nMe: hi !\n'
    )
    asked = [
        '/person',
        '/list bird nurse',
        '/person 99',
        f'/person {tmp_path}/no.txt',
        '/person 2',
        'hello !',
        '/nonsense',
        '/reset',
        '[EXIT]',
    ]
    talk(monkeypatch, trained, asked, person=str(file))
    said = capsys.readouterr().out
    assert 'Adapted to 2 dialogues (2 replies) in' in said and 'Adapted to 3 dialogues (6 replies)' in said
    assert 'a number of the task, or a file of dialogues' in said
    assert 'there is no person 99: they are numbered from 1 to 16' in said
    assert 'cannot read the file' in said and 'Unknown command /nonsense' in said
    assert '    13  3 dialogues: hi , i am a nurse' in said and '  - i am a cook.' in said
    assert '[Paml]: ' in said


def test_a_conversation_with_nobody_yet(trained, monkeypatch, capsys):
    """Without --person the model is as it was trained; no data are read."""
    question = 'i am old . do you have a pet ?'
    agent = load(trained)
    agent.observe(Message({'text': question, 'episode_done': False}))
    monkeypatch.setattr(PersonConversation, 'people', property(lambda self: pytest.fail('it reads people')))
    talk(monkeypatch, trained, [question, '[EXIT]'])
    said = capsys.readouterr().out
    assert 'The model has become nobody yet. /person WHICH' in said
    assert f'[Paml]: {agent.act()["text"]}' in said


def test_conversations_with_two_people_at_once(trained):
    """Clones of one agent become different people, and the agent itself nobody."""
    options = paml_tasks.options(model_file=trained, few_shot_of=paml_tasks.TASK, person='2')
    context = TaskContext(Interactive.setup_args().parse_kwargs(**options))
    agent = load(trained)
    first, second = (PersonConversation(context, agent.clone()) for _ in range(2))
    first.start()
    alone = [first.say(text)[1].text for text in ('hello !', 'and you ?')]
    first.say('/reset')
    second.say('/person 13')
    together = []
    for text in ('hello !', 'and you ?'):
        together.append(first.say(text)[1].text)
        second.say(text)
    assert together == alone
    (one,), (other,) = first.agent.person, second.agent.person
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert agent.person == []


def test_files_of_dialogues(trained, tmp_path, monkeypatch):
    file = tmp_path / 'me.txt'
    for content, match in (
        ('you: hello\n', 'line 1: saw .you: hello.; expected lines "them: ..."'),
        ('them: hello\n', 'holds no answer'),
        ('', 'holds no answer'),
    ):
        file.write_text(content)
        with pytest.raises(UserError, match=match):
            talk(monkeypatch, trained, [], person=str(file))


def test_other_agents_are_told(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="does not adapt to a person's dialogues; persona:paml does"):
        typed = iter(['[EXIT]'])
        monkeypatch.setattr('builtins.input', lambda prompt='': next(typed))
        Interactive.main(**paml_tasks.options(model='repeat_query', person='1'))


@pytest.mark.slow
def test_two_processes_are_one_big_batch(parlai, tmp_path):
    """Each worker takes half of the people of a step; gradients are averaged. The people are authors of comments."""
    lines = [
        {'persona': [], 'context': f'hello {n}', 'response': f'i am number {who}', 'speaker': f'author {who}'}
        for who in range(8)
        for n in range(3)
    ]
    for fold in ('train', 'valid', 'test'):
        (tmp_path / f'{fold}.jsonl').write_text('\n'.join(map(json.dumps, lines)) + '\n')
    common = {
        **LEARN,
        'optimizer': 'sgd',
        'max_train_steps': 3,
        'task': 'persona:few_shot',
        'few_shot_of': 'persona:reddit',
        'few_shot_by': 'speaker',
        'reddit_data': str(tmp_path),
        'dict_file': str(tmp_path / 'dict'),
        'persona_candidates': 'none',
        'few_shot_folds': 1,
        'skip_generation': True,
    }
    begun = {'init_model': str(tmp_path / 'start')}
    arms = {
        'start': ('train_model', 4, {'max_train_steps': 1}),
        'one': ('train_model', 4, begun),
        'two': ('multiprocessing_train', 2, {**begun, 'distributed_world_size': 2}),
    }
    for name, (command, size, more) in arms.items():
        options = {**common, 'batchsize': size, 'model_file': str(tmp_path / name), **more}
        flags = ((f'--{key.replace("_", "-")}', str(value)) for key, value in options.items() if key != 'no_cuda')
        done = parlai(command, *(word for flag in flags for word in flag), '--no-cuda')
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    start, one, two = (torch.load(tmp_path / name, weights_only=False)['model'] for name in arms)
    assert not torch.allclose(one['embeddings.weight'], start['embeddings.weight'], atol=1e-3)
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('shown', [False, True])
def test_a_language_model_reads_the_persona_if_asked_to(tmp_path, shown):
    one = paml_tasks.agent(tmp_path, 'persona:paml/lm', lm_model=tiny_lm.folder(), lm_persona=shown)
    prompts = []
    for persona in (['i like tea .'], ['i have a dog .']):
        dialogue = {fields.PERSONA: persona, fields.MESSAGES: [{'text': 'hello .', 'labels': ['yes']}]}
        (turn,) = one.turns(dialogue)
        prompts.append(turn['text_vec'].tolist())
        said = one.dict.layout.prompt(persona if shown else (), [('partner', 'hello .')], None)
        assert prompts[-1] == said
    assert (prompts[0] != prompts[1]) == shown


def test_the_preset_is_the_papers(tmp_path):
    line = ['-o', 'persona:paml', '-mf', str(tmp_path / 'model')]
    opt = TrainModel.setup_args().parse_args(line)
    assert (opt['paml_inner_lr'], opt['learningrate'], opt['batchsize'], opt['beam_size']) == (0.01, 0.0003, 16, 5)
    preset = json.loads((paml_tasks.FOLDER / 'paper.opt').read_text())
    assert {name: opt[name] for name in preset} == preset


def test_the_presets_for_little_data(tmp_path):
    """Train a generator on turns, then teach it to adapt, as the README does."""
    plain, people = tmp_path / 'plain', tmp_path / 'people'
    short = ['--max-train-steps', '2', '--warmup-updates', '1', '--no-cuda', '--loglevel', 'error', '--seed', '1']
    short += ['--validation-max-exs', '1', '--short-final-eval', 'true', '--eval-batchsize', '1']
    TrainModel.main(*short, '-o', 'persona:paml/dialogue', '-t', paml_tasks.TASK, '-mf', str(plain))
    people_of = ['--few-shot-of', paml_tasks.TASK, '--few-shot-by', 'speaker']
    start = ['--init-model', str(plain), '--dict-file', f'{plain}.dict']
    TrainModel.main(*short, *people_of, *start, '-o', 'persona:paml/people', '-mf', str(people))
    one, other = (torch.load(file, weights_only=False)['model'] for file in (plain, people))
    assert one.keys() == other.keys()
    moved = {name: float((other[name] - one[name]).abs().max()) for name in one if one[name].is_floating_point()}
    assert 0 < max(moved.values()) < 0.01
    assert load(str(people)).inner.inner_lr == 0.45
