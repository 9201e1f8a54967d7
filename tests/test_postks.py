"""`persona:postks` is the posterior knowledge selection of Lian et al. 2019."""

from dataclasses import replace

import pytest
import torch
from contract import AGENTS, changed, dialogues, hear, load, replies, train, training_options
from parlai.scripts.train_model import TrainLoop, TrainModel
from torch import Tensor

from parlai_persona import fields
from parlai_persona.agents.postks.model import Chosen, PostKs, agreement, bow_loss, divergence, straight_through
from parlai_persona.errors import UserError
from parlai_persona.models.recurrent import Sizes

PAD, START, END, WORDS = 0, 1, 2, 20
SIZES = Sizes(hidden=6, embedding=5, layers=1, dropout=0.0, attention='dot', gated=True)
TEXTS = torch.tensor([[4, 5, 6], [8, PAD, PAD]])
REPLIES = torch.tensor([[11, 12, END], [13, END, PAD]])
WITHOUT_END = torch.tensor([[11, 12, PAD], [13, PAD, PAD]])
PERSONA = torch.tensor([[[4, 7, 9], [10, PAD, PAD]], [[3, 3, PAD], [PAD, PAD, PAD]]])
IS_SENTENCE = torch.tensor([[True, True], [True, False]])
ENTRY = next(entry for entry in AGENTS if entry.name == 'persona:postks')


@pytest.fixture
def net() -> PostKs:
    torch.manual_seed(0)
    return PostKs(SIZES, 0.8, WORDS, START, END, PAD).eval()


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def last_state(net: PostKs, reader, words: Tensor) -> Tensor:
    return reader.gru(net.embeddings(words[words != PAD][None]))[1][-1, 0]


# ------------------------------------------------------------------------------------------- choice


def test_prior_and_posterior_are_those_of_a_loop(net):
    chosen = net.encoder(TEXTS, PERSONA, IS_SENTENCE, WITHOUT_END)
    for row in range(2):
        x = last_state(net, net.context_reader, TEXTS[row])
        y = last_state(net, net.persona_reader, WITHOUT_END[row])
        k = [last_state(net, net.persona_reader, one) for one in PERSONA[row, IS_SENTENCE[row]]]
        query = net.query.weight @ torch.cat([x, y]) + net.query.bias
        close(chosen.probabilities[row, : len(k)], torch.stack([x @ one for one in k]).softmax(0))
        close(chosen.posterior[row, : len(k)], torch.stack([query @ one for one in k]))
        best = k[int(torch.stack([x @ one for one in k]).argmax())]
        close(chosen.memories[1].h[row, 0], best)  # what the decoder reads at each word
        close(chosen.bow[row], net.bow.weight @ best + net.bow.bias)
    assert chosen.probabilities[1, 1] == 0


def test_the_decoder_reads_the_chosen_sentence_as_a_whole(net):
    encoded = net.encoder(TEXTS, PERSONA, IS_SENTENCE)
    close(net.attend[1](torch.randn(2, 6), encoded.memories[1]), encoded.memories[1].h[:, 0])


def test_speaking_does_not_read_the_reply(net):
    """In an evaluation the reply is known, but only the measures of the choice may look at it."""
    told, alone = net.encoder(TEXTS, PERSONA, IS_SENTENCE, WITHOUT_END), net.encoder(TEXTS, PERSONA, IS_SENTENCE)
    for one, other in ((told.start, alone.start), (told.prior, alone.prior)):
        assert torch.equal(one, other)
    for one, other in zip(told.memories, alone.memories, strict=True):
        assert torch.equal(one.h, other.h)


def test_without_a_persona_nothing_is_chosen(net):
    none = torch.zeros_like(IS_SENTENCE)
    for mode in (net.train(), net.eval()):
        scores, _, chosen = mode(TEXTS, PERSONA, none, WITHOUT_END, ys=REPLIES)
        assert not chosen.probabilities.any() and not chosen.memories[1].h.any()
        assert not divergence(chosen).any()
        assert scores.isfinite().all()
    (scores.sum() + bow_loss(chosen, WITHOUT_END, PAD).sum() + divergence(chosen).sum()).backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def test_a_draw_is_hard_and_its_gradient_is_soft():
    scores, mask = torch.randn(50, 4, requires_grad=True), torch.ones(50, 4, dtype=torch.bool)
    mask[:, 3] = False
    weight = torch.randn(50, 4)
    torch.manual_seed(3)
    hard = straight_through(scores, mask, 0.7)
    close(hard.sum(1), torch.ones(50))
    assert set(hard.round(decimals=5).flatten().tolist()) == {0, 1} and not hard[:, 3].any()
    (hard * weight).sum().backward()
    torch.manual_seed(3)  # the same noise
    gumbel = -torch.empty(50, 4).exponential_().log()
    soft = scores.detach()[:, :3].requires_grad_()
    probabilities = ((soft + gumbel[:, :3]) / 0.7).softmax(-1)
    assert torch.equal(probabilities.argmax(1), hard.argmax(1))
    (probabilities * weight[:, :3]).sum().backward()
    close(scores.grad[:, :3], soft.grad)


