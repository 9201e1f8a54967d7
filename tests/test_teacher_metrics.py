"""`PersonaMetrics` in ParlAI's own evaluation, with ParlAI's own agents on a teacher of five messages."""

import copy
import math
import pickle
import random
import re
from pathlib import Path

import pytest
from parlai.core.message import Message
from parlai.core.metrics import (
    METRICS_DISPLAY_DATA,
    AverageMetric,
    InterDistinctMetric,
    TeacherMetrics,
    aggregate_named_reports,
    aggregate_unnamed_reports,
)
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.teachers import DialogTeacher, register_teacher
from parlai.scripts.eval_model import EvalModel
from parlai.scripts.train_model import TrainModel

from parlai_persona.fields import PERSONA
from parlai_persona.metrics import formulas
from parlai_persona.metrics.teacher import DISPLAY, PersonaMetrics, token_perplexity_name
from parlai_persona.metrics.types import DistinctMetric, PersonaF1Metric

TASK = 'persona_metrics_test'
NURSE = ['i am a nurse .', 'i have two old dogs .']
COOK = ['i cook pasta all day long .', 'my cat is blue .']
MESSAGES = [  # persona, text, reply
    (NURSE, 'what do you do ?', 'i am a nurse with dogs .'),
    (NURSE, 'nice .', 'my two dogs are old .'),
    (COOK, 'and you ?', 'i cook , and my cat sleeps .'),
    ([], 'who are you ?', 'i will not tell .'),
    (COOK, 'bye .', 'see you , nurse .'),
]
REPLIES = [reply for _, _, reply in MESSAGES]
PERSONA_NAMES = {name for name in DISPLAY if re.match('persona_(?!perception)', name)}


@register_teacher(TASK)
class SmallTeacher(PersonaMetrics, DialogTeacher):
    messages = MESSAGES

    def __init__(self, opt, shared=None):
        opt = copy.deepcopy(opt)
        opt['datafile'] = 'none'
        super().__init__(opt, shared)

    def setup_data(self, datafile):
        for persona, text, reply in self.messages:
            candidates = REPLIES[:3] + [reply]  # the label twice in the first three
            message = {'text': text, 'labels': [reply], 'label_candidates': candidates, PERSONA: persona}
            yield Message(message), True

    def training_texts(self):
        return [text for message in MESSAGES for text in message[1:]]

    def num_episodes(self):  # or ParlAI counts a stream's episodes and writes them into a file
        return len(self.messages)

    num_examples = num_episodes


def evaluate(**kwargs):
    return EvalModel.main(task=TASK, **kwargs)


def teacher(cls=SmallTeacher, **opt):
    return cls(Opt({'task': TASK, 'datatype': 'valid', **opt}))


def answer(asked, responses):
    """The report of a teacher after one response to each of its messages."""
    for response in responses:
        asked.act()
        asked.observe(Message(response))
    return asked.report()


def same(report, other, names):
    return {name: report[name].value() for name in names} == pytest.approx(
        {name: other[name].value() for name in names}, abs=1e-12
    )


@pytest.fixture(scope='module')
def labels_repeated():
    return evaluate(model='repeat_label')


# --------------------------------------------------------------------------------------- through EvalModel


def test_repeated_labels_equal_the_pure_functions(labels_repeated):
    idf = formulas.ZipfIdf(formulas.frequency_ranks(text for message in MESSAGES for text in message[1:]))
    expected = formulas.persona_report(REPLIES, [persona for persona, _, _ in MESSAGES], idf)
    expected['persona_cover_train'] = expected.pop('persona_cover')
    expected['persona_recall_letter'] = expected['persona_precision']
    expected['persona_precision_letter'] = expected['persona_recall']
    expected |= {f'distinct_raw_{n}': formulas.distinct(REPLIES, n) for n in (1, 2)}
    assert {name: labels_repeated[name].value() for name in expected} == pytest.approx(expected)
    assert labels_repeated['persona_recall']._denom == 4  # the empty persona is left out, not counted as 0
    assert PERSONA_NAMES - set(labels_repeated) == {'persona_cover_file'}


def test_values_by_hand(labels_repeated):
    # nurse dogs: nearest of 'nurse' (1) and 'two old dogs' (3) is the shorter, R 1/1 P 1/2
    # two dogs old: R 3/3 P 3/3; cook cat sleeps: 1 of 'cat blue', R 1/2 P 1/3; see nurse: R 0 P 0
    recall, precision = (1 + 1 + 1 / 2 + 0) / 4, (1 / 2 + 1 + 1 / 3 + 0) / 4
    assert labels_repeated['persona_recall'].value() == pytest.approx(recall)
    assert labels_repeated['persona_precision'].value() == pytest.approx(precision)
    assert labels_repeated['persona_f1'].value() == pytest.approx(2 * recall * precision / (recall + precision))
    assert labels_repeated['persona_f1_mean'].value() == pytest.approx((2 / 3 + 1 + 2 / 5 + 0) / 4)
    assert labels_repeated['persona_used'].value() == 3 / 4


