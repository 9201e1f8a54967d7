"""The network of `persona:memnet`, its loss and its word vectors, against numbers by hand and textbook loops."""

import gzip
import math
import socket
import struct
from dataclasses import asdict
from hashlib import blake2b

import numpy as np
import pytest
import torch
import torch.multiprocessing as processes
from conftest import PATIENCE
from torch import nn

from parlai_persona.agents.memnet import batches
from parlai_persona.agents.memnet.batches import Line, Texts, batch_personas, batch_texts, cached_lines, pad_rows
from parlai_persona.agents.memnet.checkpoint import copy_rows
from parlai_persona.agents.memnet.encoders import Encoder, Shape, waves
from parlai_persona.agents.memnet.losses import losses_and_ranks, mean_loss, rows_of_all, scores_in_batch
from parlai_persona.agents.memnet.model import MemNet
from parlai_persona.errors import UserError
from parlai_persona.flags import from_opt
from parlai_persona.models.network import unwrapped
from parlai_persona.models.vectors import read_vectors, vector_size

KINDS = ('bow', 'lstm', 'transformer')
SMALL = {'embedding_size': 8, 'heads': 2, 'hidden_size': 3, 'ffn_size': 12}
SENTENCES = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11], [], [2, 2], [12, 13, 14, 15]]
WORDS = 20


def network(kind='transformer', **options):
    torch.manual_seed(0)
    return MemNet(Shape(**{**SMALL, 'encoder': kind, **options}), WORDS).eval()


def lines(*rows):
    return [Line.of(row) for row in rows]


def personas(*rows):
    return batch_personas([lines(*row) for row in rows])


# ----------------------------------------------------------------------------------------- encoders


def test_a_bag_of_words_by_hand():
    """e(1) = 1, e(2) = 2; inner 0.5 x, outer 3 x + 1: (3 tanh .5 + 1 + 3 tanh 1 + 1) / √2."""
    net = MemNet(Shape(encoder='bow', embedding_size=1), 3)
    bag = net.context.inside
    with torch.no_grad():
        net.embedding.weight.copy_(torch.tensor([[0.0], [1.0], [2.0]]))
        bag.inner.weight.fill_(0.5), bag.inner.bias.zero_(), bag.outer.weight.fill_(3.0), bag.outer.bias.fill_(1.0)
    found = net.joint(batch_texts(lines([1, 2])), None).item()
    assert found == pytest.approx((3 * math.tanh(0.5) + 3 * math.tanh(1) + 2) / math.sqrt(2), abs=1e-6)


def test_the_lstm_is_that_of_each_text_alone():
    net = network('lstm')
    found = net.joint(batch_texts(lines(*SENTENCES)), None)
    assert found.shape == (len(SENTENCES), 2 * 2 * 3)  # directions, layers, hidden size
    for row, words in zip(found, SENTENCES, strict=True):
        if words:
            last = net.context.inside.lstm(net.embedding(torch.tensor([words])))[1][0]
            assert torch.allclose(row, torch.cat(list(last[:, 0])), atol=1e-6)
    assert Shape(encoder='lstm').depth() == 2 and Encoder(Shape(encoder='lstm')).size == 600  # §5.1


def test_the_transformer_is_torchs_own():
    net, d = network(layers=2), 8
    inside, words = net.context.inside, torch.tensor([[3, 4, 5]])
    h = inside.first(net.embedding(words)) + waves(3, d)
    for layer in inside.stack:
        reference = nn.TransformerEncoderLayer(d, 2, 12, 0.0, batch_first=True, norm_first=True).eval()
        pairs = {
            'self_attn.in_proj_': layer.project,
            'self_attn.out_proj.': layer.merge,
            'linear1.': layer.inner,
            'linear2.': layer.outer,
            'norm1.': layer.before_attention,
            'norm2.': layer.before_ffn,
        }
        weights = {f'{name}{p}': getattr(part, p) for name, part in pairs.items() for p in ('weight', 'bias')}
        reference.load_state_dict(weights)
        h = reference(h)
    assert torch.allclose(net.joint(batch_texts(lines([3, 4, 5])), None)[0], inside.last(h).mean(1)[0], atol=1e-5)
    assert waves(3, d)[2, 3].item() == pytest.approx(math.cos(2 / 10_000 ** (2 / d)), abs=1e-6)


