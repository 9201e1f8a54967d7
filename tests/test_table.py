"""benchmarks/suite/table.py and front.py: one table of all agents, what is best in it, and self-chats."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from parlai.core.loader import load_agent_module
from parlai.core.message import Message

from benchmarks import front, results
from benchmarks.common.jobs import TEN_MINUTES
from benchmarks.common.judges import JUDGES, NLI
from benchmarks.common.record import Row
from benchmarks.p2bot import self_play
from benchmarks.pednet import table2
from benchmarks.suite import baselines, peers, self_chat, table
from benchmarks.suite.self_chat import Side
from parlai_persona.chat.conversation import Speakers
from parlai_persona.data.dialogue import Dialogue, Turn
from parlai_persona.zoo import registry

ROOT = Path(__file__).parents[1]
KEYS = [*table.ARMS]


def seed_of(key: str) -> int:
    return int(table.ARMS[key].trained)


# ------------------------------------------------------------------------------------------------ arms


@pytest.mark.parametrize('key', KEYS)
def test_an_arm_loads_an_agent_or_the_model_that_it_trains(key: str):
    model = table.ARMS[key].model(seed_of(key), 'data')
    words = shlex.split(model.agent)
    if '-mf' in words:
        path = words[words.index('-mf') + 1]
        if path.startswith('zoo:'):
            assert registry.find(path.removeprefix('zoo:persona/'))
            return
        assert Path(f'{path}.valid') in model.train.values()
        assert any(f'-mf {path}' in command for command in model.train)
    if '-m' in words:
        assert load_agent_module(words[words.index('-m') + 1])
    assert ('-mf' in words) == table.ARMS[key].trained


def test_what_the_benchmarks_trained_is_not_trained_again():
    """A folder of a model belongs to one command, so the commands must be the same to the letter."""
    known = {
        **{
            command: path
            for key in self_play.ARMS
            for command, path in self_play.job(key, 1, 'original', 'data').train.items()
        },
        **{command: path for key in table2.ARMS for command, path in table2.job(key, 1, 'data').train.items()},
    }
    for one in baselines.BASELINES:
        for seconds in (TEN_MINUTES, table.HALF_AN_HOUR):
            known |= baselines.job(one, one.evaluations[0], 'self', int(bool(one.train)), 'data', '', seconds).train
    for key in KEYS:
        assert table.ARMS[key].model(seed_of(key), 'data').train.items() <= known.items()


def test_all_agents_see_the_same_examples():
    data = '-t persona:personachat --persona-source convai2 --persona-form original -dt valid --datapath data'
    jobs = {(key, what): table.job(key, what, seed_of(key), 'data') for key in KEYS for what in table.ways(key)}
    for (_, what), job in jobs.items():
        assert f'{data}{"" if what == "self_chat" else " -bs 8 --num-examples 512"} ' in job.evaluate
        assert (JUDGES in job.evaluate) == (job.metrics != table.RANKED)
    assert len({job.report for job in jobs.values()}) == len({job.columns for job in jobs.values()}) == len(jobs)
    replies = [job for job in jobs.values() if f' {table.REPLIES}' in job.evaluate]
    assert replies and all(table.REPLIES in job.train.values() for job in replies)


# ------------------------------------------------------------------------------------------- README's table

ARMS = {
    'people': table.ARMS['people'],
    **{key: table.Arm(key.upper(), table.GENERATOR, table.untrained('-m x')) for key in 'abc'},
    'r': table.Arm('R', table.RETRIEVER, table.untrained('-m x'), apart=('ppl_word',)),
    'other': table.Arm('Other', table.TEXTS, table.untrained('-m x'), note='it saw more'),
    'hidden': table.Arm('Hidden', table.TEXTS, table.untrained('-m x'), front=False),
}


def row(key: str, metric: str, value: float, what: str = 'valid', seed: int = 1) -> Row:
    name = ARMS[key].name
    return Row(
        name, 'x', '', table.SPLITS[what], seed, metric, value, f'eval {JUDGES} -n 9', 'abc1234', 'a CPU', '2026-01-02'
    )


ROWS = [
    row('people', 'persona_f1', 0.2),
    row('people', 'contradiction', 0.1, 'self_chat'),
    row('a', 'hits@1', 0.5),
    row('a', 'ppl_word', 20),
    row('a', 'persona_f1', 0.46),
    row('b', 'hits@1', 0.25, seed=1),
    row('b', 'hits@1', 0.75, seed=2),
    row('b', 'ppl_word', 30),
    row('b', 'persona_f1', 0.15),
    row('r', 'hits@1', 0.4),
    row('r', 'ppl_word', 10),
    row('r', 'persona_f1', 0.2, 'valid'),  # among 20 candidates, the gold reply too
    row('r', 'persona_f1', 0.3, 'reply'),
    row('r', 'contradiction', 0.3, 'self_chat'),
    row('other', 'ppl_word', 5),
    row('other', 'persona_f1', 0.2),
    row('hidden', 'hits@1', 1),
]


def test_the_table_of_the_readme():
    assert front.table(ROWS, ARMS) == [
        '| agent | hits@1 ↑ | perplexity ↓ | P-F1 ≈ | contradicts ≈ |',
        '| --- | ---: | ---: | ---: | ---: |',
        '| People |  |  | 0.200 | 0.100 |',
        '| A | **0.500** | **20.0** | 0.460 |  |',
        '| B | **0.500** | 30.0 | **0.150** |  |',
        '| R | 0.400 | *10.0* | 0.300 | 0.300 |',
        '| *Other* |  | *5.00* | *0.200* |  |',
    ]
    assert 'do not compete:\n\n- Other: it saw more.\n' in front.notes(ROWS, ARMS)
    assert 'do not compete' not in front.notes(ROWS[:-3], ARMS)


def test_nothing_is_best_of_one_or_without_people():
    assert front.table(ROWS[2:5], ARMS)[2:] == ['| A | 0.500 | 20.0 | 0.460 |']
    assert '**' not in front.table([row('a', 'persona_f1', 0.1), row('b', 'persona_f1', 0.2)], ARMS)[-1]


def test_what_another_judge_says_does_not_compete():
    """The share that A contradicts is nearest to people's, but it comes from another classifier."""
    own = [row('a', 'contradiction', 0.1, 'self_chat'), row('b', 'contradiction', 0.2, 'self_chat')]
    other = replace(own[0], command=own[0].command.replace(NLI, f'{NLI}0'))
    lines = front.table([*ROWS[:2], other, *own[1:], ROWS[-4]], ARMS)
    assert lines[3:] == ['| A |  | *0.100* |', '| B |  | **0.200** |', '| R |  | 0.300 |']


