"""Personalised bAbI dialogues out of plain ones: the rules, the generator, the command. Data: fixtures/babi_plain."""

import ast
import random
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import FIXTURES
from parlai.core.script import SCRIPT_REGISTRY, setup_script_registry
from parlai.core.teachers import create_task_agent_from_taskname
from parlai.scripts.display_data import setup_args

import parlai_persona
from parlai_persona.data.dialogue import DataError, Dialogue
from parlai_persona.errors import UserError
from parlai_persona.tasks.personalized_babi import generate as generator
from parlai_persona.tasks.personalized_babi.generate import Request, dialogue_lines, generate, kb_lines, messages
from parlai_persona.tasks.personalized_babi.parse import SILENCE, read_candidates, read_dialogues, read_kb
from parlai_persona.tasks.personalized_babi.personalize import ACCEPTANCE, negotiate, personalize
from parlai_persona.tasks.personalized_babi.restaurants import Knowledge, personalized_kb
from parlai_persona.tasks.personalized_babi.rules import RULES, violations
from parlai_persona.tasks.personalized_babi.simulate import Topics, simulate
from parlai_persona.tasks.personalized_babi.styles import AGES, GENDERS, STYLED_ACTS, WORDINGS, Profile, styled

PLAIN = FIXTURES / 'babi_plain'
TASKS = (1, 2, 3, 4, 5)
OSLO = [f'resto_oslo_cheap_italian_{stars}stars_{variant}' for stars in (3, 5, 8) for variant in (1, 2)]
MENU = dict(zip(OSLO, ('pizza', 'pasta', 'pasta', 'pizza', 'risotto', 'pizza'), strict=True))


@pytest.fixture(scope='module')
def knowledge() -> Knowledge:
    """The fixture's restaurants; those of Oslo with the specialities of `MENU`."""
    facts = personalized_kb(read_kb(PLAIN / 'dialog-babi-kb-all.txt'), seed=0)
    for name, speciality in MENU.items():
        facts[name]['R_speciality'] = speciality
    return Knowledge(facts)


def plain_dialogues(task: int) -> list[Dialogue]:
    return list(read_dialogues(next(PLAIN.glob(f'*task{task}*-trn.txt')), personalized=False))


def run(output: Path, **changes) -> list[Path]:
    return generate(Request(**{'plain': PLAIN, 'output': output, 'splits': ('train',), **changes}))


# ------------------------------------------------------------------------------------------------------ the rules


def test_suggestions_go_by_rating_diet_and_favourite_food(knowledge):
    """By hand: 8 for the diet, 2.5 for the food, so 8 → 16, 3 → 13.5, 5 → 13, and 10.5, 7.5, 3 for the others."""
    scores = [13.5, 3, 13, 7.5, 16, 10.5]
    assert [knowledge.score(name, 'veg', 'pizza') for name in OSLO] == scores
    best = [name for _, name in sorted(zip(scores, OSLO, strict=True), reverse=True)]
    assert knowledge.ranked(OSLO, 'veg', 'pizza') == best
    assert [name[-8:-6] for name in best] == ['8s', '3s', '5s', '8s', '5s', '3s']


@pytest.mark.parametrize(
    'price, age, contact, direction',
    [
        ('cheap', 'young', 'social_media', 'public_transport'),
        ('cheap', 'elderly', 'phone', 'public_transport'),
        ('expensive', 'middle-aged', 'phone', 'parking'),
        ('moderate', 'young', 'social_media', 'parking'),
    ],
)
def test_information_goes_by_age_and_price(knowledge, price, age, contact, direction):
    name = next(name for name in knowledge.facts if f'_{price}_' in name)
    assert knowledge.contact(name, age) == f'{name}_{contact}'
    assert knowledge.direction(name) == f'{name}_address {name}_{direction}'


def test_every_act_has_one_wording_for_each_user():
    for gender in GENDERS:
        for age in AGES:
            assert len(STYLED_ACTS[gender, age]) == len(WORDINGS)
            assert styled('greet', Profile(gender, age)) in STYLED_ACTS[gender, age]
    assert styled('suggest', Profile('male', 'young'), 'resto_x') == 'is this one cool: resto_x'


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('seed', range(8))
def test_no_rule_is_broken(task, seed, knowledge):
    for plain in plain_dialogues(task):
        dialogue = personalize(plain, knowledge, random.Random(seed))
        assert violations(dialogue, knowledge) == []