@pytest.mark.parametrize('kind', KINDS)
def test_neither_padding_nor_batch_mates_change_a_text(kind, monkeypatch):
    net = network(kind)
    batch = batch_texts(lines(*SENTENCES))
    together = net.joint(batch, None)
    for row, words in zip(together, SENTENCES, strict=True):
        assert torch.allclose(row, net.joint(batch_texts(lines(words)), None)[0], atol=1e-6)
    assert not together[3].any()  # no words
    wide = nn.functional.pad(batch.words, (0, 5), value=7)  # what stands after the end is never read
    assert torch.allclose(net.joint(Texts(wide, batch.lengths, batch.place), None), together, atol=1e-6)
    monkeypatch.setattr('parlai_persona.agents.memnet.encoders.CPU_ROWS', 2)
    assert torch.allclose(net.joint(batch, None), together, atol=1e-6)


def test_context_and_response_encoder_differ_but_for_the_words():
    net = network()
    batch = batch_texts(lines([1, 2, 3]))
    u, y = net(batch, None, batch)
    assert not torch.allclose(u, y)
    assert {id(p) for p in net.context.parameters()}.isdisjoint({id(p) for p in net.response.parameters()})


def test_the_sizes_of_the_paper():
    """§5.1. Two layers of a bag of words are those of §4.2."""
    sizes = {'embedding_size': 300, 'hidden_size': 150, 'layers': 0, 'heads': 6, 'ffn_size': 1200}
    rest = {'dropout': 0.0, 'persona': True, 'persona_start': 'identity', 'lexical': 0.0}
    assert asdict(Shape()) == {'encoder': 'transformer', **sizes, **rest}
    assert [Shape(encoder=kind).depth() for kind in ('transformer', 'lstm', 'bow')] == [4, 2, 2]
    assert Shape(layers=3).depth() == 3


@pytest.mark.parametrize(
    'name, least',
    [('embedding_size', 1), ('hidden_size', 1), ('layers', 0), ('heads', 1), ('ffn_size', 1), ('dropout', 0)],
)
def test_the_smallest_sizes(name, least):
    assert getattr(from_opt(Shape, {f'memnet_{name}': least}, 'memnet'), name) == least
    with pytest.raises(UserError, match=f'it has to be {least} or more'):
        from_opt(Shape, {f'memnet_{name}': least - 1}, 'memnet')


@pytest.mark.parametrize('kind', KINDS)
def test_dropout_is_for_training(kind):
    batch, without = batch_texts(lines(*SENTENCES)), network(kind)
    net = network(kind, dropout=0.5)
    assert torch.equal(net.joint(batch, None), without.joint(batch, None))
    assert not torch.equal(net.train().joint(batch, None), net.joint(batch, None))
    assert torch.equal(without.train().joint(batch, None), without.joint(batch, None))
    h, memory = torch.ones(1, net.size), personas([[1, 2], [3]])
    assert not torch.equal(net.recall(h, memory), net.recall(h, memory))  # the words of sentences are dropped too
    assert torch.equal(net.eval().recall(h, memory), net.recall(h, memory))


def test_attention_drops_weights_in_training_only():
    layer = network(dropout=0.5).context.inside.stack[0]
    h = torch.randn(2, 5, 8)
    assert torch.equal(layer.attention(h, None), layer.attention(h, None))
    layer.train()
    assert not torch.equal(layer.attention(h, None), layer.attention(h, None))


@pytest.mark.filterwarnings('error')
def test_an_lstm_drops_between_its_layers():
    assert [network('lstm', layers=n, dropout=0.5).context.inside.lstm.dropout for n in (1, 2)] == [0, 0.5]


