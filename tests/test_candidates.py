"""Distractors of personas."""

import pytest

from parlai_persona.data.candidates import OtherPersonas
from parlai_persona.data.dialogue import DataError

FLY, ROW = ('i fly.', 'i fish.'), ('i dance.', 'i row.')
PERSONAS = [FLY, FLY[::-1], ('i row.', 'i fly.'), ('i sing.',), (), ROW]


def test_personas_that_share_no_sentence():
    others = OtherPersonas(PERSONAS)
    assert sorted(others.draw(('i fly.',), 2, 'a')) == [ROW, ('i sing.',)]
    assert sorted(others.draw(['i fly.', 'i fish.'], 2, 'a')) == [ROW, ('i sing.',)]
    assert others.draw(('i row.', 'i fly.'), 1, 'a') == [('i sing.',)]


def test_a_persona_in_another_order_of_sentences_is_no_further_one():
    drawn = OtherPersonas(PERSONAS).draw(('i am new.',), 4, 'a')
    assert len({frozenset(persona) for persona in drawn}) == 4 and () not in drawn


def test_a_draw_depends_on_the_dialogue_and_the_seed_only():
    personas = [(f'i am {number}.',) for number in range(100)]
    first, second = OtherPersonas(personas), OtherPersonas(personas)
    second.draw(personas[7], 31, 'earlier')
    assert first.draw(personas[3], 31, 'a') == second.draw(personas[3], 31, 'a')
    assert first.draw(personas[3], 31, 'a') != first.draw(personas[3], 31, 'b')
    assert first.draw(personas[3], 31, 'a') != OtherPersonas(personas, seed=1).draw(personas[3], 31, 'a')
    assert personas[3] not in first.draw(personas[3], 99, 'a')


def test_too_few_personas():
    with pytest.raises(DataError, match="dialogue 'a': saw 2 personas .* the 4 of the split, expected 31 or more"):
        OtherPersonas(PERSONAS).draw(('i fly.',), 31, 'a')
