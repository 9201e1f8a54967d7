"""The grammar of `persona:sample` writes what its ceilings assume."""

from collections import Counter
from fractions import Fraction

import pytest
from parlai.scripts.eval_model import EvalModel

from parlai_persona.tasks.sample.grammar import SIZES, TOPICS, ceilings, dialogues

SOME = list(dialogues('train', count=300))


def test_golden_dialogue():
    first = SOME[0]
    assert first.persona == (
        'my favorite food is pasta.',
        'i work as a teacher.',
        'my home is in berlin.',
        'my hobby is dancing.',
    )
    assert (first.turns[1].text, first.turns[1].reply, first.turns[1].kind) == (
        'i am really into fishing . what do you do for fun ?',
        'i am really into dancing .',
        'persona',
    )


def test_the_ceilings_by_hand():
    # 1 open turn, 4 persona and 3 history turns; a guess among ten is right once in ten
    assert ceilings() == {
        'all': 1,
        'no persona': Fraction(1 * 10 + 4 * 1 + 3 * 10, 80),
        'no history': Fraction(1 * 10 + 4 * 10 + 3 * 1, 80),
        'neither': Fraction(1 * 10 + 4 * 1 + 3 * 1, 80),
    }


def test_every_dialogue_has_the_turns_that_the_ceilings_count():
    for dialogue in SOME:
        assert Counter(t.kind for t in dialogue.turns) == {'open': 1, 'persona': 4, 'history': 3}
        assert dialogue.turns[0].kind == 'open'
        assert len(dialogue.persona) == len(dialogue.partner_persona) == 4


def test_values_are_told_apart_by_nothing_but_the_value():
    """Among the 20 candidates of a question stand exactly ten that differ in the value alone."""
    values = [v for t in TOPICS for v in t.values]
    assert len(set(values)) == 80
    for dialogue in SOME:
        for turn in dialogue.turns:
            assert len(set(turn.candidates)) == 20
            assert turn.reply in turn.candidates
            if turn.kind != 'open':
                topic = next(t for t in TOPICS if any(f' {v} ' in f' {turn.reply} ' for v in t.values))
                value = next(v for v in topic.values if f' {v} ' in f' {turn.reply} ')
                same = {turn.reply.replace(f' {value} ', f' {v} ') for v in topic.values}
                assert len(same) == 10
                assert same <= set(turn.candidates)


def test_a_persona_reply_is_in_the_persona_and_nowhere_in_the_history():
    """Its value equals what the partner said only by chance, one time in ten."""
    by_chance = 0
    for dialogue in SOME:
        heard = ''
        for turn in dialogue.turns:
            if turn.kind == 'persona':
                value = next(v for t in TOPICS for v in t.values if f' {v} ' in f' {turn.reply} ')
                assert value in ' '.join(dialogue.persona)
                by_chance += value in turn.text.split()
            if turn.kind == 'history':
                value = next(v for t in TOPICS for v in t.values if f' {v} ' in f' {turn.reply} ')
                assert value in heard
            heard += f' {turn.text}'
    assert by_chance / (4 * len(SOME)) == pytest.approx(0.1, abs=3 * (0.09 / (4 * len(SOME))) ** 0.5)


def test_splits_and_seeds_give_different_dialogues():
    texts = {str([t.text for d in dialogues(fold, seed, 5) for t in d.turns]) for fold in SIZES for seed in (0, 1)}
    assert len(texts) == 2 * len(SIZES)
    assert list(dialogues('valid', count=3)) == list(dialogues('valid'))[:3]


def test_the_report_tells_the_kinds_of_turns_apart():
    report = EvalModel.main(task='persona:sample', model='repeat_label', datatype='test', loglevel='error')
    assert float(report['exs']) == 8 * SIZES['test']
    report = EvalModel.main(task='persona:sample', model='random_candidate', datatype='test', loglevel='error')
    assert {'hits@1_persona', 'hits@1_history', 'hits@1_open'} <= set(report)
