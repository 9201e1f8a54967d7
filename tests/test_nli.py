"""Entailment: pairs derived from triples, classifiers of both kinds, and the consistency C made of their answers."""

import json
import pickle

import pytest
from parlai.core.agents import create_agent_from_model_file
from parlai.core.message import Message
from parlai.core.metrics import aggregate_named_reports
from parlai.core.params import ParlaiParser
from parlai.core.teachers import create_task_agent_from_taskname
from parlai.scripts.train_model import TrainModel

from benchmarks.suite import nli as benchmark
from parlai_persona.data.dialogue import DataError
from parlai_persona.metrics import nli
from parlai_persona.metrics.types import ConsistencyMetric
from parlai_persona.tasks.nli.pairs import LABELS, fold, label, meaning, pairs, says_nothing, singular
from parlai_persona.tasks.nli.parse import Case, Fact, read_cases, read_sentences, read_utterances


@pytest.mark.parametrize(
    'one, other, expected',
    [
        (('i', 'have_pet', 'dog'), ('i', 'have_pet', 'dogs'), 'entailment'),
        (('i', 'have_pet', '3 dog'), ('i', 'have_pet', '4 dog'), 'contradiction'),
        (('i', 'have_pet', '3 dog'), ('i', 'have_pet', '4 cat'), 'neutral'),
        (('i', 'have_pet', '3 dog'), ('i', 'have_pet', 'dog'), 'neutral'),
        (('i', 'have_pet', 'dog'), ('i', 'have_pet', 'cat'), 'neutral'),
        (('i', 'have_pet', '3 dog'), ('i', 'not_have', 'pet'), 'contradiction'),
        (('i', 'not_have', 'dog'), ('i', 'have_pet', 'cat'), 'neutral'),
        (('i', 'favorite_color', 'red'), ('i', 'favorite_color', 'blue'), 'contradiction'),
        (('i', 'like_color', 'red'), ('i', 'like_color', 'blue'), 'neutral'),
        (('i', 'like_food', 'fish'), ('i', 'dislike_food', 'fish'), 'contradiction'),
        (('i', 'do_not_eat', 'fish'), ('i', 'like_food', 'fish'), 'contradiction'),
        (('my wife', 'has_age', '30'), ('i', 'has_age', '40'), 'neutral'),
        (('i', 'have_chidren', '2 children'), ('i', 'have_no_children', 'kids'), 'neutral'),
        (('i', 'have_chidren', 'son'), ('i', 'have_no_children', 'children'), 'contradiction'),
    ],
)
def test_labels_by_hand(one, other, expected):
    assert label(meaning(one), meaning(other)) == expected
    assert label(meaning(other), meaning(one)) == expected


SPLITS = ('train', 'valid', 'test')
FACTS = [
    Fact(f'{text} {number}', triple)
    for number in range(6)
    for text, triple in (
        ('i am a man', ('i', 'gender', 'male')),
        ('she is me', ('i', 'gender', 'female')),
        ('cooking is fun', ('i', 'like_activity', 'cooking')),
        ('i hike', ('i', 'like_activity', 'hiking')),
        ('cooking is dull', ('i', 'dislike_activity', 'cooking')),
    )
]


def test_pairs_are_different_seeded_and_a_third_of_each():
    found = list(pairs(FACTS, FACTS, 90, seed=1))
    assert len({pair[:2] for pair in found}) == 90
    assert [sum(pair.label == name for pair in found) for name in LABELS] == [30, 30, 30]
    assert found == list(pairs(FACTS, FACTS, 90, seed=1)) != list(pairs(FACTS, FACTS, 90, seed=2))
    triples = {fact.text: meaning(fact.triple) for fact in FACTS}
    assert all(label(triples[pair.premise], triples[pair.hypothesis]) == pair.label for pair in found)


def test_nouns_are_compared_in_the_singular():
    plurals = {'dogs': 'dog', 'cats': 'cat', 'children': 'child', 'glass': 'glass', 'gas': 'gas', 'fish': 'fish'}
    assert {noun: singular(noun) for noun in plurals} == plurals
    assert meaning(('I', 'Have_Pet', '3 Dogs')) == ('i', 'have_pet', 'dog', '3')
    assert meaning(('i', 'has_age', '30')) == ('i', 'has_age', '30', '')


