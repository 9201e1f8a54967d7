"""Recurrent generators: their parts equal loops over single words of single texts; `persona:seq2seq` stands on them."""

import pytest
import torch
from contract import AGENTS, dialogues, load, replies, reply, train, training_options
from parlai.core.message import Message
from torch import Tensor, nn

from parlai_persona.agents.seq2seq.model import Seq2Seq
from parlai_persona.errors import UserError
from parlai_persona.models.recurrent import Attention, GatedGru, PlainGru, Reader, Sizes, distinct, masked_softmax

PAD, START, END, WORDS = 0, 1, 2, 20
SMALL = {'hidden': 6, 'embedding': 5, 'layers': 2, 'dropout': 0.0}
KINDS = ('mlp', 'general', 'dot')
TEXTS = torch.tensor([[4, 5, 6, 7], [8, 9, PAD, PAD], [10, PAD, PAD, PAD]])
REPLIES = torch.tensor([[11, 12, END], [13, END, PAD], [14, 15, END]])


@pytest.fixture(autouse=True)
def same_weights():
    torch.manual_seed(0)


def network(**more) -> Seq2Seq:
    return Seq2Seq(Sizes(**{**SMALL, **more}), WORDS, START, END, PAD).eval()


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize('both', [False, True])
def test_a_text_is_read_as_it_is_alone_without_padding(both):
    reader = Reader(Sizes(**SMALL, bidirectional=both)).eval()
    words, is_word = torch.randn(*TEXTS.shape, 5), TEXTS != PAD
    u, h = reader(words, is_word)
    assert u.shape == (2, 3, 6) and h.shape == (3, 4, 6)
    for row, length in enumerate(is_word.sum(1)):
        states, last = reader.gru(words[row : row + 1, :length])
        close(h[row, :length], states[0])
        assert not h[row, length:].any()
        close(u[:, row], last.view(2, 1 + both, -1).flatten(1))
        if both:  # the last state forwards is that of the last word, backwards that of the first
            close(u[-1, row], torch.cat([states[0, -1, :3], states[0, 0, 3:]]))


def test_a_text_without_words_is_read():
    u, h = Reader(Sizes(**SMALL))(torch.zeros(1, 2, 5), torch.zeros(1, 2, dtype=torch.bool))
    assert u.isfinite().all() and h.isfinite().all()


def test_odd_states_have_no_halves():
    with pytest.raises(UserError, match='7 numbers in a state'):
        Sizes(hidden=7, bidirectional=True)


def test_distinct_texts():
    texts = torch.tensor([[[4, 5], [6, PAD]], [[6, PAD], [4, 5]], [[4, 5], [4, 5]]])
    found, places = distinct(texts)
    assert len(found) == 2
    assert torch.equal(found[places], texts)


# ----------------------------------------------------------------------------------------- attention


def fit(attention: Attention, kind: str, s: Tensor, h: Tensor) -> Tensor:
    """Return how well a state fits that of a word, by the definition."""
    if kind == 'dot':
        return s @ h
    if kind == 'general':
        return h @ (attention.query.weight @ s)
    query = attention.query.weight @ s + attention.query.bias
    return attention.score.weight[0] @ torch.tanh(query + attention.key.weight @ h)


@pytest.mark.parametrize('kind', KINDS)
def test_attention_is_that_of_a_loop(kind):
    attention = Attention(kind, 4, 4)
    s, texts, places = torch.randn(2, 4), torch.randn(4, 5, 4), torch.tensor([[2, 0, 3], [1, 1, 2]])
    are_words = torch.rand(4, 5) < 0.6
    are_words[2], are_words[0] = True, False  # a full text, and one without words
    h, is_word = texts[places], are_words[places]  # (2, 3, 5, 4), (2, 3, 5)
    share = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    found = attention(s, attention.memory(texts, are_words, places, share))
    for row in range(2):
        c = torch.zeros(4)
        for text in range(3):
            places = is_word[row, text].nonzero()[:, 0].tolist()
            if places:
                fits = torch.stack([fit(attention, kind, s[row], h[row, text, place]) for place in places])
                for weight, place in zip(fits.softmax(0), places, strict=True):
                    c = c + share[row, text] * weight * h[row, text, place]
        close(found[row], c)


