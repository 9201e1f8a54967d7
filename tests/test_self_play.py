"""Self-play of P²Bot: meetings, rewards, and the policy gradient."""

import copy
import functools
import itertools
import tempfile
from dataclasses import replace
from math import exp, log
from pathlib import Path

import pytest
import tiny_lm
import tiny_p2bot
import torch
from contract import changed, dialogues, hear
from parlai.core.agents import create_agent
from parlai.core.message import Message
from parlai.scripts.train_model import TrainModel
from test_language_model import plain

from parlai_persona import fields
from parlai_persona.agents.p2bot import p2bot, rewards, self_play
from parlai_persona.agents.p2bot.rewards import Coherence, Consistency, LanguageStyle, Perception
from parlai_persona.agents.p2bot.self_play import LEARNER, USER, Action, Draw, Meeting
from parlai_persona.errors import UserError
from parlai_persona.metrics.formulas import repetition
from parlai_persona.models.tree import rows_of

QUIET = {'p2bot_perception': 0, 'p2bot_show': 0}
ONE_MEETING = {
    fields.DIALOGUE_ID: '1',
    fields.PERSONA: ['i am a lawyer .', 'i like tea .'],
    fields.PARTNER_PERSONA: ['i have a dog .'],
    fields.MESSAGES: [{'text': 'your persona: i am a lawyer .\nhello there .', 'labels': ['hi , i am tired .']}],
}


@functools.cache
def transmitter(**options) -> str:
    """Return the model file that a learner with such options starts from."""
    return tiny_p2bot.transmitter(Path(tempfile.mkdtemp()) / 'model', **options)


def agent(**options):
    opt = {
        'model': 'persona:p2bot',
        'datatype': 'train',
        'lm_model': tiny_lm.folder(),
        'loglevel': 'error',
        'label_truncate': 6,
        'lm_rank': 2,
        'learningrate': 1e-2,
        **QUIET,
        **options,
    }
    if not Path(opt.get('model_file', '/nowhere')).exists():
        known = {name: value for name, value in opt.items() if name.startswith('lm_') or name == 'p2bot_distractors'}
        opt.setdefault('init_model', transmitter(**known))
    made = create_agent(TrainModel.setup_args().parse_kwargs(task='persona:sample', **opt))
    made.model.eval()  # in training the head reads states that are standardised by the batch
    return made


def seen_by(one, *told):
    """Return observations of meetings."""
    return [one.clone().observe(Message({fields.DIALOGUES: [dialogue], 'labels': ['x']})) for dialogue in told]


def learn(one, *told):
    return one.batch_act(seen_by(one, *told or [ONE_MEETING]))


def weights(net):
    return {name: p.clone() for name, p in net.named_parameters()}


# -------------------------------------------------------------------------------------------- meetings


def test_meetings_are_not_mixed_with_single_turns():
    one = agent()
    single = one.clone().observe(changed(dialogues('train:ordered')[0][0]))
    with pytest.raises(UserError, match='whole dialogues and single turns, from several tasks after -t'):
        one.batchify([*seen_by(one, ONE_MEETING), single])


def test_a_dialogue_without_replies_is_no_meeting():
    one = agent()
    empty = {**ONE_MEETING, fields.MESSAGES: []}
    assert one.batchify(seen_by(one, empty, ONE_MEETING)).valid_indices.tolist() == [1]
    assert [dict(reply) for reply in learn(one, empty)]


def test_a_learner_without_a_persona_is_one_line():
    one = agent()
    one.game = replace(one.game, perception=0.5)
    with pytest.raises(UserError, match='dialogue x: the learner has no persona to be perceived'):
        one.meeting({**ONE_MEETING, fields.DIALOGUE_ID: 'x', fields.PERSONA: []})


