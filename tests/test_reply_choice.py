"""A receiver has a say in which reply of a beam any generator gives."""

import pytest
import test_transmitter
import torch
from contract import changed, dialogues, hear
from parlai.core.message import Message
from test_pednet_agent import EXAMPLE, SAID, agent, words  # noqa: F401  words: a fixture
from test_self_play import Receiver

from parlai_persona import fields
from parlai_persona.errors import UserError
from parlai_persona.metrics import perception

BEAM = {'datatype': 'valid', 'inference': 'beam', 'beam_size': 3}
LAWYER = ['i am a lawyer .']


@pytest.fixture
def heard(monkeypatch):
    """Let a receiver count words in common; return what it hears: pairs of a reply and a persona."""
    pairs = []

    class Listening(Receiver):
        def perception(self, utterances, personas):
            pairs.extend(zip(utterances, personas, strict=True))
            return super().perception(utterances, personas)

    monkeypatch.setattr(perception, 'load', lambda path, datapath, flag: Listening())
    return pairs


def beam(one, texts, scores):
    vecs = [torch.tensor([one.START_IDX, *one.dict.txt2vec(text), one.END_IDX]) for text in texts]
    return [(vec, torch.tensor(score), None) for vec, score in zip(vecs, scores, strict=True)]


def sorted_beam(one, seen, texts, scores):
    """Return the replies of a beam with their scores, as the agent sorts them."""
    (found,) = one._rerank_beams(one.batchify([seen]), [beam(one, texts, scores)])
    return {one._v2t(tokens): round(score.item(), 4) for tokens, score, _ in found}


def test_its_score_is_added_to_that_of_the_reply(heard):
    """The persona is 'i have a dog .' and two more, with 'rock' in one of them: 3, 1 and 0 words in common."""
    said = {'have a dog': -4.0, 'you rock': -1.0, 'do you ?': -0.5}
    one = agent(**BEAM, pednet_receiver='r', pednet_receiver_weight=2)
    seen = one.observe(Message({**EXAMPLE, 'eval_labels': [SAID]}))
    found = sorted_beam(one, seen, said, said.values())
    assert list(found.items()) == [('have a dog', -4 + 2 * 3), ('you rock', -1 + 2 * 1), ('do you ?', -0.5)]
    assert heard == [(text, EXAMPLE[fields.PERSONA]) for text in said]


def test_a_persona_may_be_lines_of_the_text(heard):
    """As in ParlAI's own tasks."""
    one = agent(**BEAM, pednet_receiver='r')
    plain = {name: value for name, value in EXAMPLE.items() if name not in (fields.PERSONA, fields.PERSONA_LABEL)}
    stated = '\n'.join([*(f'your persona: {line}' for line in EXAMPLE[fields.PERSONA]), EXAMPLE['text']])
    seen = one.observe(Message({**plain, 'text': stated, 'eval_labels': [SAID]}))
    sorted_beam(one, seen, ['you rock', 'do you ?'], [-1.0, -2.0])
    assert {tuple(persona) for _, persona in heard} == {tuple(EXAMPLE[fields.PERSONA])}


@pytest.mark.parametrize('options', [{}, {'pednet_receiver': 'r', 'pednet_receiver_weight': 0}])
def test_without_its_weight_the_beam_keeps_its_order(heard, options):
    said = {'do you ?': -0.5, 'you rock': -1.0, 'have a dog': -4.0}
    one = agent(**BEAM, **options)
    seen = one.observe(Message({**EXAMPLE, 'eval_labels': [SAID]}))
    assert list(sorted_beam(one, seen, said, said.values()).items()) == list(said.items())


def test_it_hears_the_beam_of_each_example_with_its_own_persona(heard):
    one = agent(**BEAM, pednet_receiver='r', pednet_receiver_weight=1000)
    one.net.score.bias.data[one.END_IDX] += 2  # replies end
    personas = [EXAMPLE[fields.PERSONA], ['do you play ?']]
    rows = [changed(Message({**EXAMPLE, 'eval_labels': [SAID]}), **{fields.PERSONA: own}) for own in personas]
    clones = [one.clone() for _ in rows]
    said = [reply['text'] for reply in one.batch_act([c.observe(row) for c, row in zip(clones, rows, strict=True)])]
    count = len(heard) // 2
    assert count > 1 and [own for _, own in heard] == [own for own in personas for _ in range(count)]
    for text, own, pairs in zip(said, personas, (heard[:count], heard[count:]), strict=True):
        common = dict(zip([reply for reply, _ in pairs], Receiver().perception(*zip(*pairs, strict=True)), strict=True))
        assert common[text] == max(common.values()), (own, common)


def test_it_is_added_to_equation_3_of_a_transmitter(heard):
    texts = ['no', 'i am a lawyer .', 'i am']
    turn = changed(dialogues()[0][0], **{fields.PERSONA: LAWYER})
    one = test_transmitter.agent(lm_receiver='r', lm_receiver_weight=100)
    both = sorted_beam(one, hear(one.clone(), [turn]), texts, [0.0] * 3)
    one.receiver = None
    alone = sorted_beam(one, hear(one.clone(), [turn]), texts, [0.0] * 3)
    assert list(both) == ['i am a lawyer .', 'i am', 'no']
    assert both == pytest.approx(
        {'i am a lawyer .': alone['i am a lawyer .'] + 400, 'i am': alone['i am'] + 200, 'no': alone['no']}, abs=1e-3
    )


def test_a_single_reply_is_no_choice():
    with pytest.raises(UserError, match='--pednet-receiver chooses among .* --beam-size 2 or more .saw 1'):
        agent(pednet_receiver='r', beam_size=1)


def test_a_missing_receiver_is_named():
    with pytest.raises(UserError, match='--pednet-receiver no/receiver: saw no file no/receiver.opt'):
        agent(**BEAM, pednet_receiver='no/receiver')
