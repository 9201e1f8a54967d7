"""`persona_perception` for any agent, judged by a receiver that counts shared words."""

import math
import os
import re
from collections import Counter
from pathlib import Path

import pytest
import tiny_bert
import torch
from listener import listener
from parlai.core.message import Message
from parlai.core.metrics import METRICS_DISPLAY_DATA
from parlai.core.opt import Opt
from parlai.core.teachers import register_teacher
from parlai.scripts.eval_model import EvalModel
from parlai.scripts.self_chat import SelfChat
from parlai.scripts.train_model import TrainModel
from test_teacher_metrics import SmallTeacher

from parlai_persona.agents.p2bot.perception import Encoders
from parlai_persona.data.dialogue import Dialogue, Turn
from parlai_persona.data.teacher import PersonaTeacher
from parlai_persona.errors import UserError
from parlai_persona.metrics import formulas
from parlai_persona.metrics.perception import Perception, load

TASK = 'persona_perception_test'
FLY, ROW, SING = ['i fly.', 'planes land.'], ['you row.', 'boats float.'], ['she sings loud.']
DIALOGUES = [  # persona, replies
    (FLY, ['we fly .', 'planes land there .']),
    (ROW, ['boats .', 'my boats float , and planes land .']),
    (SING, ['hello .']),
    ([], ['planes land .']),
]
NAMES = [f'persona_perception{part}' for part in ('', '_gold', '_score', '_score_gold')]


@register_teacher(TASK)
class PerceivedTeacher(PersonaTeacher):
    def dialogues(self, fold):
        for number, (persona, replies) in enumerate(DIALOGUES):
            turns = tuple(Turn(f'question {place}', reply) for place, reply in enumerate(replies))
            yield Dialogue(f'{fold}-{number}', turns, tuple(persona))


@pytest.fixture
def receiver(tmp_path):
    return listener(tmp_path)


def evaluate(receiver, **options):
    options = {'task': TASK, 'datatype': 'valid', 'persona_receiver_among': 3, 'model': 'repeat_label', **options}
    return EvalModel.main(persona_receiver=receiver, **options)


def values(report):
    return {name: report[name].value() for name in NAMES if name in report}


def test_rank():
    assert formulas.score_rank([3.0, 1.0, 2.0]) == 1
    assert formulas.score_rank([2.0, 1.0, 3.0]) == 2
    assert formulas.score_rank([2.0, 2.0, 3.0, 2.0]) == 4  # ties count against it
    assert formulas.score_rank([math.nan, 1.0]) == formulas.score_rank([1.0, math.nan]) == 2
    assert formulas.score_rank([0.5]) == 1


def test_values_by_hand(receiver):
    # 'fly' 1, 'planes land' 2; 'boats' 1, 'boats float' 2 (planes land: 2 of FLY); 'hello' 0
    # FLY: c is 1.5, of the others 0. ROW: 1.5, of FLY 1. SING: 0 like the others, a tie. No persona: left out.
    report = evaluate(receiver)
    assert values(report) == pytest.approx(dict(zip(NAMES, [2 / 3, 2 / 3, 6 / 5, 6 / 5], strict=True)))
    assert [report[name]._denom for name in NAMES] == [3, 3, 5, 5]


def test_gold_replies_beside_an_agents(receiver):
    # 'planes' 1 for FLY, 0 for the others, whose dialogues look like those of FLY
    report = evaluate(receiver, model='fixed_response', fixed_response='planes')
    assert values(report) == pytest.approx(dict(zip(NAMES, [1 / 3, 2 / 3, 2 / 5, 6 / 5], strict=True)))


@pytest.mark.parametrize('batchsize', [2, 3])
def test_batches_change_nothing(receiver, batchsize):
    assert values(evaluate(receiver, batchsize=batchsize)) == pytest.approx(values(evaluate(receiver)))


def test_a_dialogue_of_which_a_part_was_seen(receiver):
    report = evaluate(receiver, num_examples=3)
    assert report['persona_perception']._denom == 1 and report['persona_perception_score']._denom == 3


