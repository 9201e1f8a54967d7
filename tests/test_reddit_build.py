"""From dumps to a data set: golden records, counts, folds, leaks, resuming, and two engines with the same rows."""

import json
import os
import random
import signal
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import reddit_definitions as text
from conftest import in_room, room
from reddit_dumps import comments, line, write

from parlai_persona.data.dialogue import DataError
from parlai_persona.errors import UserError
from parlai_persona.tasks.reddit.pipeline import build, names, plan, workers
from parlai_persona.tasks.reddit.pipeline.options import SELECTIONS, Machine, Options
from parlai_persona.tasks.reddit.pipeline.sentences import Classifier
from parlai_persona.tasks.reddit.pipeline.tokens import tokenize

KEY = b'a key of the tests'
ONE = Machine(workers=1, parts=2)
FEW = Options(valid=0.1, test=0.1, persona_size=3, tagger='lexicon')


def made(tmp_path: Path, lines: list[str], options: Options = FEW, machine: Machine = ONE, name: str = 'data') -> Path:
    source = write(tmp_path / f'{name}.jsonl', lines)
    return build.build([str(source)], tmp_path / name, options, machine, {}, KEY)


def rows(folder: Path, kind: str) -> list[dict]:
    return [row for path in sorted(folder.glob(f'{kind}-*.parquet')) for row in pq.read_table(path).to_pylist()]


def examples(folder: Path) -> list[tuple]:
    """(fold, persona, context, response), the persona as a teacher reads it."""
    personas = {row['persona_id']: row['persona'] for row in rows(folder, 'personas')}
    found = []
    for fold in plan.FOLDS:
        for row in rows(folder, fold):
            persona = personas.get(row['persona_id'], [])
            kept = tuple(line for place, line in enumerate(persona) if place not in row['without'])
            found.append((fold, kept, row['context'], row['response']))
    return found


def counts(folder: Path) -> dict[str, int]:
    return json.loads((folder / 'manifest.json').read_text())['counts']


# ---------------------------------------------------------------------------------------- golden records


def test_golden(tmp_path):
    """Two files, an answer across them, and one of everything that is left out."""
    one = [
        line('a', 'Ann', 'Do you like tea?'),
        line('b', 'Bob', 'I love green tea. You?', 't1_a'),
        line('c', 'Cat', '[deleted]', 't1_a'),
        line('d', '[deleted]', 'I was here once', 't1_a'),
        line('e', 'SomeBot', 'I am a friendly bot', 't1_a'),
        line('f', 'Ann', ' \n ', 't1_b'),
        line('j', 'Ann', '?! ...', 't1_b'),  # not a word
        line('k', 'Bob', '^I ^am ^a ^bot', 't1_a'),
        'not json',
        '{"author": "Ann"}',
        '',
        line('g', 'Dan', 'no such parent here', 't1_zzz'),
    ]
    two = [
        line('h', 'Ann', 'My cat drinks &gt;all&lt; of my tea.\n&gt; I love green tea\nhttp://x.y', 't1_b'),
        line('a', 'Ann', 'Do you like tea?'),  # once more
        line('i', 'Bob', 'I have two dogs myself.', 't3_other', 't3_other'),
    ]
    write(tmp_path / 'dumps/RC_1', one)
    write(tmp_path / 'dumps/RC_2', two)
    options = Options(valid=0, test=0, persona_size=20, tagger='lexicon')
    folder = build.build([str(tmp_path / 'dumps/RC_*')], tmp_path / 'data', options, ONE, {}, KEY)
    bob = {'I love green tea .', 'I have two dogs myself .'}
    found = {(frozenset(persona), context, response) for _, persona, context, response in examples(folder)}
    assert found == {
        # what the response says itself is not told beforehand
        (frozenset(bob - {'I love green tea .'}), 'Do you like tea ?', 'I love green tea . You ?'),
        (frozenset(), 'I love green tea . You ?', 'My cat drinks > all < of my tea . URL'),
    }
    personas = {frozenset(row['persona']) for row in rows(folder, 'personas')}
    assert personas == {frozenset(bob), frozenset({'My cat drinks > all < of my tea .'})}
    assert counts(folder) == {
        'lines': 14,
        'broken': 2,
        'deleted': 2,
        'bots': 2,
        'empty': 2,
        'comments': 6,
        'sentences': 3,
        'distinct comments': 5,
        'pairs': 2,
        'train': 2,
        'valid': 0,
        'test': 0,
        'personas': 2,
    }
    assert (tmp_path / 'data.broken').read_text().splitlines() == ['not json', '{"author": "Ann"}']
    words = dict(line.split('\t') for line in (folder / 'dictionary').read_text().splitlines())
    assert words['tea'] == '4' and words['i'] == '2' and words['url'] == '1'  # as often as in the lines
    assert {path.name for path in tmp_path.iterdir()} == {'data', 'data.broken', 'dumps'}