def corrupt(dialogue: Dialogue, old: str, new: str) -> Dialogue:
    """Replace the old text everywhere in the messages, or in the profile."""
    turns = tuple(
        replace(turn, text=turn.text.replace(old, new), reply=turn.reply.replace(old, new)) for turn in dialogue.turns
    )
    profile = tuple(line.replace(old, new) for line in dialogue.partner_persona)
    assert (turns, profile) != (dialogue.turns, dialogue.partner_persona), f'{old!r} is not in the dialogue'
    return replace(dialogue, turns=turns, partner_persona=profile)


def without(dialogue: Dialogue, *numbers: int) -> Dialogue:
    count = len(dialogue.turns)
    gone = {number % count for number in numbers}
    return replace(dialogue, turns=tuple(turn for number, turn in enumerate(dialogue.turns) if number not in gone))


TOLD = 'resto_oslo_cheap_italian_8stars_2'
CORRUPTIONS = {
    'profile': (3, lambda d: corrupt(d, 'male middle-aged', 'male adult')),
    'facts': (3, lambda d: corrupt(d, f'{TOLD} R_rating 8', f'{TOLD} R_rating 7')),
    'variants': (3, lambda d: replace(d, turns=(drop_facts(d.turns[0], TOLD), *d.turns[1:]))),
    'offer': (3, lambda d: corrupt(d, 'in oslo', 'in lisbon')),
    'party': (3, lambda d: corrupt(d, 'for two', 'for four')),
    'style': (3, lambda d: corrupt(d, 'hello sir what can i help you with', 'hey dude what is up')),
    'question': (1, lambda d: without(d, 3)),
    'call': (1, lambda d: corrupt(d, 'api_call italian', 'api_call french')),
    'order': (3, lambda d: without(d, 4, 5)),
    'acceptance': (3, lambda d: corrupt(d, d.turns[-1].text, 'no this does not work for me')),
    'information': (4, lambda d: corrupt(d, d.turns[-1].reply.split()[-1], f'{TOLD}_elsewhere')),
}


def drop_facts(turn, name: str):
    return replace(turn, text='\n'.join(line for line in turn.text.split('\n') if not line.startswith(name)))


def sample(task: int, knowledge: Knowledge) -> Dialogue:
    """Return the first plain dialogue of the task with a middle-aged man who refuses at least one suggestion."""
    plain = plain_dialogues(task)[0]
    for seed in range(1000):
        dialogue = personalize(plain, knowledge, random.Random(seed))
        if dialogue.partner_persona[0].startswith('male middle-aged') and (task != 3 or len(dialogue.turns) > 7):
            return dialogue
    raise AssertionError('no such dialogue in 1000 draws')


@pytest.mark.parametrize('rule', RULES)
def test_a_broken_rule_is_found(rule, knowledge):
    task, damage = CORRUPTIONS[rule]
    dialogue = sample(task, knowledge)
    assert violations(dialogue, knowledge) == []
    assert rule in {wrong.split(':')[0] for wrong in violations(damage(dialogue), knowledge)}


@pytest.mark.parametrize(
    'damage, wrong',
    [
        (lambda d: replace(d, partner_persona=('male middle-aged',)), 'profile: '),
        (lambda d: corrupt(d, d.partner_persona[0].split()[-1], 'sushi'), 'profile: '),
        (
            lambda d: corrupt(d, TOLD, 'resto_nowhere_8stars_2'),
            'facts: saw resto_nowhere_8stars_2, not in the knowledge',
        ),
        (lambda d: without(d, -1), 'acceptance: saw no reservation'),
        (lambda d: replace(d, turns=(*d.turns, *d.turns[4:5])), 'acceptance: '),
    ],
)
def test_other_damage_is_found(damage, wrong, knowledge):
    found = violations(damage(sample(3, knowledge)), knowledge)
    assert any(each.startswith(wrong) for each in found), found


