"""`persona:congeneric`: the examples, the similar contexts, the labels, the teachers and the worlds."""

import math
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny_bert
import torch
from conftest import FIXTURES
from parlai.core.teachers import create_task_agent_from_taskname
from parlai.scripts.display_data import setup_args
from parlai.scripts.self_chat import SelfChat
from real_data import real

import parlai_persona  # noqa: F401
from parlai_persona import fields
from parlai_persona.compat.place import shared_place
from parlai_persona.data import epochs, other_task
from parlai_persona.data.dialogue import DataError, NoSplit
from parlai_persona.data.specific_words import masked
from parlai_persona.errors import UserError
from parlai_persona.metrics import nli
from parlai_persona.metrics.formulas import words
from parlai_persona.tasks.congeneric import agents, neighbours, prepare
from parlai_persona.tasks.congeneric.examples import Split, dialogue_key, episode_examples, examples
from parlai_persona.tasks.congeneric.labels import Encoder, Entailment, Overlap
from parlai_persona.tasks.congeneric.neighbours import TfIdf, best
from parlai_persona.tasks.congeneric.parse import read_released
from parlai_persona.tasks.sample import grammar

SMALL = {'congeneric_of': 'persona:sample', 'persona_sample_dialogues': 12}
BEES = {'congeneric_of': 'persona:personachat', 'persona_folder': str(FIXTURES / 'personachat')}


def new_teacher(folder: Path, datatype: str = 'train', task: str = 'persona:congeneric', **options):
    """Make a teacher whose files are in a folder of the test."""
    usual = {} if 'congeneric_of' in options or task.endswith('released') else SMALL
    if task == 'persona:sample':
        usual = {'persona_sample_dialogues': 12}
    given = {'datapath': str(folder), 'task': task, 'datatype': datatype, **usual, **options}
    opt = setup_args().parse_kwargs(**given)
    opt['seed'] = 1
    return create_task_agent_from_taskname(opt)[0]


@pytest.fixture
def teacher(tmp_path):
    return partial(new_teacher, tmp_path)


def messages(task) -> list[dict]:
    return [dict(task.get(number)) for number in range(task.num_episodes())]


# ------------------------------------------------------------------------------------------------ examples


def test_golden_records(teacher):
    """The fixture of Persona-Chat, as a person reads it in its files."""
    found = messages(teacher('train', **BEES, congeneric_pmi_threshold=-100.0, congeneric_pmi_words=1))
    first, last = found[0], found[-1]
    assert [one['turn'] for one in found] == [0, 1, 2, 0, 1] and all(one['episode_done'] for one in found)
    assert first['text'] == 'your persona: i keep bees.\nyour persona: i am a night nurse.\nhello , how was your day ?'
    assert first['labels'] == ['long ! i came home from the ward at seven .'] and 'label_candidates' not in first
    assert first['persona'] == ['i keep bees.', 'i am a night nurse.'] and first['turns'] == 3
    assert first['dialogue_id'] == found[2]['dialogue_id'] == 'train-0' and last['dialogue_id'] == 'train-1'
    assert first['specific_words'] == ['hello'] and first['congeneric'][0] == '<KEY> , how was your day ?'
    assert found[1]['text'].endswith('\nyour persona: i am a night nurse.\nwhat do you do to relax ?')
    # bees, is: 'i sit with my bees' shares i, bees, my with the first sentence; 'i am in lima' the word lima
    assert [one['persona_label'] for one in found] == [0, 0, -1, 1, 1]


def test_the_same_examples_in_the_same_order_as_the_other_task(teacher):
    for datatype in ('valid', 'train:evalmode'):
        theirs = teacher(datatype, task='persona:sample')
        plain = [message for episode in other_task.episodes(theirs) for message in episode]
        found = messages(teacher(datatype))
        assert len(found) == len(plain) == (800 if datatype == 'valid' else 96)
        for mine, other in zip(found, plain, strict=True):
            assert mine['labels'] == list(other['eval_labels']) and mine['text'].endswith(other['text'])
            for name in ('persona', 'partner_persona', 'dialogue_id', 'turn', 'turns', 'kind'):
                assert mine[name] == other[name]
            assert mine.get('label_candidates') == (other['label_candidates'] if datatype == 'valid' else None)