def test_wrong_heads():
    with pytest.raises(ValueError, match='--memnet-embedding-size is 8; .* --memnet-heads'):
        network(heads=3)


# ------------------------------------------------------------------------------------------- memory


def by_hand():
    """Two dimensions; e(1) = (1, 0), e(2) = (0, 1), e(3) = (2, 0); the persona's layer swaps the two."""
    net = network('bow', embedding_size=2)
    with torch.no_grad():
        net.embedding.weight[:4] = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
        net.persona.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    return net


def test_the_memory_by_hand():
    """Sentences (1 2) -> (1, 1) and (2 2 3) -> (2, 2), context (1, 0): weights softmax(1/√2, 2/√2)."""
    h = torch.tensor([[1.0, 0.0]])
    found = by_hand().recall(h, personas([[1, 2], [2, 2, 3]]))[0]
    second = 1 / (1 + math.exp(-1 / math.sqrt(2)))
    assert found.tolist() == pytest.approx([1 + (1 - second) + 2 * second, (1 - second) + 2 * second], abs=1e-6)


def test_padding_takes_no_share_of_a_shorter_persona():
    """h = (1, 0). The only sentence of the first persona, (1 2) -> (1, 1), counts 1. The second persona has another."""
    h = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    batch = personas([[1, 2]], [[1, 2], [2, 2, 3]])
    shares, _ = by_hand().attention(h, batch)
    second = 1 / (1 + math.exp(-1 / math.sqrt(2)))
    assert shares.flatten().tolist() == pytest.approx([1, 0, 1 - second, second], abs=1e-6)
    assert by_hand().recall(h, batch)[0].tolist() == pytest.approx([2, 1], abs=1e-6)


def test_personas_of_all_sorts():
    """Repeated sentences count once, and empty ones do not count. Without a persona the context does not change."""
    net, h = by_hand(), torch.tensor([[1.0, 0.0]] * 5)
    batch = personas([[1, 2], [3]], [[1, 2], [3], [1, 2], [3]], [[], [1, 2], [], [3]], [], [[]])
    found = net.recall(h, batch)
    assert torch.allclose(found[1], found[0]) and torch.allclose(found[2], found[0])
    assert torch.equal(found[3], h[3]) and torch.equal(found[4], h[4])
    assert len(batch.starts) == 3  # the empty one and two others, however often they occur
    assert torch.allclose(net.recall(h[:1], personas([[1, 2], [3]])), found[:1])
    net.persona = None
    assert torch.equal(net.joint(batch_texts(lines([1])), batch), net.joint(batch_texts(lines([1])), None))


def test_without_persona_there_are_no_such_weights():
    assert not [name for name, _ in network(persona=False).named_parameters() if 'persona' in name]


def test_a_batch_without_any_persona_trains_the_rest():
    """DistributedDataParallel waits for a gradient of every parameter."""
    net = network()
    net(batch_texts(lines([1, 2])), personas([]), batch_texts(lines([3])))[0].sum().backward()
    assert net.persona.weight.grad is not None and not net.persona.weight.grad.any()


# --------------------------------------------------------------------------------------------- loss


def test_the_loss_is_the_textbook_loop_without_the_same_texts():
    torch.manual_seed(1)
    u, y = torch.randn(5, 4), torch.randn(5, 4)
    numbers = torch.tensor([10, 11, 10, 12, 11])
    y[2], y[4] = y[0], y[1]
    table, own = scores_in_batch(u, y, numbers)
    losses, ranks = losses_and_ranks(table, own)
    for i in range(5):
        others = [j for j in range(5) if j == i or numbers[j] != numbers[i]]
        scores = torch.stack([u[i] @ y[j] for j in others])
        assert losses[i].item() == pytest.approx(-scores.log_softmax(0)[others.index(i)].item(), abs=1e-5)
        assert ranks[i].item() == sum(s >= u[i] @ y[i] for s in scores).item()
    assert mean_loss(losses).item() == pytest.approx(losses.mean().item())