def test_a_softmax_of_nothing_is_zero_and_has_a_gradient():
    scores = torch.randn(2, 3, requires_grad=True)
    a = masked_softmax(scores, torch.tensor([[True, True, False], [False] * 3]))
    close(a.sum(1), torch.tensor([1.0, 0.0]))
    assert a[0, 2] == 0
    a.sum().backward()
    assert scores.grad.isfinite().all()


# ------------------------------------------------------------------------------------------ decoding


def gru(cell: nn.GRUCell, x: Tensor, s: Tensor) -> Tensor:
    """Return the new state of a GRU, by its definition."""
    r, z, n = (cell.weight_ih @ x + cell.bias_ih).chunk(3)
    r_s, z_s, n_s = (cell.weight_hh @ s + cell.bias_hh).chunk(3)
    r, z = torch.sigmoid(r + r_s), torch.sigmoid(z + z_s)
    n = torch.tanh(n + r * n_s)
    return (1 - z) * n + z * s


def test_a_gated_step_by_hand():
    step = GatedGru(Sizes(hidden=3, embedding=2, layers=1), [4, 5])
    word, c, p, s = torch.randn(2), torch.randn(4), torch.randn(5), torch.randn(3)
    y = gru(step.of_words.cells[0], torch.cat([word, c]), s)
    k = gru(step.of_persona.cells[0], torch.cat([c, p]), s)
    seen = [torch.tanh(look.weight @ new + look.bias) for look, new in zip(step.look, (y, k), strict=True)]
    r = torch.sigmoid(step.gate.weight @ torch.cat(seen) + step.gate.bias)
    found = step(word[None], [c[None], p[None]], s[None, None])
    close(found[0, 0], r * y + (1 - r) * k)


def test_a_plain_step_by_hand():
    """Each layer reads the new state of the one below."""
    step = PlainGru(Sizes(hidden=3, embedding=2, layers=2, dropout=0.0), [4])
    word, c, s = torch.randn(2), torch.randn(4), torch.randn(2, 3)
    first = gru(step.gru.cells[0], torch.cat([word, c]), s[0])
    second = gru(step.gru.cells[1], first, s[1])
    close(step(word[None], [c[None]], s[:, None])[:, 0], torch.stack([first, second]))


@pytest.mark.parametrize('kind', KINDS)
def test_replies_are_scored_as_by_a_loop(kind):
    """s_t = GRU([e(y_{t-1}); c_t], s_{t-1}) with c_t = Attention(s_{t-1}, h), and o_t from [s_t; c_t]."""
    net = network(attention=kind)
    scores, *_ = net(TEXTS, ys=REPLIES)
    for row, (text, words) in enumerate(zip(TEXTS, REPLIES, strict=True)):
        h, u = net.reader.gru(net.embeddings(text[text != PAD][None]))
        s = u[:, 0]
        for t, last in enumerate([START, *words[words != PAD][:-1].tolist()]):
            fits = torch.stack([fit(net.attend[0], kind, s[-1], one) for one in h[0]])
            c = fits.softmax(0) @ h[0]
            first = gru(net.step.gru.cells[0], torch.cat([net.embeddings.weight[last], c]), s[0])
            s = torch.stack([first, gru(net.step.gru.cells[1], first, s[1])])
            o = net.score.weight @ (net.project.weight @ torch.cat([s[1], c]) + net.project.bias) + net.score.bias
            close(scores[row, t], o)


@pytest.mark.parametrize('gated', [False, True])
def test_words_one_by_one_are_words_at_once(gated):
    net = network(gated=gated)
    encoded, words = net.encoder(TEXTS), torch.cat([torch.full((3, 1), START), REPLIES], 1)
    whole, _ = net.decoder(words, encoded)
    state = None
    for length in range(1, words.shape[1] + 1):
        part, state = net.decoder(words[:, :length], encoded, state)
        close(part[:, -1], whole[:, length - 1])


