"""`persona:personalized_babi`: parsing, choice of files and dialogues, candidates, metrics, and booking a table."""

import os
import shutil
from pathlib import Path

import pytest
from conftest import FIXTURES
from parlai.core.agents import Agent
from parlai.core.loader import register_agent
from parlai.core.mutators import ManyEpisodeMutator, register_mutator
from parlai.core.teachers import create_task_agent_from_taskname
from parlai.scripts.display_data import setup_args
from parlai.scripts.eval_model import EvalModel
from parlai.scripts.interactive import Interactive
from parlai.scripts.self_chat import SelfChat

from parlai_persona import fields
from parlai_persona.data.dialogue import DataError, Dialogue, NoSplit, Turn
from parlai_persona.tasks.personalized_babi.agents import choose
from parlai_persona.tasks.personalized_babi.conversation import ON_ITS_OWN, Customs
from parlai_persona.tasks.personalized_babi.parse import (
    SILENCE,
    fact,
    kind,
    read_candidates,
    read_dialogues,
    read_kb,
    restaurants_told,
    write_facts,
)

FOLDER = FIXTURES / 'personalized_babi'
TRAIN = FOLDER / 'personalized-dialog-task5-full-dialogs-trn.txt'
TASK = 'persona:personalized_babi'
PROFILE = 'male young veg green_curry'
BEST = 'resto_oslo_cheap_thai_3stars_1'


def teacher(task: str = TASK, **options):
    """A teacher as `parlai display_data` would make it."""
    options = {'datatype': 'train:evalmode', 'task': task, 'loglevel': 'error', **options}
    if 'datapath' not in options:
        options.setdefault('babi_folder', str(FOLDER))
    return create_task_agent_from_taskname(setup_args().parse_kwargs(**options))[0]


def ids(**options) -> list[str]:
    return list(dict.fromkeys(m[fields.DIALOGUE_ID] for m in teacher(persona_candidates='none', **options)))


# ---------------------------------------------------------------------------------------------- parsing


def test_golden_records():
    first, *_, last = read_dialogues(TRAIN, personalized=True)
    assert (first.id, last.id) == ('train-0', 'train-3')
    assert first.persona == ()
    assert first.partner_persona == (PROFILE,)  # the bot replies, and the profile describes its partner
    assert [(t.text, t.reply, t.kind) for t in first.turns if '\n' not in t.text] == [
        ('hello', 'good day friend', 'other'),
        ('a cheap table for two in oslo please', 'on my way', 'other'),
        (SILENCE, 'which kitchen shall it be', 'other'),
        ('thai', 'let me look around', 'other'),
        (SILENCE, 'api_call thai oslo two cheap', 'api_call'),
        ('rather not', 'let me see what else', 'other'),
        (SILENCE, f'how about {BEST}', 'option'),
        ('lovely', 'done my friend', 'other'),
        ('what is their number', f'here you are {BEST}_phone', 'info'),
        ('thanks', 'see you friend', 'other'),
    ]
    told = first.turns[5].text.split('\n')
    assert len(told) == 17
    assert told[0] == 'resto_oslo_cheap_thai_4stars_2 R_phone resto_oslo_cheap_thai_4stars_2_phone'
    assert told[-1] == SILENCE


def test_ids_name_the_split():
    found = {p.name[-11:-4]: next(read_dialogues(p, True)).id for p in FOLDER.glob('personalized-dialog-task5*')}
    assert found == {'ogs-trn': 'train-0', 'ogs-dev': 'valid-0', 'ogs-tst': 'test-0', 'tst-OOV': 'test-OOV-0'}


def test_plain_dialogues_have_no_profile():
    first, _ = read_dialogues(FOLDER / 'dialog-babi-task5-full-dialogs-trn.txt', personalized=False)
    assert first.partner_persona == ()
    assert first.turns[0].text == 'hello'


