"""The base of generators and rankers with personas: history, dictionary, tensors, precision."""

import struct
from hashlib import blake2b

import pytest
import torch
from parlai.agents.transformer.generator import GeneratorAgent
from parlai.core.dict import DictionaryAgent
from parlai.core.message import Message
from parlai.core.params import ParlaiParser
from parlai.core.torch_agent import History
from torch import nn

import parlai_persona  # noqa: F401
from parlai_persona.models import precision
from parlai_persona.models.batches import persona_tensors
from parlai_persona.models.checksums import digest, fingerprint
from parlai_persona.models.dictionary import DialoguesDictionary, PersonaDictionary
from parlai_persona.models.generator import PersonaGenerator
from parlai_persona.models.history import ContextHistory, PersonaHistory
from parlai_persona.models.network import device_of, unwrapped
from parlai_persona.models.precision import FullPrecision, autocast, precise

TEXT = "your persona: i ski.\nyour persona: i sing.\npartner's persona: i cook.\nhello !"


def history(kind: type[History], **more) -> History:
    words = DictionaryAgent({'dict_tokenizer': 're'})
    return kind({}, dict_agent=words, **more)


# ---------------------------------------------------------------------------------------- history


def test_personas_come_from_fields_or_from_lines():
    seen = history(PersonaHistory)
    seen.update_history(Message(text=TEXT))
    assert seen.persona == ['i ski.', 'i sing.'] and seen.partner_persona == ['i cook.']
    seen.update_history(Message(text='a later turn'))
    assert seen.persona == ['i ski.', 'i sing.'] and seen.partner_persona == ['i cook.']
    seen.update_history(Message(text=TEXT, persona=['i swim.'], partner_persona=[]))
    assert seen.persona == ['i swim.'] and seen.partner_persona == []
    seen.reset()
    assert seen.persona == [] and seen.get_history_str() is None


@pytest.mark.parametrize('size', [-1, 2])
def test_the_text_is_that_of_parlai(size):
    """A `PersonaHistory` keeps the text as `History` does; `ContextHistory` as if there were no persona lines."""
    for kind, first in ((PersonaHistory, TEXT), (ContextHistory, 'hello !')):
        plain, ours = history(History, size=size), history(kind, size=size)
        for text in (TEXT, 'how are you ?', 'and\nthen ?', ''):
            plain.update_history(Message(text=first if text == TEXT else text), temp_history=' now')
            ours.update_history(Message(text=text), temp_history=' now')
            assert ours.get_history_str() == plain.get_history_str()
            assert ours.get_history_vec() == plain.get_history_vec()
            for kept in (plain, ours):
                kept.add_reply('fine .')
            assert ours.get_history_vec_list() == plain.get_history_vec_list()


def test_a_message_of_persona_lines_alone_is_no_turn_of_the_context():
    seen = history(ContextHistory)
    seen.update_history(Message(text='your persona: i ski.'))
    assert seen.persona == ['i ski.'] and seen.get_history_str() is None


# ------------------------------------------------------------------------------------- dictionary


def counts(kind: type[DictionaryAgent], *messages: dict) -> dict[str, int]:
    words = kind({'dict_tokenizer': 're'})
    for message in messages:
        words.observe(message)
        words.act()
    return words.freq


def test_a_persona_sentence_is_counted_once():
    turn = {'text': 'hi', 'labels': ['hi'], 'persona': ['i ski', 'i ski']}
    found = counts(PersonaDictionary, turn, turn, turn)
    assert found['ski'] == 1 and found['hi'] == 6
    assert counts(DialoguesDictionary, turn, turn, turn)['ski'] == 0


@pytest.mark.parametrize('kind', [DialoguesDictionary, PersonaDictionary])
def test_dialogues_are_counted_turn_by_turn(kind):
    dialogue = {'messages': [{'text': 'how now', 'labels': ['brown cow']}, {'text': 'now', 'labels': ['cow']}]}
    found = counts(kind, {'dialogues': [dialogue, dialogue], 'labels': ['not this']})
    assert (found['how'], found['now'], found['cow'], found['not']) == (2, 4, 4, 0)


# ---------------------------------------------------------------------------------------- tensors


def test_persona_tensors_by_hand():
    vec, mask = persona_tensors([[[5, 6], [7]], [], [[8]]], pad=9)
    assert vec.tolist() == [[[5, 6], [7, 9]], [[9, 9], [9, 9]], [[8, 9], [9, 9]]]
    assert mask.tolist() == [[True, True], [False, False], [True, False]]
    vec, mask = persona_tensors([[], []], pad=9)
    assert vec.tolist() == [[[9]], [[9]]] and not mask.any()


class Ours(PersonaGenerator, GeneratorAgent):
    """One of ParlAI's generators on our base."""

    PREFIX = 'ours'


def agent(tmp_path, kind: type, **more):
    path = tmp_path / 'dict'
    words = ['hello', '!', 'i', 'ski', 'sing', '.', 'fine', 'your', 'persona', ':']
    path.write_text(''.join(f'{word}\t1\n' for word in words))
    parser = ParlaiParser(True, False)
    kind.add_cmdline_args(parser, None)
    tiny = {'n_layers': 1, 'n_heads': 2, 'embedding_size': 16, 'ffn_size': 16, 'dict_tokenizer': 're'}
    torch.manual_seed(1)
    return kind(parser.parse_kwargs(**tiny, dict_file=str(path), no_cuda=True, loglevel='error', **more))