# -------------------------------------------------------------------------------------------------- the generator


def test_a_dialogue_that_a_human_can_check(knowledge):
    """Directions to a cheap restaurant; the same draws on every machine."""
    dialogue = personalize(plain_dialogues(4)[0], knowledge, random.Random('golden'))
    name = 'resto_oslo_cheap_italian_8stars_1'
    assert [line for line in messages(dialogue) if ' R_' not in line] == [
        'female middle-aged',
        'hi\thello maam how can i help you',
        f'may i have a table at {name}\tgreat let me do the reservation',
        f'may i have the direction information to the restaurant\there it is {name}_address {name}_public_transport',
    ]
    told = [line.split()[1] for line in messages(dialogue) if ' R_' in line]
    assert told == [
        'R_phone',
        'R_cuisine',
        'R_address',
        'R_location',
        'R_number',
        'R_price',
        'R_rating',
        'R_type',
        'R_speciality',
        'R_social_media',
        'R_parking',
        'R_public_transport',
    ]


def test_what_the_user_wishes_stays(knowledge):
    for task in (1, 2, 5):
        for plain in plain_dialogues(task):
            dialogue = personalize(plain, knowledge, random.Random(1))
            calls = [[t.reply for t in d.turns if t.reply.startswith('api_call')] for d in (plain, dialogue)]
            assert calls[0] == calls[1] != []
            start = next(n for n, turn in enumerate(plain.turns) if turn.reply in calls[0])
            assert [t.text for t in plain.turns[:start]] == [t.text for t in dialogue.turns[:start]]


def test_a_quarter_of_the_suggestions_is_accepted_and_the_last_one_always(knowledge):
    rng = random.Random(0)
    accepted = refused = 0
    profile = Profile('female', 'elderly', 'veg', 'pizza')
    for _ in range(3000):
        booked, turns = negotiate(profile, OSLO, knowledge, rng)
        suggested = [turn for turn in turns if turn.text == SILENCE]
        assert suggested[-1].reply.endswith(booked)
        assert turns[-1].reply == styled('book', profile)
        assert len(turns) == 2 * len(suggested)
        accepted += len(suggested) < len(OSLO)
        refused += len(suggested) - 1
    total = accepted + refused
    assert abs(accepted / total - ACCEPTANCE) < 4 * (ACCEPTANCE * (1 - ACCEPTANCE) / total) ** 0.5


def test_profiles_are_drawn_evenly(knowledge):
    plain = plain_dialogues(3)[0]
    drawn = [personalize(plain, knowledge, random.Random(seed)).partner_persona[0].split() for seed in range(1200)]
    for counts in (Counter(' '.join(words[:2]) for words in drawn), *(Counter(w[n] for w in drawn) for n in (2, 3))):
        expected = len(drawn) / len(counts)
        assert all(abs(count - expected) < 4 * expected**0.5 for count in counts.values()), counts
    assert {words[3] for words in drawn} == {'pasta', 'pizza', 'risotto'}


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    first, again, other = (
        [path.read_bytes() for path in run(tmp_path / name, seed=seed)] for name, seed in (('a', 1), ('b', 1), ('c', 2))
    )
    assert first == again
    assert [one != two for one, two in zip(first, other, strict=True)] == [True] * 5 + [False] * 2, 'lists stay'


def test_a_dialogue_does_not_depend_on_how_many_there_are(tmp_path):
    few = run(tmp_path / 'few', tasks=(5,), dialogues=2)[0].read_text()
    many = run(tmp_path / 'many', tasks=(3, 5), dialogues=7)[1].read_text()
    assert many.startswith(few)
    found = list(read_dialogues(tmp_path / 'many' / 'personalized-dialog-task5-full-dialogs-trn.txt', True))
    assert [dialogue.id for dialogue in found] == [f'train-{n}' for n in range(7)]
    assert len({tuple(messages(dialogue)) for dialogue in found}) > 3, 'other draws when the file begins again'