@pytest.mark.parametrize('side', ['self', 'other', 'both', 'none'])
def test_persona_lines_stand_in_every_text(teacher, side):
    for message in messages(teacher('valid', persona_side=side))[:10]:
        own = [f'your persona: {sentence}' for sentence in message['persona']] if side in ('self', 'both') else []
        others = (
            [f"partner's persona: {one}" for one in message['partner_persona']] if side in ('other', 'both') else []
        )
        lines = message['text'].split('\n')
        assert lines[:-1] == own + others and masked(lines[-1], message['specific_words']) == message['congeneric'][0]


def test_longer_contexts(teacher):
    one, three = (messages(teacher('valid', congeneric_turns=turns, persona_side='none')) for turns in (1, 3))
    assert three[2]['text'] == '\n'.join([one[1]['text'], one[1]['labels'][0], one[2]['text']])
    assert three[0]['text'] == one[0]['text'] and three[1]['text'].count('\n') == 2


def test_tasks_of_others_have_their_persona_in_the_text():
    turns = [
        {'text': "your persona: i ski.\nyour persona: i sing.\npartner's persona: i row.\nhi", 'labels': ['hey']},
        {'text': 'no answer'},
        {'text': 'and ?', 'eval_labels': ['bye', 'so']},
    ]
    first, second = episode_examples(turns, 7, 1, ('your persona: ', "partner's persona: "))
    assert (first['context'], first['persona'], first['partner_persona']) == ('hi', ['i ski.', 'i sing.'], ['i row.'])
    assert (second['text'].split('\n')[-1], second['labels'], second['turn']) == ('and ?', ['bye', 'so'], 2)
    assert second['persona'] == ['i ski.', 'i sing.'] and second['dialogue_id'] == '7'


def test_an_evaluation_alone_has_candidates():
    episode = [{'text': 'hi', 'labels': ['hey'], 'persona': ['i ski.'], 'label_candidates': ['hey', 'no']}]
    [kept] = examples(Split('test', [episode]), 1)
    [left_out] = examples(Split('test', [episode], candidates=False), 1)
    assert kept.pop('label_candidates') == ['hey', 'no'] and kept == left_out


def test_the_final_test_of_a_training_is_left_out_if_there_is_none(tmp_path):
    """ParlAI always runs it."""
    opt = setup_args().parse_kwargs(task='persona:congeneric', datatype='test', datapath=str(tmp_path), **BEES)
    with pytest.raises(NoSplit, match='has none of test_'):
        create_task_agent_from_taskname(opt)
    opt['override'] = {}
    [task] = create_task_agent_from_taskname(opt)
    assert task.num_examples() == 0 and task.epoch_done() is not None


def test_both_sides_of_a_dialogue_are_one_dialogue():
    def key(*utterances):
        pairs = [
            {'text': text, 'labels': [reply]} for text, reply in zip(utterances[::2], utterances[1::2], strict=True)
        ]
        return dialogue_key(list(episode_examples(pairs, 0, 1, ('your persona: ', "partner's persona: "))))

    said = ['hi', 'hello', 'tea ?', 'no', 'oh', 'bye']
    assert key(*said) == key(fields.SILENCE, *said[:5]) != key(*said[2:])
    assert key('hi', 'hello') != key('hi', 'hey')


def test_a_task_without_personas_is_an_error(teacher):
    with pytest.raises(DataError, match="none of .* examples has a persona .*'persona'.*--congeneric-of"):
        teacher(congeneric_of='integration_tests:multiturn')


def test_a_split_that_is_missing_is_named(teacher, tmp_path):
    (tmp_path / 'some').mkdir()
    with pytest.raises(NoSplit, match='some has none of train_'):
        teacher(congeneric_of='persona:personachat', persona_folder=str(tmp_path / 'some'))


# ------------------------------------------------------------------------------------------ similar contexts

VALUES = {value for topic in grammar.TOPICS for value in topic.values}
TEXTS = [
    'the cat sleeps',
    'a cat is <KEY>',
    'the <KEY> cat',
    'do you sail ?',
    'we sail , do we ?',
    'key',
    'the cat, the cat',
]


