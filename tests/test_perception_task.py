"""`persona:perception`: utterances of one speaker, their persona as the label, personas of others as distractors."""

import random

import pytest
from conftest import FIXTURES
from parlai.core.teachers import create_task_agent_from_taskname
from parlai.scripts.display_data import setup_args

import parlai_persona  # noqa: F401
from parlai_persona import fields
from parlai_persona.data.candidates import OtherPersonas
from parlai_persona.data.dialogue import DataError
from parlai_persona.tasks.perception.agents import Speaker, distractors, lines, mean_reciprocal_rank, speaker


def teacher(datatype: str = 'valid', **options):
    opt = setup_args().parse_kwargs(
        **{'task': 'persona:perception', 'datatype': datatype, 'perception_of': 'persona:sample', **options}
    )
    opt.setdefault('seed', None)
    return create_task_agent_from_taskname(opt)[0]


def messages(task) -> list[dict]:
    found = []
    for _ in range(task.num_episodes()):
        found.append(dict(task.act()))
        task.observe({'text': ''})
    return found


def personas(message: dict) -> list[tuple[str, ...]]:
    return [tuple(candidate.split('\n')) for candidate in message['label_candidates']]


def test_golden_records():
    """The two valid dialogues of the fixture, as a person reads them in its files."""
    options = {'perception_of': 'persona:personachat', 'persona_folder': str(FIXTURES / 'personachat')}
    found = messages(teacher(perception_distractors=1, **options))
    personas = ['i keep bees.\ni am a night nurse.', 'i sail on weekends.\nmy brother lives in lima.']
    utterances = [
        ['long ! i came home from the ward at seven .', 'i sit with my bees for an hour .']
        + ['then we should trade honey for bread !'],
        ['hi ! guess where my brother lives .', 'right , he is in lima .'],
    ]
    assert [(one['dialogue_id'], one['text'], one['eval_labels'][0]) for one in found] == [
        (f'valid-{number}', '\n'.join(utterances[number]), personas[number]) for number in (0, 1)
    ]
    assert [sorted(one['label_candidates']) for one in found] == [personas, personas]
    assert all(one['episode_done'] for one in found)


def test_distractors_share_no_sentence_and_are_real_personas():
    found = messages(teacher(perception_distractors=9))
    real = {tuple(message['labels' if 'labels' in message else 'eval_labels'][0].split('\n')) for message in found}
    assert len(found) == 100
    for message in found:
        own = tuple(message['eval_labels'][0].split('\n'))
        shown = personas(message)
        assert len(shown) == len(set(shown)) == 10 and own in shown and set(shown) <= real
        assert all(not set(own) & set(other) for other in shown if other != own)
        assert fields.PERSONA not in message  # or an agent could look it up
    places = {personas(message).index(tuple(message['eval_labels'][0].split('\n'))) for message in found}
    assert len(places) > 5


def test_a_draw_depends_on_the_dialogue_alone():
    """A part of the split has the same candidates as the whole, and another seed has others."""
    options = {'persona_sample_dialogues': 40, 'perception_distractors': 3}
    first, again = messages(teacher(**options)), messages(teacher(**options))
    assert first == again
    other = messages(teacher(perception_seed=1, **options))
    assert [one['text'] for one in first] == [one['text'] for one in other]
    assert sum(one['label_candidates'] != two['label_candidates'] for one, two in zip(first, other, strict=True)) > 30
    reversed_task = teacher(**options)
    assert [dict(reversed_task.get(place)) for place in reversed(range(40))] == [
        dict(reversed_task.get(place)) for place in range(40)
    ][::-1]


def test_training_draws_anew_in_each_epoch():
    task = teacher('train', persona_sample_dialogues=20, perception_train_distractors=2)
    epochs = []
    for _ in range(2):
        found = messages(task)
        assert all(len(message['label_candidates']) == 3 for message in found)
        epochs.append({message[fields.DIALOGUE_ID]: set(message['label_candidates']) for message in found})
    assert len(epochs[0]) == 20
    assert epochs[0].keys() == epochs[1].keys() and epochs[0] != epochs[1]


def test_the_persona_of_the_partner_is_no_distractor():
    """A speaker says things about their partner, too."""
    who = Speaker('x', ('hi',), ('i ski.', 'i sing.'), ('i own a cat.',))
    others = [('i sing.', 'i fly.'), ('i own a cat.', 'i cook.'), ('i swim.',), who.persona, ('i run.',)]
    assert sorted(distractors(who, OtherPersonas(others), 2, random.Random(1))) == [('i run.',), ('i swim.',)]
    with pytest.raises(DataError, match="dialogue 'x': saw 2 personas .* expected 3 or more: lower --perception"):
        distractors(who, OtherPersonas(others), 3, random.Random(1))


def test_a_speaker_by_hand():
    turns = [
        {'text': 'hello', 'labels': ['i ski .\na lot .'], 'persona': ['i ski.', ' '], 'dialogue_id': 'a'},
        {'text': 'bye', 'labels': []},
        {'text': 'oh', 'eval_labels': ['bye', 'or so']},
    ]
    assert speaker(turns, 7) == Speaker('a', ('i ski . a lot .', 'bye'), ('i ski.',))
    assert speaker([{'text': 'hello'}], 7) == Speaker('7', (), ())
    assert lines(['', 'a\nb ']) == ('a b',)


def test_a_task_without_personas_is_an_error():
    with pytest.raises(DataError, match="none of .* dialogues has a persona .*'persona'"):
        teacher(perception_of='integration_tests:multiturn')


@pytest.mark.parametrize('model', ['random_candidate', 'ir_baseline'])
def test_any_ranker_runs_on_it(model, tmp_path):
    from parlai.scripts.eval_model import EvalModel

    report = EvalModel.main(
        task='persona:perception',
        perception_of='persona:sample',
        perception_distractors=4,
        model=model,
        datatype='valid',
        loglevel='error',
        **({'dict_file': str(tmp_path / 'dict')} if model == 'ir_baseline' else {}),
    )
    report = {name: float(value) for name, value in report.items() if not isinstance(value, str)}
    assert report['exs'] == 100 and 0 <= report['hits@1'] <= report['mrr'] <= 1
    assert 'distinct_raw_1' not in report and 'bleu_corpus' not in report


def test_ranks_of_sentences():
    """All distinct sentences of the split are candidates; the metric is a mean over the speaker's own."""
    task = teacher(perception_rank='sentences')
    first = dict(task.act())
    own = {sentence for one in task.speakers for sentence in one.persona}
    assert sorted(first['label_candidates']) == sorted(own) and first['eval_labels'] == list(task.speakers[0].persona)
    one, *_, last = first['eval_labels']
    others = [text for text in first['label_candidates'] if text not in first['eval_labels']]
    task.observe({'text': one, 'text_candidates': [one, *others[:2], last]})
    assert float(task.report()['mrr_sentences']) == pytest.approx((1 + 1 / 4) / len(first['eval_labels']))
    second = dict(task.act())
    assert second['label_candidates'] == first['label_candidates']
    assert mean_reciprocal_rank(['a', 'b', 'c'], ['c', 'b', 'x']) == pytest.approx((1 / 3 + 1 / 2) / 3)


def test_halves_have_the_same_candidates_as_the_whole():
    """Every second speaker; distractors come from the whole split."""
    whole, *halves = (
        messages(teacher(perception_half=half, perception_distractors=5)) for half in ('both', 'first', 'second')
    )
    assert [whole[0::2], whole[1::2]] == halves