def test_the_label_loses_every_tie():
    """Of the scores 2 1 1 0, a label with the score 1 is third, and one with the score 2 first."""
    scores = torch.tensor([[2.0, 1.0, 1.0, 0.0]] * 3)
    losses, ranks = losses_and_ranks(scores, torch.tensor([1, 2, 0]))
    assert ranks.tolist() == [3, 3, 1]
    total = math.log(math.exp(2) + 2 * math.exp(1) + 1)
    assert losses.tolist() == pytest.approx([total - 1, total - 1, total - 2], abs=1e-6)


def batch_of(rows):
    contexts = batch_texts(lines(*([n, n + 1] for n in rows)))
    responses = lines(*([n % 4 + 1] * 2 for n in rows))  # with repetitions
    return contexts, personas(*([[n + 2], [n + 3, n]] for n in rows)), batch_texts(responses), responses


def step(net, rows):
    contexts, persona, responses, said = batch_of(rows)
    numbers = torch.tensor([response.number() for response in said])
    words = rows_of_all(pad_rows([response.words for response in said], -1)[0])
    lexical = unwrapped(net).lexical
    lexical.count(words)
    added = lexical(torch.tensor([[n, n % 4 + 1] for n in rows]), words)
    losses, _ = losses_and_ranks(*scores_in_batch(*net(contexts, persona, responses), numbers, added))
    loss = mean_loss(losses)
    loss.backward()
    return losses.detach(), loss.item()


def worker(number, port, results):
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', init_method=f'tcp://127.0.0.1:{port}', world_size=2, rank=number)
    inner = network(lexical=2.0)
    losses, loss = step(nn.parallel.DistributedDataParallel(inner), [[1, 2, 3, 4, 5], [6, 7]][number])
    grads = {name: p.grad.numpy() for name, p in inner.named_parameters()}
    results.put((number, losses.numpy(), loss, grads))
    torch.distributed.barrier()