def cosines(texts, query):
    """TF-IDF of Gensim by the book: tf * log2(M / df), both vectors of length 1."""

    def vector(text):
        tokens = Counter(words(text.replace('<KEY>', ' maskmask ')))
        df = {token: sum(token in words(one.replace('<KEY>', ' maskmask ')) for one in texts) for token in tokens}
        weights = {token: tf * math.log2(len(texts) / df[token]) for token, tf in tokens.items() if df[token]}
        length = math.sqrt(sum(value**2 for value in weights.values()))
        return {token: value / length for token, value in weights.items()} if length else {}

    one = vector(query)
    others = [vector(text) for text in texts]
    return [sum(value * other.get(token, 0) for token, value in one.items()) for other in others]


def test_cosines_by_the_book():
    found, scores = TfIdf(TEXTS).nearest(['a sleeping cat or <KEY> ?', 'nothing of it'], 3)
    expected = cosines(TEXTS, 'a sleeping cat or <KEY> ?')
    assert scores[0].tolist() == pytest.approx(sorted(expected, reverse=True)[:3], abs=1e-6)
    assert [expected[number] for number in found[0]] == pytest.approx(scores[0].tolist(), abs=1e-6)
    assert found[0, 0] == 1 and scores[1].tolist() == [0, 0, 0]


@pytest.mark.parametrize('group', [2, 64])
def test_the_highest_scores_are_found_in_groups(monkeypatch, group):
    monkeypatch.setattr(neighbours, 'GROUP', group)
    scores = np.random.default_rng(0).random((203, 5)).astype(np.float32)
    for count in (1, 7, 150, 203):
        found = np.sort(np.take_along_axis(scores.T, best(scores, count), 1), 1)
        assert (found == np.sort(scores.T, 1)[:, -count:]).all()


def test_contexts_are_those_of_a_search_of_everything(teacher, monkeypatch):
    monkeypatch.setattr(neighbours, 'BLOCK', 7)
    monkeypatch.setattr(neighbours, 'GROUP', 4)
    monkeypatch.setattr(prepare, 'CHUNK', 10)
    options = {'congeneric_k': 6, 'congeneric_pmi_threshold': 1.0}
    training = messages(teacher(**options))
    where: dict[str, set[str]] = {}  # masked context -> dialogues that have it
    for message in training:
        where.setdefault(message['congeneric'][0], set()).add(message['dialogue_id'])
    texts = list(where)
    for datatype in ('train', 'valid'):
        found = training if datatype == 'train' else messages(teacher('valid', **options))[:100]
        for message in found[::5]:
            own, *others = message['congeneric']
            ids = {message['dialogue_id']}
            scores = [
                0.0 if text == own or where[text] <= ids else score
                for text, score in zip(texts, cosines(texts, own), strict=True)
            ]
            expected = [score for score in sorted(scores, reverse=True)[:5] if score > 1e-6]
            assert [scores[texts.index(text)] for text in others] == pytest.approx(expected, abs=1e-5)
            assert own not in others and len(set(others)) == len(others)
    assert {len(message['congeneric']) for message in training} == {6}


def test_no_example_is_among_its_own_contexts_nor_its_dialogue():
    """Two sides of a dialogue, and a third one with a context in common."""
    said = ['old cats purr', 'my old cats purr', 'cats purr', 'yes cats']
    sides = [said, [fields.SILENCE, *said[:3]], ['cats purr', 'do old cats purr ?']]
    episodes = [
        [{'text': text, 'labels': [reply], 'persona': ['x'], 'dialogue_id': str(number)} for text, reply in pairs]
        for number, side in enumerate(sides)
        for pairs in [list(zip(side[::2], side[1::2], strict=True))]
    ]
    found = list(examples(Split('test', episodes), 1))
    keys = np.array([dialogue_key([one for one in found if one['episode'] == number]) for number in (0, 0, 1, 1, 2)])
    texts = [one['context'] for one in found]
    assert texts == ['old cats purr', 'cats purr', fields.SILENCE, 'my old cats purr', 'cats purr']

    distinct = list(dict.fromkeys(texts))
    owners = np.array([keys[0], 0, keys[0], keys[0]])  # 'cats purr' is in two dialogues
    search = neighbours.Search(distinct, owners, 3)
    rows = search(texts, keys)
    assert [[distinct[number] for number in row if number >= 0] for row in rows] == [
        ['cats purr'],  # not 'my old cats purr', which the other side of the dialogue has
        [],
        [],
        ['cats purr'],
        ['old cats purr', 'my old cats purr'],
    ]


