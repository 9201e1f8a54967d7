"""`persona:gpmn` is the generative profile memory network of Zhang et al. 2018."""

import math
from dataclasses import replace

import pytest
import torch
from contract import AGENTS, dialogues, replies, train
from torch import Tensor

from parlai_persona import fields
from parlai_persona.agents.gpmn.model import LEAST, Gpmn, start_weights
from parlai_persona.models.recurrent import Sizes

PAD, START, END, WORDS = 0, 1, 2, 20
SIZES = Sizes(hidden=6, embedding=5, layers=1, dropout=0.0, attention='dot', tied=True)
TEXTS = torch.tensor([[4, 5, 6], [8, PAD, PAD]])
REPLIES = torch.tensor([[11, 12, END], [13, END, PAD]])
PERSONA = torch.tensor([[[4, 7, 9], [10, PAD, PAD]], [[3, 3, PAD], [PAD, PAD, PAD]]])
IS_SENTENCE = torch.tensor([[True, True], [True, False]])
STOP_WORD = 3
ENTRY = next(entry for entry in AGENTS if entry.name == 'persona:gpmn')


@pytest.fixture
def net() -> Gpmn:
    torch.manual_seed(0)
    alpha = torch.rand(WORDS)
    alpha[[PAD, STOP_WORD]] = 0
    return Gpmn(SIZES, alpha, WORDS, START, END, PAD).eval()


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_words_weigh_by_their_rank():
    """alpha = 1 / (1 + log(1 + 10^6 / rank^1.07)), and 0 for stop words, punctuation and special tokens."""
    words = ['__null__', '__unk__', 'the', 'cat', '.', 'rare', 'also']
    counts = {'__null__': 1000, '__unk__': 1000, 'the': 90, '.': 80, 'cat': 7, 'also': 1, 'rare': 1}
    found = start_weights(words, counts, {'__null__', '__unk__'}, '__unk__')

    def alpha(rank: int) -> float:
        return 1 / (1 + math.log(1 + 1e6 / rank**1.07))

    wanted = {'cat': alpha(3), 'rare': alpha(5), '__unk__': alpha(6)}  # 'also' is a stop word, but has rank 4
    assert found.tolist() == pytest.approx([wanted.get(word, 0) for word in words])
    assert pytest.approx(alpha(1)) == LEAST


def test_a_sentence_is_the_weighted_mean_of_its_words(net):
    m = net.sentences(PERSONA)
    for row, column in ((0, 0), (0, 1)):
        words = [word for word in PERSONA[row, column].tolist() if word != PAD]
        total = sum(net.alpha[word] for word in words)
        close(m[row, column], sum(net.alpha[word] * net.embeddings.weight[word] for word in words) / total)
    assert not m[1].any()  # only stop words, and no sentence at all


def test_little_weight_is_not_scaled_up(net):
    with torch.no_grad():
        net.alpha[10] = LEAST / 4
    close(net.sentences(PERSONA)[0, 1], net.embeddings.weight[10] / 4)


def test_weights_are_learned_those_of_stop_words_too(net):
    net.sentences(PERSONA).sum().backward()
    used = net.alpha.grad.nonzero()[:, 0].tolist()
    assert STOP_WORD in used and set(used) <= {STOP_WORD, 4, 7, 9, 10}
    assert net.alpha.grad.isfinite().all()


def look(net: Gpmn, s: Tensor, m: Tensor) -> Tensor:
    """Return softmax(m_i^T A (W s)) over the sentences."""
    A, W = net.attend[1].key.weight.t(), net.attend[1].query.weight
    return torch.stack([one @ (A @ (W @ s)) for one in m]).softmax(0)


def test_replies_are_scored_as_by_a_loop(net):
    """At each word the state of the word before looks at the persona, and the GRU reads what it found."""
    assert torch.equal(net.attend[1].key.weight, torch.eye(5))  # A
    torch.nn.init.normal_(net.attend[1].key.weight)
    scores, _, encoded = net(TEXTS, PERSONA, IS_SENTENCE, ys=REPLIES)
    m, cell = net.sentences(PERSONA), net.step.gru.cells[0]
    words = torch.cat([torch.full((2, 1), START), REPLIES[:, :-1]], 1)
    looks = net.mean_attention(encoded, words.masked_fill(words == END, PAD))
    for row, (text, read) in enumerate(zip(TEXTS, words.tolist(), strict=True)):
        h, u = net.reader.gru(net.embeddings(text[text != PAD][None]))
        s, seen = u[0, 0], []
        for t, word in enumerate(one for one in read if one not in (PAD, END)):
            c = (h[0] @ s).softmax(0) @ h[0]
            seen.append(look(net, s, m[row, IS_SENTENCE[row]]))
            p = seen[-1] @ m[row, IS_SENTENCE[row]]
            s = cell(torch.cat([net.embeddings.weight[word], c, p])[None], s[None])[0]
            o = net.project.weight @ torch.cat([s, c]) + net.project.bias
            close(scores[row, t], net.embeddings.weight @ o + net.score.bias)  # tied
        close(looks[row, : len(seen[0])], torch.stack(seen).mean(0))
    assert looks[1, 1] == 0  # no sentence


@pytest.mark.parametrize(
    'search', [{'inference': 'greedy'}, {'inference': 'beam', 'beam_size': 3, 'beam_min_length': 2}]
)
def test_the_reply_comes_with_the_weights_of_the_sentences(tmp_path, search):
    agent = train(ENTRY, tmp_path, steps=2).load(**search)
    rows = [dialogue[:2] for dialogue in dialogues()[:3]]
    for turns, said in zip(rows, replies(agent, rows), strict=True):
        assert len(said[fields.PERSONA_WEIGHTS]) == len(turns[-1][fields.PERSONA])
        assert sum(said[fields.PERSONA_WEIGHTS]) == pytest.approx(1, abs=1e-5)
    alone = replies(agent, rows[:1])[0]
    assert alone[fields.PERSONA_WEIGHTS] == pytest.approx(replies(agent, rows)[0][fields.PERSONA_WEIGHTS], abs=1e-5)


@pytest.mark.slow
def test_two_dialogues_are_learned_by_heart(tmp_path):
    quick = {'gpmn_hidden': 64, 'gpmn_embedding': 64, 'gpmn_dropout': 0.0, 'gradient_clip': 5.0}
    made = train(replace(ENTRY, options={**ENTRY.options, **quick}), tmp_path, steps=120)
    assert sum(made.losses[-4:]) / 4 < 0.2