def test_search_puts_rows_in_another_order():
    net = network()
    encoded, places = net.encoder(TEXTS), [2, 0, 0]
    moved = net.reorder_encoder_states(encoded, places)
    same = net.encoder(TEXTS[places])
    close(moved.start, same.start)
    for one, other in zip(moved.memories[0], same.memories[0], strict=True):
        close(one.float(), other.float())
    _, state = net.decoder(REPLIES, encoded)
    close(net.reorder_decoder_incremental_state(state, torch.tensor(places)), state[:, places])


def test_padding_changes_nothing():
    net = network()
    wide = torch.cat([TEXTS, torch.full((3, 2), PAD)], 1)
    close(net(TEXTS, ys=REPLIES)[0], net(wide, ys=REPLIES)[0])
    close(net(TEXTS, ys=REPLIES)[0][1:2, :2], net(TEXTS[1:2, :2], ys=REPLIES[1:2, :2])[0])


def test_dropout_in_reading_is_for_training_alone():
    net, same = network(read_dropout=0.5), network()
    same.load_state_dict(net.state_dict())
    close(net(TEXTS, ys=REPLIES)[0], same(TEXTS, ys=REPLIES)[0])
    u, h, _ = net.train().read(net.reader, TEXTS)
    assert not torch.equal(h, net.read(net.reader, TEXTS)[1])


def test_tied_words():
    net = network(tied=True)
    assert net.score.weight is net.embeddings.weight
    assert len({id(parameter) for parameter in net.parameters()}) == len(list(net.parameters()))


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('gated', [False, True])
def test_every_parameter_learns(kind, gated):
    """In several processes each parameter needs a gradient at every step."""
    net = network(attention=kind, gated=gated).train()
    scores, *_ = net(TEXTS, ys=REPLIES)
    torch.nn.functional.cross_entropy(scores.flatten(0, 1), REPLIES.flatten(), ignore_index=PAD).backward()
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []


# --------------------------------------------------------------------------------------------- agent


def entry(name: str):
    return next(entry for entry in AGENTS if entry.name == f'persona:{name}')


def test_the_persona_changes_nothing(tmp_path):
    """A sequence-to-sequence network does not know it, as a field or as lines of the text."""
    agent = train(entry('seq2seq'), tmp_path, steps=2).load(rank_candidates=False)
    asked = [
        {'text': 'do you have a pet ?', 'persona': persona, 'episode_done': True, 'eval_labels': ['i own a cat.']}
        for persona in (['i own a cat.'], ['i own a dog.', 'i ski.'], [])
    ]
    asked.append({**asked[0], 'text': 'your persona: i own a dog.\ndo you have a pet ?'})
    losses = {float(reply(agent.clone(), [Message(one)])['metrics']['loss']) for one in asked}
    assert len(losses) == 1


@pytest.mark.parametrize('name', ['seq2seq', 'postks'])
def test_a_beam_searches_each_row_as_if_alone(name, tmp_path):
    agent = train(entry(name), tmp_path, steps=2).load(inference='beam', beam_size=3, beam_min_length=2)
    rows = [dialogue[: 2 + number] for number, dialogue in enumerate(dialogues()[:3])]
    assert [said['text'] for said in replies(agent, rows)] == [replies(agent, [row])[0]['text'] for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize('name', ['seq2seq', 'gpmn', 'postks', 'pednet'])
def test_several_processes(name, parlai, tmp_path):
    """Each parameter has a gradient at each step; torch would stop the training otherwise."""
    options = {**training_options(entry(name), tmp_path, steps=6), 'batchsize': 2, 'distributed_world_size': 2}
    if name == 'postks':
        options['postks_warmup'] = 0.5  # an epoch has 4 steps
    if name == 'pednet':
        options['pednet_gamma'] = 0.5
    line = [word for key, value in options.items() for word in (f'--{key.replace("_", "-")}', str(value))]
    done = parlai('multiprocessing_train', *line, '--no-cuda')
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    agent = load(str(tmp_path / 'model'))
    assert all(parameter.isfinite().all() for parameter in agent.model.parameters())
    assert agent.model.embeddings.weight.any()
