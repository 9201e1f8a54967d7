"""PEDNet's networks against the paper's equations, read one word and one text at a time, and the agent around them."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from parlai_persona.agents.pednet.model import Choice, ContextDominated, PedNet, PersonaDominated, choice_loss
from parlai_persona.fields import NO_SENTENCE
from parlai_persona.models.recurrent import Reader, Sizes

V, PAD, START, END = 20, 0, 1, 2
X = [[5, 6, 7, 8, 9], [10, 11]]  # two contexts
P = [[[12, 13, 14], [15, 16]], [[17, 3, 4, 5], [6, 7], [8]]]  # their personas
Q = [[5, 9], []]
CONTEXTS = [[[5, 6, 7], [8, 9, 10, 11], [12]], [[13, 14]]]
Y = [[7, 8, END], [9, 10, 11, 12, END]]
LABELS = [1, 2]
KINDS = ('mlp', 'general', 'dot')


def network(**changes) -> PedNet:
    torch.manual_seed(1)
    sizes = {'hidden': 6, 'layers': 2, 'embedding': 4, 'dropout': 0.0, 'attention': 'dot', **changes}
    choice = Choice(**{name: sizes.pop(name) for name in ('hops', 'keywords', 'choice') if name in sizes})
    return PedNet(Sizes(**sizes), choice, V, START, END, PAD).double()


def padded(rows: list, depth: int = 1) -> torch.Tensor:
    if depth == 1:
        longest = max(1, *map(len, rows))
        return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
    flat = padded([text for row in rows for text in row])
    most = max(map(len, rows))
    out = torch.full((len(rows), most, flat.shape[1]), PAD)
    texts = iter(flat)
    for number, row in enumerate(rows):
        for place in range(len(row)):
            out[number, place] = next(texts)
    return out


def cdnet_input(label: list[int] | None = None) -> ContextDominated:
    persona = padded(P, 2)
    places = None if label is None else torch.tensor(label)
    return ContextDominated(padded(X), persona, (persona != PAD).any(-1), padded(Q), places)


# ---------------------------------------------------------------------------------- one thing at a time


def encode(net: PedNet, reader: Reader, text: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return u (L, d) and h (T, d) of one text, read alone."""
    h, last = reader.gru(net.embeddings(torch.tensor([text])))
    return last.view(net_layers(reader), -1, last.shape[-1]).flatten(1), h[0]


def net_layers(reader: Reader) -> int:
    return reader.gru.num_layers