@pytest.mark.parametrize(
    ('reply', 'expected'),
    [
        ('api_call thai oslo two cheap', 'api_call'),
        ('is this one cool: resto_lima_cheap_thai_4stars_2', 'option'),
        ('what do you think of this option: resto_lima_cheap_thai_4stars', 'option'),
        ('here resto_lima_cheap_thai_4stars_2_address resto_lima_cheap_thai_4stars_2_parking', 'info'),
        ('here it is resto_lima_cheap_thai_4stars_phone', 'info'),
        ('your resto was booked', 'other'),
    ],
)
def test_kinds_of_replies(reply, expected):
    assert kind(reply) == expected


@pytest.mark.parametrize(
    ('lines', 'where', 'complaint'),
    [
        ('1 male young\nhello\thi .', 'line 2', "saw 'hello\\thi .', expected \"<number> <text>"),
        ('1 male young\n3 hello\thi .', 'line 2', 'saw number 3 after number 1, expected 2 or 1'),
        ('2 hello\thi .', 'line 1', 'saw number 2 after number 0, expected 1'),
        ('1 hello\thi .', 'line 1', "saw 'hello\\thi .', expected the profile of the user"),
        ('1 resto_x R_rating 3\n2 hello\thi .', 'line 1', "saw 'resto_x R_rating 3', expected the profile"),
    ],
)
def test_a_malformed_line_names_file_and_line(tmp_path, lines, where, complaint):
    path = tmp_path / 'personalized-dialog-task1-API-calls-trn.txt'
    path.write_text(f'{lines}\n')
    with pytest.raises(DataError) as error:
        list(read_dialogues(path, personalized=True))
    assert f'personalized-dialog-task1-API-calls-trn.txt, {where}' in str(error.value)
    assert complaint in str(error.value)


def test_the_knowledge_base():
    facts = read_kb(FOLDER / 'personalized-dialog-kb-all.txt')
    assert len(facts) == 5
    assert list(facts[BEST].items())[:3] == [('R_cuisine', 'thai'), ('R_location', 'oslo'), ('R_price', 'cheap')]
    assert write_facts(BEST, facts[BEST])[0] == f'{BEST} R_cuisine thai'


def test_malformed_tables(tmp_path):
    path = tmp_path / 'table.txt'
    path.write_text('1 resto_x R_cuisine\tthai\n\n1 resto_x thai\n')
    with pytest.raises(DataError, match=r"table.txt, line 3: saw '1 resto_x thai', expected .<number> <restaurant> R_"):
        read_kb(path)
    path.write_text('1 yes\nno\n')
    with pytest.raises(DataError, match=r"table.txt, line 2: saw 'no', expected .<number> <reply>"):
        read_candidates(path)


# ------------------------------------------------------------------------------------------- the teacher


def test_message_fields():
    messages = list(teacher())
    assert messages[0]['text'] == f'{PROFILE}\nhello'
    assert messages[1]['text'] == 'a cheap table for two in oslo please'
    assert {tuple(m[fields.PARTNER_PERSONA]) for m in messages[:11]} == {(PROFILE,)}
    assert (messages[1][fields.PERSONA], messages[1][fields.KIND], messages[1][fields.TURNS]) == ([], 'other', 11)


def test_without_the_profile_in_the_text():
    first = next(iter(teacher(persona_side='none')))
    assert first['text'] == 'hello'
    assert first[fields.PARTNER_PERSONA] == [PROFILE]


def test_other_tasks_beside_it_keep_their_own_side():
    """All tasks of a run share one flag. Its default must not be that of the last task."""
    opt = setup_args().parse_kwargs(task=f'persona:sample,{TASK}', babi_folder=str(FOLDER), loglevel='error')
    sample, babi = create_task_agent_from_taskname(opt)[0].tasks
    assert sample.get(0)['text'].startswith('your persona: ')
    assert babi.get(0)['text'] == f'{PROFILE}\nhello'