def test_a_meeting_begins_with_the_opening_line():
    """The partner says it, whichever side the data shows it from; or the learner, with the personas exchanged."""
    other_side = {
        **ONE_MEETING,
        fields.PERSONA: ONE_MEETING[fields.PARTNER_PERSONA],
        fields.PARTNER_PERSONA: ONE_MEETING[fields.PERSONA],
        fields.MESSAGES: [{'text': fields.SILENCE, 'labels': ['hello there .']}],
    }
    lawyer, dog = ONE_MEETING[fields.PERSONA], ONE_MEETING[fields.PARTNER_PERSONA]
    for told in (ONE_MEETING, other_side):
        assert agent().meeting(told) == Meeting((lawyer, dog), [(USER, 'hello there .')])
        assert agent(p2bot_opens='learner').meeting(told) == Meeting((dog, lawyer), [(LEARNER, 'hello there .')])


@pytest.mark.parametrize(('opens', 'order'), [('partner', [0, 1, 0, 1, 0]), ('learner', [1, 0, 1, 0, 1, 0])])
def test_the_speakers_take_turns(opens, order):
    one = agent(p2bot_opens=opens)
    meetings = [one.meeting(ONE_MEETING) for _ in range(2)]
    for actions, meeting in zip(self_play.play(meetings, *one.speakers(), turns=3), meetings, strict=True):
        assert [action.speaker for action in actions] == order
        assert [(action.speaker, action.text) for action in actions] == meeting.said[1:]
        for number, action in enumerate(actions):
            said = [text for _, text in meeting.said[: number + 1]]
            assert [message['content'] for message in action.chat] == said
            own = [message['content'] for message in action.chat if message['role'] == 'assistant']
            assert own == [text for who, text in meeting.said[: number + 1] if who == action.speaker]
            assert action.persona == meeting.personas[action.speaker]


def test_a_speaker_reads_what_the_agent_reads():
    """The prompt of a turn in self-play is that of the same turn in an evaluation."""
    one = agent()
    dialogue = dialogues()[0][:3]
    persona = dialogue[0][fields.PERSONA]
    said = [(who, text) for turn in dialogue for who, text in ((USER, spoken(turn)), (LEARNER, turn['eval_labels'][0]))]
    prompt = one.write(persona, Meeting((persona, []), said[:-1]).turns(LEARNER))
    assert prompt == hear(one.clone(), dialogue)['text_vec'].tolist()


def spoken(turn) -> str:
    return turn['text'].split('\n')[-1]


def test_words_are_drawn_by_their_probabilities():
    """The scores that words are drawn by are those that the scored pass gives them, whatever was kept in the cache."""
    one = agent(p2bot_copies=3, p2bot_turns=2, label_truncate=5)
    drawn = []

    class Watched(Draw):
        def __call__(self, scores):
            chosen = super().__call__(scores)
            drawn.append(self_play.without(scores, self.never).log_softmax(-1).gather(1, chosen[:, None]).squeeze(1))
            return chosen

    learner, user = one.speakers()
    learner.draw = Watched(one.dict.unsaid)
    copies = [one.meeting(ONE_MEETING) for _ in range(3)]
    actions = [
        action for some in self_play.play(copies, learner, user, 2) for action in some if action.speaker == LEARNER
    ]
    tree = one.tree(rows_of([(action.prompt, action.tokens, []) for action in actions]))
    scored, _ = one.scored(one.net, tree)
    assert torch.cat(drawn).sum().item() == pytest.approx(scored.sum().item(), abs=1e-3)
    for action, row in zip(actions, scored, strict=True):
        assert row.sum().item() == pytest.approx(sum(log_p_of(one, action.prompt, action.tokens)).item(), abs=1e-3)


@pytest.mark.parametrize(('top_k', 'temperature', 'kinds'), [(0, 1.0, 4), (2, 1.0, 2), (0, 0.0, 1), (0, 0.05, 1)])
def test_sampling(top_k, temperature, kinds):
    torch.manual_seed(0)
    scores = torch.tensor([[9.0, 2.0, 1.5, 1.0, 0.5]]).repeat(2000, 1)
    drawn = Draw(never=[0], temperature=temperature, top_k=top_k)(scores)
    counts = drawn.bincount(minlength=5)
    assert counts[0] == 0 and (counts > 0).sum() == kinds
    if not top_k and temperature == 1:
        assert counts[1:] / 2000 == pytest.approx(scores[0, 1:].softmax(-1), abs=0.04)