def test_no_reply_is_no_wrong_reply(receiver):
    teacher = PerceivedTeacher(Opt({**options_with(receiver), 'task': TASK}))
    for response in ({'text': 'fly'}, {}, {'text': 'row'}, {'text': 'boats'}, {}, {'text': 'planes'}):
        teacher.act()
        teacher.observe(Message(response))
    report = teacher.report()
    assert report['persona_perception']._denom == report['persona_perception_gold']._denom == 1
    assert report['persona_perception_score'].value() == pytest.approx((1 + 1 + 1) / 3)


def options_with(receiver):
    return {'datatype': 'valid', 'persona_receiver': receiver, 'persona_receiver_among': 3, 'persona_candidates': None}


def test_no_receiver_and_no_metric(receiver):
    assert not values(EvalModel.main(task=TASK, model='repeat_label', datatype='valid'))
    assert not values(evaluate(receiver, persona_metrics=False))


def test_the_same_others_for_every_agent(receiver):
    asked = []
    judge = Perception(load(receiver), lambda: asked.append(1) or [[f'i am {n}.'] for n in range(99)], 32)
    drawn = [judge.choices(['i am 3.'], (), 'valid-7') for _ in range(2)]
    assert drawn[0] == drawn[1] and asked == [1]


def test_other_tasks_rank_among_the_personas_of_their_task(receiver):
    """Dialogues and distractors are those of the task itself, so the figures are the same."""
    whole = evaluate(receiver, task='persona:dialogues', dialogues_of=TASK)
    assert values(whole) == pytest.approx(values(evaluate(receiver)))


def test_too_few_personas(receiver):
    with pytest.raises(
        UserError, match="--persona-receiver-among 32: dialogue 'valid-0': saw 2 personas .* expected 31"
    ):
        evaluate(receiver, persona_receiver_among=32)


def test_a_teacher_that_does_not_say_where_a_reply_stands(receiver):
    """Its replies have scores, but nothing tells which of them belong together."""
    report = evaluate(receiver, task='persona_metrics_test')
    assert set(values(report)) == {'persona_perception_score', 'persona_perception_score_gold'}


def test_a_teacher_without_personas(receiver):
    with pytest.raises(UserError, match=r'SmallTeacher has no personas\(\), which --persona-receiver needs'):
        SmallTeacher(Opt({**options_with(receiver), 'task': 'x'})).personas()


def test_what_is_no_receiver(tmp_path):
    (tmp_path / 'model.opt').write_text('{"model": "repeat_query"}')
    with pytest.raises(UserError, match='saw a model of RepeatQueryAgent; expected one of persona:p2bot/receiver'):
        load(str(tmp_path / 'model'))
    with pytest.raises(UserError, match=r'--persona-receiver nowhere: saw no file nowhere.opt; expected a model file'):
        load('nowhere')


def test_conversations_are_judged_turn_by_turn(receiver, capsys, tmp_path):
    people = (f'your persona: {line}\nthem: hi\nme: hello' for line in ('we cook.', 'you dance.', 'she sings.'))
    (tmp_path / 'own.txt').write_text('\n\n'.join(people))
    logs = SelfChat.main(
        task='persona:own',
        own_file=str(tmp_path / 'own.txt'),
        persona='i fly.|planes land.',
        partner_persona='i row.',
        model='fixed_response',
        fixed_response='planes land there',
        datatype='train',
        selfchat_max_turns=2,
        outfile=str(tmp_path / 'log'),
        persona_receiver=receiver,
        persona_receiver_among=3,
    )
    (first, second), (third, fourth) = next(log for log in logs if log)
    assert [act['perception'] for act in (first, second, third, fourth)] == [2, 0, 2, 0]
    assert (first['perceived'], second['perceived']) == ('planes land.', 'i row.')
    assert 'perception_rank' not in first and (third['perception_rank'], fourth['perception_rank']) == (1, 3)
    assert (
        '"perception": 2.0, "perceived": "planes land.", "perception_rank": 1' in (tmp_path / 'log.jsonl').read_text()
    )
    said = capsys.readouterr().out
    assert '_1]: planes land there\n      perception 2.00 | planes land.\n   [Fixed' in said
    assert "ranks FixedResponseAgent_1's persona 1 of 3.\n" in said


def test_conversations_of_the_next_pair_begin_anew(receiver):
    logs = SelfChat.main(
        task='persona:sample',
        model='fixed_response',
        num_self_chats=2,
        selfchat_max_turns=1,
        outfile=os.devnull,
        persona_receiver=receiver,
    )
    assert [['perception_rank' in act for act in log[0]] for log in logs if log] == [[True, True]] * 2