def test_a_line_of_changed_code_has_a_dagger():
    assert front.table([replace(ROWS[2], commit='abc1234-dirty')], ARMS)[2] == '| A † | 0.500 |'


def test_the_readme_keeps_what_is_around_the_table():
    marked = f'before\n{front.START}\nOLD TABLE\n{front.END}\nafter {front.START}\n'
    made = front.with_table(marked, ROWS, ARMS)
    assert made.startswith(f'before\n{front.START}\n| agent |') and made.endswith(
        f'\n{front.END}\nafter {front.START}\n'
    )
    assert 'OLD' not in made and front.with_table(made, ROWS, ARMS) == made
    assert front.with_table('no marks', ROWS, ARMS) == 'no marks'
    assert front.with_table(marked, [], ARMS) == marked


def test_the_table_fits_in_a_screen():
    assert len(front.COLUMNS) + 1 <= 10
    assert sum(arm.front for arm in table.ARMS.values()) <= 15
    assert len({arm.name for arm in table.ARMS.values()}) == len(table.ARMS)


def test_which_method_takes_its_figures_from_the_table():
    template = results.WHICH_METHOD.read_text(encoding='utf-8')
    asked = [shlex.split(one)[1:] for one in re.findall(r'\{\{(figure .+?)\}\}', template)]
    headings = {column.heading for column in front.COLUMNS}
    assert asked and all(key in table.ARMS and heading in headings for key, heading in asked)
    rest = re.sub(r'\{\{.+?\}\}|`.*?`|hits@1|\bF1\b|\(.*?\)', '', template)
    assert re.findall(r'\d+', rest) == []
    assert results.fill_in('{{figure people P-F1}}', {}, []) == front.UNKNOWN
    own = replace(row('people', 'persona_f1', 0.2), method=table.ARMS['people'].name)
    assert results.fill_in('{{figure people P-F1}}', {'table': [own]}, []) == '0.200'


# ------------------------------------------------------------------------------------------ self-chat


class Opposites:
    """Contradiction is a word with its 'not'."""

    def classify(self, pairs: list[tuple[str, str]]) -> list[str]:
        return ['contradiction' if f'not {one}' == two or one == f'not {two}' else 'neutral' for one, two in pairs]


class Listener:
    """Recognises a persona if its first sentence was said."""

    def choices(self, persona, partners, dialogue):
        return [persona, partners]

    def rank(self, said, choices):
        return 1 if choices[0][0] in said else 2


