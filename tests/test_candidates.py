"""Distractors of personas."""

import random

import pytest

from parlai_persona.data.candidates import OtherPersonas
from parlai_persona.data.dialogue import DataError

FLY, ROW = ('i fly.', 'i fish.'), ('i dance.', 'i row.')
PERSONAS = [FLY, FLY[::-1], ('i row.', 'i fly.'), ('i sing.',), (), ROW]


def drawn(personas, known, count, seed=0):
    return OtherPersonas(personas).draw(known, count, random.Random(seed))


def test_personas_that_share_no_sentence():
    assert sorted(drawn(PERSONAS, ('i fly.',), 2)) == [ROW, ('i sing.',)]
    assert sorted(drawn(PERSONAS, ['i fly.', 'i fish.'], 2)) == [ROW, ('i sing.',)]
    assert drawn(PERSONAS, ('i row.', 'i fly.'), 1) == [('i sing.',)]


def test_a_persona_in_another_order_of_sentences_is_no_further_one():
    found = drawn(PERSONAS, ('i am new.',), 4)
    assert len({frozenset(persona) for persona in found}) == 4 and () not in found


def test_a_draw_depends_on_its_seed_only():
    personas = [(f'i am {number}.',) for number in range(100)]
    others = OtherPersonas(personas)
    first = others.draw(personas[3], 31, random.Random('a'))
    others.draw(personas[7], 31, random.Random('b'))
    assert first == others.draw(personas[3], 31, random.Random('a')) == drawn(personas, personas[3], 31, 'a')
    assert first != drawn(personas, personas[3], 31, 'b')
    assert personas[3] not in drawn(personas, personas[3], 99)


def test_too_few_personas():
    with pytest.raises(DataError, match='saw 2 personas without a sentence of this one among the 4 .* expected 31'):
        drawn(PERSONAS, ('i fly.',), 31)