@pytest.mark.parametrize('fresh', [False, True])
def test_what_is_written_is_what_is_read(fresh, tmp_path):
    paths = run(tmp_path, dialogues=20, fresh=fresh)
    assert len(paths) == 7
    facts = read_kb(tmp_path / 'personalized-dialog-kb-all.txt')
    known = Knowledge(personalized_kb(read_kb(PLAIN / 'dialog-babi-kb-all.txt'), 0))
    assert {name: dict(sorted(f.items())) for name, f in facts.items()} == {
        name: dict(sorted(f.items())) for name, f in known.facts.items()
    }
    candidates = set(read_candidates(tmp_path / 'personalized-dialog-candidates.txt'))
    for path in paths[:5]:
        found = list(read_dialogues(path, personalized=True))
        assert len(found) == 20
        for dialogue in found:
            assert violations(dialogue, known) == []
            assert {turn.reply for turn in dialogue.turns} <= candidates


def test_specialities_are_taken_over_or_drawn(tmp_path, knowledge):
    other = tmp_path / 'kb.txt'
    other.write_text(''.join(kb_lines(knowledge.facts)))
    run(tmp_path / 'out', tasks=(1,), kb=other)
    facts = read_kb(tmp_path / 'out' / 'personalized-dialog-kb-all.txt')
    assert {name: facts[name]['R_speciality'] for name in OSLO} == MENU
    one, two = (personalized_kb(read_kb(PLAIN / 'dialog-babi-kb-all.txt'), seed) for seed in (0, 1))
    assert one != two


def test_new_dialogues_are_plain_ones(tmp_path, knowledge):
    topics = Topics.of(knowledge, oov=False)
    new = [simulate('x', task, topics, random.Random(seed)) for task in TASKS for seed in range(20)]
    path = tmp_path / 'plain.txt'
    path.write_text(''.join(line for dialogue in new for line in dialogue_lines(dialogue)))
    assert generator.check_plain(path, knowledge) == 100


def test_new_dialogues_begin_with_wishes_of_their_split(knowledge):
    first = [('italian', 'oslo', 'two', 'cheap'), ('italian', 'oslo', 'four', 'cheap')]
    topics = Topics.of(knowledge, oov=False, first=first)
    for seed in range(20):
        for task in (1, 2, 5):
            calls = [t.reply for t in simulate('x', task, topics, random.Random(seed)).turns if 'api_call' in t.reply]
            assert tuple(calls[0].split()[1:]) in first
        assert 'resto_oslo' in simulate('x', 3, topics, random.Random(seed)).turns[0].text


# --------------------------------------------------------------------------------------------------- the command


def script():
    setup_script_registry()
    return SCRIPT_REGISTRY['persona_babi_generate'].klass


def test_the_command(tmp_path):
    written = script().main(babi=str(PLAIN), output=str(tmp_path), tasks='3, 5', splits='train', dialogues=4, seed=3)
    assert [Path(path).name for path in written] == [
        'personalized-dialog-task3-options-trn.txt',
        'personalized-dialog-task5-full-dialogs-trn.txt',
        'personalized-dialog-kb-all.txt',
        'personalized-dialog-candidates.txt',
    ]
    assert sorted(Path(path) for path in written) == sorted(tmp_path.iterdir())
    opt = setup_args().parse_kwargs(
        task='persona:personalized_babi',
        babi_folder=str(tmp_path),
        babi_task=3,
        datatype='train:evalmode',
        loglevel='error',
    )
    teacher = create_task_agent_from_taskname(opt)[0]
    assert teacher.num_episodes() == 4
    assert all(message['eval_labels'][0] in message['label_candidates'] for message in teacher)


def test_the_command_costs_nothing_at_the_start_of_parlai():
    """Every `parlai` imports it, so its top has only ParlAI's own modules and the light ones of the options."""
    path = Path(parlai_persona.__file__).parent / 'scripts' / 'personalized_babi.py'
    top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    light = {'parlai_persona.flags', 'parlai_persona.tasks.personalized_babi.options'}
    assert {getattr(node, 'module', None) for node in top} == {'parlai.core.params', 'parlai.core.script', *light}


def broken(folder: Path, old: str, new: str) -> Path:
    shutil.copytree(PLAIN, folder)
    path = folder / 'dialog-babi-task4-phone-address-trn.txt'
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return folder