@pytest.fixture(scope='module')
def datapath(tmp_path_factory):
    """The fixtures where ParlAI's own tasks look for them, marked as built."""
    root = tmp_path_factory.mktemp('data')
    for name, below, pattern in (
        ('personalized-dialog', 'personalized-dialog-dataset', 'personalized-dialog-*.txt'),
        ('dialog-bAbI', 'dialog-bAbI-tasks', 'dialog-babi-*.txt'),
    ):
        folder = root / name / below
        (folder / 'small').mkdir(parents=True)
        for path in FOLDER.glob(pattern):
            shutil.copy(path, folder / 'small' if name == 'personalized-dialog' and '-task' in path.name else folder)
        (root / name / '.built').write_text('now')
    return str(root)


@pytest.mark.parametrize(
    ('ours', 'theirs', 'split'),
    [
        ({'babi_task': 3}, 'personalized_dialog:SmallTask:3', 'train:evalmode'),
        ({}, 'personalized_dialog:SmallTask:5', 'train:evalmode'),
        ({}, 'personalized_dialog:SmallTask:5', 'valid'),
        ({'babi_personalized': False}, 'dialog_babi:Task:5', 'train:evalmode'),
        ({'babi_personalized': False, 'babi_task': 4}, 'dialog_babi:Task:4', 'valid'),
    ],
)
def test_text_labels_and_candidates_are_those_of_parlais_own_teacher(datapath, ours, theirs, split):
    def shown(found):
        return [(m['text'], tuple(m['eval_labels']), sorted(m['label_candidates'])) for m in found]

    expected = shown(teacher(theirs, datapath=datapath, datatype=split))
    assert shown(teacher(datapath=datapath, datatype=split, **ours)) == expected
    assert expected


def test_out_of_vocabulary_test():
    assert ids(datatype='test') == ['test-0', 'test-1']
    assert ids(datatype='test', babi_oov=True) == ['test-OOV-0']
    assert ids(datatype='valid', babi_oov=True) == ['valid-0', 'valid-1']


def test_options_inside_the_task_string():
    plain = list(teacher(f'{TASK}:babi_personalized=false:babi_task=5'))
    assert plain[0]['text'] == 'hello'
    assert plain[0][fields.PARTNER_PERSONA] == []
    with pytest.raises(ValueError, match='--babi-task is 6; expected 1 or 2 or 3 or 4 or 5'):
        teacher(f'{TASK}:babi_task=6')
    with pytest.raises(ValueError, match='--babi-dialogues is -1; it has to be 0 or more'):
        teacher(babi_dialogues=-1)


def test_a_split_that_is_not_there(datapath, tmp_path):
    with pytest.raises(
        NoSplit,
        match=r'has no personalized-dialog-task3-options-dev.txt; of this task it has '
        r'personalized-dialog-task3-options-trn.txt',
    ):
        list(teacher(datatype='valid', babi_task=3))
    with pytest.raises(DataError, match=r'--babi-size: saw no folder .*full, expected one with files personalized-'):
        list(teacher(datapath=datapath, babi_size='full'))
    with pytest.raises(DataError, match='--babi-folder: saw no folder'):
        list(teacher(babi_folder=str(tmp_path / 'nowhere')))


# --------------------------------------------------------------------------------- fewer dialogues, candidates


def test_the_choice_of_dialogues_is_the_seeds():
    whole = list(read_dialogues(TRAIN, True))
    keys = [(count, seed) for count in (1, 2, 3) for seed in range(9)]
    chosen, again = ({key: [d.id for d in choose(iter(whole), *key, 'x')] for key in keys} for _ in range(2))
    assert chosen == again
    for (count, seed), found in chosen.items():
        assert len(found) == count
        assert found == sorted(found)  # in the order of the file, under the ids they have there
        assert count == 1 or set(chosen[count - 1, seed]) < set(found)  # nested: a learning curve adds dialogues
    assert len({tuple(chosen[2, seed]) for seed in range(9)}) > 2


def test_few_dialogues_of_train_and_valid_and_the_whole_test():
    assert len(ids(babi_dialogues=2)) == 2
    assert ids(babi_dialogues=2, babi_seed=1) == ids(babi_dialogues=2, babi_seed=1, datatype='train:evalmode:stream')
    assert len(ids(babi_dialogues=1, datatype='valid')) == 1
    assert len(ids(babi_dialogues=1, datatype='test')) == 2
    with pytest.raises(DataError, match=r'--babi-dialogues 5: saw only 4 dialogues in .*-trn.txt; lower it'):
        ids(babi_dialogues=5)


