"""Which dialogues an evaluation saw whole."""

from parlai_persona.fields import DIALOGUE_ID, TURN, TURNS
from parlai_persona.metrics.whole import WholeDialogue


def seen(*turns):
    """Return what is collected at each turn: (dialogue, number, item), dialogue a has three turns, others have two."""
    dialogue: WholeDialogue = WholeDialogue()
    return [
        list(whole)
        if (whole := dialogue.add({DIALOGUE_ID: id, TURN: turn, TURNS: 3 if id == 'a' else 2}, item))
        else None
        for id, turn, item in turns
    ]


def test_all_turns():
    assert seen(('a', 0, 'x'), ('a', 1, 'y'), ('a', 2, 'z'), ('b', 0, 'x'), ('b', 1, '')) == [
        *(None, None, ['x', 'y', 'z']),
        *(None, ['x', '']),
    ]


def test_a_missing_turn():
    assert seen(('a', 0, 'x'), ('a', 2, 'z'), ('b', 1, 'y')) == [None] * 3
    assert seen(('a', 1, 'y'), ('a', 2, 'z')) == [None] * 2


def test_a_missing_reply():
    assert seen(('a', 0, 'x'), ('a', 1, None), ('a', 2, 'z'), ('b', 0, 'x'), ('b', 1, 'y'))[-1] == ['x', 'y']
    assert seen(('a', 0, None), ('a', 1, 'y'), ('a', 2, 'z')) == [None] * 3


def test_an_evaluation_that_stops_and_begins_again():
    assert seen(('a', 0, 'x'), ('a', 1, 'y'), ('a', 0, 'u'), ('a', 1, 'v'), ('a', 2, 'w'))[-1] == ['u', 'v', 'w']


def test_messages_that_do_not_say_where_they_are():
    assert WholeDialogue().add({}, 'x') is None
