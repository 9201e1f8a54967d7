"""`persona:few_shot`: who is one person, what is learned from and what is answered."""

import json
from collections import Counter

import paml_tasks
import pytest
from parlai.core.message import Message
from parlai.core.metrics import AverageMetric

from parlai_persona import fields
from parlai_persona.dialogue import DataError
from parlai_persona.metrics import bleu, bleu_counts
from parlai_persona.tasks.few_shot.groups import join, mapped, persona, read_map

CHESS = ['i play chess.', "i'm a nurse.", 'i own a dog.', 'i am tall.']


def described(*sentences: str):
    return persona(sentences)


def test_who_is_one_person_by_hand():
    """Part of another with three sentences; four in common; joined by a third; not: three of four, part with two."""
    part = CHESS[:3]
    four = [*CHESS, 'i can sing.']
    other_four = [*CHESS, 'i can dance.']
    three_of_four = ['i play chess.', "i'm a nurse.", 'i own a dog.', 'i am short.']
    two = CHESS[2:]
    other = ['i fly.', 'i swim.', 'i run.']
    personas = [described(*one) for one in (CHESS, part, four, other_four, other, two, three_of_four)]
    assert join(personas) == [0, 0, 0, 0, 1, 2, 0]  # the last has the part's three
    assert join([personas[0], personas[6]]) == [0, 1]
    assert join([personas[4], personas[4]]) == [0, 0]


def test_contractions_case_and_order_make_no_other_person():
    assert described('I am a nurse !', "i can't cook.") == described('i cannot cook', "i'm a nurse.")
    assert described('i will not') != described('i will')


def test_a_map_of_the_authors(tmp_path):
    path = tmp_path / 'map.json'
    path.write_text(json.dumps({'7': [['i sing', 'i dance'], ['i sing']], '9': [['i am old']]}))
    clusters = read_map(path)
    descriptions = [described('i am old.'), described('i sing.'), described('i dance', 'i sing')]
    assert mapped(descriptions, clusters, 'x') == [0, 1, 1]
    with pytest.raises(DataError, match='x lacks 1 of 1 descriptions, among them .*i fly'):
        mapped([described('i fly')], clusters, 'x')
    path.write_text('[1]')
    with pytest.raises(DataError, match='expected JSON of the form'):
        read_map(path)


def test_leave_one_out():
    teacher = paml_tasks.teacher()
    assert teacher.num_examples() == len(paml_tasks.PEOPLE)
    seen = paml_tasks.message(teacher)
    assert len(seen[fields.DIALOGUES]) == 3
    assert seen[fields.FOLDS] == [
        {'support': [1, 2], 'query': [0]}, {'support': [0, 2], 'query': [1]}, {'support': [0, 1], 'query': [2]}
    ]  # fmt: skip
    turn = seen[fields.DIALOGUES][1][fields.MESSAGES][1]
    assert turn == {'text': 'i am old . do you have a pet ?', 'labels': ['yes , my dog is here .']}
    assert seen[fields.DIALOGUES][1][fields.PERSONA] == ['i have a dog.', 'i am a nurse.', 'i am number 0.']


def test_shots_and_folds():
    folds = paml_tasks.message(paml_tasks.teacher(few_shot_shots=1, few_shot_folds=2))[fields.FOLDS]
    assert folds == [{'support': [1], 'query': [0]}, {'support': [0], 'query': [1]}]
    assert paml_tasks.message(paml_tasks.teacher(few_shot_shots=0))[fields.FOLDS][0] == {'support': [], 'query': [0]}


def drawn(count: int, **more) -> list[tuple]:
    teacher = paml_tasks.teacher('train', **more)
    teacher.opt['seed'] = 5
    found = []
    for _ in range(count):
        seen = paml_tasks.message(teacher)
        found.append(tuple(one[fields.DIALOGUE_ID] for one in seen[fields.DIALOGUES]))
        assert seen[fields.FOLDS] == [{'support': [0], 'query': [1]}]
    return found


def test_training_draws_support_and_query_anew():
    people = len(paml_tasks.PEOPLE)
    found = drawn(4 * people)
    first, second = found[:people], found[people : 2 * people]
    assert Counter(one.split('/')[0] for one, _ in first) == Counter(str(number) for number in range(people))
    assert first != second and sorted(first) != sorted(second)
    assert all(one != other and one.split('/')[0] == other.split('/')[0] for one, other in found)
    assert found == drawn(4 * people)


def test_too_few_dialogues():
    with pytest.raises(DataError, match='of 16 people nobody has 4 dialogues, the most are 3'):
        paml_tasks.teacher(few_shot_least=4)
    with pytest.raises(DataError, match='nobody has 5 dialogues'):
        paml_tasks.teacher('train', few_shot_support=3, few_shot_query=2)
    with pytest.raises(DataError, match="no field 'author' .* they have .*speaker"):
        paml_tasks.teacher(few_shot_by='author')


def test_descriptions_group_too():
    """Pet and job are two sentences of three: nobody is joined to anybody."""
    assert paml_tasks.teacher(few_shot_by='persona').num_examples() == len(paml_tasks.PEOPLE)


def test_the_averages_of_the_paper_by_hand():
    """Over the replies of a dialogue first; perplexity in the log."""
    teacher = paml_tasks.teacher(few_shot_folds=2)
    task = teacher.act()
    gold = [[turn['labels'][0] for turn in one[fields.MESSAGES]] for one in task[fields.DIALOGUES][:2]]
    said = [[gold[0][0], 'no'], ['no', 'no']]
    losses = [[(2.0, 1), (6.0, 3)], [(3.0, 1), (3.0, 1)]]
    replies = [
        [Message(text=text, metrics={'loss': AverageMetric(*nll)}) for text, nll in zip(texts, nlls, strict=True)]
        for texts, nlls in zip(said, losses, strict=True)
    ]
    teacher.observe(Message({fields.REPLIES: replies}))
    report = {name: float(value) for name, value in teacher.report().items()}
    assert report['exs'] == 4
    assert report['loss'] == pytest.approx(14 / 6)
    assert report['ppl_fold'] == pytest.approx(2.718281828459045 ** ((2.0 + 3.0) / 2))
    of_first = bleu(bleu_counts(gold[0][0], gold[0][0]) + bleu_counts('no', gold[0][1]))
    assert report['bleu_fold'] == pytest.approx(of_first / 2) and of_first > 1
    assert report['accuracy'] == 0.25


def test_rows_of_a_batch_share_the_people_out():
    """Shared teachers go on where the others stopped, and everybody comes once."""
    teacher = paml_tasks.teacher()
    clones = [type(teacher)(teacher.opt, teacher.share()) for _ in range(3)]
    seen = [clones[number % 3].act()['text'] for number in range(len(paml_tasks.PEOPLE))]
    assert len(set(seen)) == len(paml_tasks.PEOPLE)
