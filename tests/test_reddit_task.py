"""`-t persona:reddit` and `parlai persona_reddit`: what comes out of a data set, what is said without one."""

import json
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import worker_program
from parlai.core.params import ParlaiParser
from parlai.core.script import superscript_main
from parlai.core.teachers import create_task_agent_from_taskname
from parlai_internal.scripts.persona_reddit import PersonaReddit
from reddit_dumps import comments, write
from test_teacher import RECORDER

import parlai_persona  # noqa: F401
from parlai_persona import fields
from parlai_persona.data.dialogue import DataError, NoSplit
from parlai_persona.tasks.reddit import agents, parse, pipeline
from parlai_persona.tasks.reddit.pipeline import build, classifier
from parlai_persona.tasks.reddit.pipeline.options import Machine, Options
from parlai_persona.tasks.reddit.pipeline.sentences import Classifier
from parlai_persona.tasks.reddit.pipeline.tokens import tokenize


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('reddit')
    source = write(folder / 'dump.jsonl', comments(800))
    options = Options(valid=0.1, test=0.1, persona_size=4, tagger='lexicon')
    return build.build([str(source)], folder / 'data', options, Machine(workers=1, parts=3), {}, b'key')


def messages(folder, count=None, workers=None, **options):
    words = ['-t', 'persona:reddit', '--reddit-data', str(folder), '--loglevel', 'error']
    for name, value in {'datatype': 'valid', **options}.items():
        words += [f'--{name.replace("_", "-")}', str(value)]
    opt = ParlaiParser(True, False).parse_args(words)
    opt.update(seed=5, **(workers or {}))
    teacher = create_task_agent_from_taskname(opt)[0]
    try:
        return [teacher.act() for _ in range(count or teacher.num_examples())]
    finally:
        teacher.shutdown()


def pairs(found) -> Counter:
    return Counter((message['text'], label(message)) for message in found)


def label(message) -> str:
    return (message.get('labels') or message['eval_labels'])[0]


def of(folder, fold) -> Counter:
    read = (dialogue.turns[0] for chunk in parse.chunks(folder, fold) for dialogue in parse.read(chunk))
    return Counter((turn.text, turn.reply) for turn in read)


def test_an_epoch_has_every_example_once_in_an_order_of_its_own(data):
    count = of(data, 'train').total()
    twice = messages(data, 2 * count, datatype='train')
    first, second = twice[:count], twice[count:]
    assert pairs(first) == pairs(second) == of(data, 'train')
    assert [m['text'] for m in first] != [m['text'] for m in second]
    again = messages(data, count, datatype='train')
    assert [m['text'] for m in again] == [m['text'] for m in first]
    assert 'label_candidates' not in first[0] and first[0]['episode_done']


def test_valid_has_drawn_candidates_and_personas(data):
    found = messages(data, persona_candidates_count=5)
    assert pairs(found) == of(data, 'valid')
    for message in found:
        assert len(set(message['label_candidates'])) == 5 and label(message) in message['label_candidates']
    assert any(message[fields.PERSONA] for message in found)
    assert not any(fields.YOUR_PERSONA in message['text'] for message in found)
    with_persona = messages(data, persona_candidates='none', persona_side='self')
    assert any(message['text'].startswith(fields.YOUR_PERSONA) for message in with_persona)


def ids(pieces) -> list[str]:
    return [dialogue.id for piece in pieces for dialogue in parse.read(piece)]


def seen_by_two_processes(parlai, folder, data, script, datatype, *extra) -> list[list[str]]:
    """The examples that each of them is given, in order."""
    worker_program(folder, 'recorder_agent', RECORDER)
    (folder / 'm.dict').touch()  # ParlAI wants it to be there before distributed training
    done = parlai(
        script,
        '-t',
        'persona:reddit',
        '--reddit-data',
        str(data),
        '-m',
        'recorder_agent:RecorderAgent',
        '-dt',
        datatype,
        '--distributed-world-size',
        '2',
        '--datapath',
        str(folder),
        *extra,
        PYTHONPATH=str(folder),
    )
    paths = [folder / f'seen-{rank}' for rank in (0, 1)]
    assert all(path.exists() for path in paths), done.stderr[-2000:]
    return [[json.loads(line)[0] for line in path.read_text().splitlines()] for path in paths]