def test_released_candidates_are_one_list():
    task = teacher()
    lists = [m['label_candidates'] for m in task]
    assert len({id(found) for found in lists}) == 1
    assert task.clone().get(0)['label_candidates'] is lists[0]
    assert 'nobody says this' in lists[0]
    assert 'this neither' not in lists[0]
    orders = [teacher(persona_candidates_seed=seed).get(0)['label_candidates'] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] == lists[0] != orders[2]
    assert sorted(orders[2]) == sorted(lists[0])


@pytest.mark.parametrize('oov', [False, True])
def test_candidates_of_the_dialogues_in_use(oov):
    task = teacher(babi_candidates='task', babi_dialogues=1, babi_oov=oov)
    used = {
        m['eval_labels'][0]
        for fold in ('train:evalmode', 'valid', 'test')
        for m in teacher(datatype=fold, babi_dialogues=1, babi_oov=oov)
    }
    found = task.get(0)['label_candidates']
    assert set(found) == used
    assert len(found) == len(used) < 30
    assert ('api_call irish cork four cheap' in used) == oov


def test_a_reply_that_is_no_candidate(tmp_path):
    for path in FOLDER.glob('personalized-dialog-task5*'):
        shutil.copy(path, tmp_path)
    with pytest.raises(DataError, match=r'saw no personalized-dialog-candidates.txt in .*--babi-candidates task'):
        teacher(babi_folder=str(tmp_path))
    assert len(list(teacher(babi_folder=str(tmp_path), babi_candidates='task')))
    (tmp_path / 'personalized-dialog-candidates.txt').write_text('1 yes\n1 no\n1 yes\n')
    with pytest.raises(DataError, match="'train-0', turn 0: the reply 'good day friend' is not among the 2 candidates"):
        teacher(babi_folder=str(tmp_path))


def test_a_folder_with_one_split_only(tmp_path):
    shutil.copy(FOLDER / 'personalized-dialog-task5-full-dialogs-tst.txt', tmp_path)
    found = list(teacher(babi_folder=str(tmp_path), babi_candidates='task', datatype='test'))
    assert set(found[0]['label_candidates']) == {m['eval_labels'][0] for m in found}
    with pytest.raises(NoSplit):
        teacher(babi_folder=str(tmp_path), babi_candidates='task')


# ---------------------------------------------------------------------------------------------- metrics


@register_agent('almost_right')
class AlmostRight(Agent):
    """An agent that answers with the label, except for two messages."""

    def act(self):
        seen = self.observation
        if 'text' not in seen or seen.get('episode_done') is None or seen.is_padding():
            return {'id': 'almost_right'}
        wrong = seen['text'] in ('rather not', 'yes')
        return {'id': 'almost_right', 'text': 'well' if wrong else seen['eval_labels'][0]}


@register_mutator('without_greeting')
class WithoutGreeting(ManyEpisodeMutator):
    def many_episode_mutation(self, episode):
        yield episode[1:]


@pytest.mark.parametrize('batchsize', [1, 2, 3])
@pytest.mark.parametrize('stream', ['', ':stream'])
def test_accuracy_of_dialogues_and_kinds(batchsize, stream):
    """4 dialogues of 11, 10, 6 and 7 turns; one wrong reply in the first and one in the second."""
    report = EvalModel.main(
        task=TASK,
        babi_folder=str(FOLDER),
        model='almost_right',
        datatype=f'train:evalmode{stream}',
        batchsize=batchsize,
        loglevel='error',
    )
    assert report['exs'].value() == 34
    assert report['accuracy'].value() == pytest.approx(32 / 34)
    assert report['dialogue_accuracy'].value() == 2 / 4
    counts = {kind: report[f'accuracy_{kind}']._denom for kind in ('option', 'api_call', 'info', 'other')}
    assert counts == {'option': 5, 'api_call': 5, 'info': 1, 'other': 23}
    assert report['accuracy_other'].value() == pytest.approx(21 / 23)
    assert report['accuracy_option'].value() == report['accuracy_api_call'].value() == 1
    assert 'persona_recall' not in report  # the bot has no persona to take words from