# ---------------------------------------------------------------------------------------------- rewards


def test_the_rewards_of_single_replies():
    one = agent(datatype='valid')
    prompt = [{'role': 'system', 'content': 'you are a lawyer .'}, {'role': 'user', 'content': 'hello .'}]
    prompt += [{'role': 'assistant', 'content': 'hi .'}, {'role': 'user', 'content': 'who are you ?'}]
    persona, replies = ['i am a lawyer .'], ['i am a lawyer .', '', 'yes']
    columns = {'prompts': [prompt] * 3, 'persona': [persona] * 3, 'another': [1, 2, 3]}

    line = one.dict.encode('\n')
    texts = [one.dict.txt2vec(text) + line for text in replies]
    expected = [sum(plain(one.net, line, tokens)) / len(tokens) for tokens in texts]
    style = LanguageStyle(one.net, one.dict)
    assert style(completions=replies, **columns) == pytest.approx(expected, abs=1e-5)
    as_chat = [[{'role': 'assistant', 'content': text}] for text in replies]
    assert style(completions=as_chat, **columns) == pytest.approx(expected, abs=1e-5)

    turns = [('partner', 'hello .'), ('self', 'hi .'), ('partner', 'who are you ?')]
    tokens = one.dict.layout.prompt(persona, turns, None)
    odds = [
        one.net.judge(one.net.base.base_model(torch.tensor([tokens + words])).last_hidden_state[:, -1]).item()
        for words in ([*one.dict.txt2vec(text), one.dict.layout.end] for text in replies)
    ]
    coherence = Coherence(one)
    assert coherence(completions=replies, **columns) == pytest.approx([-log(1 + exp(-x)) for x in odds], abs=1e-5)

    assert Perception(Receiver())(completions=replies, **columns) == [4.0, 0.0, 0.0]
    assert [reward.__name__ for reward in (style, coherence)] == ['language_style', 'coherence']


class Receiver:
    """Perceives the words that a reply has in common with a persona."""

    def perception(self, utterances, personas):
        return [
            float(len(set(text.split()) & {word for line in persona for word in line.split()} - {'.'}))
            for text, persona in zip(utterances, personas, strict=True)
        ]


def test_coherence_needs_a_head_that_has_learned(tmp_path):
    opt = TrainModel.setup_args().parse_kwargs(
        task='persona:sample', model='persona:p2bot', lm_model=tiny_lm.folder(), loglevel='error', **QUIET
    )
    with pytest.raises(UserError, match='needs a head that learned to judge replies: start with --init-model'):
        create_agent(opt)
    assert agent().knows_head


def test_a_judge_computes_as_it_was_trained(monkeypatch):
    """With 16 bits its frozen weights have 16 bits, too."""
    one = agent(lm_amp=True)
    monkeypatch.setattr(rewards, 'create_agent_from_model_file', lambda *_: one)
    coherence = Coherence.load('somewhere')
    assert len(coherence(prompts=['hello .'], completions=['yes'], persona=[['i like tea .']])) == 1


@pytest.mark.parametrize('reads_personas', [True, False])
def test_a_judge_judges_each_reply_by_itself(tmp_path, reads_personas):
    """It comes from a file in training mode, in which the head standardises the states of a batch."""
    coherence = Coherence.load(transmitter(lm_persona=reads_personas))
    replies, prompt, persona = ['i am a lawyer .', 'yes', 'hi .'], 'hello .', ['i like tea .']
    alone = [coherence(prompts=[prompt], completions=[reply], persona=[persona])[0] for reply in replies]
    together = coherence(prompts=[prompt] * 3, completions=replies, persona=[persona] * 3)
    assert together == pytest.approx(alone, abs=1e-5)
    unknown = coherence(prompts=[prompt] * 3, completions=replies, persona=[[]] * 3)
    assert (unknown == pytest.approx(alone, abs=1e-5)) is not reads_personas