def test_only_what_can_contradict_is_drawn_for_it():
    genders = [fact for fact in FACTS if fact.triple[1] == 'gender']
    assert {pair.label for pair in pairs(genders, genders, 30, seed=0)} == {'entailment', 'contradiction'}
    likes = [fact for fact in FACTS if fact.triple[1] == 'like_activity']
    assert {pair.label for pair in pairs(likes, likes, 30, seed=0)} == {'entailment', 'neutral'}


def test_half_of_the_neutral_pairs_share_their_relation():
    facts = [
        Fact(f'{relation} {tail}', ('i', f'like_{relation}', str(tail)))
        for relation in 'abcdefghijklmnopqrst'
        for tail in 'xyz'
    ]
    neutral = [pair for pair in pairs(facts, facts, 600, seed=0) if pair.label == 'neutral']
    same = sum(pair.premise[0] == pair.hypothesis[0] for pair in neutral)
    assert len(neutral) == 200 and 0.3 < same / len(neutral) < 0.7


@pytest.fixture
def folder(tmp_path):
    rows = [f'{n},{fact.triple[0]},{fact.triple[1]},{fact.triple[2]},{fact.text}' for n, fact in enumerate(many())]
    rows.insert(0, ',ground_head,ground_reln,ground_tail,ground_sentence')
    (tmp_path / 'sentence_triples.csv').write_text('\n'.join(rows) + '\n')
    lines = [json.dumps({'utterance': f'well , {fact.text}', 'triple': fact.triple}) for fact in many()]
    (tmp_path / 'utterance_triples.jsonl').write_text('\n'.join(lines) + '\n')
    candidates = {'label': ['i am a man 3'], 'neg': ['she is me 4'], 'similar': [], 'rand': []}
    case = {'persona': ['i am a man'], 'candidates': candidates}
    (tmp_path / 'eval_havenot.jsonl').write_text(json.dumps(case) + '\n')
    return tmp_path


def many():
    return [Fact(f'{fact.text[:-1]}{number}', fact.triple) for number in range(60) for fact in FACTS[:5]]


def teacher(folder, datatype: str, **more):
    opt = ParlaiParser(True, False).parse_kwargs(
        **{
            'task': 'persona:nli',
            'datatype': datatype,
            'nli_chat': 'none',
            'nli_folder': str(folder),
            'nli_pairs': 60,
            'loglevel': 'error',
            **more,
        }
    )
    return create_task_agent_from_taskname(opt)[0]


def test_messages_are_those_of_parlais_task(folder):
    task = teacher(folder, 'train:ordered')
    seen = [task.act() for _ in range(task.num_examples())]
    assert len(seen) == 60
    assert seen[0]['text'].startswith('Premise: ') and '\nHypothesis: ' in seen[0]['text']
    assert {one['labels'][0] for one in seen} == set(LABELS) == set(seen[0]['label_candidates'])
    kept_apart = {'i am a man 3', 'she is me 4'}
    texts = {text for one in seen for line in one['text'].split('\n') for text in [line.split(': ', 1)[1]]}
    assert not texts & kept_apart
    assert {fold(text) for text in texts} == {'train'}


def texts_of_pairs(folder, split: str = 'train', **more) -> set[str]:
    task = teacher(folder, 'train:ordered' if split == 'train' else split, nli_pairs=3000, **more)
    pairs = [task.act()['text'].split('\n') for _ in range(task.num_examples())]
    return {line.split(': ', 1)[1] for lines in pairs for line in lines}


def test_an_utterance_of_a_case_is_in_no_pair_however_it_is_written(folder):
    """Gold, contradicting, similar and random utterances differ from the triples in case, spaces and punctuation."""
    path = folder / 'eval_havenot.jsonl'
    candidates = {
        'label': ['I am a man3'],
        'neg': ['she is me , 4 !'],
        'similar': ['cooking is  fun 5.'],
        'rand': ['Well , i hike 6 .'],
    }
    path.write_text(json.dumps({'persona': ['i am a man'], 'candidates': candidates}) + '\n')
    kept_apart = {'i am a man 3', 'she is me 4', 'cooking is fun 5', 'well , i hike 6'}
    assert not any(kept_apart & texts_of_pairs(folder, split) for split in SPLITS)
    path.unlink()  # a user's own triples have no cases
    assert kept_apart <= set().union(*(texts_of_pairs(folder, split) for split in SPLITS))