def test_two_processes_are_one_big_batch():
    """Losses, with what words in common add to the scores, and gradients, also with batches of different sizes."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    context = processes.get_context('spawn')
    results = context.Queue()
    workers = [context.Process(target=worker, args=(number, port, results)) for number in range(2)]
    for process in workers:
        process.start()
    found = sorted((results.get(timeout=PATIENCE) for _ in workers), key=lambda one: one[0])
    for process in workers:
        process.join(600)
    net = network(lexical=2.0)
    losses, loss = step(net, [1, 2, 3, 4, 5, 6, 7])
    assert torch.allclose(torch.cat([torch.from_numpy(one[1]) for one in found]), losses, atol=1e-5)
    assert (found[0][2] + found[1][2]) / 2 == pytest.approx(loss, abs=1e-5)
    for name, parameter in net.named_parameters():
        for one in found:
            assert torch.allclose(torch.from_numpy(one[3][name]), parameter.grad, atol=1e-5), name


# -------------------------------------------------------------------------------------------- words


def test_texts_are_looked_up_once_and_cut_where_they_should(monkeypatch):
    asked = []

    def look_up(text):
        asked.append(text)
        return [int(word) for word in text.split()]

    newest, oldest = cached_lines(look_up, 2, keep_end=True), cached_lines(look_up, 2)
    assert newest('1 2 3').words.tolist() == [2, 3] and oldest('1 2 3').words.tolist() == [1, 2]
    assert newest('1 2 3') is newest('1 2 3') and asked == ['1 2 3'] * 2 and oldest('').key == b''
    monkeypatch.setattr(batches, 'CACHED_TEXTS', 2)
    few = cached_lines(look_up, 2)
    assert [few(text) for text in ('4', '5', '6', '4')] and asked[-4:] == ['4', '5', '6', '4']
    assert Line.of([1, 2]).number() == Line.of([1, 2]).number() != Line.of([2, 1]).number()


def test_a_short_text_is_not_cut():
    def look_up(text):
        return [int(word) for word in text.split()]

    for limit, keep_end in ((None, False), (3, False), (5, True), (4, True)):
        assert cached_lines(look_up, limit, keep_end)('1 2 3').words.tolist() == [1, 2, 3]


def test_the_number_of_a_line_is_a_hash_that_fits_64_bits():
    hashed = blake2b(struct.pack('<2i', 1, 2), digest_size=8).digest()
    assert Line.of([1, 2]).number() == struct.unpack('<q', hashed)[0]
    numbers = [Line.of([number]).number() for number in range(200)]
    assert min(numbers) < 0 < max(numbers) and torch.tensor(numbers).unique().numel() == 200


def test_tables_are_as_wide_as_their_longest_row_and_at_least_one_column():
    for rows, shape in (([], (0, 1)), ([[]], (1, 1)), ([[5]], (1, 1)), ([[5], [6, 7]], (2, 2))):
        table, lengths = batches.pad_rows([np.array(row, np.int64) for row in rows])
        assert table.shape == shape and lengths.tolist() == [len(row) for row in rows]
    assert table.tolist() == [[5, 0], [6, 7]]


def test_batches_hold_each_text_once():
    batch = batch_texts(lines([1, 2], [3], [1, 2], []))
    assert batch.words.tolist() == [[0, 0], [3, 0], [1, 2]] and batch.place.tolist() == [2, 1, 2, 0]


@pytest.mark.parametrize('header', ['', '3 2\n'])
@pytest.mark.parametrize('name', ['v.txt', 'v.vec', 'v.txt.gz'])
def test_vectors_from_a_file(tmp_path, name, header):
    path = tmp_path / name
    text = f'{header}the 1 2 \ndog 3 -4e-1\nat a@b.com 5 6\nthe 7 8\n'
    path.write_bytes(gzip.compress(text.encode()) if name.endswith('.gz') else text.encode())
    found = read_vectors(path, {'the', 'dog', 'cat'})
    assert {word: row.tolist() for word, row in found.items()} == {'the': [1, 2], 'dog': [3, pytest.approx(-0.4)]}
    assert vector_size(path) == 2


def test_vectors_of_one_number_and_of_numbers_as_words(tmp_path):
    (tmp_path / 'v.txt').write_text('the 1\n7 2\n')
    assert {word: row.tolist() for word, row in read_vectors(tmp_path / 'v.txt', {'the', '7'}).items()} == {
        'the': [1],
        '7': [2],
    }
    (tmp_path / 'v.txt').write_text('1 5 3\n')
    assert vector_size(tmp_path / 'v.txt') == 2
    assert read_vectors(tmp_path / 'v.txt', {'1'})['1'].tolist() == [5, 3]


@pytest.mark.parametrize(
    'text, match',
    [
        ('the 1 2\ndog 1\n', "v.txt:2: saw '1' after a word, expected 2 numbers"),
        ('the 1 2\ndog 1 2 3\n', "v.txt:2: saw '1 2 3' after a word"),
        ('the 1 2\n\n', "v.txt:2: saw '' after a word"),
        ('the 1 2\ndog 1 x\n', "v.txt:2: saw 'x' after a word"),
        ('the 1 2\ndog  1 2\n', "v.txt:2: saw ' 1 2' after a word"),
        ('', "v.txt:1: saw '', expected a word and its numbers"),
        ('2 0\nthe\n', "v.txt:1: saw '2 0', expected a word and its numbers"),
    ],
)
def test_broken_vectors(tmp_path, text, match):
    (tmp_path / 'v.txt').write_text(text)
    with pytest.raises(ValueError, match=match):
        read_vectors(tmp_path / 'v.txt', {'the', 'dog'})


def test_rows_go_by_word():
    old, rows = torch.arange(6.0).view(3, 2), torch.full((4, 2), -1.0)
    assert copy_rows(old, ['a', 'b', 'c'], rows, ['c', 'new', 'a', 'other']) == ['new', 'other']
    assert rows.tolist() == [[4, 5], [-1, -1], [0, 1], [-1, -1]]