def test_coherence_needs_a_head(tmp_path):
    with pytest.raises(UserError, match='nothing.opt: no such file'):
        Coherence.load(str(tmp_path / 'nothing'))
    path = str(tmp_path / 'model')
    agent(p2bot_coherence=0, p2bot_distractors=0, model_file=path).save(path)
    with pytest.raises(UserError, match='saw a model of P2botAgent; expected .* --p2bot-distractors 1 or more'):
        Coherence.load(path)
    with pytest.raises(UserError, match='saw a model of ReceiverAgent; expected'):
        Coherence.load(tiny_p2bot.receiver(tmp_path / 'receiver'))


def test_coherence_in_a_meeting_is_that_of_its_texts():
    one = agent(p2bot_copies=2, p2bot_turns=1)
    persona, text, replies = ['i like tea .'], 'hello .', ['i am a lawyer .', 'yes']
    prompt, layout = one.write(persona, [('partner', text)]), one.dict.layout
    tree = one.tree(rows_of([(prompt, [*layout.words(reply), layout.end], []) for reply in replies]))
    _, odds = one.scored(one.start, tree)
    one.rewards = {}
    found = one.rewarded([], [Action(LEARNER, persona, [], [], [], reply) for reply in replies], odds)
    apart = Coherence(one)(prompts=[text] * 2, completions=replies, persona=[persona] * 2)
    assert found['coherence'].flatten().tolist() == pytest.approx(apart, abs=1e-5)


def test_consistency_counts_entailed_sentences():
    class Judge:
        def __call__(self, pairs):
            self.asked = pairs

        def consistency(self, text, persona):
            return sum(1 if sentence in text else -1 for sentence in persona)

    judge = Judge()
    found = Consistency(judge)(['p', 'p'], ['i run', 'no'], persona=[['i run', 'i sit'], ['i run']])
    assert found == [0.0, -1.0] and len(judge.asked) == 3


def test_perception_of_later_utterances_counts_less():
    """Eq. 8 by hand: the learner's utterances a, the partner's x, in the order a1 x2 a2 x3 a3, gamma 1/2."""
    a1, x2, a2, x3, a3 = 1.0, 2.0, 4.0, 8.0, 16.0
    expected = [a1 + x2 / 2 + a2 / 4 + x3 / 8 + a3 / 16, a2 + x3 / 2 + a3 / 4, a3]
    found = self_play.discounted([a1, x2, a2, x3, a3], 0.5)
    assert [found[0], found[2], found[4]] == expected


def test_the_rewards_of_a_meeting(monkeypatch):
    """Each is that of the learner's utterance; perception also counts what comes after it, of either speaker."""
    one = agent(p2bot_copies=2, p2bot_turns=2, p2bot_coherence=0, p2bot_style=3.0)
    one.game = copy.copy(one.game)
    object.__setattr__(one.game, 'perception', 2.0)
    one.perceives = Perception(Receiver())
    one.rewards = {'style': lambda prompts, completions, persona: [float(len(text)) for text in completions]}

    def action(speaker, text):
        return Action(speaker, ['a b c'] if speaker == LEARNER else ['d e'], [], [], [], text)

    games = [
        [action(LEARNER, 'a'), action(USER, 'd e'), action(LEARNER, 'a b c')],
        [action(LEARNER, 'x'), action(USER, 'a'), action(LEARNER, 'yy')],
    ]
    found = one.rewarded(games, [action for some in games for action in some if action.speaker == LEARNER], None)
    assert found['style'].tolist() == [[[1, 5], [1, 2]]]
    assert found['perception'].tolist() == [[[1 + 2 / 2 + 3 / 4, 3], [0, 0]]]
    assert found['whole'].tolist() == [[[3 * 1 + 2 * 2.75, 3 * 5 + 2 * 3], [3, 6]]]
    object.__setattr__(one.game, 'scaled', True)
    found = one.rewarded(games, [action for some in games for action in some if action.speaker == LEARNER], None)
    assert found['perception'][0, 0, 1] == 2 and found['perception'][0, 1].tolist() == [0, 0]


def test_repetition():
    assert repetition('i like red cars', []) == 0
    assert repetition('i like red cars', ['i like red shoes']) == 0.5
    assert repetition('a b c a b c', []) == 0.25
    assert repetition('a b', ['a b']) == 0


