"""`persona:few_shot`: who is one person, what is learned from and what is answered."""

import json
import random
import re
from collections import Counter
from itertools import product

import paml_tasks
import pytest
from listener import listener
from parlai.core.message import Message
from parlai.core.metrics import AverageMetric

from parlai_persona import fields
from parlai_persona.data.dialogue import DataError
from parlai_persona.errors import UserError
from parlai_persona.metrics.formulas import bleu, bleu_counts
from parlai_persona.tasks.few_shot.groups import join, mapped, persona, read_map
from parlai_persona.tasks.few_shot.swaps import NEAR, Swaps, texts

CHESS = ['i play chess.', "i'm a nurse.", 'i own a dog.', 'i am tall.']


def described(*sentences: str):
    return persona(sentences)


def test_who_is_one_person_by_hand():
    """Joined: part of another with three sentences; four in common; by a third. Not: three of four; part with two."""
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
    assert join([described(*four), described(*other_four)]) == [0, 0]  # the four alone
    assert join([described(*two), described(*CHESS)]) == [0, 1]
    assert join([described(*two), described(*two)]) == [0, 0]  # the same description, however short


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
    path.write_text('{}')
    with pytest.raises(DataError, match='map.json maps no persona'):
        read_map(path)


@pytest.mark.parametrize('content', ['[1]', '{', '{"7": 1}', '{"7": [[1]]}', '[' * 100_000])
def test_a_map_of_another_form_is_refused(tmp_path, content):
    path = tmp_path / 'map.json'
    path.write_text(content)
    with pytest.raises(DataError, match='map.json: expected JSON of the form {"cluster": '):
        read_map(path)


def test_leave_one_out():
    teacher = paml_tasks.teacher()
    assert teacher.num_examples() == len(paml_tasks.PEOPLE)
    seen = paml_tasks.message(teacher)
    assert len(seen[fields.DIALOGUES]) == 3
    assert seen[fields.FOLDS] == [
        {'support': [1, 2], 'query': [0]},
        {'support': [0, 2], 'query': [1]},
        {'support': [0, 1], 'query': [2]},
    ]
    turn = seen[fields.DIALOGUES][1][fields.MESSAGES][1]
    assert turn == {'text': 'i am old . do you have a pet ?', 'labels': ['yes , my dog is here .']}
    assert seen[fields.DIALOGUES][1][fields.PERSONA] == ['i have a dog.', 'i am a nurse.', 'i am number 0.']


def test_halves_share_no_one_and_are_everyone():
    both, first, second = (
        [person.id for person in paml_tasks.teacher(few_shot_half=half).people] for half in ('both', 'first', 'second')
    )
    assert first == both[::2]
    assert second == both[1::2]
    assert second


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


@pytest.mark.parametrize(('support', 'query', 'drawn'), [(1, 2, (1, 2)), (2, 5, (2, 1)), (9, 9, (2, 1))])
def test_who_has_few_dialogues_gives_what_there_is(support, query, drawn):
    """Everyone has three dialogues, and at least one is left to answer."""
    seen = paml_tasks.message(paml_tasks.teacher('train', few_shot_support=support, few_shot_query=query))
    (fold,) = seen[fields.FOLDS]
    assert (len(fold['support']), len(fold['query'])) == drawn
    assert sorted(fold['support'] + fold['query']) == list(range(len(seen[fields.DIALOGUES])))


def test_words_are_exchanged_alike_in_all_dialogues_of_a_person():
    dialogues = [
        {fields.DIALOGUE_ID: 'a', fields.MESSAGES: [{'text': 'Do you like cats ?', 'labels': ["cats , that's it"]}]},
        {fields.DIALOGUE_ID: 'b', fields.MESSAGES: [{'text': '', 'labels': ['my cats and dogs']}]},
    ]
    swaps = Swaps(dialogues, common=0)
    assert swaps.swapped(dialogues, 0.0, random.Random(1)) == dialogues
    found = [swaps.swapped(dialogues, 1.0, random.Random(seed)) for seed in range(20)]
    said = [[text for one in person for text in texts(one)] for person in found]
    for first, second, _, third in said:  # punctuation and places stay
        assert re.fullmatch(r"([\w']+ ){4}\?", first)
        assert first.split()[3] == second.split()[0] == third.split()[1]
    assert len({text for texts in said for text in texts}) > 20
    assert found[0][0][fields.DIALOGUE_ID] == 'a'
    kept = Swaps(dialogues, common=99)
    assert kept.swapped(dialogues, 1.0, random.Random(1)) == dialogues


def test_words_are_exchanged_for_others_as_frequent():
    ranks = {f'{letter}{other}': place for place, (letter, other) in enumerate(product('abcdefghijklmno', repeat=2))}
    counted = ' '.join(word for word, place in ranks.items() for _ in range(300 - place))
    swaps = Swaps([{fields.MESSAGES: [{'text': counted, 'labels': []}]}], common=0)
    rng = random.Random(1)
    assert all(abs(ranks[swaps.other(word, rng)] - place) <= NEAR for word, place in ranks.items() for _ in range(9))


def test_only_training_exchanges_words():
    plain = paml_tasks.message(paml_tasks.teacher('valid'))
    assert paml_tasks.message(paml_tasks.teacher('valid', few_shot_swap=1.0)) == plain
    with pytest.raises(ValueError, match='--few-shot-swap'):
        paml_tasks.teacher('train', few_shot_swap=1.5)


def test_too_few_dialogues():
    with pytest.raises(DataError, match='none of 16 people has 4 dialogues, the most are 3'):
        paml_tasks.teacher(few_shot_least=4)
    with pytest.raises(DataError, match="no field 'author' .* they have .*speaker"):
        paml_tasks.teacher(few_shot_by='author')


def test_descriptions_group_too():
    """Pet and job are two sentences of three: nobody is joined to anybody."""
    assert paml_tasks.teacher(few_shot_by='persona').num_examples() == len(paml_tasks.PEOPLE)


def test_the_averages_of_the_paper_by_hand():
    """The average is over the replies of a dialogue first. Perplexity is averaged in the log."""
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


def test_each_held_out_dialogue_is_judged_by_a_receiver(tmp_path):
    teacher = paml_tasks.teacher(few_shot_folds=2, persona_receiver=listener(tmp_path), persona_receiver_among=2)
    with pytest.raises(UserError, match=f'{paml_tasks.TASK} has no personas'):
        teacher.personas()
    teacher.perception.personas = lambda: [['i am nobody .']]
    task = teacher.act()
    gold = [[turn['labels'][0] for turn in one[fields.MESSAGES]] for one in task[fields.DIALOGUES][:2]]
    said = [gold[0], ['no', 'no']]
    replies = [[Message(text=text) for text in texts] for texts in said]
    teacher.observe(Message({fields.REPLIES: replies}))
    report = teacher.report()
    assert {name: report[f'persona_perception{name}']._denom for name in ('', '_gold', '_score')} == {
        '': 2,
        '_gold': 2,
        '_score': 4,
    }


def test_rows_of_a_batch_share_the_people_out():
    """Shared teachers go on where the others stopped, and everybody comes once."""
    teacher = paml_tasks.teacher()
    clones = [type(teacher)(teacher.opt, teacher.share()) for _ in range(3)]
    seen = [clones[number % 3].act()['text'] for number in range(len(paml_tasks.PEOPLE))]
    assert len(set(seen)) == len(paml_tasks.PEOPLE)