@pytest.mark.parametrize('batchsize', [1, 2])
@pytest.mark.parametrize(('mutator', 'turns', 'dialogues'), [('flatten', 34, 4), ('without_greeting', 30, None)])
def test_dialogues_of_which_a_mutator_leaves_a_part_are_not_judged(mutator, turns, dialogues, batchsize):
    report = EvalModel.main(
        task=TASK,
        babi_folder=str(FOLDER),
        model='almost_right',
        datatype='train:evalmode',
        batchsize=batchsize,
        mutators=mutator,
        loglevel='error',
    )
    assert report['exs'].value() == turns
    assert getattr(report.get('dialogue_accuracy'), '_denom', None) == dialogues


# ------------------------------------------------------------------------------------------- conversation


def test_customs_are_learnt_from_the_data():
    customs = Customs.of(read_dialogues(TRAIN, True))
    assert customs.silent == {
        'on my way',
        'on my way madam',
        'let me look around',
        'let me look around madam',
        'let me see what else',
    }
    assert customs.looks_up
    assert customs.relations[:2] == ['R_phone', 'R_cuisine']
    assert set(customs.openings) == {d.partner_persona for d in read_dialogues(TRAIN, True)}


SAID: list[str] = []  # what the scripted agent is to say
SEEN: list = []  # what it was shown


@register_agent('scripted')
class Scripted(Agent):
    def act(self):
        SEEN.append(self.observation)
        return {'id': 'scripted', 'text': SAID.pop(0), 'episode_done': False}


@pytest.fixture
def chat(monkeypatch, capsys):
    """`parlai interactive` with these lines typed and these replies of the agent; all it prints."""

    def run(typed: list[str], said: list[str], **options) -> str:
        lines = iter(typed)

        def answer(prompt: str) -> str:
            return next(lines, '[EXIT]')

        monkeypatch.setattr('builtins.input', answer)
        SAID[:], SEEN[:] = said, []
        options = {'task': TASK, 'babi_folder': str(FOLDER), 'persona': PROFILE, **options}
        Interactive.main(model='scripted', loglevel='error', **options)
        assert not SAID
        return capsys.readouterr().out

    return run


def test_booking_a_table(chat):
    """The person says three things; the rest is the world's."""
    out = chat(
        ['hello', 'a cheap thai table for two in oslo', 'lovely'],
        ['good day', 'on my way', 'let me look around', 'api_call thai oslo two cheap', f'how about {BEST}', 'done'],
    )
    assert f'Your profile: {PROFILE}' in out
    assert '2 restaurants fit this call:' in out
    assert f'  - {BEST}: rating 3, type veg, speciality green_curry' in out
    assert f'[scripted]: how about {BEST}' in out
    texts = [seen['text'] for seen in SEEN]
    assert texts[:4] == [f'{PROFILE}\nhello', 'a cheap thai table for two in oslo', SILENCE, SILENCE]
    told = texts[4].split('\n')
    assert told[-1] == SILENCE
    first = told[0].split()[0]
    assert told[:2] == [f'{first} R_phone {first}_phone', f'{first} R_cuisine thai']  # the order of the dialogues
    assert len(told) == 17
    assert texts[5] == 'lovely'
    assert [seen['turn'] for seen in SEEN] == list(range(6))
    assert all(seen['partner_persona'] == [PROFILE] and seen['persona'] == [] for seen in SEEN)