def test_fewer_contexts_where_there_are_not_so_many(teacher):
    found = messages(teacher(**BEES))
    assert all(len(message['congeneric']) <= 5 for message in found)


def test_a_sample_of_the_contexts_is_searched(teacher, tmp_path):
    whole = {context for one in messages(teacher()) for context in one['congeneric'][1:]}
    sampled = messages(teacher(congeneric_pool=10))
    assert len({context for one in sampled for context in one['congeneric'][1:]}) <= 10 < len(whole)
    assert sampled == messages(teacher(congeneric_pool=10, congeneric_check=False))
    assert sampled != messages(teacher(congeneric_pool=10, congeneric_seed=1))


# ---------------------------------------------------------------------------------------------------- labels


def test_labels_by_overlap_by_hand():
    """Three replies; idf is log (4 / (1 + replies with the word))."""
    counts, number = Overlap.count(['i ski', 'i sail a lot', 'i sail , i said'])
    assert (counts['i'], counts['sail'], number) == (3, 2, 3)
    judge = Overlap(counts, number)
    i, sail, new = math.log(4 / 4), math.log(4 / 3), math.log(4 / 1)
    [scores] = judge.scores([('i sail boats', ['i ski .', 'boats sail', 'i', 'we run'])])
    assert scores == pytest.approx([0, 2 * (sail + new) / (i + sail + new + new + sail), 0, 0])
    assert judge.labels([('i sail boats', ['i ski', 'I SAIL!']), ('i row', ['i ski']), ('a', [])], 0.0) == [1, -1, -1]
    assert judge.labels([('i sail boats', ['i sail'])], 0.9) == [-1]


def test_labels_of_the_sample_are_known_by_construction(teacher):
    """A reply about the persona names its value. One of 400 also shares a rare word with another sentence."""
    right = []
    for message in messages(teacher('valid')):
        [reply] = message['labels']
        values = [set(words(sentence)) & VALUES for sentence in message['persona']]
        if message['kind'] == 'persona':
            expected = [place for place, value in enumerate(values) if value & set(words(reply))]
            right.append([message['persona_label']] == expected)
    assert len(right) == 400 and sum(right) >= 399


def test_labels_by_an_encoder():
    """The cosine of means over the words of the layer before the last, whatever else is in the batch."""
    judge = Encoder(tiny_bert.folder(), device='cpu')
    pairs = [('i like cats', ['my cat is old .', 'i like cats']), ('hello', ['i live in paris .']), ('hello', [])]
    first, second, third = judge.scores(pairs)
    assert first[1] == pytest.approx(1, abs=1e-5) and third == [] and judge.labels(pairs, 0.0)[::2] == [1, -1]

    def mean(text):
        inputs = judge.tokenizer(text, return_tensors='pt')
        with torch.inference_mode():
            states = judge.model(**inputs, output_hidden_states=True).hidden_states
        assert len(states) == 2
        return states[0][0].mean(0)

    cosine = torch.cosine_similarity(mean('hello'), mean('i live in paris .'), dim=0)
    assert second == [pytest.approx(cosine.item(), abs=1e-5)]


def test_labels_by_entailment(monkeypatch):
    class Words(nli.Nli):
        def probabilities(self, pairs):
            return [{'entailment': len(set(a.split()) & set(b.split())) / 9} for a, b in pairs]

    monkeypatch.setattr(nli, 'load', lambda where, datapath, flag: Words(where, flag))
    judge = Entailment('any')
    pairs = [('i ski and sail', ['i sail', 'i sail and ski', 'we run']), ('so', ['we run'])]
    assert judge.scores(pairs) == [[2 / 9, 4 / 9, 0], [0]] and judge.labels(pairs, 0.0) == [1, -1]
    assert judge.classifier.known == {}


def test_labellers_by_name(teacher):
    found = messages(teacher(congeneric_labels='encoder', congeneric_encoder=tiny_bert.folder()))
    assert {message['persona_label'] for message in found} <= {0, 1, 2, 3}
    with pytest.raises(UserError, match='--congeneric-nli MODEL'):
        teacher(congeneric_labels='nli')


# ----------------------------------------------------------------------------------------------------- teacher


