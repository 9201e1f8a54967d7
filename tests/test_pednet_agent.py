"""The agent of PEDNet: what it takes from messages, which network a batch trains, and what comes with a reply."""

import pytest
import torch
from contract import changed, dialogues, hear, replies
from parlai.core.agents import create_agent, create_agent_from_model_file
from parlai.core.dict import DictionaryAgent
from parlai.core.message import Message
from parlai.core.teachers import create_task_agent_from_taskname
from parlai.scripts.train_model import TrainLoop, TrainModel

from parlai_persona import fields
from parlai_persona.agents.pednet.model import ContextDominated, PersonaDominated
from parlai_persona.agents.pednet.pednet import said_and_personas
from parlai_persona.data.dialogue import DataError
from parlai_persona.errors import UserError
from parlai_persona.fields import NO_SENTENCE

SIZES = {'pednet_hidden': 8, 'pednet_layers': 1, 'pednet_embedding': 6, 'pednet_dropout': 0.0}
PERSONA = ['i have a dog .', 'i like rock music best .', 'my favorite color is red .']
EXAMPLE = {
    'text': 'do you have any pets ?',
    fields.PERSONA: PERSONA,
    fields.SPECIFIC_WORDS: ['pets'],
    fields.PERSONA_LABEL: 0,
    fields.CONGENERIC: ['do you have any <KEY> ?', 'do you play any <KEY> ?'],
    'episode_done': True,
}
SAID = 'yes , i have a dog .'


@pytest.fixture(scope='module', autouse=True)
def words(tmp_path_factory):
    """Set the file of a dictionary with the words of the examples here and of some dialogues."""
    SIZES['dict_file'] = str(tmp_path_factory.mktemp('dictionary') / 'words')
    words = DictionaryAgent(TrainModel.setup_args().parse_kwargs(task='persona:sample', dict_tokenizer='re'))
    told = [turn['text'] for dialogue in dialogues() for turn in dialogue]
    for text in (SAID, EXAMPLE['text'], *PERSONA, 'do you play any', 'none', *told):
        words.add_to_dict(words.tokenize(text))
    words.save(SIZES['dict_file'])


def agent(datatype: str = 'train', **options):
    opt = {'model': 'persona:pednet', 'datatype': datatype, 'dict_tokenizer': 're', 'loglevel': 'error', 'seed': 1}
    return create_agent(TrainModel.setup_args().parse_kwargs(task='persona:sample', **{**opt, **SIZES, **options}))


def batch_of(one, *rows, key: str = 'labels'):
    """Return the batch of examples, each changed by some fields."""
    seen = [one.clone().observe(changed(Message({**EXAMPLE, key: [SAID]}), **row)) for row in rows]
    return one.batchify(seen)


def texts(one, vecs: torch.Tensor) -> list:
    """Return what padded texts say, words joined by blanks."""
    if vecs.dim() > 1:
        return [texts(one, row) for row in vecs]
    return ' '.join(one.dict[int(word)] for word in vecs if word != one.NULL_IDX)


def test_a_training_batch_has_what_the_two_networks_read():
    one = agent()
    second = {fields.PERSONA: PERSONA[1:], fields.PERSONA_LABEL: NO_SENTENCE, fields.SPECIFIC_WORDS: []}
    batch = batch_of(one, {}, second)
    one.learning = type(one.learning)(gamma=0.0)
    (cdnet,) = one._model_input(batch)
    assert isinstance(cdnet, ContextDominated)
    assert texts(one, cdnet.context) == ['do you have any pets ?'] * 2
    assert texts(one, cdnet.specific) == ['pets', '']
    assert texts(one, cdnet.persona) == [PERSONA, [*PERSONA[1:], '']]
    assert cdnet.is_sentence.tolist() == [[True] * 3, [True, True, False]] and cdnet.label.tolist() == [0, NO_SENTENCE]
    one.learning = type(one.learning)(gamma=1.0)
    (pdnet,) = one._model_input(batch)
    assert isinstance(pdnet, PersonaDominated)
    assert texts(one, pdnet.contexts) == [EXAMPLE[fields.CONGENERIC]] * 2  # the mask is one word
    assert texts(one, pdnet.sentence) == [PERSONA[0], '']


def test_none_is_a_sentence_before_the_persona():
    one = agent(pednet_none=True)
    batch = batch_of(one, {}, {fields.PERSONA_LABEL: NO_SENTENCE}, {fields.PERSONA_LABEL: None})
    assert texts(one, batch.persona_vec)[0] == ['none', *PERSONA]
    assert batch.sentence_place.tolist() == [1, 0, NO_SENTENCE]  # a message without a label stays without one
    (reply,) = replies(agent('valid', pednet_none=True), [[Message(EXAMPLE)]])
    assert len(reply[fields.PERSONA_WEIGHTS]) == len(PERSONA) and sum(reply[fields.PERSONA_WEIGHTS]) < 1