def attend(attention, s: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """Return the mean of h by Bahdanau's scores, word by word."""
    scores = []
    for word in h:
        if attention.score is None:
            scores.append(attention.query(s) @ word)
        else:
            scores.append(attention.score(torch.tanh(attention.query(s) + attention.key(word)))[0])
    a = torch.stack(scores).softmax(0)
    return sum(weight * word for weight, word in zip(a, h, strict=True))


def decode(net: PedNet, start: torch.Tensor, contexts: list, sentences: list, reply: list[int]) -> torch.Tensor:
    """Return the scores of each word of a reply; `sentences` are pairs of share and h."""
    s, rows = start, []
    for word in [START, *reply[:-1]]:
        c = sum(attend(net.attend[0], s[-1], h) for h in contexts) / len(contexts)  # eqs. 11, 16, 17
        c_p = sum(share * attend(net.attend[1], s[-1], h) for share, h in sentences)  # eqs. 10, 15
        x, new = torch.cat([net.embeddings(torch.tensor(word)), c, c_p]), []
        for cell, old in zip(net.step.gru.cells, s, strict=True):  # eqs. 12, 18
            x = cell(x[None], old[None])[0]
            new.append(x)
        s = torch.stack(new)
        rows.append(net.score(net.project(torch.cat([s[-1], c]))))  # eq. 2
    return torch.stack(rows)


def choose(net: PedNet, x: list[int], persona: list, specific: list[int]) -> torch.Tensor:
    """Return the probabilities of the sentences after the last hop."""
    u, _ = encode(net, net.context_reader, x)
    q = sum((net.embeddings.weight[word] for word in specific), torch.zeros(4).double())
    m = net.query(torch.cat([u[-1], q]))
    sentences = [encode(net, net.persona_reader, sentence)[0][-1] for sentence in persona]
    for _ in range(net.choice.hops):
        prob = torch.stack([m @ u_p for u_p in sentences]).softmax(0)  # eq. 7
        o = sum(p * u_p for p, u_p in zip(prob, sentences, strict=True))  # eq. 8
        m = o + m  # eq. 9
    return prob


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('how', ['hard', 'label', 'soft'])
def test_cdnet_is_the_equations(how, kind):
    net = network(attention=kind, choice=how)
    scores, _, chosen = net(cdnet_input(LABELS), ys=padded(Y))
    for row, (x, persona, specific, reply) in enumerate(zip(X, P, Q, Y, strict=True)):
        prob = choose(net, x, persona, specific)
        assert chosen.probabilities[row, : len(persona)].tolist() == pytest.approx(prob.tolist())
        assert chosen.probabilities[row, len(persona) :].sum() == 0
        u, h = encode(net, net.context_reader, x)
        shares = {'hard': one_hot(int(prob.argmax()), len(persona)), 'label': one_hot(LABELS[row], len(persona))}
        shares['soft'] = prob
        read = [encode(net, net.persona_reader, sentence)[1] for sentence in persona]
        wanted = decode(net, u, [h], list(zip(shares[how], read, strict=True)), reply)
        torch.testing.assert_close(scores[row, : len(reply)], wanted)


def one_hot(place: int, count: int) -> torch.Tensor:
    return torch.eye(count).double()[place]


@pytest.mark.parametrize('kind', KINDS)
def test_pdnet_is_the_equations(kind):
    net = network(attention=kind)
    sentences = padded([persona[label] for persona, label in zip(P, LABELS, strict=True)])
    scores, _, encoded = net(PersonaDominated(padded(CONTEXTS, 2), sentences), ys=padded(Y))
    for row, (contexts, persona, reply) in enumerate(zip(CONTEXTS, P, Y, strict=True)):
        read = [encode(net, net.context_reader, context) for context in contexts]  # eq. 13
        s_0 = sum(u for u, _ in read) / len(read)
        torch.testing.assert_close(encoded.start[:, row], s_0)
        h_p = encode(net, net.persona_reader, persona[LABELS[row]])[1]  # eq. 14
        wanted = decode(net, s_0, [h for _, h in read], [(1.0, h_p)], reply)
        torch.testing.assert_close(scores[row, : len(reply)], wanted)


def test_hops_by_hand():
    """Two sentences (1, 0) and (0, 1), z = (ln 3, 0): eq. 7 gives 3/4 and 1/4, so m^2 = (ln 3 + 3/4, 1/4)."""
    net = network(hidden=2, hops=2)
    u = torch.eye(2).double()[None]
    scores = net.sentence_scores(torch.tensor([[math.log(3), 0.0]]).double(), u, torch.ones(1, 2, dtype=torch.bool))
    assert scores[0].tolist() == pytest.approx([math.log(3) + 3 / 4, 1 / 4])


def test_added_keywords_move_the_start():
    """The authors' variant adds a projection of the mean keyword to the context's state (none: its bias)."""
    net = network(keywords='add')
    chosen = net.encoder(cdnet_input())
    for row, (x, specific) in enumerate(zip(X, Q, strict=True)):
        words = net.embeddings.weight[specific]
        mean = words.mean(0) if specific else torch.zeros(4).double()
        u, _ = encode(net, net.context_reader, x)
        torch.testing.assert_close(chosen.start[:, row], u + net.query(mean))


# ------------------------------------------------------------------------------------------- learning


def gradients(net: PedNet) -> set[str]:
    """Return the parts of the network that a loss has moved."""
    named = ((name.split('.')[0], p.grad) for name, p in net.named_parameters())
    return {name for name, grad in named if grad is not None and bool(grad.any())}


def test_the_choice_trains_the_encoders_and_the_query_alone():
    net = network()
    chosen = net.encoder(cdnet_input(LABELS))
    choice_loss(chosen.scores, torch.tensor(LABELS)).sum().backward()
    assert gradients(net) == {'embeddings', 'context_reader', 'persona_reader', 'query'}


def test_words_do_not_train_a_hard_choice_but_a_soft_one():
    for how, trained in (('hard', False), ('soft', True)):
        net = network(choice=how)
        scores, *_ = net(cdnet_input(), ys=padded(Y))
        cross_entropy(scores.flatten(0, 1), padded(Y).flatten(), ignore_index=PAD).backward()
        assert ('query' in gradients(net)) is trained, how


def test_pdnet_leaves_the_choice_alone():
    net = network()
    scores, *_ = net(PersonaDominated(padded(CONTEXTS, 2), padded([P[0][0], P[1][0]])), ys=padded(Y))
    scores.sum().backward()
    assert gradients(net) == {'embeddings', 'context_reader', 'persona_reader', 'step', 'project', 'score'}


def test_choice_loss_by_hand():
    scores = torch.tensor([[0.0, math.log(3)], [5.0, 1.0]])
    assert choice_loss(scores, torch.tensor([1, NO_SENTENCE])).tolist() == pytest.approx([math.log(4 / 3), 0])


def test_a_reply_without_a_sentence_attends_to_none():
    """PDNet with an empty p*: the vector of the persona is 0, and other rows do not change."""
    net = network()
    both = padded([P[0][0], P[1][0]])
    with_both, *_ = net(PersonaDominated(padded(CONTEXTS, 2), both), ys=padded(Y))
    both[0] = PAD
    scores, *_ = net(PersonaDominated(padded(CONTEXTS, 2), both), ys=padded(Y))
    read = [encode(net, net.context_reader, context) for context in CONTEXTS[0]]
    s_0 = sum(u for u, _ in read) / len(read)
    wanted = decode(net, s_0, [h for _, h in read], [(1.0, torch.zeros(1, 6).double())], Y[0])
    torch.testing.assert_close(scores[0, : len(Y[0])], wanted)
    torch.testing.assert_close(scores[1], with_both[1])


# ------------------------------------------------------------------------------- padding, search


@pytest.mark.parametrize('changes', [{}, {'bidirectional': True}, {'gated': True, 'keywords': 'add'}])
def test_padding_changes_nothing(changes):
    net = network(**changes).eval()
    wide = [torch.nn.functional.pad(part, (0, 3)) for part in (padded(X), padded(P, 2), padded(Q))]
    wide[1] = torch.nn.functional.pad(wide[1], (0, 0, 0, 2))
    inputs = ContextDominated(wide[0], wide[1], (wide[1] != PAD).any(-1), wide[2])
    plain = net(cdnet_input(), ys=padded(Y))[0]
    torch.testing.assert_close(net(inputs, ys=padded(Y))[0], plain)
    contexts = torch.nn.functional.pad(padded(CONTEXTS, 2), (0, 2, 0, 1))
    sentences = padded([P[0][0], P[1][0]])
    torch.testing.assert_close(
        net(PersonaDominated(contexts, torch.nn.functional.pad(sentences, (0, 2))), ys=padded(Y))[0],
        net(PersonaDominated(padded(CONTEXTS, 2), sentences), ys=padded(Y))[0],
    )


def test_one_row_alone_gives_what_it_gives_beside_others():
    net = network().eval()
    together = net(cdnet_input(), ys=padded(Y))[0]
    persona = torch.tensor([[[*P[0][0]], [*P[0][1], PAD]]])
    alone = ContextDominated(torch.tensor([X[0]]), persona, (persona != PAD).any(-1), torch.tensor([Q[0]]))
    torch.testing.assert_close(net(alone, ys=torch.tensor([Y[0]]))[0][0], together[0, : len(Y[0])])