# -------------------------------------------------------------------------------------- policy gradient


def test_the_policy_gradient_is_that_of_the_expected_reward():
    """Enumerated: all replies of two tokens out of five are rewarded, all others are not."""
    words = [7, 9, 20, 33, 41]
    pairs = list(itertools.product(words, repeat=2))
    one = agent(p2bot_copies=len(pairs), p2bot_turns=1, p2bot_baseline='none', lm_train='all', p2bot_distractors=0,
                p2bot_coherence=0)  # fmt: skip
    torch.manual_seed(1)
    reward = torch.randn(len(pairs))
    prompt = one.write(*(one.meeting(ONE_MEETING).personas[:1]), one.meeting(ONE_MEETING).turns(LEARNER))
    tree = one.tree(rows_of([(prompt, list(pair), []) for pair in pairs]))

    logs = torch.stack([torch.stack(log_p_of(one, prompt, pair)).sum() for pair in pairs])
    expected = torch.autograd.grad((logs.exp() * reward).sum(), one.net.base.parameters())
    shares = logs.detach().exp() * len(pairs)  # the mean over all replies becomes the expectation
    loss = one.policy_loss(tree, (shares * reward).view(1, -1, 1), torch.zeros(tree.targets.shape))
    found = torch.autograd.grad(-loss, one.net.base.parameters())
    for mine, true in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, true, rtol=1e-3, atol=1e-7)


def log_p_of(one, prompt, reply):
    """Return log p of each token, by transformers itself; special tokens are never said."""
    tokens = [*prompt, *reply]
    scores = one.net.base(torch.tensor([tokens])).logits[0]
    scores = scores.index_fill(-1, torch.tensor(one.dict.unsaid), -torch.inf).log_softmax(-1)
    return [scores[len(prompt) - 1 + place, token] for place, token in enumerate(reply)]


def test_baselines():
    """The mean of all copies gives (K - 1) / K of what the mean of the others gives."""
    rewards = torch.tensor([[[1.0, 0.0], [4.0, 2.0], [7.0, 1.0]]])  # one meeting, K = 3, N = 2
    others = self_play.advantages(rewards, 'leave-one-out')
    assert others.tolist() == [[[1 - 5.5, 0 - 1.5], [4 - 4, 2 - 0.5], [7 - 2.5, 1 - 1]]]
    torch.testing.assert_close(self_play.advantages(rewards, 'mean'), others * 2 / 3)
    assert torch.equal(self_play.advantages(rewards, 'none'), rewards)


def test_activations_are_computed_again_where_dropout_is_off():
    calls, moved = [], []
    for checkpointing in (False, True):
        torch.manual_seed(1)
        one = agent(p2bot_coherence=0, lm_checkpointing=checkpointing)
        layer = one.net.base.model.layers[0].self_attn
        seen = []
        layer.register_forward_hook(lambda *_, seen=seen: seen.append(torch.is_grad_enabled()))
        learn(one)
        calls.append(seen.count(True))
        moved.append(weights(one.net))
    assert calls == [1, 2]
    for name, plain_weight in moved[0].items():
        torch.testing.assert_close(plain_weight, moved[1][name])


def test_a_constant_reward_moves_nothing():
    one = agent(p2bot_coherence=0)
    one.rewards = {'style': lambda prompts, completions, persona: [-7.0] * len(completions)}
    before = weights(one.net)
    learn(one)
    assert one._number_training_updates == 1
    assert all(torch.equal(p, before[name]) for name, p in one.net.named_parameters())


@pytest.mark.parametrize('partner', ['frozen', 'live'])
def test_the_learner_learns_and_its_start_stays(partner):
    one = agent(p2bot_partner=partner, p2bot_kl=0.1)
    learning, start = weights(one.net), weights(one.start)
    for _ in range(3):
        learn(one)
    assert all(torch.equal(p, start[name]) for name, p in one.start.named_parameters())
    moved = {name for name, p in one.net.named_parameters() if not torch.equal(p, learning[name])}
    assert moved and all('lora_' in name for name in moved)
    user = one.speakers()[USER].net
    assert user is (one.start if partner == 'frozen' else one.net)


