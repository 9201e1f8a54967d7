"""The transmitter of P2Bot: judging replies, the choice among the replies of a beam, and what it is shown."""

import random
from math import exp, log

import pytest
import tiny_lm
import torch
from contract import changed, dialogues, hear, replies
from parlai.core.agents import create_agent
from parlai.scripts.eval_model import EvalModel
from parlai.scripts.train_model import TrainModel
from test_language_model import plain

from parlai_persona import fields
from parlai_persona.errors import UserError

MODEL = 'persona:p2bot/transmitter'


def agent(datatype: str = 'valid', **options):
    opt = {'model': MODEL, 'datatype': datatype, 'lm_model': tiny_lm.folder(), 'loglevel': 'error', **options}
    made = create_agent(TrainModel.setup_args().parse_kwargs(task='persona:sample', **opt))
    made.model.eval()  # in training the head reads states that are standardised by the batch
    return made


def odds(net, tokens: list[int]) -> float:
    """Return the head's judgement of a prompt with its reply, by transformers itself."""
    return net.judge(net.base.base_model(torch.tensor([tokens])).last_hidden_state[:, -1]).item()


def log_sigmoid(x: float) -> float:
    return -log(1 + exp(-x))


@pytest.mark.parametrize('alpha', [0.1, 0.8, 1.0])
def test_the_reply_of_a_beam_is_chosen_by_equation_3(alpha):
    """With alpha 1 that is eq. 2: the log-likelihood of its words, the end included, by their number."""
    one = agent(p2bot_alpha=alpha)
    rows = [dialogues()[0][:1], dialogues()[1][:3]]
    seen = [hear(one.clone(), turns) for turns in rows]
    said = [['i am fine .', 'yes', 'i do not like that at all .'], ['hello', 'i am a lawyer .']]
    vecs = [[torch.tensor([one.START_IDX, *one.dict.txt2vec(text), one.END_IDX]) for text in texts] for texts in said]
    found = one._rerank_beams(one.batchify(seen), [[(vec, torch.tensor(0.0), None) for vec in some] for some in vecs])
    for row, texts, sorted_replies in zip(seen, said, found, strict=True):
        prompt, scores = row['text_vec'].tolist(), {}
        for text in texts:
            words = [*one.dict.txt2vec(text), one.END_IDX]
            mean = sum(plain(one.net, prompt, words)) / len(words)
            scores[text] = alpha * mean + (1 - alpha) * log_sigmoid(odds(one.net, prompt + words))
        best_first = sorted(scores, key=scores.__getitem__, reverse=True)
        assert [one._v2t(tokens) for tokens, *_ in sorted_replies] == best_first
        assert [score.item() for _, score, _ in sorted_replies] == pytest.approx(
            sorted(scores.values())[::-1], abs=1e-5
        )


def test_candidates_are_ranked_by_the_head():
    one = agent(skip_generation=True)
    seen = hear(one, dialogues()[0][:1])
    prompt = seen['text_vec'].tolist()
    expected = {
        text: odds(one.net, prompt + vec.tolist())
        for text, vec in zip(seen['label_candidates'], seen['label_candidates_vecs'], strict=True)
    }
    ranked = one.act()['text_candidates']
    assert [expected[text] for text in ranked] == pytest.approx(sorted(expected.values(), reverse=True), abs=1e-5)


def test_a_turn_without_candidates_is_answered():
    """As in a chat; beside it in the batch, one with candidates is ranked as alone."""
    one = agent(label_truncate=4)
    with_some, without = dialogues()[0][0], changed(dialogues()[1][0], label_candidates=None)
    (alone,) = replies(one, [[without]])
    assert alone['text'] and not alone.get('text_candidates')
    first, second = replies(one, [[with_some], [without]])
    assert first['text_candidates'] == replies(one, [[with_some]])[0]['text_candidates']
    assert second['text'] == alone['text'] and not second.get('text_candidates')


def test_the_loss_by_hand():
    """Words by eq. 1, and half the cross-entropy of the reply and of its distractor, mixed."""
    one = agent('train', p2bot_mix=0.25, p2bot_shuffle=False)
    turn = changed(dialogues('train:ordered')[0][0])
    turn.force_set('label_candidates', [turn['labels'][0], 'i am a distractor .'])
    seen = one.observe(turn)
    prompt, reply = seen['text_vec'].tolist(), seen['labels_vec'].tolist()
    other = [*one.dict.txt2vec('i am a distractor .'), one.END_IDX]
    words = -sum(plain(one.net, prompt, reply)) / len(reply)
    judged = -(log_sigmoid(odds(one.net, prompt + reply)) + log_sigmoid(-odds(one.net, prompt + other))) / 2
    loss = one.compute_loss(one.batchify([seen]))
    assert loss.item() == pytest.approx(0.75 * words + 0.25 * judged, abs=1e-5)