@pytest.mark.parametrize('none', [False, True])
def test_sentences_without_words_do_not_move_the_label(none):
    one = agent(pednet_none=none)
    batch = batch_of(
        one,
        {fields.PERSONA: [' ', *PERSONA], fields.PERSONA_LABEL: 2},
        {fields.PERSONA: [' '], fields.PERSONA_LABEL: 0},
    )
    assert batch.sentence_place.tolist() == [1 + none, NO_SENTENCE + none]
    assert texts(one, batch.persona_vec)[0][1 + none] == PERSONA[1]


def test_a_sentence_without_words_has_no_weight():
    """The weights stand beside all sentences of the persona, as a chat shows them."""
    (reply,) = replies(agent('valid'), [[Message({**EXAMPLE, fields.PERSONA: [PERSONA[0], ' ', PERSONA[1]]})]])
    first, nothing, last = reply[fields.PERSONA_WEIGHTS]
    assert nothing == 0 and min(first, last) > 0 and first + last == pytest.approx(1)


@pytest.mark.parametrize('label', [3, -2])
def test_a_label_without_a_sentence_is_one_line(label):
    with pytest.raises(DataError, match=f"'do you have any pets .': saw persona_label {label} beside 3 sentences"):
        batch_of(agent(), {fields.PERSONA_LABEL: label})


def test_a_persona_in_the_text_has_labels_too():
    """As in ParlAI's own tasks: there is no field with the persona."""
    one = agent()
    text = '\n'.join([*(f'your persona: {sentence}' for sentence in PERSONA), EXAMPLE['text']])
    message = {**EXAMPLE, 'text': text, fields.PERSONA_LABEL: 1, 'labels': [SAID]}
    del message[fields.PERSONA]
    assert one.batchify([one.observe(Message(message))]).sentence_place.tolist() == [1]


def test_specific_words_are_read_like_other_words():
    """A word that the dictionary lacks says nothing; one with an apostrophe is several."""
    batch = batch_of(one := agent(), {fields.SPECIFIC_WORDS: ["dog's", 'zebra', 'pets']})
    assert texts(one, batch.specific_vec) == ['dog pets']


def test_texts_without_a_limit():
    assert batch_of(agent(text_truncate=-1), {}).contexts.shape[1] == 2


def test_counts_know_a_persona_that_a_text_states():
    first = {'text': 'your persona: i fly .\nhello'}
    assert [*said_and_personas([first, {'text': 'who are you ?'}])] == [
        ('hello', ['i fly .']),
        ('who are you ?', ['i fly .']),
    ]


def test_counts_are_those_of_the_training_split(tmp_path):
    """With --init-model it is another one, whose words are counted anew; a resumed training keeps its counts."""
    first = agent(model_file=str(tmp_path / 'first'), persona_sample_dialogues=3)
    first.save(str(tmp_path / 'first'))
    start = {'init_model': str(tmp_path / 'first'), 'persona_sample_dialogues': 9}
    second = agent(model_file=str(tmp_path / 'second'), **start)
    assert second.known_words.examples == 3 * first.known_words.examples
    second.save(str(tmp_path / 'second'))
    again = agent(model_file=str(tmp_path / 'second'), **{**start, 'persona_sample_dialogues': 2})
    assert again.known_words.examples == second.known_words.examples


@pytest.mark.parametrize('gamma, moved', [(0.0, True), (1.0, False)])
def test_the_log_has_the_perplexity_of_each_network(gamma, moved):
    one = agent(pednet_gamma=gamma)
    (reply,) = one.batch_act([one.observe(Message({**EXAMPLE, 'labels': [SAID]}))])
    own, other = ('ppl_cdnet', 'ppl_pdnet') if moved else ('ppl_pdnet', 'ppl_cdnet')
    assert reply['metrics'][own] == reply['metrics']['ppl'] and other not in reply['metrics']


@pytest.mark.parametrize('gamma, moved', [(0.0, True), (1.0, False)])
def test_gamma_decides_what_is_trained(gamma, moved):
    """With gamma 1 only PDNet learns: the query, which CDNet alone has, stays as it was."""
    one = agent(pednet_gamma=gamma)
    before = {name: p.detach().clone() for name, p in one.model.named_parameters()}
    for _ in range(3):
        one.batch_act([one.clone().observe(Message({**EXAMPLE, 'labels': [SAID]}))])
    changed_parts = {name for name, p in one.model.named_parameters() if not torch.equal(p, before[name])}
    assert ('query.weight' in changed_parts) is moved
    assert {'persona_reader.gru.weight_hh_l0', 'step.gru.cells.0.weight_hh', 'score.weight'} <= changed_parts


def test_the_task_of_a_batch_is_drawn_from_the_seed_and_the_update():
    one, same, other = agent(), agent(), agent(seed=2)
    drawn = []
    for model in (one, same, other):
        tasks = []
        for update in range(1000):
            model._number_training_updates = update
            tasks.append(model.is_persona_dominated())
        drawn.append(tasks)
    assert drawn[0] == drawn[1] != drawn[2]
    assert sum(drawn[0]) == pytest.approx(500, abs=60)  # gamma is .5; four standard deviations