@pytest.mark.parametrize(
    'old, new, complaint',
    [
        ('9 may i have', 'nine may i have', r'task4-phone-address-trn\.txt, line 9: saw .*nine may i have'),
        (
            'great let me do',
            'great i do',
            r'line 9: saw the reply .great i do the reservation., expected api_call or one',
        ),
        ('8 hi\thello', '8 hi', r'line 8: .*expected'),
        (
            '1 resto_oslo_cheap_italian_8stars R',
            '1 resto_rome_8stars R',
            r"line 1: saw 'resto_rome_8stars', which is not",
        ),
        ('great let me do the reservation', "i'm on it", r'line 10: saw .here it is \S+. before any reservation'),
        ('here it is resto_oslo', 'here it is resto_rome', r"line 10: saw 'resto_rome_\S+', but no fact about it"),
        (
            '1 resto_oslo_cheap_italian_8stars R_phone resto_oslo_cheap_italian_8stars_phone',
            '1 male young',
            r"line 1: saw 'male young' without reply, expected a fact",
        ),
    ],
)
def test_a_broken_line_is_named_before_anything_is_written(old, new, complaint, tmp_path):
    folder = broken(tmp_path / 'plain', old, new)
    with pytest.raises(DataError, match=complaint):
        run(tmp_path / 'out', plain=folder)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    'options, complaint',
    [
        ({'babi': ''}, r'--babi DIR is missing'),
        ({'babi': 'nowhere'}, r'--babi nowhere: no such folder; expected the plain bAbI dialog tasks'),
        ({'babi': '.'}, r'no dialog-babi-kb-all\.txt in it'),
        (
            {'splits': 'valid'},
            r'of task 1 it has dialog-babi-task1-API-calls-trn\.txt: choose other --tasks or --splits',
        ),
        ({'splits': 'dev'}, r"--splits is 'dev'; expected train or valid or test or test-OOV"),
        ({'tasks': '1,6'}, r'--tasks is 6; expected 1 or 2 or 3 or 4 or 5'),
        ({'tasks': 'one'}, r"--tasks is 'one'; expected a whole number"),
        ({'dialogues': 0}, r'--dialogues is 0; it has to be 1 or more'),
        ({'kb': 'nowhere'}, r'--kb nowhere: no such file'),
        ({'kb': str(PLAIN / 'dialog-babi-kb-all.txt')}, r'tells no R_speciality of resto_lisbon'),
        ({'fresh': True, 'splits': 'test-OOV'}, r'no 3 restaurants that meet the same wishes in bangkok, beijing'),
    ],
)
def test_a_wrong_option_is_named(options, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=complaint):
        script().main(**{'babi': str(PLAIN), 'output': str(tmp_path / 'out'), 'splits': 'train', **options})
    assert not (tmp_path / 'out').exists()


def test_nothing_is_overwritten(tmp_path):
    written = run(tmp_path, tasks=(1,))
    before = {path: path.read_bytes() for path in written}
    with pytest.raises(DataError, match=r'task1-API-calls-trn\.txt exists already'):
        run(tmp_path, tasks=(1,), seed=1)
    with pytest.raises(DataError, match=r'kb-all\.txt exists already, with other restaurants'):
        run(tmp_path, tasks=(2,), kb_seed=1)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert len(run(tmp_path, tasks=(2,), seed=1)) == 3, 'more files of the same restaurants are welcome'


def test_nothing_is_left_half_written(tmp_path, monkeypatch):
    def stops(dialogue, *_):
        if dialogue.id == 'train-3':
            raise KeyboardInterrupt
        return dialogue

    monkeypatch.setattr(generator, 'personalize', stops)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, tasks=(1,), dialogues=10)
    assert list(tmp_path.iterdir()) == []


def test_it_says_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(generator, 'PATIENCE', -1)
    said: list[str] = []
    generate(Request(PLAIN, tmp_path, tasks=(1,), splits=('train',), dialogues=3), said.append)
    label = '[1/1] personalized-dialog-task1-API-calls-trn.txt'
    assert said[:4] == [*(f'{label}: {n} of 3 dialogues' for n in range(3)), f'{label}: 3 dialogues']