def test_draws_have_the_probabilities_of_the_posterior():
    torch.manual_seed(0)
    scores = torch.tensor([0.2, 0.5, 0.3]).log().expand(20_000, 3)
    drawn = straight_through(scores, torch.ones_like(scores, dtype=torch.bool), 0.8).mean(0)
    assert drawn.tolist() == pytest.approx([0.2, 0.5, 0.3], abs=0.015)


def test_training_draws_from_the_posterior(net):
    with torch.no_grad():
        net.query.weight.zero_()
        net.query.bias.copy_(1e3 * last_state(net, net.persona_reader, PERSONA[0, 1]))
    chosen = net.train().encoder(TEXTS[:1], PERSONA[:1], IS_SENTENCE[:1], WITHOUT_END[:1])
    assert chosen.posterior[0].argmax() == 1
    close(chosen.memories[1].h[0, 0], last_state(net, net.persona_reader, PERSONA[0, 1]))


# ------------------------------------------------------------------------------------------- losses


def chosen_by_hand(**more) -> Chosen:
    parts = {
        'is_sentence': torch.tensor([[True, True, False]]),
        'prior': torch.tensor([[0.5, 0.5, 0.0]]).log().clamp(min=-1e30).requires_grad_(),
        'posterior': torch.tensor([[0.9, 0.1, 0.0]]).log().clamp(min=-1e30).requires_grad_(),
        'bow': None,
    }
    return Chosen(torch.zeros(1), (), **{**parts, **more})


def test_the_divergence_by_hand_trains_the_prior_only():
    chosen = chosen_by_hand()
    kl = divergence(chosen)
    assert kl.tolist() == pytest.approx([0.36806423])  # .9 ln 1.8 + .1 ln .2
    kl.sum().backward()
    assert chosen.posterior.grad is None
    close(chosen.prior.grad, torch.tensor([[-0.4, 0.4, 0.0]]))  # prior - posterior


def test_the_divergence_reaches_both_texts_but_not_the_reply(net):
    divergence(net.train().encoder(TEXTS, PERSONA, IS_SENTENCE, WITHOUT_END)).sum().backward()
    assert net.query.weight.grad is None and net.bow.weight.grad is None
    assert net.context_reader.gru.weight_ih_l0.grad.any() and net.persona_reader.gru.weight_ih_l0.grad.any()
    learned = net.embeddings.weight.grad.any(1)
    assert learned[[4, 7, 10]].all() and not learned[[11, 12, 13]].any()


def test_the_bag_of_words_by_hand():
    chosen = chosen_by_hand(bow=torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log())
    found = bow_loss(chosen, torch.tensor([[1, 3, 3, PAD]]), PAD)
    assert found.tolist() == pytest.approx([1.1473398])  # -(ln .2 + 2 ln .4) / 3