def test_the_loss_adds_the_reply_and_the_choice():
    one = agent(pednet_gamma=0.0, pednet_reply_weight=0.3, pednet_choice_weight=0.7)
    batch = batch_of(one, {}, {fields.PERSONA_LABEL: NO_SENTENCE})
    scores, _, chosen = one.model(*one._model_input(batch), ys=batch.label_vec)
    words = -scores.log_softmax(-1).gather(-1, batch.label_vec[..., None]).sum() / 2  # a reply
    choice = -chosen.probabilities[0, 0].log()  # only the first has a label
    one.model.train()
    assert one.compute_loss(batch).item() == pytest.approx((0.3 * words + 0.7 * choice).item(), rel=1e-5)


def test_a_reply_says_what_it_draws_on():
    one = agent('valid')
    long, short = {**EXAMPLE}, {**EXAMPLE, fields.PERSONA: PERSONA[:1]}
    found = replies(one, [[Message(long)], [Message(short)]])
    assert [len(reply[fields.PERSONA_WEIGHTS]) for reply in found] == [3, 1]
    assert [sum(reply[fields.PERSONA_WEIGHTS]) for reply in found] == pytest.approx([1, 1])
    with_label = replies(one, [[Message({**long, 'eval_labels': [SAID]})]])[0]
    assert with_label[fields.PERSONA_WEIGHTS] == pytest.approx(found[0][fields.PERSONA_WEIGHTS])
    best = with_label[fields.PERSONA_WEIGHTS].index(max(with_label[fields.PERSONA_WEIGHTS]))
    assert with_label['metrics']['choice_acc'].value() == (best == 0)
    assert with_label['metrics']['choice_chance'].value() == pytest.approx(1 / 3)


def test_a_training_without_congeneric_contexts_says_what_to_do():
    without = changed(Message({**EXAMPLE, 'labels': [SAID]}), **{fields.CONGENERIC: None})
    with pytest.raises(UserError, match='persona:congeneric'):
        agent().observe(without)
    agent(pednet_gamma=0.0).observe(without)


def test_a_model_finds_the_specific_words_of_a_chat(tmp_path):
    """Its checkpoint has the counts of the training split, so that it needs no data."""
    one = agent(model_file=str(tmp_path / 'model'), pednet_pmi_threshold=-100.0)
    one.save()
    back = create_agent_from_model_file(str(tmp_path / 'model'), {'datatype': 'valid', 'task': 'persona:own'})
    turn = changed(dialogues()[0][1], **{fields.SPECIFIC_WORDS: None})
    seen = [hear(model.clone(), [dialogues()[0][0], turn])['specific_vec'] for model in (one, back)]
    assert seen[0] == seen[1] != []
    assert {back.dict[word] for word in seen[1]} <= {
        *turn['text'].replace('?', ' ').replace('.', ' ').split(),
        '__unk__',
    }


def test_given_words_come_before_found_ones():
    one = agent(pednet_pmi_threshold=-100.0)
    assert texts(one, torch.tensor(one.observe(Message(EXAMPLE))['specific_vec'])) == 'pets'
    assert one.clone().observe(Message({**EXAMPLE, fields.SPECIFIC_WORDS: []}))['specific_vec'] == []


@pytest.mark.slow
def test_the_choice_is_right_where_the_grammar_tells_the_answer(tmp_path):
    """In `persona:sample` a question about the persona is answered by one of its sentences."""
    task = {'task': 'persona:congeneric', 'congeneric_of': 'persona:sample', 'datapath': str(tmp_path)}
    training = {'batchsize': 32, 'learningrate': 3e-3, 'num_epochs': 8, 'skip_generation': True, 'seed': 1}
    opt = TrainModel.setup_args().parse_kwargs(
        model='persona:pednet',
        model_file=str(tmp_path / 'model'),
        dict_tokenizer='re',
        loglevel='error',
        pednet_hidden=64,
        pednet_layers=1,
        pednet_embedding=32,
        pednet_attention='dot',
        persona_sample_dialogues=300,
        **task,
        **training,
    )
    TrainLoop(opt).train()
    one = create_agent_from_model_file(str(tmp_path / 'model'), {'datatype': 'valid', 'skip_generation': True})
    teacher = create_task_agent_from_taskname({**opt, 'datatype': 'valid'})[0]
    asked = [message for message in map(teacher.get, range(teacher.num_examples())) if message['kind'] == 'persona']
    weights = [
        reply[fields.PERSONA_WEIGHTS] for reply in replies(one, [[changed(message, labels=None)] for message in asked])
    ]
    right = [row.index(max(row)) == message[fields.PERSONA_LABEL] for row, message in zip(weights, asked, strict=True)]
    assert len(right) == 400 and sum(right) >= 0.95 * len(right), sum(right)
