"""`persona:memnet` as a user meets it: what it reads of a message, learns, saves, carries over and refuses."""

import gzip
import json
from pathlib import Path

import pytest
import torch
from contract import dialogues
from parlai.core.agents import create_agent, create_agent_from_model_file
from parlai.core.dict import DictionaryAgent
from parlai.core.message import Message
from parlai.scripts.eval_model import EvalModel
from parlai.scripts.self_chat import SelfChat
from parlai.scripts.train_model import TrainModel

from parlai_persona.agents.memnet import memnet
from parlai_persona.agents.memnet.batches import Line
from parlai_persona.agents.memnet.candidates import ListedCandidates
from parlai_persona.agents.memnet.encoders import Shape
from parlai_persona.agents.memnet.losses import losses_and_ranks
from parlai_persona.errors import UserError

QUICK = {
    'task': 'persona:sample',
    'persona_sample_dialogues': 6,
    'model': 'persona:memnet',
    'memnet_embedding_size': 16,
    'memnet_heads': 2,
    'memnet_layers': 1,
    'memnet_ffn_size': 32,
    'memnet_hidden_size': 8,
    'batchsize': 8,
    'optimizer': 'adam',
    'learningrate': 0.01,
    'max_train_steps': 4,
    'validation_max_exs': 20,
    'short_final_eval': True,
    'loglevel': 'error',
    'seed': 1,
    'dict_tokenizer': 're',
}


def train(folder, **options):
    """The model file, and the report of validation."""
    path = str(folder / 'model')
    return path, TrainModel.main(**{**QUICK, 'model_file': path, **options})[0]


def load(path, **options):
    return create_agent_from_model_file(path, {'datatype': 'valid', 'loglevel': 'error', **options})


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    return train(tmp_path_factory.mktemp('trained'))[0]


def heard(agent, **fields):
    """The example that the agent makes of a message."""
    return agent.observe(Message(episode_done=False, **fields))['example']


def words(agent, line):
    return ' '.join(agent.dict.ind2tok[int(number)] for number in line.words)


# ----------------------------------------------------------------------------------------- messages


def test_what_is_persona_and_what_is_context(trained):
    text = "your persona: i like music.\npartner's persona: i ski.\ndo you like it ?"
    agent = load(trained)
    example = heard(agent, text=text)  # as ParlAI's own teachers send it
    assert words(agent, example.context) == 'do you like it ?'
    assert [words(agent, line) for line in example.persona] == ['i like music .']
    agent.reset()
    example = heard(agent, text=text, persona=['i like it.', 'i'])
    assert [words(agent, line) for line in example.persona] == ['i like it .', 'i']
    assert heard(agent.clone(), text=text, persona=[]).persona == []
    agent.self_observe(Message(text='you ?'))
    assert words(agent, heard(agent, text='do you ?').context) == 'do you ?'
    assert len(agent.history.persona) == 2  # that of the dialogue


def test_older_turns_on_request_and_truncation_from_the_right_end(trained):
    agent = load(trained, history_size=2, text_truncate=4, label_truncate=2)
    heard(agent, text='do you like music ?')
    agent.self_observe(Message(text='music .'))
    example = heard(agent, text='do you', eval_labels=['i like music'], persona=['i like it ' * 30])
    assert words(agent, example.context) == '. \n do you' and len(example.persona[0].words) == 4
    assert words(agent, agent.responses(['i like music'])[0]) == 'i like'


def test_no_persona_means_that_it_is_not_read(tmp_path):
    path, _ = train(tmp_path, memnet_persona=False)
    agent = load(path)
    said = []
    for persona in (['i like rock music best.'], []):
        agent.observe(Message(text='hi', persona=persona, label_candidates=['yes .', 'no .'], episode_done=True))
        said.append(agent.act()['text_candidates'])
    assert said[0] == said[1] and 'persona.weight' not in agent.model.state_dict()


# ---------------------------------------------------------------------------------------- candidates


def test_candidates_of_each_example_and_of_all():
    listed = ListedCandidates.of_each([['a', 'b', 'a'], ['c']], ['b', 'a'])
    assert listed.replies == ['a', 'b', 'c'] and listed.own.tolist() == [1, -1]
    u, y = torch.eye(2), torch.tensor([[5.0, 1.0], [5.0, 0.0], [0.0, 2.0]])
    z = listed.scores(u, y)
    assert z.tolist() == [[5, 5], [2, -torch.inf]]
    assert [[reply for reply, _ in row] for row in listed.best(z, 5)] == [
        ['a', 'b'],
        ['c'],
    ]  # of equal scores the label comes last
    assert losses_and_ranks(z, listed.own)[1][0].item() == 2
    shared = ListedCandidates.of_all(['b', 'a', 'b'], ['a', None])
    assert shared.replies == ['b', 'a'] and shared.own.tolist() == [1, -1] and shared.places.shape == (2, 2)


