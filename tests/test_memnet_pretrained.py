"""`persona:memnet/pretrained`: what its encoder reads, what a checkpoint holds, and the lexical term in a chat."""

import pytest
import tiny_bert
import torch
from parlai.core.agents import create_agent, create_agent_from_model_file
from parlai.core.message import Message
from parlai.scripts.train_model import TrainModel

from parlai_persona.agents.memnet.batches import Line, batch_personas, batch_texts
from parlai_persona.agents.memnet.model import COSINE, marked
from parlai_persona.errors import UserError
from parlai_persona.models.saved import NotLoaded, read_saved

AGENT = 'persona:memnet/pretrained'
MESSAGE = {'text': 'what music do you like ?', 'persona': ['i like music .', 'i have a dog .'], 'episode_done': True}
REPLIES = ['i like music .', 'you like golf .', 'my home is in berlin .', 'i have a dog .']


def train(folder, **options):
    path = str(folder / 'model')
    TrainModel.main(
        task='persona:sample',
        persona_sample_dialogues=6,
        model=AGENT,
        model_file=path,
        memnet_pretrained_model=tiny_bert.folder(),
        optimizer='adam',
        **{'learningrate': 0.01, 'max_train_steps': 4, 'memnet_lexical': 5.0, **options},
        batchsize=8,
        validation_max_exs=8,
        short_final_eval=True,
        loglevel='error',
    )
    return path


def load(path, **options):
    return create_agent_from_model_file(path, {'datatype': 'valid', 'loglevel': 'error', **options})


def scores(agent, **fields):
    agent.opt['return_cand_scores'] = True
    agent.reset()
    agent.observe(Message({**MESSAGE, 'label_candidates': REPLIES, **fields}))
    answer = agent.act()
    return dict(zip(answer['text_candidates'], answer['sorted_scores'], strict=True))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    return train(tmp_path_factory.mktemp('trained'))


# ----------------------------------------------------------------------------------------- encoder


def test_marks_by_hand():
    words, lengths = torch.tensor([[7, 8, 0], [9, 7, 8]]), torch.tensor([2, 3])
    tokens, is_token = marked(words, lengths, [1], [2, 3])
    assert tokens.tolist() == [[1, 7, 8, 2, 3, 0], [1, 9, 7, 8, 2, 3]]
    assert is_token.tolist() == [[True] * 5 + [False], [True] * 6]


def test_a_text_is_the_mean_of_its_states_with_the_length_of_all(trained):
    agent = load(trained)
    net, line = agent.net, agent.lines['response'](REPLIES[0])
    longer = agent.lines['response'](' '.join(REPLIES))
    tokens = torch.tensor([[*agent.dict.begin, *line.words.tolist(), *agent.dict.end]])
    mean = net.encoder(input_ids=tokens).last_hidden_state.mean(1)[0]
    expected = COSINE**0.5 * mean / mean.norm()
    with torch.no_grad():
        y = net.encode_responses(batch_texts([longer, line, Line.of(())]))
        m = net.encode_sentences(batch_personas([[longer, line]]))
    torch.testing.assert_close(y[1], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(m[2], net.persona(expected), atol=1e-5, rtol=1e-4)
    assert y[2].tolist() == [0] * net.size and y[0].norm().item() == pytest.approx(COSINE**0.5)


def test_long_texts_are_cut_to_what_the_encoder_can_read(trained):
    agent = load(trained)
    long = 'i like music . ' * 40
    assert len(agent.lines['context'](long).words) == 62  # and two marks
    assert len(scores(agent, text=long, persona=[long], label_candidates=[long, 'no'])) == 2


def test_mixed_precision(trained):
    exact, mixed = load(trained), load(trained, memnet_pretrained_amp=True)
    one, other = scores(exact), scores(mixed)
    assert mixed.net.encoder.encoder.layer[0].attention.self.query.weight.dtype == torch.bfloat16
    assert [other[text] for text in one] == pytest.approx([*one.values()], abs=1)


# -------------------------------------------------------------------------------------- checkpoints


def test_a_checkpoint_holds_what_was_trained(trained, tmp_path):
    states = read_saved(trained)
    assert all('lora' in name or name in KEPT for name in states['model']) and set(KEPT) < set(states['model'])
    assert states['base']['source'] == tiny_bert.folder() and 'words' not in states
    assert states['model']['lexical.seen'] == 32  # responses in four steps
    whole = train(tmp_path, memnet_pretrained_train='all', memnet_lexical=0)
    assert not [name for name in read_saved(whole)['model'] if 'lexical' in name or 'lora' in name]


KEPT = ('persona.weight', 'lexical.seen', 'lexical.having')


def test_another_base_and_other_options_are_refused(trained, tmp_path):
    other = tmp_path / 'other'
    other.mkdir()
    words = len((tiny_bert.Path(tiny_bert.folder()) / 'vocab.txt').read_text().split('\n'))
    tiny_bert.model(words, seed=1).save_pretrained(other)
    for file in tiny_bert.Path(tiny_bert.folder()).glob('*'):
        if not (other / file.name).exists():
            (other / file.name).write_bytes(file.read_bytes())
    with pytest.raises(NotLoaded, match='trained on other weights'):
        load(trained, memnet_pretrained_model=str(other))
    with pytest.raises(UserError, match='--memnet-lexical 5.0, this is 0.0'):
        load(trained, memnet_lexical=0.0)


def test_training_goes_on_from_another_model(trained, tmp_path):
    path = train(tmp_path, init_model=trained, learningrate=0.0)
    assert scores(load(path)).keys() == scores(load(trained)).keys()
    assert read_saved(path)['model']['lexical.seen'] == 64
    first, second = (read_saved(name)['model']['persona.weight'] for name in (trained, path))
    assert torch.equal(first, second)


# ---------------------------------------------------------------------------------- the lexical term


def test_what_words_in_common_add(trained):
    """The difference to the same network without the term is the term, as the agent's own words give it."""
    agent = load(trained)
    with_term = scores(agent)
    lexical, agent.net.lexical = agent.net.lexical, None
    without = scores(agent)
    query = agent.dict.txt2vec(' '.join([*MESSAGE['persona'], MESSAGE['text']]))
    for reply in REPLIES:
        added = lexical(torch.tensor([query]), torch.tensor([agent.dict.txt2vec(reply)])).item()
        assert with_term[reply] - without[reply] == pytest.approx(added, abs=1e-4)
    assert with_term[REPLIES[0]] > without[REPLIES[0]] + 0.5


def test_without_persona_its_words_do_not_count(tmp_path):
    agent = load(train(tmp_path, memnet_persona=False))
    assert scores(agent) == scores(agent, persona=['my home is in berlin .'])


def test_replies_of_a_file(trained, tmp_path):
    file = tmp_path / 'replies.txt'
    file.write_text('\n'.join(REPLIES))
    inline, indexed = scores(load(trained)), scores(load(trained, memnet_candidates=str(file)))
    assert [*inline] == [*indexed] and [*inline.values()] == pytest.approx([*indexed.values()], abs=1e-4)
    agent = load(trained, memnet_candidates=str(file))
    agent.observe(Message(MESSAGE))
    weights = agent.act()['persona_weights']
    assert len(weights) == 2 and sum(weights) == pytest.approx(1)


def test_an_encoder_that_nobody_trained(tmp_path):
    options = {
        'model': AGENT,
        'memnet_pretrained_model': tiny_bert.folder(),
        'memnet_lexical': 5.0,
        'datatype': 'valid',
    }
    assert len(scores(create_agent({**options, 'model_file': str(tmp_path / 'none'), 'loglevel': 'error'}))) == 4