@pytest.mark.parametrize('datatype', ['valid', 'train', 'train:stream'])
def test_two_workers_share_an_epoch_out(data, monkeypatch, datatype):
    """Two workers, simulated one after the other: together they see each example once."""
    fold, shares = datatype.split(':')[0], []
    monkeypatch.setattr(agents, 'num_workers', lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(agents, 'get_rank', lambda rank=rank: rank)
        workers = {'distributed_world_size': 2, 'rank': rank}
        count = sum(map(len, map(parse.read, parse.chunks(data, fold)[rank::2]))) if fold == 'train' else None
        shares.append(pairs(messages(data, count, workers, datatype=datatype, persona_candidates_count=5)))
    assert shares[0] + shares[1] == of(data, fold) and min(share.total() for share in shares) >= 20


@pytest.mark.slow
def test_two_processes_evaluate_each_example_once(data, tmp_path, parlai):
    extra = ['--persona-candidates-count', '5']
    seen = seen_by_two_processes(parlai, tmp_path, data, 'multiprocessing_eval', 'valid', *extra)
    expected = ids(parse.chunks(data, 'valid'))
    assert sorted(seen[0] + seen[1]) == sorted(expected)
    assert abs(len(seen[0]) - len(seen[1])) <= 1


@pytest.mark.slow  # 12 seconds each
@pytest.mark.parametrize('datatype', ['train', 'train:stream'])
def test_two_processes_learn_from_each_example_once_an_epoch(data, tmp_path, parlai, datatype):
    """Each has pieces of its own and goes through them again and again."""
    pieces = parse.chunks(data, 'train')
    shares = [sorted(ids(pieces[rank::2])) for rank in (0, 1)]
    steps = 2 * max(map(len, shares))
    extra = ['-mf', 'm', '--max-train-steps', str(steps), '--evaltask', 'integration_tests']
    seen = seen_by_two_processes(parlai, tmp_path, data, 'multiprocessing_train', datatype, *extra)
    for found, share in zip(seen, shares, strict=True):
        assert len(found) == steps
        epochs = [found[start : start + len(share)] for start in range(0, steps, len(share))]
        assert all(sorted(epoch) == share for epoch in epochs if len(epoch) == len(share))
    assert sorted(shares[0] + shares[1]) == sorted(ids(pieces)) and min(map(len, shares)) > 50


def test_json_lines(data, tmp_path):
    folder = tmp_path / 'lines'
    folder.mkdir()
    for fold in ('train', 'valid'):
        output = folder / f'{fold}.jsonl'
        PersonaReddit.main('export', '--input', str(data), '--output', str(output), '--split', fold)
    assert of(folder, 'train') == of(data, 'train')
    assert pairs(messages(folder, datatype='train:evalmode')) == of(data, 'train')
    with pytest.raises(NoSplit, match='has no test.jsonl'):
        parse.chunks(folder, 'test')


JSON_LINE = '{"persona": [], "context": "a", "response": "b"}'


def test_nothing_to_learn_from_is_said(tmp_path):
    (tmp_path / 'train.jsonl').touch()
    with pytest.raises(DataError, match='saw 0 examples in the training split, expected some'):
        messages(tmp_path, datatype='train')


@pytest.mark.parametrize(
    'wrong',
    [
        '{"persona": "mine", "context": "a", "response": "b"}',
        '{"persona": [5], "context": "a", "response": "b"}',
        '{"persona": [], "context": null, "response": "b"}',
        '{"persona": [], "context": "a", "response": "\\ud800"}',
        '{"persona": [], "context": "a"}',
        '["persona", "context", "response"]',
        '{"persona": []',
        '[' * 100_000,
    ],
)
def test_a_damaged_line_is_named_and_shown_to_its_80th_character(tmp_path, wrong):
    (tmp_path / 'valid.jsonl').write_text(f'{JSON_LINE}\n{wrong}\n')
    with pytest.raises(DataError) as error:
        parse.read(parse.chunks(tmp_path, 'valid')[0])
    shown = f'{wrong}\n'.encode()[:80]
    assert f'valid.jsonl, line 2 after byte 0: saw {shown!r} (' in str(error.value)
    assert 'expected {"persona": [sentence' in str(error.value)


def test_json_lines_are_read_in_pieces(tmp_path, monkeypatch):
    """Five lines in pieces of two; empty lines count for nothing."""
    monkeypatch.setattr(parse, 'CHUNK', 2)
    path = tmp_path / 'train.jsonl'
    lines = [f'{{"persona": ["i am {number}"], "context": "a", "response": "{number}"}}\n' for number in range(5)]
    path.write_text('\n'.join(lines))  # 57 bytes each, and an empty line between
    found = parse.chunks(tmp_path, 'train')
    assert found == [parse.Chunk(path, 2), parse.Chunk(path, 2, offset=115), parse.Chunk(path, 1, offset=231)]
    replies = [[dialogue.turns[0].reply for dialogue in parse.read(chunk)] for chunk in found]
    assert replies == [['0', '1'], ['2', '3'], ['4']]
    assert ids(found) == [f'train.jsonl/{place}' for place in ('0/0', '0/1', '115/0', '115/1', '231/0')]


def test_no_data(data, tmp_path):
    with pytest.raises(DataError, match='saw no such folder'):
        parse.chunks(tmp_path / 'nowhere', 'train')
    with pytest.raises(DataError, match='saw neither manifest.json nor train.jsonl'):
        parse.chunks(tmp_path, 'train')
    with pytest.raises(DataError, match='--reddit-data is missing'):
        create_task_agent_from_taskname(ParlaiParser(True, False).parse_args(['-t', 'persona:reddit']))
    for path in data.iterdir():
        if path.name != 'train-00001-of-00003.parquet':
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DataError, match='saw 2 files train-.*, expected 3'):
        parse.chunks(tmp_path, 'train')
    with pytest.raises(DataError, match=r'saw 0 files other-\*.parquet, expected some'):
        parse.chunks(tmp_path, 'other')