def test_the_bag_of_words_trains_the_choice_not_the_decoder(net):
    bow_loss(net.train().encoder(TEXTS, PERSONA, IS_SENTENCE, WITHOUT_END), WITHOUT_END, PAD).sum().backward()
    learned = {name.partition('.')[0] for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert learned == {'embeddings', 'context_reader', 'persona_reader', 'query', 'bow'}


def test_agreement():
    assert agreement(chosen_by_hand(prior=torch.tensor([[1.0, 0.0, -1e30]]))).tolist() == [True]
    assert agreement(chosen_by_hand(prior=torch.tensor([[0.0, 1.0, -1e30]]))).tolist() == [False]


def question(batch: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return examples with two sentences in any order, one about pets (4 to 7), one about work (8 to 11).

    The context asks for one of them (20 or 21); the reply has a word that goes with the answer (12 to 19). The last
    part is the place of the answer.
    """
    pet, work = torch.randint(4, 8, (batch,)), torch.randint(8, 12, (batch,))
    asks_for_work, place = torch.randint(2, (batch,)), torch.randint(2, (batch,))
    answer = torch.where(asks_for_work == 1, work, pet)
    other = torch.where(asks_for_work == 1, pet, work)
    persona = torch.where((place == 0)[:, None], torch.stack([answer, other], 1), torch.stack([other, answer], 1))
    everywhere = torch.ones(batch, 2, dtype=torch.bool)
    return (20 + asks_for_work)[:, None], persona[..., None], everywhere, (answer + 8)[:, None], place


def test_the_choice_is_learned_from_replies():
    """The posterior finds out which sentence a reply expresses, and the prior learns it from the posterior."""
    torch.manual_seed(0)
    net = PostKs(Sizes(hidden=16, embedding=16, layers=1, dropout=0.0), 0.8, 22, START, END, PAD)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for step in range(200):
        *inputs, reply, _ = question(32)
        chosen = net.encoder(*inputs, reply)
        kl = divergence(chosen).mean() if step >= 100 else 0  # the warm-up comes first
        optimizer.zero_grad()
        (bow_loss(chosen, reply, PAD).mean() + kl).backward()
        optimizer.step()
    *inputs, reply, place = question(500)
    chosen = net.eval().encoder(*inputs, reply)
    assert (chosen.posterior.argmax(1) == place).float().mean() > 0.95
    assert (chosen.prior.argmax(1) == place).float().mean() > 0.95


# --------------------------------------------------------------------------------------------- agent


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return train(ENTRY, tmp_path_factory.mktemp('postks'), steps=2)


def learn(agent) -> dict[str, Tensor]:
    """Do a training step; return how much each parameter changed."""
    before = {name: parameter.clone() for name, parameter in agent.model.named_parameters()}
    agent.batch_act([hear(agent.clone(), turns[:2]) for turns in dialogues('train:ordered')])
    return {name: (p - before[name]).abs().max() for name, p in agent.model.named_parameters()}


def test_the_warm_up_trains_the_choice_only(model):
    agent = load(model.model_file, datatype='train', postks_warmup=5.0, init_model=None, optimizer='sgd')
    agent.epochs_done = lambda: 4.99
    still = ('attend.', 'step.', 'project.', 'score.')
    change = learn(agent)
    assert {name for name, size in change.items() if size == 0} == {name for name in change if name.startswith(still)}
    assert all(parameter.grad is not None for parameter in agent.model.parameters())  # several processes need them
    agent.epochs_done = lambda: 5.0
    assert all(size > 0 for size in learn(agent).values())


def test_without_a_training_loop_there_is_no_warm_up(model):
    assert not load(model.model_file, datatype='train', postks_warmup=5.0).is_warm_up()


def test_a_training_knows_its_epoch(tmp_path):
    options = {**training_options(ENTRY, tmp_path, steps=9), 'postks_warmup': 2.0}
    loop, seen = TrainLoop(TrainModel.setup_args().parse_kwargs(**options)), []
    learn = loop.agent.batch_act
    loop.agent.batch_act = lambda rows: seen.append((loop.agent.epochs_done(), loop.agent.is_warm_up())) or learn(rows)
    list(loop.train_steps())
    assert seen == [(step / 2, step < 4) for step in range(9)]  # an epoch has two batches


def test_the_reply_comes_with_the_probabilities_of_the_prior(model):
    agent = model.load()
    rows = [dialogue[:2] for dialogue in dialogues()[:3]]
    unlabelled = [[*turns[:-1], changed(turns[-1], eval_labels=None)] for turns in rows]
    for turns, said, asked in zip(rows, replies(agent, rows), replies(agent, unlabelled), strict=True):
        assert len(said[fields.PERSONA_WEIGHTS]) == len(turns[-1][fields.PERSONA])
        assert sum(said[fields.PERSONA_WEIGHTS]) == pytest.approx(1, abs=1e-5)
        assert said[fields.PERSONA_WEIGHTS] == pytest.approx(asked[fields.PERSONA_WEIGHTS], abs=1e-5)
        assert said['text'] == asked['text']


def test_what_it_reports(model):
    first, second = (dialogue[:1] for dialogue in dialogues()[:2])
    weights = [said[fields.PERSONA_WEIGHTS] for said in replies(model.load(), [first, second])]
    best = max(range(len(weights[0])), key=weights[0].__getitem__)
    told = [[changed(first[0], persona_label=best)], [changed(second[0], persona_label=-1)]]
    labelled, unlabelled = (said['metrics'] for said in replies(model.load(), told))
    assert float(labelled['choice_acc']) == 1
    assert float(labelled['choice_chance']) == pytest.approx(1 / len(weights[0]))
    assert unlabelled['choice_acc'].value() == 0 and unlabelled['choice_acc']._denom == 0  # it does not count
    assert {'kl', 'bow', 'prior_agrees'} <= set(labelled)
    nobody_knows = replies(model.load(), [first, second])[0]['metrics']
    assert 'choice_acc' not in nobody_knows


def test_a_temperature_of_zero_is_refused(tmp_path):
    with pytest.raises(UserError, match='--postks-tau is 0'):
        train(replace(ENTRY, options={**ENTRY.options, 'postks_tau': 0.0}), tmp_path, steps=1)


@pytest.mark.slow
def test_two_dialogues_are_learned_by_heart(tmp_path):
    quick = {'postks_hidden': 64, 'postks_embedding': 64, 'postks_dropout': 0.0, 'gradient_clip': 5.0}
    made = train(replace(ENTRY, options={**ENTRY.options, **quick}), tmp_path, steps=120)
    assert sum(made.losses[-4:]) / 4 < 0.2