def test_a_reply_of_the_chat_that_a_case_ranks_is_in_no_pair(folder):
    chat = {text for text in texts_of_pairs(folder, nli_chat='persona:sample') if says_nothing(text)}
    reply = max(chat)
    candidates = {'label': ['i am a man 3'], 'neg': [], 'similar': [], 'rand': [f'{reply.upper()} !']}
    path = folder / 'eval_havenot.jsonl'
    path.write_text(json.dumps({'persona': ['i am a man'], 'candidates': candidates}) + '\n')
    assert reply not in texts_of_pairs(folder, nli_chat='persona:sample')


def test_the_split_of_a_text_never_changes():
    """Python's own hash is salted, so that other texts would be in these splits in each process."""
    splits = {name: [number for number in range(100) if fold(f'i have {number} dogs .') == name] for name in SPLITS}
    assert splits['valid'] == [23, 44, 56, 62, 70, 84]
    assert splits['test'] == [11, 76, 80, 90]
    assert len(splits['train']) == 90


SENTENCES = [
    ',ground_head,ground_reln,ground_tail,ground_sentence',
    '0,i,have_pet,dog,"i have dogs , and a cat ."',
    '1,i,like_food,fish,i like fish .',
    '2,i,like_food,"fish ""n"" chips",i like fish \'n\' chips .',
    '3,i,has_age,22,i am 22 .',
]
UTTERANCES = [json.dumps({'utterance': f'i am {age} .', 'triple': ['i', 'has_age', str(age)]}) for age in range(4)]
CASES = [
    json.dumps(
        {
            'persona': [f'i am {age}'],
            'prefix': ['hi'],
            'candidates': {'label': ['a'], 'neg': ['b'], 'similar': ['c'], 'rand': ['d']},
        }
    )
    for age in range(4)
]
DEEP = '[' * 100_000


def written(folder, lines: list[str], number: int = 0, line: str = ''):
    """Write a file whose line `number` is replaced (0: none)."""
    lines = [line if place == number else own for place, own in enumerate(lines, 1)]
    path = folder / 'data.txt'
    path.write_bytes('\n'.join([*lines, '']).encode('utf-8', 'surrogateescape'))
    return path


@pytest.mark.parametrize('start', ['', '\ufeff'], ids=['plain', 'byte order mark'])
@pytest.mark.parametrize('end', ['', '\r'], ids=['LF', 'CRLF'])
def test_sound_files(tmp_path, start: str, end: str):
    def read(reader, lines: list[str]) -> list:
        return list(reader(written(tmp_path, [start + lines[0] + end, *(line + end for line in lines[1:])])))

    assert read(read_sentences, SENTENCES) == [
        Fact('i have dogs , and a cat .', ('i', 'have_pet', 'dog')),
        Fact('i like fish .', ('i', 'like_food', 'fish')),
        Fact("i like fish 'n' chips .", ('i', 'like_food', 'fish "n" chips')),
        Fact('i am 22 .', ('i', 'has_age', '22')),
    ]
    assert read(read_utterances, UTTERANCES) == [Fact(f'i am {age} .', ('i', 'has_age', str(age))) for age in range(4)]
    assert read(read_cases, CASES) == [Case([f'i am {age}'], ['hi'], 'a', ['b'], ['c'], ['d']) for age in range(4)]


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('1,i,like_food,fish,"i like fish .', 'unexpected end of data; saw .* each quote closed'),
        ('"1,i,like_food,fish,i like fish .', 'unexpected end of data; saw .* each quote closed'),
        ('1,i,like_food,fish,"i like" fish .', "'\"'; saw .* each quote closed"),
        (f'1,i,like_food,fish,{"i" * 200_000}', 'field larger than field limit .* at most 131,072 characters'),
        ('1,i,like_food,fish,i like fish , raw', 'saw 6 columns, expected 5; quote commas'),
        ('1,i,like_food,fish', 'saw 4 columns, expected 5'),
        ('1,i,like_food,fish, ', 'expected a sentence and its triple'),
        ('1,i,like_food,fish,i like \udcff', 'line 3: .*0xff.*expected UTF-8'),
    ],
)
def test_a_broken_row_costs_no_other_row_and_is_named(tmp_path, line: str, message: str):
    found: list[Fact] = []
    with pytest.raises(DataError, match=f'data.txt, line 3: .*{message.removeprefix("line 3: ")}') as error:
        found.extend(read_sentences(written(tmp_path, SENTENCES, 3, line)))
    assert len(str(error.value)) < 600 + len(str(tmp_path))
    assert list(read_sentences(written(tmp_path, SENTENCES, 3, ''))) == [
        fact for fact in read_sentences(written(tmp_path, SENTENCES)) if fact.text != 'i like fish .'
    ]