@pytest.mark.parametrize('candidates', ['inline', 'batch-all-cands', 'fixed'])
def test_other_candidates_in_training(tmp_path, candidates):
    fixed = tmp_path / 'fixed.txt'
    messages = [message for dialogue in dialogues('train:ordered', 6) for message in dialogue]
    fixed.write_text('\n'.join(message['labels'][0] for message in messages))
    path, report = train(tmp_path, candidates=candidates, fixed_candidates_path=str(fixed))
    assert report['loss'] > 0 and load(path).candidates == candidates


def test_candidates_that_are_no_text_are_named(trained, tmp_path):
    fixed = tmp_path / 'fixed.txt'
    fixed.write_bytes(b'hello\n\xff\n')
    with pytest.raises(UserError, match=r'fixed\.txt, line 2: byte 1 .* is not UTF-8'):
        load(trained, eval_candidates='fixed', fixed_candidates_path=str(fixed))
    fixed.write_text('\n')
    with pytest.raises(UserError, match='fixed.*: there is no reply to choose from; expected one a line'):
        load(trained, eval_candidates='fixed', fixed_candidates_path=str(fixed))


def test_a_self_chat_builds_the_list_of_candidates(trained, capsys):
    SelfChat.main(model_file=trained, task='persona:sample', num_self_chats=1, selfchat_max_turns=2, loglevel='error')
    assert '[Memnet_1]' in capsys.readouterr().out


def test_encodings_stay_as_long_as_the_weights(trained):
    agent = load(trained, datatype='train')
    message = Message(text='hi', label_candidates=['i like music .', 'you like music .'], episode_done=True)
    made = []
    for _ in range(2):
        agent.observe(message)
        agent.act()
        made.append(dict(agent.response_encodings.known))
    assert len(made[0]) == 2 and all(made[1][key] is made[0][key] for key in made[0])
    agent.observe(Message(text='hi', labels=['you .'], episode_done=True))
    agent.act()
    agent.observe(message)
    agent.act()
    assert all(agent.response_encodings.known[key] is not made[0][key] for key in made[0])


def test_candidates_that_lack_the_label_or_are_not_there(trained):
    agent = load(trained)
    agent.observe(Message(text='hi', eval_labels=['new'], label_candidates=['yes .'], episode_done=True))
    with pytest.raises(ValueError, match="label 'new' is not among .* --ignore-bad-candidates true"):
        agent.act()
    agent = load(trained, ignore_bad_candidates=True)
    agent.observe(Message(text='hi', eval_labels=['new'], label_candidates=['yes .'], episode_done=True))
    assert 'loss' not in agent.act().get('metrics', {})
    agent.observe(Message(text='hi', eval_labels=['new'], episode_done=True))
    with pytest.raises(ValueError, match='no label_candidates: choose batch or fixed'):
        agent.act()


# ----------------------------------------------------------------------------------------- learning


@pytest.mark.parametrize(
    'encoder, candidates, steps', [('transformer', 'inline', 100), ('lstm', 'inline', 120), ('bow', 'batch', 100)]
)
def test_it_learns(encoder, candidates, steps, tmp_path):
    """An overfit: nearly all replies of six dialogues are found, among twenty candidates or those of the batch."""
    path, _ = train(
        tmp_path,
        memnet_encoder=encoder,
        candidates=candidates,
        max_train_steps=steps,
        history_size=-1,
        batchsize=16,
        learningrate=0.03 if encoder == 'lstm' else 0.01,
    )
    report = EvalModel.main(
        model_file=path,
        task='persona:sample',
        persona_sample_dialogues=6,
        datatype='train:evalmode',
        loglevel='error',
        eval_candidates=candidates,
        batchsize=16,
    )
    assert report['accuracy'] > 0.8


@pytest.mark.slow
def test_several_processes(trained, parlai, tmp_path):
    """`multiprocessing_train` on the CPU goes on from a model."""
    path = str(tmp_path / 'two')
    own = {'model_file': path, 'init_model': trained, 'dict_file': f'{trained}.dict', 'distributed_world_size': 2}
    options = {**QUICK, **own}
    line = [word for name, value in options.items() for word in (f'--{name.replace("_", "-")}', str(value))]
    done = parlai('multiprocessing_train', *line)
    assert done.returncode == 0, done.stdout + done.stderr
    before, after = (load(model).model.state_dict() for model in (trained, path))
    assert all(value.isfinite().all() for value in after.values())
    assert not torch.equal(before['context.inside.first.weight'], after['context.inside.first.weight'])


# ----------------------------------------------------------------------------------- words, vectors


def embedding(agent, word):
    return agent.model.embedding.weight[agent.dict.tok2ind[word]]


def own_dictionary(folder, *words):
    path = folder / 'own.dict'
    every = ['__null__', '__start__', '__end__', '__unk__', *words]
    path.write_text(''.join(f'{word}\t{9 - number}\n' for number, word in enumerate(every)))
    return str(path)


def test_init_model_with_its_own_dictionary_is_exact(trained, tmp_path):
    path, _ = train(tmp_path, init_model=trained, max_train_steps=1, learningrate=1e-12, optimizer='sgd')
    one, other = load(trained), load(path)
    assert one.dict.tok2ind == other.dict.tok2ind
    for name, value in one.model.state_dict().items():
        assert torch.allclose(value, other.model.state_dict()[name], atol=1e-7), name
    assert DictionaryAgent({'dict_file': f'{path}.dict'}).tok2ind == one.dict.tok2ind