def test_distinct_beside_parlais(labels_repeated):
    theirs = evaluate(model='repeat_label', metrics='distinct')
    assert isinstance(theirs['interdistinct-2'], InterDistinctMetric)
    assert same(labels_repeated, theirs, ['interdistinct-1', 'interdistinct-2', 'distinct_raw_1'])


def test_fixed_response():
    report = evaluate(model='fixed_response', fixed_response='my dogs')
    assert report['persona_recall'].value() == pytest.approx((1 / 3 + 1 / 3) / 4)
    assert report['persona_precision'].value() == 1 / 2
    assert report['distinct_raw_1'].value() == 2 / 10
    assert 'mrr' not in report and 'ppl_word' not in report


def test_random_candidates():
    report = evaluate(model='random_candidate')
    hits = [report[f'hits@{k}'].value() for k in (1, 3, 5)]
    assert hits == sorted(hits) and hits[2] == 1.0
    assert hits[0] <= report['mrr'].value() <= 1.0
    assert 'persona_f1' in report


@pytest.mark.parametrize('batchsize', [2, 5])
def test_batches_change_nothing(labels_repeated, batchsize):
    report = evaluate(model='repeat_label', batchsize=batchsize)
    assert same(report, labels_repeated, set(DISPLAY) & set(labels_repeated))


def test_switched_off():
    report = evaluate(model='repeat_label', persona_metrics=False)
    assert not set(DISPLAY) - {'hits@10'} & set(report)


def test_ranks_from_a_file(tmp_path, labels_repeated):
    ranks = tmp_path / 'v.txt'
    ranks.write_text('the 1\ndogs 1\nnurse 1\n', encoding='utf-8')
    report = evaluate(model='repeat_label', persona_metrics_ranks=str(ranks))
    # rank of nurse 3; two dogs old: 4 2 4 (unranked: 3 + 1); cook: 4, cat: 4, so both sentences give idf(4)
    idf = formulas.zipf_idf
    expected = (idf(3) + (idf(2) + 2 * idf(4)) / 3 + idf(4) + 0) / 4
    # 'i am a nurse with dogs' shares nurse with one sentence and dogs with the other: the rarer counts
    assert report['persona_cover_file'].value() == pytest.approx(expected)
    assert 'persona_cover_train' not in report
    assert same(report, labels_repeated, ['persona_f1'])


# ------------------------------------------------------------------------------------------------ generators


@pytest.fixture(scope='module')
def generator(tmp_path_factory):
    path = str(tmp_path_factory.mktemp('generator') / 'model')
    TrainModel.main(
        task=TASK,
        model='transformer/generator',
        model_file=path,
        dict_tokenizer='re',
        n_layers=1,
        n_heads=1,
        embedding_size=8,
        ffn_size=8,
        optimizer='adam',
        learningrate=0.01,
        lr_scheduler='none',
        batchsize=2,
        max_train_steps=3,
        skip_generation=True,
        n_positions=32,
        label_truncate=32,
    )
    return path


def test_perplexities(generator):
    report = evaluate(model_file=generator, skip_generation=True, batchsize=2)
    nll, words = report['loss']._numer, sum(len(reply.split()) + 1 for reply in REPLIES)
    assert report['ppl_word'].value() == pytest.approx(math.exp(nll / words))
    assert report['ppl_token_re'].value() == report['ppl'].value()
    assert not PERSONA_NAMES & set(report)  # no reply: absent, not 0
    assert 'distinct_raw_1' not in report


def test_generated_replies_are_measured(generator):
    report = evaluate(model_file=generator, skip_generation=False, beam_min_length=2, label_truncate=5)
    assert PERSONA_NAMES - {'persona_cover_file'} <= set(report)
    assert 'ppl_word' not in report  # all labels are longer than 5 tokens
    assert 'ppl' in report


def test_the_tokeniser_is_the_agents(generator):
    assert token_perplexity_name(Opt({'model_file': generator, 'dict_tokenizer': 'bpe'})) == 'ppl_token_re'
    named = {'model': 'transformer/generator', 'dict_tokenizer': 'bytelevelbpe'}
    assert token_perplexity_name(Opt(named)) == 'ppl_token_bytelevelbpe'
    assert token_perplexity_name(Opt({'model': 'repeat_label'})) is None
    assert token_perplexity_name(Opt({'model': None})) is None