def test_epochs_visit_everything_once_in_a_seeded_order(teacher):
    def visit(task, count):
        seen = []
        for _ in range(count):
            message = task.act()
            seen.append((message['dialogue_id'], message['turn']))
            task.observe({'text': ''})
        return seen

    once = visit(teacher(), 2 * 96)
    first, second = once[:96], once[96:]
    assert len(set(first)) == 96 and set(first) == set(second) and first != second
    assert visit(teacher(), 2 * 96) == once
    resumed = teacher()
    resumed.index.value = 99  # as a resumed training sets it
    assert shared_place(resumed) == 99
    assert visit(resumed, 92) == once[100:]


def test_workers_divide_the_examples(teacher, monkeypatch):
    evaluation, training = [], []
    for rank in (0, 1):
        for module in (agents, epochs):
            monkeypatch.setattr(module, 'num_workers', lambda: 2)
            monkeypatch.setattr(module, 'get_rank', lambda rank=rank: rank)
        evaluation.append([(one['dialogue_id'], one['turn']) for one in messages(teacher('valid'))])
        task = teacher()
        training.append([(one['dialogue_id'], one['turn']) for one in (task.act() for _ in range(48))])
    assert Counter(evaluation[0] + evaluation[1]) == {(f'valid-{n}', turn): 1 for n in range(100) for turn in range(8)}
    assert len(set(training[0] + training[1])) == 96


def test_workers_put_together_what_each_reads(teacher, tmp_path, monkeypatch):
    alone = messages(teacher('train:evalmode'))
    theirs = list(other_task.episodes(teacher('train:evalmode', task='persona:sample', persona_candidates='none')))

    def gather(shares, mine):
        shares[:] = [theirs[::2], theirs[1::2]]

    for module in (other_task, sys.modules['parlai_persona.tasks.congeneric.build']):
        monkeypatch.setattr(module, 'is_distributed', lambda: True)
    monkeypatch.setattr(other_task, 'num_workers', lambda: 2)
    monkeypatch.setattr(torch.distributed, 'all_gather_object', gather)
    assert messages(teacher('train:evalmode', datapath=str(tmp_path / 'two'))) == alone


def test_shares_its_files(teacher):
    task = teacher('valid')
    clone = task.clone()
    assert clone.split is task.split and clone.training_split is task.training_split