# ------------------------------------------------------------------------------------------ what must hold


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A data set with all that comments() has."""
    tmp_path = tmp_path_factory.mktemp('reddit')
    lines = comments(2000)
    return lines, made(tmp_path, lines)


def test_pairs_are_those_of_a_plain_loop(whole):
    lines, folder = whole
    kept = {}
    for comment in map(json.loads, lines):
        if comment['body'] != '[deleted]' and comment['author'] != 'AutoModerator':
            kept[comment['id']] = comment
    expected = Counter(
        (text.read(kept[comment['parent_id'][3:]]['body'])[0], text.read(comment['body'])[0])
        for comment in kept.values()
        if comment['parent_id'][3:] in kept and comment['parent_id'][:3] == 't1_'
    )
    found = Counter((context, response) for _, _, context, response in examples(folder))
    assert found == expected and found.total() > 1000


def test_folds_have_the_sizes_asked_for(whole):
    _, folder = whole
    pairs = counts(folder)['pairs']
    assert counts(folder)['test'] == counts(folder)['valid'] == round(0.1 * pairs)


def test_personas_hold_no_held_out_response(whole):
    lines, folder = whole
    for fold, persona, _, response in examples(folder):
        said = {sentence.text.lower() for sentence in text.read(response)[1]}
        assert not said & {line.lower() for line in persona}, fold
        assert len(persona) <= 3


def test_personas_are_of_the_author_and_of_training_comments(whole):
    """By hand: each persona's sentences come from one author's comments, none of them held out alone."""
    lines, folder = whole
    said = defaultdict(set)  # sentence -> authors
    for comment in map(json.loads, lines):
        for sentence in text.read(comment['body'])[1]:
            said[sentence.text.lower()].add(comment['author'])
    for row in rows(folder, 'personas'):
        assert set.intersection(*(said[line.lower()] for line in row['persona']))
        assert len({line.lower() for line in row['persona']}) == len(row['persona'])


def test_no_name_and_no_key_in_what_is_written(whole):
    _, folder = whole
    everything = b''.join(path.read_bytes() for path in folder.iterdir())
    for row in (*rows(folder, 'train'), *rows(folder, 'personas')):
        everything += json.dumps(row).encode()
    assert b'author' not in everything.replace(b'author_', b'') and KEY not in everything


def test_splits_do_not_depend_on_key_workers_parts_or_order_of_lines(whole, tmp_path):
    lines, folder = whole
    shuffled = random.Random(3).sample(lines, len(lines))
    source = write(tmp_path / 'other.jsonl', shuffled)
    other = build.build([str(source)], tmp_path / 'other', FEW, Machine(workers=2, parts=5), {}, b'another key')
    assert Counter(examples(other)) == Counter(examples(folder))


@pytest.mark.parametrize('selection', SELECTIONS)
def test_selections(selection, tmp_path, monkeypatch):
    monkeypatch.setattr(build, 'classifier_of', lambda *_: judge if selection == 'rules+classifier' else None)
    judge = Classifier({'tea': 5.0, 'dogs': -5.0}, 0.0)
    options = Options(selection, 2, 0.1, 0.1, tagger='lexicon')
    folder = made(tmp_path, comments(1500), options)
    personas = [row['persona'] for row in rows(folder, 'personas')]
    everything = [line for persona in personas for line in persona]
    mine = sum(1 for line in everything if set(line.lower().split()) & {'i', 'my'}) / len(everything)
    assert all(len(persona) <= 2 for persona in personas) and len(personas) > 5
    assert mine == 1 if selection.startswith('rules') else 0.4 < mine < 0.95
    if selection == 'rules+classifier':
        scores = judge.scores(tokenize(pa.array(everything)))
        assert len(scores) == len(everything) and min(scores) >= 0 and sum(scores > 0) > 0.8 * len(scores)
    if selection == 'random-dataset':  # of several authors
        said = defaultdict(set)
        for comment in map(json.loads, comments(1500)):
            for sentence in text.read(comment['body'])[1]:
                said[sentence.text].add(comment['author'])
        assert any(not set.intersection(*(said[line] for line in persona)) for persona in personas)


# -------------------------------------------------------------------------------------- broken lines, resuming


def test_fuzzed_lines(tmp_path):
    """Thousands of damaged lines between sound ones: all sound ones are read, all damaged ones kept aside."""
    rng = random.Random(7)
    sound = [line.encode() for line in comments(2000, seed=4)]

    def damaged(raw: bytes) -> bytes:
        kind = rng.randrange(6)
        if kind == 0:
            return raw[: rng.randrange(1, len(raw))]  # cut off
        if kind == 1:
            return raw[rng.randrange(1, len(raw)) :]  # the beginning is missing
        if kind == 2:
            place = raw.index(b'"body"') + 9
            return raw[:place] + bytes([rng.choice([0x00, 0xFF, 0xC0, 0x1B])]) + raw[place:]  # not UTF-8, controls
        if kind == 3:
            return raw.replace(b'"body"', b'"text"')
        if kind == 4:
            return raw.replace(b'"id": "', b'"id": 12, "x": "')
        return bytes(rng.choices([c for c in range(256) if c != 10], k=rng.randrange(1, 300)))

    broken = [damaged(rng.choice(sound)) for _ in range(3000)]
    mixed = rng.sample([*sound, *broken], len(sound) + len(broken))
    (tmp_path / 'fuzzed.jsonl').write_bytes(b'\n'.join(mixed) + b'\n')
    fuzzed = build.build([str(tmp_path / 'fuzzed.jsonl')], tmp_path / 'fuzzed', FEW, ONE, {}, KEY)
    clean = made(tmp_path, comments(2000, seed=4), name='clean')
    assert Counter(examples(fuzzed)) == Counter(examples(clean))
    aside = Counter((tmp_path / 'fuzzed.broken').read_bytes().split(b'\n'))
    assert aside == Counter(line for line in broken if line.strip()) + Counter([b''])


def build_in_small_pieces(source: Path, output: Path) -> None:
    with mock.patch.multiple(workers, BLOCK=4000, PIECE=1):
        build.build([str(source)], output, FEW, Machine(workers=1, parts=4), {}, KEY)


def test_killed_and_resumed(tmp_path):
    """Killed four times, wherever it is: what comes out is what an undisturbed build makes."""
    lines = comments(3000, seed=2)
    source = write(tmp_path / 'killed.jsonl', lines)
    work, output = tmp_path / 'killed.building', tmp_path / 'killed'
    processes = get_context('forkserver')
    processes.set_forkserver_preload([build.__name__])
    for files, goal in (('authors/*.numbers', 3), ('stage/*.arrow', 3), ('stage/*.arrow', 90), ('pairs/*.arrow', 2)):
        process = processes.Process(target=build_in_small_pieces, args=(source, output))
        process.start()
        while process.is_alive() and len(list(work.glob(files))) < goal:
            time.sleep(0.002)
        process.kill()
        process.join()
        assert not output.exists() or files.startswith('pairs')
        if output.exists():
            break
        before = {path: path.stat().st_mtime_ns for path in work.glob('stage/*.arrow')}
    if not output.exists():
        build_in_small_pieces(source, output)
        assert len(before) > 20  # it had come far, and was not thrown away
    assert Counter(examples(output)) == Counter(examples(made(tmp_path, lines, name='undisturbed')))
    assert not work.exists()


@pytest.mark.parametrize('place', ['draft', 'rename', 'rmtree'])
def test_a_kill_while_publishing_leaves_no_key_and_is_finished_by_the_same_command(tmp_path, monkeypatch, place):
    """Stopped before the broken lines are written, the data set gets its name, or the rest is removed."""
    source, output = write(tmp_path / 'data.jsonl', [*comments(300), '{"broken']), tmp_path / 'data'
    real = build.publish

    def stopped(folders, output):
        with monkeypatch.context() as killed:
            owner = {'draft': build, 'rename': build.Path, 'rmtree': build.shutil}[place]
            killed.setattr(owner, place, interrupt)
            real(folders, output)

    monkeypatch.setattr(build, 'publish', stopped)
    with pytest.raises(KeyboardInterrupt):
        build.build([str(source)], output, FEW, ONE, {}, KEY)
    assert not (tmp_path / 'data.building' / 'key').exists()
    if place != 'rmtree':
        killed_shard = next((tmp_path / 'data.building').glob('*/manifest.json')).with_name('.shard.parquet.1.part')
        killed_shard.write_text('half')
    monkeypatch.setattr(build, 'publish', real)
    build.build([str(source)], output, FEW, ONE, {})
    assert counts(output)['pairs'] > 100 and not (tmp_path / 'data.building').exists()
    assert (tmp_path / 'data.broken').read_text() == '{"broken\n'
    assert not [*output.glob('.*')]


def test_what_was_finished_is_not_done_again(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, 'BLOCK', 4000)
    source = write(tmp_path / 'data.jsonl', comments(500))
    monkeypatch.setattr(build.DuckEngine, 'examples', interrupt)
    with pytest.raises(KeyboardInterrupt):
        build.build([str(source)], tmp_path / 'data', FEW, ONE, {}, KEY)
    monkeypatch.undo()
    monkeypatch.setattr(workers.FindAuthors, '__call__', forbidden)
    monkeypatch.setattr(workers.CleanComments, '__call__', forbidden)
    monkeypatch.setattr(plan, 'pairs', forbidden)
    build.build([str(source)], tmp_path / 'data', FEW, ONE, {})
    assert counts(tmp_path / 'data')['pairs'] > 200


def interrupt(*_):
    raise KeyboardInterrupt


def forbidden(*_):
    raise AssertionError('done twice')


def test_other_options_do_not_go_on_with_an_unfinished_build(tmp_path, monkeypatch):
    monkeypatch.setattr(build.DuckEngine, 'examples', interrupt)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, comments(200))
    with pytest.raises(DataError, match='unfinished build with other options'):
        made(tmp_path, comments(200), Options(persona_size=9, tagger='lexicon'))
    with pytest.raises(DataError, match='unfinished build with other engine: saw duckdb, expected spark'):
        build.build([str(tmp_path / 'data.jsonl')], tmp_path / 'data', FEW, Machine('spark', parts=2), {}, KEY)
    assert not (tmp_path / 'data').exists()


# ----------------------------------------------------------------------------------- full disks, killed processes


STEPS = [  # each with some room, so that it has written something when it fails
    (build, 'begin', 20),
    (workers.FindAuthors, '__call__', 100),
    (workers.CleanComments, '__call__', 1_000),
    (build.DuckEngine, 'pairs', 1_000),
    (build.DuckEngine, 'examples', 3_000),
    (build, 'write_dictionary', 100),
    (build, 'write_manifest', 100),
    (build, 'publish', 0),
]


@pytest.mark.slow
def test_a_full_disk_in_any_step(command, tmp_path, monkeypatch):
    """Each run of the same command comes one step further, and the last one finishes."""
    lines = [*comments(400), '{"broken']
    expected = made(tmp_path, lines, Options(valid=0.1, test=0.1, tagger='lexicon'), name='expected')
    line = 'persona_reddit build --input expected.jsonl --output data --valid .1 --test .1 --workers 1 --parts 2'
    for owner, name, size in STEPS:
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, in_room(getattr(owner, name), size))
            done = command(*line.split(), '--tagger', 'lexicon')
        (said,) = [text for text in done.stderr.splitlines() if text.startswith('parlai: ')]
        assert 'data.' in said and 'File too large' in said, name
        assert done.returncode == 1 and 'Traceback' not in done.stderr
        assert not (tmp_path / 'data').exists() and not list(tmp_path.rglob('*.part'))
    assert command(*line.split(), '--tagger', 'lexicon').returncode == 0
    assert sorted(examples(tmp_path / 'data')) == sorted(examples(expected))
    assert {path.name for path in tmp_path.iterdir()} == {
        *('data', 'data.broken', 'expected', 'expected.broken', 'expected.jsonl')
    }


def test_a_full_disk_loses_no_author(tmp_path):
    """Half of the numbers would leave the other authors unmasked."""
    with room(100), pytest.raises(OSError, match='File too large'):
        names.write_numbers((str(number) for number in range(99)), KEY, tmp_path / 'a.numbers')
    for file in ('a', 'b'):
        names.write_numbers((f'{file}{number}' for number in range(9)), KEY, tmp_path / f'{file}.numbers')
    with room(100), pytest.raises(OSError, match='File too large'):
        names.merge_numbers([tmp_path / 'a.numbers', tmp_path / 'b.numbers'], tmp_path / 'all')
    assert {path.name for path in tmp_path.iterdir()} == {'a.numbers', 'b.numbers'}


@dataclass
class Killed(workers.FindAuthors):
    """Is killed while it reads the fourth piece, once."""

    mark: Path = Path()

    def __call__(self, blocks, piece):
        if piece.place == 3 and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        super().__call__(blocks, piece)


@pytest.mark.slow
def test_a_killed_process_of_the_pool(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, 'BLOCK', 4000)
    monkeypatch.setattr(workers, 'PIECE', 1)
    monkeypatch.setattr(workers, 'FindAuthors', partial(Killed, mark=tmp_path / 'mark'))
    source, output = write(tmp_path / 'data.jsonl', comments(300)), tmp_path / 'data'
    given = ([str(source)], output, FEW, Machine(workers=2, parts=2), {}, KEY)
    with pytest.raises(DataError, match='was killed, perhaps for memory: .* --workers'):
        build.build(*given)
    assert not output.exists() and list((tmp_path / 'data.building').rglob('*.numbers'))
    build.build(*given)
    assert Counter(examples(output)) == Counter(examples(made(tmp_path, comments(300), name='undisturbed')))


def test_a_truncated_archive_publishes_nothing(tmp_path):
    import gzip

    packed = gzip.compress('\n'.join(comments(500)).encode())
    (tmp_path / 'cut.gz').write_bytes(packed[:-100])
    with pytest.raises(DataError, match=r'cut.gz: .* cut off at byte'):
        build.build([str(tmp_path / 'cut.gz')], tmp_path / 'data', FEW, ONE, {}, KEY)
    assert not (tmp_path / 'data').exists()


@pytest.mark.parametrize(
    'lines, options, said',
    [
        (['nothing'], FEW, 'no comment in .* 1 lines, of which 1 are broken'),
        ([line('a', 'Ann', 'hi'), line('b', 'Bob', 'ho')], FEW, 'no comment answers another'),
        (comments(100), Options(tagger='lexicon'), 'ask for 100,000 examples, but the dumps have'),
        (comments(10), Options(bot_list='/no/such'), '--bot-list /no/such: saw no such file'),
        (
            comments(10),
            Options(bot_list='no_text.txt'),
            r'no_text.txt, line 2: byte 4 of the line is 0xff, which is not',
        ),
        (comments(10), Options(tagger='spacy', spacy_model='nope'), '--tagger spacy'),
    ],
)
def test_errors(lines, options, said, tmp_path):
    if options.bot_list == 'no_text.txt':
        (tmp_path / 'no_text.txt').write_bytes(b'Bot\nabc\xff\n')
        options = replace(options, bot_list=str(tmp_path / 'no_text.txt'))
    with pytest.raises(UserError, match=said):
        made(tmp_path, lines, options)
    assert not (tmp_path / 'data').exists()


def test_output_is_never_overwritten(tmp_path):
    (tmp_path / 'data').mkdir()
    with pytest.raises(DataError, match='is there already'):
        made(tmp_path, comments(10))


# ------------------------------------------------------------------------------------------------ engines


@pytest.mark.slow  # half a minute each
@pytest.mark.parametrize('selection', ['rules', 'random-dataset'])
def test_spark_makes_the_same_rows(selection, tmp_path):
    lines = comments(1200, seed=9)
    options = Options(selection, 3, 0.1, 0.1, tagger='lexicon')
    duck = made(tmp_path, lines, options, name='duck')
    spark = made(tmp_path, lines, options, Machine('spark', parts=2, master='local[2]'), name='spark')
    files = sorted(path.name for path in duck.iterdir())
    assert files == sorted(path.name for path in spark.iterdir())
    for name in files:
        if name.endswith('.parquet'):
            one, other = (pq.read_table(folder / name) for folder in (duck, spark))
            assert one.to_pylist() == other.to_pylist() and one.schema.equals(other.schema), name
    assert (duck / 'dictionary').read_text() == (spark / 'dictionary').read_text()
    assert counts(duck) == counts(spark)