def test_a_part_without_personas(tmp_path):
    """As a build writes it where nobody in a part said anything about themselves."""
    example = {
        'persona_id': [1],
        'context': ['hi'],
        'response': ['hello'],
        'without': pa.array([[]], pa.list_(pa.int64())),
    }
    pq.write_table(pa.table(example), tmp_path / 'train-00000-of-00001.parquet')
    nobody = pa.schema([('persona_id', pa.int64()), ('persona', pa.list_(pa.string()))]).empty_table()
    pq.write_table(nobody, tmp_path / 'personas-00000-of-00001.parquet')
    (tmp_path / 'manifest.json').write_text('{}')
    assert of(tmp_path, 'train') == Counter({('hi', 'hello'): 1})
    assert ids(parse.chunks(tmp_path, 'train')) == ['train-00000-of-00001.parquet/0/0']
    lines = '{"persona": [], "context": "a", "response": "b"}\n\n'
    (tmp_path / 'valid.jsonl').write_text(lines * 2)
    assert parse.chunks(tmp_path, 'valid') == [parse.Chunk(tmp_path / 'valid.jsonl', 2, number=0, offset=0)]
    assert ids(parse.chunks(tmp_path, 'valid')) == ['valid.jsonl/0/0', 'valid.jsonl/0/1']