@pytest.mark.parametrize(
    'line',
    [
        '{"utterance": "a", "triple": ["i", "b"]}',
        '{"utterance": "a", "triple": "ibc"}',
        '{"utterance": "a", "triple": ["i", "b", " "]}',
        '{"utterance": "a", "triple": ["i", " ", "c"]}',
        '{"utterance": "a", "triple": [" ", "b", "c"]}',
        '{"utterance": " ", "triple": ["i", "b", "c"]}',
        '{"triple": ["i", "b", "c"]}',
        '["utterance", "triple"]',
        '\ufeff{"utterance": "a", "triple": ["i", "b", "c"]}',  # a byte order mark begins a file, not a line
        '{"utterance": "\\ud800", "triple": ["i", "b", "c"]}',
        '{"utterance": 5, "triple": ["i", "b", "c"]}',
        '{"utterance": "a, "triple": ["i", "b", "c"]}',
        f'{{"utterance": {"1" * 5000}, "triple": ["i", "b", "c"]}}',
        '{"utterance": "\udcff", "triple": ["i", "b", "c"]}',
        DEEP,
        '',
    ],
)
def test_a_broken_line_of_utterances_is_named(tmp_path, line: str):
    with pytest.raises(DataError, match='data.txt, line 3: .*expected ({"utterance"|UTF-8)') as error:
        list(read_utterances(written(tmp_path, UTTERANCES, 3, line)))
    assert len(str(error.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ('["a"]', '[]'),
        ('["a"]', '"a"'),
        ('["b"]', '[5]'),
        ('["c"]', 'null'),
        ('["i am 2"]', '"i am 2"'),
        ('["hi"]', '"hi"'),
        ('["d"]', DEEP),
        ('["d"]', '["d]'),
    ],
)
def test_a_broken_case_is_named(tmp_path, old: str, new: str):
    with pytest.raises(DataError, match='data.txt, line 3: saw .* expected {"persona"'):
        list(read_cases(written(tmp_path, CASES, 3, CASES[2].replace(old, new))))


def test_a_long_broken_line_is_shown_to_its_80th_character(tmp_path):
    for read, lines in ((read_sentences, SENTENCES), (read_utterances, UTTERANCES)):
        with pytest.raises(DataError, match=f"saw '\"{'x' * 79}';"):
            list(read(written(tmp_path, lines, 3, '"' + 'x' * 200)))


def test_broken_files(folder):
    path = folder / 'utterance_triples.jsonl'
    path.write_text('{"utterance": "a", "triple": ["i", "b"]}\n')
    with pytest.raises(DataError, match='line 1: saw .* expected {"utterance"'):
        list(read_utterances(path))
    path.write_text(',ground_head\n')
    with pytest.raises(DataError, match='the first line has no ground_reln, ground_sentence, ground_tail'):
        list(read_sentences(path))
    path.write_text('{"persona": []}\n')
    with pytest.raises(DataError, match='line 1: saw .* expected {"persona"'):
        list(read_cases(path))
    path.unlink()
    expected = "no such file. .* name their folder with --nli-folder. The official pairs are ParlAI's"
    with pytest.raises(DataError, match=expected):
        teacher(folder, 'valid')