def test_contradictions_of_a_log_counted_by_hand():
    spoken = [
        Side('d', ['cats', 'a'], ['b'], ['cats', 'not cats', 'cats', 'b']),
        Side('d', ['dogs'], ['cats', 'a'], ['not dogs', 'b b b b']),
    ]
    found = self_chat.measured(spoken, Opposites(), Listener())
    # 'not cats' contradicts both 'cats', the third message the second one; 'not dogs' the persona only
    assert found['contradicts_itself'] == pytest.approx(2 / 6)
    assert found['contradicts_persona'] == pytest.approx(2 / 6)
    assert found['contradiction'] == pytest.approx(3 / 6)
    assert found['persona_perception'] == 1 / 2
    assert found['repetition'] == pytest.approx(0.5 / 6)  # 'b b b', twice in one message
    assert found['reply_words'] == pytest.approx(11 / 6)
    assert found['distinct_raw_2'] == pytest.approx(3 / 5)  # 'not cats', 'not dogs', three times 'b b'
    assert found['exs'] == 6


class Context:
    perception = None

    def observation(self, act, own, partners, turn):
        return Message({**act, 'persona': own, 'turn': turn})


class Counting:
    """Says its persona, how many messages it has heard, and what the last one was."""

    id = 'counting'

    def reset(self):
        self.heard = []

    def observe(self, message):
        self.heard.append(message['text'])
        self.persona = message['persona']

    def act(self):
        return {'id': self.id, 'text': f'{self.persona[0]}{len(self.heard)}({self.heard[-1]})'}


DIALOGUE = Dialogue('d', (Turn('hi', 'hello'), Turn('a', 'b'), Turn('c', 'd')), ('me',), ('you',))


def test_agents_talk_as_the_people_of_a_dialogue_after_its_first_message():
    speakers = Speakers(Context(), [Counting(), Counting()])
    for _ in range(2):  # a conversation leaves nothing behind
        first, second = self_chat.talk(speakers, DIALOGUE, 2)
        assert second == Side('d', ('me',), ('you',), ['me1(hi)', 'me2(you2(me1(hi)))'])
        assert first == Side('d', ('you',), ('me',), ['you2(me1(hi))'])


def test_people_are_measured_on_as_many_messages():
    first, second = self_chat.people(DIALOGUE, 2)
    assert (first.persona, first.said) == (('you',), ['a'])
    assert (second.persona, second.said) == (('me',), ['hello', 'b'])
    opt = {'turns': 2, 'conversations': 2}
    short, silent = (
        replace(DIALOGUE, turns=DIALOGUE.turns[:1]),
        replace(DIALOGUE, turns=(Turn('__SILENCE__', 'x'),) * 2),
    )
    assert self_chat.chosen(iter([short, silent, *[DIALOGUE] * 3]), opt) == [DIALOGUE] * 2


# --------------------------------------------------------------------------------------------- peers

REPLIES = ['i love cats', 'i live in rome', 'what do you do ?']


@pytest.fixture(scope='module')
def vectorizer():
    return peers.tfidf.fitted(
        peers.VECTORIZER, [{'labels': [reply], 'persona': ['my cats sleep']} for reply in REPLIES]
    )


@pytest.mark.parametrize('own', [True, False])
def test_tf_idf_reads_persona_and_last_message(vectorizer, own: bool):
    shared = {'tfidf': (vectorizer, REPLIES, vectorizer.transform(REPLIES)) if own else (vectorizer, [], None)}
    agent = peers.TfidfAgent({}, shared)
    message = {'text': 'your persona: my cats sleep\nwho lives in rome ?', 'persona': []}
    listed = ['i love dogs'] if own else REPLIES  # a file of its own goes before what is listed
    agent.observe(Message({**message, 'label_candidates': listed}))
    assert agent.act()['text'] == 'i live in rome'
    agent.observe(Message({**message, 'text': 'hm', 'persona': ['my cats sleep'], 'label_candidates': listed}))
    assert agent.act()['text_candidates'][0] == 'i love cats'


def test_published_replies_are_found_by_dialogue_and_turn():
    agent = peers.PublishedAgent({}, {'said': {('d', 1): 'mine'}})
    answers = []
    for turn in (0, 1):
        agent.observe(Message({'text': 'x', 'dialogue_id': 'd', 'turn': turn}))
        answers.append(agent.act())
    assert [one.get('text') for one in answers] == [None, 'mine']
    assert [one['metrics']['answered'].value() for one in answers] == [0, 1]