def test_a_dictionary_class_of_its_own():
    pytest.importorskip('transformers')
    assert token_perplexity_name(Opt({'model': 'hugging_face/gpt2', 'dict_tokenizer': 're'})) == 'ppl_token_gpt2'


# ------------------------------------------------------------------------------------ responses given directly


def test_ranked_lists():
    lists = [REPLIES, REPLIES[::-1], REPLIES[:2], [REPLIES[3], REPLIES[3].upper()], None]  # ranks 1 4 - 1
    report = answer(teacher(), [{'text_candidates': ranked} if ranked else {} for ranked in lists])
    assert report['mrr'].value() == pytest.approx((1 + 1 / 4 + 0 + 1) / 4)
    assert [report[f'hits@{k}'].value() for k in (1, 3, 5)] == [2 / 4, 2 / 4, 3 / 4]


class TwoDialogues(SmallTeacher):
    def setup_data(self, datafile):
        for message, _ in super().setup_data(datafile):
            yield message, message['text'] in ('what do you do ?', 'who are you ?')


def test_repetition_counts_within_a_dialogue():
    """Half, a third and nothing of the trigrams were there before; the last two replies are another dialogue."""
    replies = ['a b c a b c d', 'x a b c y', 'not a thing', 'x a b c y', 'a']
    shares = [1 / 5, 1 / 3, 0, 0, 0]
    report = answer(teacher(TwoDialogues), [{'text': reply} for reply in replies])
    assert report['repetition'].value() == pytest.approx(sum(shares) / 5)
    assert report['reply_words'].value() == pytest.approx((7 + 5 + 3 + 5 + 1) / 5)


def test_a_reset_forgets_the_dialogue():
    """As between two validations of which the first ends within a dialogue."""
    one = teacher(TwoDialogues)
    same = [{'text': 'a b c d'}] * 1
    answer(one, same)
    one.reset()
    one.reset_metrics()
    assert answer(one, same)['repetition'].value() == 0


def test_an_agents_own_mrr_is_left_alone():
    own = {'text_candidates': REPLIES, 'metrics': {'mrr': AverageMetric(0.125)}}
    assert answer(teacher(), [own] * 5)['mrr'].value() == 0.125


def test_a_rankers_loss_is_not_a_perplexity():
    report = answer(teacher(), [{'text': 'hi', 'metrics': {'loss': AverageMetric(2.0)}}])
    assert 'ppl_word' not in report


def test_a_label_drawn_from_several_has_no_known_words():
    class TwoLabels(SmallTeacher):
        def setup_data(self, datafile):
            yield Message({'text': 'hi', 'labels': ['a b c', 'd'], PERSONA: NURSE}), True

    scored = {'loss': AverageMetric(2.0, 4), 'ppl': AverageMetric(2.0, 4)}
    assert 'ppl_word' not in answer(teacher(TwoLabels), [{'metrics': scored}])


def test_training_is_not_measured():
    report = answer(teacher(datatype='train:ordered'), [{'text': 'my dogs', 'text_candidates': REPLIES}])
    assert not set(report) & (set(DISPLAY) - {'hits@10'})


def test_flags_arrive():
    parser = ParlaiParser(True, False)
    flags = ['--task', TASK, '--persona-metrics', 'false', '--persona-metrics-ranks', 'v.txt']
    opt = parser.parse_args(flags)
    assert opt['persona_metrics'] is False
    assert opt['persona_metrics_ranks'] == 'v.txt'


def test_clear_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match='--persona-metrics-ranks nowhere.txt: saw no such file'):
        teacher(persona_metrics_ranks='nowhere.txt')
    broken = tmp_path / 'v.txt'
    broken.write_text('the 1 2\nof 1\n', encoding='utf-8')
    with pytest.raises(ValueError, match=r'v\.txt, line 2: saw 2 columns, expected 3'):
        answer(teacher(persona_metrics_ranks=str(broken)), [{'text': 'a nurse'}])

    class OneString(SmallTeacher):
        messages = [(' '.join(NURSE), 'hi', 'ho')]

    with pytest.raises(TypeError, match="field 'persona': saw the str .* expected a list of sentences"):
        answer(teacher(OneString), [{'text': 'a nurse'}])

    class NoTexts(SmallTeacher):
        training_texts = PersonaMetrics.training_texts

    with pytest.raises(NotImplementedError, match='NoTexts has no training_texts'):
        answer(teacher(NoTexts), [{'text': 'a nurse'}])


def test_no_training_texts_no_coverage():
    class NoTraining(SmallTeacher):
        def training_texts(self):
            return []

    report = answer(teacher(NoTraining), [{'text': 'a nurse'}])
    assert report['persona_recall'].value() == 1.0
    assert 'persona_cover_train' not in report