def test_batches_have_personas_in_the_order_of_their_rows(tmp_path):
    """Rows are sorted by length for some agents; a row that is only padding has no place in the batch."""
    ours = agent(tmp_path, Ours, truncate=3)
    rows = [
        Message(text='hello !', persona=['i ski . ! . ! .', 'sing'], eval_labels=['fine .'], episode_done=True),
        Message.padding_example(),
        Message(text='hello ! hello !', persona=['', 'i sing .'], eval_labels=['fine .'], episode_done=True),
    ]
    seen = [ours.clone().observe(row) for row in rows]
    batch = ours.batchify(seen, sort=True)
    assert batch.valid_indices.tolist() == [2, 0]
    told = [
        [ours.dict.vec2txt(vec[vec != ours.NULL_IDX]) for vec in persona[mask]]
        for persona, mask in zip(batch.persona_vec, batch.persona_mask, strict=True)
    ]
    assert told == [['i sing .'], ['i ski . ! . ! .', 'sing']]
    assert ours.batchify([ours.clone().observe(Message.padding_example())]).batchsize == 0


def test_a_generator_on_our_base_is_that_of_parlai(tmp_path):
    """The same parameters, and, as the dictionary is given, the same loss and reply."""
    turn = Message(text=TEXT, eval_labels=['fine .'], episode_done=True)
    said = []
    for kind in (GeneratorAgent, Ours):
        one = agent(tmp_path, kind, datatype='valid')
        one.observe(turn)
        said.append(one.act())
    assert said[0]['text'] == said[1]['text']
    assert float(said[0]['metrics']['loss']) == float(said[1]['metrics']['loss'])


def test_mixed_precision_is_near_and_its_loss_in_32_bits(tmp_path):
    exact, mixed = agent(tmp_path, Ours), agent(tmp_path, Ours, ours_amp=True)
    turn = Message(text=TEXT, labels=['fine .'], episode_done=True)
    one, other = (a.compute_loss(a.batchify([a.observe(turn)])) for a in (exact, mixed))
    assert other.dtype == torch.float32 and one.item() != other.item()
    assert one.item() == pytest.approx(other.item(), rel=0.05)


# ---------------------------------------------------------------------------- network and precision


def test_networks_are_unwrapped():
    network = nn.Linear(2, 2)
    network.module = nn.Linear(1, 1)  # not what ParlAI wraps
    assert unwrapped(network) is network and device_of(network) == torch.device('cpu')
    replica = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(replica)
    replica.module = network
    assert unwrapped(replica) is network


def test_losses_are_computed_in_32_bits():
    scores, labels = torch.randn(3, 1000), torch.tensor([1, 2, 3])
    plain = nn.CrossEntropyLoss()
    assert FullPrecision(plain)(scores.bfloat16(), labels) == plain(scores.bfloat16().float(), labels)
    assert precise(scores) is scores and precise(scores.double()).dtype == torch.float64
    layer = nn.Linear(4, 4)
    with autocast(layer):
        assert layer(torch.ones(1, 4)).dtype == torch.bfloat16
    with autocast(layer, enabled=False):
        assert layer(torch.ones(1, 4)).dtype == torch.float32


@pytest.mark.parametrize(
    ('gain', 'said', 'kind'),
    [
        (2.5, 'are 2.5 times as fast as in 32 bits on this cpu', torch.bfloat16),
        (0.1, 'take 10.0 times as long as in 32 bits on this cpu, so all is computed in 32 bits', torch.float32),
    ],
)
def test_the_start_says_what_bfloat16_gains(tmp_path, monkeypatch, gain, said, kind):
    lines = []
    monkeypatch.setattr(precision, 'LEAST_GAIN', 0.5)
    monkeypatch.setattr(precision, 'bfloat16_gain', lambda device: gain)
    monkeypatch.setattr(precision.logging, 'info', lines.append)
    agent(tmp_path, Ours)
    assert not any('bfloat16' in line for line in lines)
    agent(tmp_path, Ours, ours_amp=True).clone()
    about = [line for line in lines if 'bfloat16' in line]
    assert about == [f'--ours-amp: matrix products in bfloat16 {said}']
    layer = nn.Linear(4, 4).requires_grad_(False)
    precision.store_frozen(layer)
    assert layer.weight.dtype == kind
    with autocast(layer):
        assert layer(torch.ones(1, 4)).dtype == kind


def test_the_gain_is_a_ratio_of_measured_times(monkeypatch):
    """Each of two kinds of product is timed four times; the first of each does not count."""
    spent = [9, 4, 2, 3, 9, 1, 2, 1]
    clock = iter([time for seconds in spent for time in (0, seconds)])
    monkeypatch.setattr(precision, 'perf_counter', lambda: next(clock))
    assert precision.bfloat16_gain(torch.device('cpu'), size=2) == 2 / 1


def test_a_checksum_is_that_of_the_values_in_the_order_of_the_names():
    weights = {'b': torch.tensor([[1.0, 2.0], [3.0, 4.0]]).T, 'a': torch.tensor([5], dtype=torch.int64)}
    values = (5).to_bytes(8, 'little') + struct.pack('<4f', 1, 3, 2, 4)
    assert fingerprint(weights) == digest([values]) == blake2b(values, digest_size=16).hexdigest()
    assert fingerprint(dict(reversed(weights.items()))) == fingerprint(weights)
    assert fingerprint({**weights, 'a': torch.tensor([6])}) != fingerprint(weights)
    assert digest([values[:3], values[3:]]) == digest([values])