def test_init_model_with_another_dictionary_goes_by_word(trained, tmp_path):
    vectors = tmp_path / 'v.txt'
    vectors.write_text(''.join(f'{word} {" ".join([str(n)] * 16)}\n' for n, word in enumerate(['music', 'quokka'], 1)))
    path, _ = train(
        tmp_path,
        init_model=trained,
        dict_file=own_dictionary(tmp_path, 'quokka', 'music', 'you', 'wombat'),
        memnet_vectors=str(vectors),
        max_train_steps=1,
        learningrate=1e-12,
        optimizer='sgd',
    )
    one, other = load(trained), load(path)
    assert len(other.dict) == 8 and torch.allclose(embedding(other, 'you'), embedding(one, 'you'), atol=1e-6)
    assert torch.allclose(embedding(other, 'music'), embedding(one, 'music'), atol=1e-6)
    assert embedding(other, 'quokka').tolist() == pytest.approx([2] * 16)
    assert embedding(other, 'wombat').abs().max() < 2
    resumed = load(path, datatype='train')
    assert torch.equal(embedding(resumed, 'quokka'), embedding(other, 'quokka'))


def test_vectors_at_the_beginning_only(tmp_path):
    (tmp_path / 'v.vec').write_text('2 16\nmusic' + ' 3' * 16 + '\nquokka' + ' 1' * 16 + '\n')
    path, _ = train(tmp_path, memnet_vectors=str(tmp_path / 'v.vec'), learningrate=1e-12, optimizer='sgd')
    assert embedding(load(path), 'music').tolist() == pytest.approx([3] * 16)
    (tmp_path / 'v.vec').unlink()  # a model that has learned needs it no more
    assert embedding(load(path, datatype='train'), 'music').tolist() == pytest.approx([3] * 16)


# ------------------------------------------------------------------------------------------- errors


def refuse(match, error=ValueError, **options):
    opt = TrainModel.setup_args().parse_kwargs(**{**QUICK, **options})
    with pytest.raises(error, match=match):
        create_agent(opt)


def test_errors_say_what_to_do(trained, tmp_path):
    refuse(
        'trained with --memnet-heads 2, this is 4: give the flags',
        init_model=trained,
        memnet_heads=4,
        model_file=str(tmp_path / 'new'),
        dict_file=f'{trained}.dict',
    )
    own = {
        'model_file': str(tmp_path / 'new'),
        'dict_file': f'{trained}.dict',
        'memnet_vectors': str(tmp_path / 'v.gz'),
    }
    refuse('--memnet-vectors .*v.gz: no such file', UserError, **own)
    for header in ('', '1 3\n'):
        with gzip.open(tmp_path / 'v.gz', 'wt') as file:
            file.write(f'{header}music 1 2 3\n')
        refuse('its vectors have 3 dimensions, --memnet-embedding-size is 16: set it to 3', **own)
    refuse('--person-tokens is True; persona:memnet does not know it: leave it out', person_tokens=True)
    refuse('--embedding-type is glove; .*: give --memnet-vectors a file', embedding_type='glove')
    refuse('--memnet-sentences is -1; it has to be 0 or more', memnet_sentences=-1)
    refuse('candidates are vocab', eval_candidates='vocab')
    other = tmp_path / 'model'
    torch.save({'model': {}}, other)
    refuse('saw no shape, words; expected a model of persona:memnet', model_file=str(other))


def test_the_preset_is_the_papers(tmp_path):
    """Every key of it is a flag, and the defaults are the paper's, too."""
    line = ['-o', 'persona:memnet', '-t', 'persona:sample', '-mf', str(tmp_path / 'model')]
    opt = TrainModel.setup_args().parse_args(line)
    preset = json.loads((Path(memnet.__file__).parent / 'paper.opt').read_text())
    assert {name: opt[name] for name in preset if name != 'task'} == {k: v for k, v in preset.items() if k != 'task'}
    shape = {name.removeprefix('memnet_'): value for name, value in preset.items() if hasattr(Shape, name[7:])}
    assert Shape(**{**shape, 'layers': 0}) == Shape() and Shape(**shape).depth() == Shape().depth()
    plain = TrainModel.setup_args().parse_args(['-m', 'persona:memnet', *line[2:]])
    for name in ('optimizer', 'learningrate', 'history_size', 'text_truncate', 'label_truncate', 'candidates'):
        assert plain[name] == preset[name], name


def test_words_that_the_dictionary_lacks_are_not_in_common(tmp_path):
    agent = load(train(tmp_path, memnet_encoder='bow', memnet_lexical=5.0)[0])
    query, replies = (agent.word_rows([Line.of(agent.dict.txt2vec(text))]) for text in ('zebras rule', 'quokkas'))
    assert set(query[0].tolist()) == set(replies[0].tolist()) == {agent.dict[agent.dict.unk_token]}
    assert agent.net.lexical(query, replies).item() == 0