def test_label_smoothing_by_hand():
    """A tenth of the loss is that of all words alike; an evaluation has none of it."""
    one = agent('train', p2bot_mix=0.0, p2bot_smoothing=0.1)
    seen = one.observe(changed(dialogues('train:ordered')[0][0]))
    batch = one.batchify([seen])
    scores = one.net(*one._model_input(batch), ys=batch.label_vec)[0][0].log_softmax(-1)
    right = scores.gather(1, batch.label_vec[0][:, None])
    expected = -(0.9 * right.mean() + 0.1 * scores.mean())
    assert one.compute_loss(batch).item() == pytest.approx(expected.item(), abs=1e-5)
    one._local_metrics.clear()
    with torch.no_grad():
        assert one.compute_loss(batch).item() == pytest.approx(-right.mean().item(), abs=1e-5)


def whole_dialogue(one) -> dict:
    turns = dialogues('train:ordered')[0]
    messages = [
        {'text': turn['text'], 'labels': [turn['labels'][0]], 'label_candidates': turn['label_candidates']}
        for turn in turns
    ]
    return {fields.PERSONA: turns[0][fields.PERSONA], fields.MESSAGES: messages}


def test_distractors_are_other_replies():
    one = agent('train', p2bot_distractors=2, p2bot_hard=1)
    dialogue = whole_dialogue(one)
    replies_of = [message['labels'][0] for message in dialogue[fields.MESSAGES]]
    for turn, message in zip(one.turns_to_learn(dialogue), dialogue[fields.MESSAGES], strict=True):
        _, _, others = one.with_others(turn)
        texts = [one.dict.vec2txt(other[:-1]) for other in others]
        assert len(texts) == 3 and message['labels'][0] not in texts
        assert set(texts[:2]) <= set(message['label_candidates']) and texts[2] in replies_of


def test_hard_distractors_need_a_dialogue():
    turn = changed(dialogues('train:ordered')[0][0])
    one = agent('train', p2bot_hard=1)
    with pytest.raises(UserError, match='--p2bot-hard 1 takes replies of the same dialogue; a turn comes alone'):
        one.compute_loss(one.batchify([one.observe(turn)]))
    one, dialogue = agent('train', p2bot_distractors=0, p2bot_hard=1), whole_dialogue(agent('train'))
    (turn,) = one.turns_to_learn({**dialogue, fields.MESSAGES: dialogue[fields.MESSAGES][:1]})
    with pytest.raises(UserError, match='has no other reply to judge. Ask for --p2bot-distractors 1'):
        one.with_others(turn)


def test_a_persona_is_shown_in_new_orders_in_training_only():
    random.seed(0)
    one = agent('train')
    persona = dialogues('train:ordered')[0][0][fields.PERSONA]
    heads = set()
    for _ in range(20):
        prompt = one.turns_to_learn(whole_dialogue(one))[0]['text_vec'].tolist()
        heads.add(tuple(prompt[: len(one.dict.layout.persona(persona))]))
    assert len(heads) > 1 and len({tuple(sorted(head)) for head in heads}) == 1
    shown = {tuple(agent().observe(changed(dialogues()[0][0]))['text_vec'].tolist()) for _ in range(3)}
    assert len(shown) == 1


def test_too_few_candidates_are_one_line():
    one = agent('train')
    turn = changed(dialogues('train:ordered')[0][0], label_candidates=None)
    with pytest.raises(UserError, match='--p2bot-distractors 1: the turn .* has only 0 other candidates'):
        one.compute_loss(one.batchify([one.observe(turn)]))


def test_the_head_learns(tmp_path):
    """It tells the replies of two dialogues from those of others after a short training."""
    model, data = str(tmp_path / 'model'), {'persona_candidates': 'sampled', 'persona_candidates_count': 5}
    TrainModel.main(
        model=MODEL,
        task='persona:dialogues',
        dialogues_of='persona:sample',
        evaltask='persona:sample',
        persona_sample_dialogues=2,
        **data,
        lm_model=tiny_lm.folder('wide'),
        lm_train='all',
        p2bot_distractors=4,
        p2bot_mix=0.9,
        p2bot_shuffle=False,
        model_file=model,
        batchsize=2,
        max_train_steps=60,
        learningrate=5e-3,
        skip_generation=True,
        validation_max_exs=2,
        short_final_eval=True,
        loglevel='error',
        seed=1,
    )
    report = EvalModel.main(
        task='persona:sample',
        datatype='train:evalmode',
        model_file=model,
        persona_sample_dialogues=2,
        **data,
        batchsize=4,
        loglevel='error',
    )
    assert report['hits@1'] == 1
