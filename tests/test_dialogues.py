"""`persona:dialogues`: whole dialogues to learn from, and the other task's turns to be judged by."""

import pytest
import torch
from parlai.core.teachers import create_task_agent_from_taskname
from parlai.scripts.display_data import setup_args

import parlai_persona  # noqa: F401
from parlai_persona import fields
from parlai_persona.data import other_task
from parlai_persona.data.other_task import episodes

COUNT = 5


def teacher(task: str, datatype: str, **options):
    opt = setup_args().parse_kwargs(task=task, datatype=datatype, persona_sample_dialogues=COUNT, **options)
    opt.setdefault('seed', None)
    return create_task_agent_from_taskname(opt)[0]


def whole(datatype: str, **options):
    return teacher('persona:dialogues', datatype, dialogues_of='persona:sample', **options)


def test_personas_of_parlais_own_tasks_are_lines_of_the_text():
    text = "your persona: i fly.\nyour persona: i fish.\npartner's persona: i row.\nhello"
    message = {'text': text, 'labels': ['hi'], 'episode_done': True}
    dialogue = other_task.whole_dialogue([message], 0)
    assert dialogue[fields.PERSONA] == ['i fly.', 'i fish.'] and dialogue[fields.PARTNER_PERSONA] == ['i row.']
    assert other_task.whole_dialogue([{**message, fields.PERSONA: []}], 0)[fields.PERSONA] == []


def test_a_message_is_a_dialogue_in_training():
    ordered = whole('train:ordered')
    plain = list(episodes(teacher('persona:sample', 'train:evalmode')))
    task = whole('train')
    assert task.num_episodes() == task.num_examples() == COUNT
    seen = {}
    for _ in range(COUNT):
        message = task.act()
        assert message['episode_done']
        (dialogue,) = message[fields.DIALOGUES]
        seen[dialogue[fields.DIALOGUE_ID]] = dialogue
        assert message['labels'] == [turn['labels'][0] for turn in dialogue[fields.MESSAGES]]
        task.observe({'text': ''})
    assert len(seen) == COUNT
    for turns in plain:
        dialogue = seen[turns[0][fields.DIALOGUE_ID]]
        assert dialogue[fields.PERSONA] == turns[0][fields.PERSONA]
        assert [turn['text'] for turn in dialogue[fields.MESSAGES]] == [turn['text'] for turn in turns]
        assert [turn['label_candidates'] for turn in dialogue[fields.MESSAGES]] == [
            turn['label_candidates'] for turn in turns
        ]
    assert ordered.num_examples() == sum(map(len, plain))  # not shuffled: turns, such as for a dictionary


@pytest.mark.parametrize('datatype', ['valid', 'test', 'train:evalmode'])
def test_a_message_is_a_turn_in_evaluation(datatype):
    task, other = whole(datatype), teacher('persona:sample', datatype)
    assert task.num_examples() == other.num_examples()
    for _ in range(other.num_examples()):
        message, expected = task.act(), other.act()
        assert {**message, 'id': ''} == {**expected, 'id': ''}
        task.observe({'text': 'i do'})
        other.observe({'text': 'i do'})
    mine, theirs = task.report(), other.report()
    assert set(theirs) <= set(mine)
    assert mine['f1'].value() == theirs['f1'].value() and 'persona_f1' in mine


def test_two_workers_learn_from_all_dialogues_and_divide_the_evaluation(monkeypatch):
    """Each worker reads every second dialogue; for a training they put together what they have read."""
    everything = [one[0][fields.DIALOGUE_ID] for one in whole('train').episodes]

    def gather(shares, mine):
        shares[:] = [everything[::2], everything[1::2]]

    monkeypatch.setattr(other_task, 'is_distributed', lambda: True)
    monkeypatch.setattr(other_task, 'num_workers', lambda: 2)
    monkeypatch.setattr(torch.distributed, 'all_gather_object', gather)
    assert whole('train').episodes == everything
    assert [one[0][fields.DIALOGUE_ID] for one in whole('train:evalmode').episodes] == everything  # as they come


def test_another_order_of_the_persona():
    """It depends on the seed and the dialogue, and it is the same in the text and in the field."""

    def personas(**options) -> list[list[str]]:
        task = teacher('persona:sample', 'valid', **options)
        first = [turns[0] for turns in episodes(task)]
        for message in first:
            lines = [line.removeprefix(fields.YOUR_PERSONA) for line in message['text'].split('\n')[:-1]]
            assert lines == message[fields.PERSONA]
        return [message[fields.PERSONA] for message in first]

    usual, one, again, two = personas(), personas(persona_order=1), personas(persona_order=1), personas(persona_order=2)
    assert one == again and one != two and usual not in (one, two)
    assert [sorted(persona) for persona in one] == [sorted(persona) for persona in usual]