def test_too_few_personas_for_a_conversation(command, receiver):
    """It is said before the conversation, not after it."""
    line = f'self_chat -m repeat_query -t persona:sample -dt valid --persona-receiver {receiver}'
    done = command(*line.split(), '--persona-receiver-among', '200')
    assert done.returncode and 'saw' in done.stderr and 'expected 199 or more' in done.stderr
    assert 'RepeatQuery_1]' not in done.stdout


def test_a_person_sees_the_scores_of_the_model(command, receiver):
    line = (
        f'interactive -m fixed_response -t persona:sample --fixed-response fly --persona-receiver {receiver} --persona'
    )
    done = command(*line.split(), 'i fly.|i row.', input='hello\n')
    assert '[FixedResponseAgent]: fly\n      perception 1.00 | i fly.\n' in done.stdout


def test_names_for_people():
    assert set(NAMES) <= set(METRICS_DISPLAY_DATA)


@pytest.mark.slow
def test_two_processes(parlai, tmp_path, receiver):
    line = f'-t persona:sample -dt valid -m repeat_label --persona-receiver {receiver} --persona-receiver-among 8'
    here = {'PYTHONPATH': str(Path(__file__).parent)}
    shown = []
    for script in ('eval_model', 'multiprocessing_eval --distributed-world-size 2'):
        done = parlai(*script.split(), *line.split(), '--report-filename', f'{tmp_path}/report', **here)
        assert done.returncode == 0, done.stderr[-3000:]
        found = re.findall(r'"(persona_perception\w*)": ([\d.]+)', (tmp_path / 'report').read_text())
        shown.append({name: float(value) for name, value in found})
    assert set(shown[0]) == set(NAMES)
    assert shown[1] == pytest.approx(shown[0])


# ------------------------------------------------------------------------------------------ a real receiver


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The model file of a tiny `persona:p2bot/receiver`."""
    path = str(tmp_path_factory.mktemp('receiver') / 'model')
    torch.manual_seed(0)
    TrainModel.main(
        task='persona:perception',
        perception_of='persona:sample',
        persona_sample_dialogues=8,
        model='persona:p2bot/receiver',
        model_file=path,
        p2bot_receiver_encoder=tiny_bert.folder(),
        p2bot_receiver_loss='ce',
        p2bot_receiver_cosine=9,
        batchsize=8,
        max_train_steps=1,
        validation_max_exs=1,
        short_final_eval=True,
        loglevel='error',
    )
    return path


def test_gold_replies_are_recognised_as_in_the_task_perception(trained):
    """The same receiver, dialogues and personas: hits@1 of the one is `persona_perception_gold` of the other."""
    probed = EvalModel.main(
        task='persona:perception',
        perception_of='persona:sample',
        perception_distractors=3,
        model_file=trained,
        datatype='valid',
        num_examples=30,
    )
    report = evaluate(trained, task='persona:sample', persona_receiver_among=4, num_examples=30 * 8)
    assert report['persona_perception']._denom == 30
    assert report['persona_perception_gold'].value() == report['persona_perception'].value() == probed['hits@1'].value()
    assert 0 < report['persona_perception'].value() < 1


def test_each_sentence_is_encoded_once(trained, monkeypatch):
    load.cache_clear()
    encoded = []
    encode = Encoders.encode

    def counted(net, which, texts):
        encoded.extend(texts)
        return encode(net, which, texts)

    monkeypatch.setattr(Encoders, 'encode', counted)
    evaluate(trained, task='persona:sample', persona_receiver_among=32, num_examples=24)
    assert len(encoded) > 100
    assert max(Counter(encoded).values()) <= 2  # at most by each of the two encoders


def test_a_conversation_judged_by_a_trained_receiver(trained):
    logs = SelfChat.main(
        task='persona:sample',
        model='fixed_response',
        fixed_response='i love to eat soup .',
        persona='i love to eat soup .|i own a cat.',
        selfchat_max_turns=1,
        outfile=os.devnull,
        persona_receiver=trained,
    )
    (first, _) = next(log for log in logs if log)[0]
    assert 1 <= first['perception_rank'] <= 32 and isinstance(first['perception'], float)