@pytest.mark.parametrize('name', ['train-00001-of-00003.parquet', 'personas-00001-of-00003.parquet'])
def test_a_damaged_file_of_a_data_set_is_named(data, tmp_path, name):
    for path in data.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    whole = (tmp_path / name).read_bytes()
    for content in (b'', whole[:-50], whole[: len(whole) // 2], whole[:20] + bytes(len(whole) - 40) + whole[-20:]):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f'{name}: cannot be read .* copy the data set again'):
            [parse.read(chunk) for chunk in parse.chunks(tmp_path, 'train')]


def said_of_a_damaged_file(error) -> str:
    with pytest.raises(DataError) as seen, parse.intact(Path('some.parquet')):
        raise error
    return str(seen.value).removeprefix('some.parquet: cannot be read (').partition('); expected a file')[0]


def test_an_error_of_pyarrow_about_a_damaged_file_is_one_short_line():
    for error in (ValueError, KeyError, TypeError, OSError, MemoryError, NotImplementedError):
        assert said_of_a_damaged_file(error()) == error.__name__
    assert said_of_a_damaged_file(ValueError('first\nsecond')) == 'first'
    assert said_of_a_damaged_file(ValueError('c' * 500)) == 'c' * 160


def test_a_file_without_the_columns_of_a_data_set_is_damaged(tmp_path):
    """As when somebody else's Parquet files are given."""
    pq.write_table(pa.table({'text': ['hi']}), tmp_path / 'train-00000-of-00001.parquet')
    (tmp_path / 'manifest.json').write_text('{}')
    with pytest.raises(DataError, match='train-00000-of-00001.parquet: cannot be read .*persona_id'):
        ids(parse.chunks(tmp_path, 'train'))


def test_personas_leave_out_the_sentences_that_their_reply_repeats(tmp_path):
    example = {'persona_id': [7, 7, 8], 'context': ['a'] * 3, 'response': ['b'] * 3, 'without': [[], [0, 2], []]}
    pq.write_table(pa.table(example), tmp_path / 'train-00000-of-00001.parquet')
    named = {'persona_id': [7, 9], 'persona': [['i sing.', 'i run.', 'i ski.'], ['i fly.']]}
    pq.write_table(pa.table(named), tmp_path / 'personas-00000-of-00001.parquet')
    (tmp_path / 'manifest.json').write_text('{}')
    read = [dialogue for chunk in parse.chunks(tmp_path, 'train') for dialogue in parse.read(chunk)]
    assert [one.persona for one in read] == [('i sing.', 'i run.', 'i ski.'), ('i run.',), ()]
    assert [one.speaker for one in read] == ['7', '7', '8']


def test_no_data_is_read_without_pyarrow(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pyarrow.parquet', None)  # its import fails from now on
    with pytest.raises(DataError, match=r"needs pyarrow: pip install 'parlai-persona\[reddit\]'"):
        parse.parquet()


def test_a_flipped_bit_in_a_shard_is_found_when_it_is_opened(data, tmp_path):
    for path in data.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for name in ('train-00001-of-00003.parquet', 'personas-00001-of-00003.parquet'):
        sound = (tmp_path / name).read_bytes()
        for place in range(4, len(sound) - 8, len(sound) // 40):
            flipped = bytearray(sound)
            flipped[place] ^= 1
            (tmp_path / name).write_bytes(flipped)
            with pytest.raises(DataError, match=f'{name}: cannot be read'):
                [parse.read(chunk) for chunk in parse.chunks(tmp_path, 'train')]
        (tmp_path / name).write_bytes(sound)
    assert of(tmp_path, 'train') == of(data, 'train')


def test_a_data_set_without_checksums_loads(data, tmp_path):
    for path in data.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    about = json.loads((tmp_path / 'manifest.json').read_text())
    assert set(about.pop('checksums')) == {path.name for path in data.glob('*.parquet')}
    (tmp_path / 'manifest.json').write_text(json.dumps(about))
    assert of(tmp_path, 'train') == of(data, 'train')


def test_a_shard_is_checked_once(data, monkeypatch):
    checked = []
    monkeypatch.setattr(parse, 'file_checksum', lambda path: checked.append(path.name))
    parse.check.cache_clear()
    monkeypatch.setattr(parse, 'read_json', lambda path: {})
    for _ in range(2):
        of(data, 'train')
    assert parse.check.cache_info().misses == 6 and not checked


def test_command(tmp_path):
    write(tmp_path / 'dump.jsonl', comments(300))
    arguments = ['build', '--input', str(tmp_path / 'dump.jsonl'), '--output', str(tmp_path / 'data')]
    arguments += ['--tagger', 'lexicon', '--workers', '1']
    with pytest.raises(DataError, match='--valid and --test ask for 100,000 examples'):
        PersonaReddit.main(*arguments)
    with pytest.raises(DataError, match='unfinished build with other options'):
        PersonaReddit.main(*arguments, '--valid', '0.1', '--test', '0.1', '--persona-size', '7')
    # nothing was split yet: it goes on
    superscript_main(['persona_reddit', *arguments, '--valid', '0.1', '--test', '0.1'])
    assert json.loads((tmp_path / 'data/manifest.json').read_text())['counts']['lines'] == 300
    with pytest.raises(SystemExit, match='persona_reddit destroy: expected build or export'):
        PersonaReddit.main('destroy', '--input', 'x', '--output', 'y')
    with pytest.raises(SystemExit, match='persona_reddit: --input is missing'):
        PersonaReddit.main('build', '--output', 'y')


def test_command_without_a_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'msgspec', None)  # its import fails from now on
    for name in [name for name in sys.modules if name.startswith('parlai_persona.tasks.reddit.pipeline.')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(pipeline, 'build')
    with pytest.raises(
        SystemExit, match=r"needs msgspec, which is not installed: pip install 'parlai-persona\[reddit\]'"
    ):
        PersonaReddit.main('build', '--input', 'x', '--output', str(tmp_path / 'y'))


def test_classifier_tells_personas_from_other_sentences(tmp_path):
    mine = [f'i {verb} my {thing} .' for verb in ('love', 'own', 'see') for thing in ('cat', 'dog', 'car', 'house')]
    others = [f'the {thing} was {what} .' for thing in ('article', 'link', 'code') for what in ('old', 'broken', 'new')]
    made = classifier.train(mine * 3, others * 3)
    made.save(tmp_path / 'classifier.json')
    read = Classifier.load(tmp_path / 'classifier.json')
    assert read == made
    persona, other = read.scores(tokenize(pa.array(['i love my house .', 'the link was old .'])))
    assert persona > 0 > other
    (tmp_path / 'bad.json').write_text('{}')
    with pytest.raises(DataError, match='bad.json: KeyError'):
        Classifier.load(tmp_path / 'bad.json')