def test_the_start_computes_what_the_transmitter_computes(tmp_path):
    """Its adapters are merged into its weights, which saves a third of the matrix products."""
    path = str(tmp_path / 'model')
    one = agent()
    learn(one)
    one.save(path)
    other = agent(init_model=path)
    merged = [module.merged for module in other.start.modules() if hasattr(module, 'lora_A')]
    assert merged and all(merged)
    tree = other.tree(rows_of([([1, 2, 3], [4, 5], [])]))
    torch.testing.assert_close(other.start.states(tree), other.net.states(tree))


@pytest.mark.parametrize('amp', [False, True])
def test_adapters_are_merged_while_meetings_are_held(monkeypatch, amp):
    """Weights of 16 bits would round them."""
    one, seen, plays = agent(lm_amp=amp), [], p2bot.play

    def watched(*args):
        seen.extend(module.merged for module in one.net.modules() if hasattr(module, 'lora_A'))
        return plays(*args)

    monkeypatch.setattr(p2bot, 'play', watched)
    learn(one)
    assert seen and set(seen) == {not amp}
    assert not any(module.merged for module in one.net.modules() if hasattr(module, 'lora_A'))


def test_a_resumed_training_has_the_start_of_the_first(tmp_path):
    """A new one that begins with that model starts from what it had learned."""
    path = str(tmp_path / 'model')
    one = agent(model_file=path)
    learn(one)
    one.save(path)
    learned, start = weights(one.net), weights(one.start)
    assert any(not torch.equal(learned[name], p) for name, p in start.items() if 'lora_' in name)
    for expected, options in ((start, {'model_file': path}), (learned, {'init_model': path})):
        other = agent(**options)
        assert all(torch.equal(p, learned[name]) for name, p in other.net.named_parameters())
        adapters = {name: p for name, p in other.start.named_parameters() if 'lora_' in name}
        assert adapters and all(torch.equal(p, expected[name]) for name, p in adapters.items())
    assert not hasattr(agent(model_file=path, datatype='valid'), 'start')


def test_the_start_is_saved_as_it_was_learned():
    """What 16 bits round is not what a resumed training begins with."""
    one = agent(lm_amp=True)
    saved, learned = one.state_dict()['start'], weights(one.net)
    assert saved and all(p.dtype == torch.float32 for name, p in saved.items() if 'lora_' in name)
    assert all(torch.equal(p, learned[name]) for name, p in saved.items() if 'lora_' in name)


def test_an_utterance_without_a_limit_ends():
    learner, _ = agent(label_truncate=-1, truncate=-1).speakers()
    assert learner.longest == 256


def test_what_is_rewarded_becomes_more_likely():
    """Rewarded for replies that begin with a letter up to l, the learner begins more of them so."""
    sizes = {'p2bot_copies': 32, 'p2bot_turns': 1, 'label_truncate': 2}
    one = agent(**sizes, p2bot_coherence=0, lm_train='all', learningrate=3e-2, gradient_clip=-1)
    one.rewards = {'style': lambda prompts, completions, persona: [float(text[:1] < 'm') for text in completions]}
    torch.manual_seed(0)
    wanted = torch.tensor([one.dict.vec2txt([token])[:1] < 'm' for token in range(one.dict.known)])
    prompt = one.write(ONE_MEETING[fields.PERSONA], [('partner', 'hello there .')])

    def share() -> float:
        return one.net.base(torch.tensor([prompt])).logits[0, -1].softmax(-1)[wanted].sum().item()

    before = share()
    for _ in range(14):
        learn(one)
    assert before < 0.55 < 0.7 < share()


def test_divergence_is_not_negative_and_zero_at_the_start():
    log_p = torch.tensor([-1.0, -2.0, -0.5])
    assert self_play.divergence(log_p, log_p).tolist() == [0, 0, 0]
    assert (self_play.divergence(log_p, log_p - torch.tensor([0.3, -0.4, 1.0])) > 0).all()
    one = agent()
    (reply,) = learn(one)
    assert reply['metrics']['kl'].value() == 0