# ------------------------------------------------------------------------------------------ classifiers


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """A classifier of transformers with random weights; its names are in another order than ours."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder = tmp_path_factory.mktemp('bert')
    words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'i', 'am', 'a', 'man', 'dog', 'my', '.']
    (folder / 'vocab.txt').write_text('\n'.join(words))
    BertTokenizerFast(vocab_file=str(folder / 'vocab.txt')).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        id2label={0: 'CONTRADICTION', 1: 'entail', 2: 'Neutral'},
        label2id={'CONTRADICTION': 0, 'entail': 1, 'Neutral': 2},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_a_classifier_of_transformers(tiny):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    judge = nli.load(str(tiny))
    pair = ('i am a man .', 'my dog')
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = AutoModelForSequenceClassification.from_pretrained(tiny).eval()
    with torch.no_grad():
        expected = model(**tokenizer(*pair, return_tensors='pt')).logits.softmax(-1)[0].tolist()
    found = judge([pair, ('i', 'a'), pair])
    assert [found[0][name] for name in ('contradiction', 'entailment', 'neutral')] == pytest.approx(expected, rel=1e-4)
    assert found[0] is found[2]
    assert nli.load(str(tiny)) is judge and pickle.loads(pickle.dumps(judge)) is judge


def test_each_pair_is_classified_once_and_in_batches(tiny, monkeypatch):
    judge = nli.TransformersNli(str(tiny))
    asked = []
    plain = judge.probabilities
    monkeypatch.setattr(judge, 'probabilities', lambda batch: asked.append(batch) or plain(batch))
    wanted = [(f'i am {number % 100}', 'a man') for number in range(300)]
    assert judge(wanted) == judge(wanted)
    assert [len(batch) for batch in asked] == [64, 36]


def test_names_that_say_nothing(tiny, tmp_path):
    import shutil

    other = tmp_path / 'other'
    shutil.copytree(tiny, other)
    config = json.loads((other / 'config.json').read_text())
    config['id2label'] = {'0': 'LABEL_0', '1': 'LABEL_1', '2': 'LABEL_2'}
    (other / 'config.json').write_text(json.dumps(config))
    with pytest.raises(ValueError, match='its classes are called LABEL_0, .* write these names into id2label'):
        nli.load(str(other))
    with pytest.raises(ValueError, match='neither a ParlAI model file nor a classifier'):
        nli.load(str(tmp_path / 'nothing'))


def test_a_classifier_of_parlai(folder, tmp_path):
    path = str(tmp_path / 'model')
    TrainModel.main(
        task='persona:nli',
        nli_chat='none',
        nli_folder=str(folder),
        nli_pairs=60,
        model='transformer/classifier',
        classes=list(LABELS),
        model_file=path,
        embedding_size=16,
        n_layers=1,
        n_heads=2,
        ffn_size=16,
        optimizer='adam',
        learningrate=0.01,
        max_train_steps=60,
        batchsize=30,
        loglevel='error',
        validation_max_exs=30,
        seed=1,
    )
    judge, agent = nli.load(path), create_agent_from_model_file(path, {'datatype': 'valid', 'loglevel': 'error'})
    assert isinstance(judge, nli.ParlaiNli)
    task = teacher(folder, 'valid')
    for seen in [task.act() for _ in range(20)]:
        pair = tuple(line.split(': ', 1)[1] for line in seen['text'].split('\n'))
        agent.observe(seen)
        assert judge.classify([pair]) == [agent.act()['text']]
        assert sum(judge([pair])[0].values()) == pytest.approx(1, abs=1e-4)


# ------------------------------------------------------------------------------------------ consistency


class Judge(nli.Nli):
    """A classifier that judges by the first words, so that figures can be computed by hand."""

    asked = 0

    def probabilities(self, pairs):
        type(self).asked += 1
        names = [
            'entailment' if p.split()[0] == h.split()[0] else 'contradiction' if p.startswith('not') else 'neutral'
            for p, h in pairs
        ]
        return [{name: float(name == found) for name in nli.SCORES} for found in names]


PERSONA = ['dogs are mine', 'cats are mine']


def test_consistency_by_hand():
    """eq. 7: dogs entail one sentence; 'not' contradicts both; 'hm' touches none."""
    judge = Judge('by hand')
    assert [judge.consistency(reply, PERSONA) for reply in ('dogs !', 'not me', 'hm')] == [1, -2, 0]
    assert judge.consistency('dogs', []) == 0


def test_the_metric_averages_within_groups_first_and_asks_once():
    judge = Judge('by hand')
    Judge.asked = 0
    one = ConsistencyMetric([[('dogs', PERSONA), ('hm', PERSONA)]], judge)
    other = ConsistencyMetric([[('not me', PERSONA)]], judge)
    total = sum([other] * 3, one)
    assert Judge.asked == 0
    assert total.value() == pytest.approx((0.5 - 2 - 2 - 2) / 4) and Judge.asked == 1
    assert one.value() == 0.5 and (one + None).value() == 0.5


def test_tasks_count_alike():
    judge = Judge('by hand')
    few = {'consistency': ConsistencyMetric([[('dogs', PERSONA)]], judge)}
    many = {'consistency': ConsistencyMetric([[('not me', PERSONA)]] * 3, judge)}
    both = {'few': few, 'many': many}
    assert aggregate_named_reports(both)['consistency'].value() == pytest.approx((1 - 2) / 2)
    micro = aggregate_named_reports(both, micro_average=True)
    assert micro['consistency'].value() == pytest.approx((1 - 2 * 3) / 4)


def test_it_is_reported_for_any_agent(tiny):
    from parlai.scripts.eval_model import EvalModel

    options = {
        'task': 'persona:sample',
        'model': 'repeat_label',
        'datatype': 'valid',
        'num_examples': 10,
        'loglevel': 'error',
    }
    report = EvalModel.main(**options, persona_nli=str(tiny))
    assert -4 <= float(report['consistency']) <= 4 and 'consistency' not in EvalModel.main(**options)
    assert Message(report)['exs'] == 10


def test_what_says_nothing(folder):
    """Greetings and questions are neutral to any sentence; half of the neutral pairs have one."""
    assert says_nothing('hello ! do you have pets ?')
    assert not says_nothing("hi , i'm fine") and not says_nothing('my dog')
    task = teacher(folder, 'train:ordered', nli_chat='persona:sample')
    seen = [task.act() for _ in range(task.num_examples())]
    neutral = [one['text'].split('\n')[0] for one in seen if one['labels'] == ['neutral']]
    known = {fact.text for fact in many()} | {f'well , {fact.text}' for fact in many()}
    chat = [text for text in neutral if text.removeprefix('Premise: ') not in known]
    assert len(neutral) == 20 and 4 <= len(chat) <= 16 and all(says_nothing(text) for text in chat)


# ------------------------------------------------------------------------------------------ judges of the cases


def case(gold: str, *contradicting: str, persona=('i own two dogs .',), history=('do you like parks ?',)) -> Case:
    return Case(list(persona), list(history), gold, list(contradicting), [], [])


def test_the_rule_ranks_by_content_words_that_are_shared():
    """The content words are 'two' and 'dogs' of the persona, and 'like' and 'parks' of the history."""
    texts = ['i have two dogs', 'do you like the two of you', 'dogs dogs in parks', 'no']
    expected = {'history': [0, -1, -1, 0], 'persona': [-2, -1, -1, 0], 'persona and history': [-2, -2, -2, 0]}
    found = {name: benchmark.fewest_shared_words(known)(case('x'), texts) for name, known in benchmark.RULES.items()}
    assert found == expected


def test_shares_of_cases_by_hand():
    """First case: the gold utterance (0) beats 2 of 4, ties with 2; second: it beats both of two; third: neither."""
    scores = iter([[0.0, 1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 2.0], [5.0, 1.0, 5.0]])
    found = benchmark.ranked(lambda case, texts: next(scores), [case('x', *'abcd'), case('x', *'ab'), case('x', *'ab')])
    assert found == pytest.approx(
        {
            'gold first': 1 / 3,
            'contradicting below gold': (0.5 + 1 + 0) / 3,
            'gold first, ties by lot': (1 / 3 + 1 + 0) / 3,
            'contradicting below gold, ties by lot': (0.75 + 1 + 0.25) / 3,
        }
    )


def test_chance_by_hand():
    found = benchmark.chance([case('x', *'abcd'), case('x', 'a')])
    assert list(found.values()) == pytest.approx([(1 / 5 + 1 / 2) / 2, 0.5, (1 / 5 + 1 / 2) / 2, 0.5])


def test_a_classifier_judges_by_the_worst_sentence():
    judge = benchmark.classifier(Judge('worst'))
    assert judge(case('x', persona=('not mine', 'dogs')), ['not you', 'dogs', 'not at all']) == [1.0, 0.0, 1.0]