def test_calls_that_lead_nowhere(chat, tmp_path):
    out = chat(['hi', 'hm', ''], ['api_call thai oslo nine cheap', 'api_call thai', 'well'])
    assert 'api_call thai oslo nine cheap: there is no such restaurant.' in out
    assert 'api_call thai: expected api_call and cuisine, location, number, price' in out
    assert [seen['text'] for seen in SEEN] == [f'{PROFILE}\nhi', 'hm', SILENCE]
    shutil.copy(TRAIN, tmp_path)
    out = chat(['hi'], ['api_call thai oslo two cheap'], babi_folder=str(tmp_path))
    assert 'nothing is looked up: saw no personalized-dialog-kb-all.txt' in out


def test_a_call_is_not_answered_where_the_dialogues_have_no_answer(chat):
    out = chat(['hi'], ['api_call thai oslo two cheap'], task=f'{TASK}:babi_task=3')
    assert '2 restaurants fit this call:' in out
    assert len(SEEN) == 1


def test_the_world_does_not_talk_for_ever(chat):
    chat(['hi'], ['on my way'] * (ON_ITS_OWN + 1))
    assert len(SEEN) == ON_ITS_OWN + 1


def test_facts_that_are_there_before_the_first_word(chat):
    out = chat(
        ['hi', '/persona 2', 'hi', '/reset', '/help'],
        ['good day', 'good evening'],
        task=f'{TASK}:babi_task=3',
        persona='1',
    )
    assert 'On offer (cuisine greek, location lima, number six, price moderate):\n  - resto_lima' in out
    lines = [seen['text'].split('\n') for seen in SEEN]
    assert [found[0] for found in lines] == ['male young veg tzatziki', 'female elderly veg colcannon']
    assert [(found[1].split()[0], len(found)) for found in lines] == [
        ('resto_lima_moderate_greek_2stars_2', 18),
        ('resto_cork_cheap_irish_1stars_1', 10),
    ]
    assert out.count('On offer (cuisine irish') == 2  # after /persona and after /reset
    assert f'An empty line says nothing ({SILENCE}).' in out


def test_tasks_without_profiles(chat):
    out = chat(['hello'], ['good day'], persona='random', babi_personalized=False)
    assert 'Your profile: none' in out
    assert SEEN[0]['text'] == 'hello'


def test_self_chat():
    SAID[:], SEEN[:] = [str(number) for number in range(4)], []
    SelfChat.main(
        task=TASK,
        babi_folder=str(FOLDER),
        model='scripted',
        num_self_chats=1,
        selfchat_max_turns=2,
        persona='male young',
        partner_persona='female elderly',
        loglevel='error',
        outfile=os.devnull,
    )
    assert [seen['text'] for seen in SEEN][:2] == ['female elderly\n__SILENCE__', 'male young\n0']


def test_flags_on_a_command_line():
    report = EvalModel._run_args(
        [
            '-t',
            TASK,
            '--babi-folder',
            str(FOLDER),
            '-m',
            'repeat_label',
            '-dt',
            'valid',
            '--babi-task',
            '5',
            '--babi-size',
            'full',
            '--babi-personalized',
            'true',
            '--babi-oov',
            'true',
            '--babi-seed',
            '1',
            '--babi-dialogues',
            '1',
            '--babi-candidates',
            'task',
            '--loglevel',
            'error',
        ]
    )
    assert report['dialogue_accuracy'].value() == 1
    assert report['dialogue_accuracy']._denom == 1


def test_the_fixtures_are_our_own():
    """Written for these tests: none of the data's cities is in them."""
    text = ''.join(Path(path).read_text() for path in FOLDER.iterdir())
    assert not any(place in text for place in ('bombay', 'paris', 'rome', 'madrid', 'london'))


def test_restaurants_are_told_by_facts():
    told = 'resto_b R_phone 1\nresto_a R_phone 2\nresto_b R_price cheap\nresto_c is good'
    assert restaurants_told(Dialogue('x', (Turn('hi', ''), Turn(told, 'yes')))) == ['resto_b', 'resto_a']
    assert fact('resto_a R_phone 2') == ('resto_a', 'R_phone', '2')
    assert [fact(text) for text in ('resto_a R_phone', 'resto_a phone 2', 'resto_a R_phone 2 3')] == [None] * 3