def test_meetings_of_a_batch_count_alike():
    """The loss of two meetings is the mean of their losses: so two processes learn what one learns."""
    one = agent(p2bot_copies=2, p2bot_turns=1)
    meetings = [one.meeting(ONE_MEETING) for _ in range(4)]
    own = [(some[0].prompt, some[0].tokens, []) for some in self_play.play(meetings, *one.speakers(), 1)]
    rewards = torch.tensor([[[1.0], [3.0]], [[-2.0], [0.5]]])
    one.record_values = lambda *_: None

    def loss(some, rewards):
        tree = one.tree(rows_of(some))
        return one.policy_loss(tree, rewards, one.scored(one.start, tree)[0]).item()

    halves = [loss(own[:2], rewards[:1]), loss(own[2:], rewards[1:])]
    assert loss(own, rewards) == pytest.approx(sum(halves) / 2, abs=1e-5)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(parlai, tmp_path):
    """Without chance in the words: `multiprocessing_train` of two takes the steps of one with twice the meetings."""
    common = {
        'model': 'persona:p2bot',
        'task': 'persona:dialogues',
        'dialogues_of': 'persona:sample',
        'evaltask': 'persona:sample',
        'persona_sample_dialogues': 8,
        'lm_model': tiny_lm.folder(),
        'lm_rank': 2,
        'label_truncate': 6,
        **QUIET,
        'p2bot_coherence': 0,
        'p2bot_copies': 1,
        'p2bot_baseline': 'none',
        'p2bot_temperature': 0,
        'p2bot_partner_temperature': 0,
        'optimizer': 'sgd',
        'learningrate': 0.05,
        'lr_scheduler': 'none',
        'max_train_steps': 3,
        'validation_max_exs': 2,
        'short_final_eval': True,
        'seed': 3,
    }
    arms = {'start': ('train_model', 2, {'max_train_steps': 1})}
    begun = {'init_model': str(tmp_path / 'start'), 'dict_file': str(tmp_path / 'start.dict')}
    arms |= {
        'one': ('train_model', 2, begun),
        'two': ('multiprocessing_train', 1, {**begun, 'distributed_world_size': 2}),
    }
    for name, (command, size, more) in arms.items():
        options = {**common, 'batchsize': size, 'model_file': str(tmp_path / name), **more}
        flags = ((f'--{key.replace("_", "-")}', str(value)) for key, value in options.items())
        done = parlai(command, *(word for flag in flags for word in flag), '--no-cuda')
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    start, one, two = (torch.load(tmp_path / name, weights_only=True)['model'] for name in arms)
    assert any((one[name] - start[name]).abs().max() > 1e-3 for name in one)
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-4, atol=1e-5)


def test_what_it_reports():
    one = agent(p2bot_copies=2)
    reply, other = learn(one, ONE_MEETING, ONE_MEETING)
    assert {'reward_style', 'reward_coherence', 'reward_whole', 'length', 'repetition', 'kl'} <= set(reply['metrics'])
    values = [one['metrics']['reward_style'].value() for one in (reply, other)]
    assert values[0] != values[1]


@pytest.mark.parametrize(
    ('options', 'says'),
    [
        ({'p2bot_perception': 0.5}, '--p2bot-receiver MODEL'),
        ({'p2bot_consistency': 1}, '--p2bot-nli MODEL'),
        ({'p2bot_distractors': 0}, '--p2bot-coherence 0'),
        ({'p2bot_copies': 1}, '--p2bot-copies 1'),
        ({'p2bot_style': 0, 'p2bot_coherence': 0}, 'weight 0'),
    ],
)
def test_what_cannot_be_played_is_refused(options, says):
    with pytest.raises(UserError, match=says):
        agent(**options)


def test_a_turn_is_learned_as_the_transmitter_learns_it():
    """The agent also takes other tasks, such as single turns; they have labels and no meetings."""
    one = agent(skip_generation=True)
    turn = changed(dialogues('train:ordered')[0][0])
    (reply,) = one.batch_act([one.observe(turn)])
    assert 'next_loss' in reply['metrics'] and 'kl' not in reply['metrics']