@pytest.mark.slow
def test_two_processes_train_on_each_example_once(parlai, tmp_path):
    from test_teacher import RECORDER, worker_program

    worker_program(tmp_path, 'recorder_agent', RECORDER)
    (tmp_path / 'data').mkdir()
    (tmp_path / 'm.dict').touch()
    task = '-t persona:congeneric --congeneric-of persona:sample --persona-sample-dialogues 6'
    rest = '-m recorder_agent:RecorderAgent -mf m --max-train-steps 24 --evaltask integration_tests -dt train'
    done = parlai(
        'multiprocessing_train',
        *f'{task} {rest} --distributed-world-size 2 --datapath {tmp_path / "data"}'.split(),
        PYTHONPATH=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen = [line for rank in (0, 1) for line in (tmp_path / 'data' / f'seen-{rank}').read_text().splitlines()]
    assert len(seen) == len(set(seen)) == 48


# ------------------------------------------------------------------------------------------------ conversations


@pytest.mark.parametrize('task', ['congeneric', 'dialogues', 'perception'])
def test_interactive_and_self_chat_are_those_of_the_other_task(command, tmp_path, task):
    of = f'-t persona:{task} --{task}-of persona:sample'
    talk = 'interactive -m fixed_response --fixed-response fine --persona-seed 1'
    mine = command(*f'{talk} {of}'.split(), input='hello\n')
    theirs = command(*f'{talk} -t persona:sample'.split(), input='hello\n')
    assert mine.returncode == theirs.returncode == 0 and 'persona' in mine.stdout
    assert mine.stdout.split('Enter')[-1] == theirs.stdout.split('Enter')[-1]
    options = {f'{task}_of': 'persona:sample', 'model': 'fixed_response', 'fixed_response': 'fine', 'persona_seed': 1}
    log = tmp_path / 'log'
    SelfChat.main(task=f'persona:{task}', num_self_chats=1, loglevel='error', outfile=str(log), **options)
    assert 'fine' in Path(f'{log}.jsonl').read_text()
    assert not (tmp_path / 'congeneric').exists()  # nothing needs to be prepared


# ----------------------------------------------------------------------------------------------- released files


def test_the_released_files_by_hand(teacher):
    task = teacher('valid', task='persona:congeneric:released', released_folder=str(FIXTURES / 'pednet'))
    first, second, third = messages(task)
    assert first['text'] == 'your persona: i bake pies\nyour persona: i sail\nhello baker , do you like cakes ?'
    assert first['labels'] == ['yes , i bake pies .'] and first['persona'] == ['i bake pies', 'i sail']
    assert first['specific_words'] == ['baker', 'cakes']
    assert first['congeneric'] == ['hello <KEY> , do you like <KEY> ?']
    assert [one['persona_label'] for one in (first, second, third)] == [0, -1, 1]
    assert second['specific_words'] == [] and second['congeneric'] == ['how are you ?']
    assert len({one['dialogue_id'] for one in (first, second, third)}) == 3
    assert dict(task.act())['eval_labels'] == first['labels']


@pytest.mark.parametrize(
    ('number', 'old', 'new', 'expected'),
    [
        (1, 'fine .\tNone', 'fine .', 'line 2: saw 2 columns .* expected 3'),
        (2, 'fine .', 'good .', 'line 2: expected the same reply'),
        (1, 'how are you', 'how are', 'line 2: expected the same reply and as many words'),
        (2, '\t2\t', '\t1\t', "line 3: saw label '1' and the sentence 'i sail' of 3"),
        (2, '\t2\t', '\tx\t', "line 3: saw label 'x'"),
    ],
)
def test_released_files_that_are_no_pair(tmp_path, number, old, new, expected):
    paths = []
    for one in (1, 2):
        paths.append(tmp_path / f'demo.dev{one}')
        text = (FIXTURES / 'pednet' / f'demo.dev{one}').read_text()
        assert one != number or old in text
        paths[-1].write_text(text.replace(old, new) if one == number else text)
    with pytest.raises(DataError, match=expected):
        list(read_released(*paths))


@pytest.mark.parametrize('shorter', [1, 2])
def test_released_files_of_unequal_length(tmp_path, shorter):
    paths = []
    for one in (1, 2):
        paths.append(tmp_path / f'demo.dev{one}')
        lines = (FIXTURES / 'pednet' / f'demo.dev{one}').read_text().splitlines(keepends=True)
        paths[-1].write_text(''.join(lines[:-1] if one == shorter else lines))
    with pytest.raises(DataError, match=f'demo.dev{shorter} .*ends before'):
        list(read_released(*paths))


def test_released_files_that_are_empty(teacher, tmp_path):
    for name in ('demo.dev1', 'demo.dev2'):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r'demo\.dev1 and demo\.dev2 are empty'):
        teacher('valid', task='persona:congeneric:released', released_folder=str(tmp_path))


def test_released_files_that_are_missing(teacher, tmp_path):
    with pytest.raises(NoSplit, match=r'has no demo\.test1 and no demo\.test2.*--released-folder'):
        teacher('test', task='persona:congeneric:released', released_folder=str(FIXTURES / 'pednet'))
    (tmp_path / 'demo.dev1').write_text('a\n')
    paths = [tmp_path / 'demo.dev1', FIXTURES / 'pednet' / 'demo.dev2']
    with pytest.raises(DataError, match='line 1: saw 1 columns'):
        list(read_released(*paths))


@pytest.mark.slow
def test_the_real_released_files():
    records = list(read_released(real('pednet', 'demo.dev1'), real('pednet', 'demo.dev2')))
    assert len(records) == 7800
    assert sum(record.label == -1 for record in records) == 2692
    assert sum(not record.specific for record in records) == 777
    assert max(len(record.specific) for record in records) == 4


@pytest.mark.slow
def test_the_real_valid_split(teacher, tmp_path):
    real('Persona-Chat', 'personachat', 'train_self_original_no_cands.txt')
    options = {'congeneric_of': 'persona:personachat', 'persona_folder': str(real('Persona-Chat', 'personachat'))}
    found = messages(teacher('valid', **options))
    assert len(found) == 7801 and {len(one['congeneric']) for one in found} >= {15}
    assert 2.4 < sum(len(one['specific_words']) for one in found) / 7801 < 2.8