def test_ranks_are_read_once_for_all_rows_of_a_batch():
    reads = []

    class Counting(SmallTeacher):
        def training_texts(self):
            reads.append(1)
            return REPLIES

    first = teacher(Counting)
    rows = [first.clone() for _ in range(3)]
    for row in rows:
        answer(row, [{'text': 'a nurse'}])
    assert first.word_rarity is rows[0].word_rarity
    assert len(reads) == 1


# ----------------------------------------------------------------------------------------------- aggregation


def split(*shares):
    """Reports of workers that each saw a share of the messages and repeated the labels."""
    reports = []
    for share in shares:
        part = type('Part', (SmallTeacher,), {'messages': [MESSAGES[i] for i in share]})
        reports.append(answer(teacher(part), [{'text': MESSAGES[i][2]} for i in share]))
    return [pickle.loads(pickle.dumps(report)) for report in reports]  # as all_gather_list sends them


@pytest.mark.parametrize('shares', [([0, 1, 2], [3, 4]), ([4], [2, 0], [1, 3])])
def test_workers_add_up_to_one_pass(labels_repeated, shares):
    added = aggregate_unnamed_reports(split(*shares))
    names = {*PERSONA_NAMES, 'distinct_raw_1', 'distinct_raw_2', 'interdistinct-1', 'interdistinct-2'}
    assert same(added, labels_repeated, names - {'persona_cover_file'})


def test_tasks_average_by_macro_or_micro(labels_repeated):
    names = ['persona_recall', 'persona_precision', 'persona_f1', 'persona_f1_mean']
    first, second = split([0, 1, 2], [3, 4])
    micro = aggregate_named_reports({'a': first, 'b': second}, micro_average=True)
    assert same(micro, labels_repeated, names)
    macro = aggregate_named_reports({'a': first, 'b': second})
    for name in names:
        assert macro[name].value() == pytest.approx((first[name].value() + second[name].value()) / 2)


def test_f1_of_averages_stays_itself():
    one, other = PersonaF1Metric(0.5, 1.0), PersonaF1Metric(1.0, 0.0)
    total = None + one + other
    assert total.value() == pytest.approx(0.6)  # of R 3/4 and P 1/2
    assert one.value() == pytest.approx(2 / 3)
    assert pickle.loads(pickle.dumps(total)).value() == total.value()


def random_replies(count, seed=0):
    rng = random.Random(seed)
    return [' '.join(rng.choices('abcdefgh', k=rng.randrange(6))) for _ in range(count)]


@pytest.mark.parametrize('n', [1, 2])
def test_distinct_metric_equals_the_count_in_any_grouping(n):
    rng = random.Random(n)
    replies = random_replies(60)
    for _ in range(20):
        parts = [DistinctMetric.compute(reply.split(), n) for reply in replies]
        while len(parts) > 1:  # any two neighbours, so that chains and branches both occur
            i = rng.randrange(len(parts) - 1)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        assert parts[0].value() == formulas.distinct(replies, n)


def test_distinct_metric_never_changes():
    replies = random_replies(40)
    total, seen = None, []
    for reply in replies:
        part = DistinctMetric.compute(reply.split(), 1)
        total = part if total is None else total + part
        seen.append((total, total.value()))
    assert [metric.value() for metric, _ in seen] == [value for _, value in seen]
    for count, (metric, value) in enumerate(seen, start=1):
        branch = metric + DistinctMetric.compute(['new'], 1)  # a second continuation of the same metric
        assert branch.value() == formulas.distinct([*replies[:count], 'new'], 1)
        twice = metric + metric
        assert twice.value() == formulas.distinct(replies[:count] * 2, 1)
        assert pickle.loads(pickle.dumps(metric)).value() == copy.deepcopy(metric).value() == value
    assert len(pickle.dumps(seen[2][0])) < len(pickle.dumps(total))  # not what others appended


def test_distinct_metric_in_parlais_container():
    container = TeacherMetrics()
    for reply in ('a b', 'b c', 'a c d'):
        container.clear_recent()
        container.add('d', DistinctMetric.compute(reply.split(), 1))
        assert container.report_recent()['d'].value() == 1.0
    assert container.report()['d'].value() == 4 / 7


# ---------------------------------------------------------------------------------------------------- display


def test_every_metric_is_explained():
    documented = Path(__file__).parents[1].joinpath('docs/metrics.md').read_text(encoding='utf-8')
    for name, (title, description) in DISPLAY.items():
        assert METRICS_DISPLAY_DATA[name] == (title, description)
        assert f'`{name}`' in documented, f'docs/metrics.md does not explain {name}'
