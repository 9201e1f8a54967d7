"""benchmarks/{record,results,steps}.py: rows that are whole and counted once, the page made of them, resumed runs."""

import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.common import commands, record

ROOT = Path(__file__).parents[1]

ROW = record.Row(
    'memnn',
    'persona:x',
    'X, full',
    'valid',
    1,
    'hits@1',
    0.25,
    'parlai train_model -m memnn',
    commit='abc1234',
    hardware='a CPU, 1 thread on 2 cores',
    date='2026-01-02',
)


def row(**changes):
    return replace(ROW, **changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / 'results' / 'x.csv'


# ------------------------------------------------------------------------------------------- record


def test_what_is_appended_is_read_again(path: Path):
    assert record.append([ROW, row(metric='mrr', value=1 / 3)], path) == 2
    assert record.read(path) == [ROW, row(metric='mrr', value=0.333333)]
    assert path.read_text().splitlines()[0] == 'method,task,data,split,seed,metric,value,command,commit,hardware,date'


def test_a_key_that_is_there_is_left_alone(path: Path):
    record.append([ROW], path)
    assert record.append([row(value=0.9), row(seed=2)], path) == 1
    assert [r.value for r in record.read(path)] == [0.25, 0.25]


def test_a_key_that_another_command_measured_is_an_error(path: Path):
    record.append([ROW], path)
    with pytest.raises(ValueError, match='remove its rows'):
        record.append([row(seed=2), row(command='parlai train_model -m memnn --hops 2')], path)
    assert record.read(path) == [ROW]  # nothing of a refused lot is written


def test_replace_keeps_the_place_of_a_row(path: Path):
    record.append([ROW, row(seed=2)], path)
    assert record.append([row(value=0.5)], path, replace=True) == 1
    assert [(r.seed, r.value) for r in record.read(path)] == [(1, 0.5), (2, 0.25)]


def test_find(path: Path):
    record.append([ROW, row(seed=2)], path)
    assert record.find(path, method='memnn', seed=2) == [row(seed=2)]
    assert record.find(path, method='other') == record.find(path.with_name('none.csv')) == []


@pytest.mark.parametrize('dies_in', ['fsync', 'replace'])
def test_a_crash_while_writing_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch, dies_in: str):
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    record.append([ROW], path)
    before = path.read_bytes()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(record.os, dies_in, crash)
        record.append([row(seed=2)], path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    assert record.append([row(seed=2)], path) == 1  # and nothing stays locked


def append_seeds(path: Path, seeds: range) -> None:
    for seed in seeds:
        record.append([row(seed=seed)], path)


def test_two_experiments_at_once_keep_all_rows(path: Path):
    context = get_context('fork')
    workers = [context.Process(target=append_seeds, args=(path, range(first, 60, 2))) for first in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(r.seed for r in record.read(path)) == list(range(60))


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('method,task', 'name,task', 'saw the columns'),
        (',0.25,', ',a quarter,', 'line 2: seed and value have to be numbers'),
        (',2026-01-02', '', 'line 2: saw 10 columns, expected 11'),
    ],
)
def test_a_file_that_is_not_ours_is_named(path: Path, old: str, new: str, message: str):
    record.append([ROW], path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        record.append([row(seed=2)], path)


def test_labels_say_how_much_of_the_data_there_was():
    assert record.data_label('Persona-Chat', 8939) == 'Persona-Chat, full'
    assert record.data_label('Persona-Chat', 2072) == 'Persona-Chat, 2,072-dialogue train subset'
    assert record.data_label('ConvAI2', 17878) == 'ConvAI2, full'
    assert record.split_label('Persona-Chat', 'valid', 7801) == 'valid'
    assert record.split_label('Persona-Chat', 'valid', 1000) == 'valid, first 1,000 of 7,801 examples'


def git(folder: Path, *arguments: str) -> None:
    identity = ('-c', 'user.name=x', '-c', 'user.email=x@example.org')
    subprocess.run(('git', *identity, *arguments), cwd=folder, check=True, capture_output=True)


def test_commit_is_dirty_if_code_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(record, 'ROOT', tmp_path)
    assert record.commit() == 'unknown'
    git(tmp_path, 'init')
    (tmp_path / 'code.py').write_text('1')
    git(tmp_path, 'add', '.')
    git(tmp_path, 'commit', '-m', 'x')
    clean = record.commit()
    (tmp_path / 'RESULTS.md').write_text('results are no code')
    assert record.commit() == clean and '-dirty' not in clean
    (tmp_path / 'code.py').write_text('2')
    assert record.commit() == f'{clean}-dirty'


# ------------------------------------------------------------------------------------------ results


@pytest.fixture
def folder(path: Path) -> Path:
    """Two methods, one with three seeds: mean of .2, .3, .4 is .3; deviation sqrt((.01 + 0 + .01) / 2) = .1."""
    rows = [row(seed=seed, value=value) for seed, value in ((1, 0.2), (2, 0.3), (3, 0.4))]
    rows += [row(method='chance', metric='hits@1', value=0.05), row(method='chance', metric='ppl_word', value=123.456)]
    record.append(rows, path)
    path.with_name('paper.csv').write_text(
        'method,task,metric,value,source\n'
        'memnn,persona:x,hits@1,0.35,"Somebody 2018, table 4"\n'
        'another,persona:x,f1,0.16,Someone else\n'
    )
    return path.parent


def test_tables(folder: Path):
    page = results.generate(folder).splitlines()
    start = page.index('## X: persona:x')
    assert page[start + 2] == '**X, full** · evaluated on valid'
    assert page[start + 4 : start + 10] == [
        '| method | seeds | hits@1 | hits@1, *paper* | ppl_word |',
        '| --- | ---: | ---: | ---: | ---: |',
        '| memnn | 3 | 0.3000 ± 0.1000 | 0.3500 |  |',
        '| chance | 1 | 0.0500 |  | 123.5 |',
        '',
        '- *paper*, hits@1 of memnn: Somebody 2018, table 4',
    ]
    assert '**memnn** · seed 1, 2, 3 · commit abc1234 · a CPU, 1 thread on 2 cores · 2026-01-02' in page
    assert '| another | persona:x | f1 | 0.1600 | Someone else |' in page
    assert page.count('parlai train_model -m memnn') == 2  # once a method


def test_numbers():
    shown = {0.25: '0.2500', 34.5067: '34.51', 1234.5: '1234', 0.00004: '0.0000', 0: '0.0000', float('inf'): 'inf'}
    assert {value: results.number(value) for value in shown} == shown
    assert results.mean_and_deviation([30.0, 34.0]) == '32.00 ± 2.83'


def run(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    places = ('--results', str(folder), '--page', str(folder / 'RESULTS.md'))
    return subprocess.run([sys.executable, '-m', 'benchmarks.results', *places, *flags], capture_output=True, text=True)


def test_check(folder: Path):
    assert run(folder, '--check').returncode == 1  # there is no page yet
    assert run(folder).returncode == 0
    assert run(folder, '--check').returncode == 0
    first = (folder / 'RESULTS.md').read_bytes()
    assert run(folder).returncode == 0 and (folder / 'RESULTS.md').read_bytes() == first
    record.append([row(method='new')], folder / 'x.csv')
    checked = run(folder, '--check')
    assert checked.returncode == 1 and 'make results' in checked.stderr
    assert (folder / 'RESULTS.md').read_bytes() == first  # a check writes nothing


def test_a_folder_without_results_says_so(tmp_path: Path):
    with pytest.raises(ValueError, match='run a benchmark first'):
        results.generate(tmp_path)


def test_the_page_in_the_repository_is_up_to_date():
    page = record.ROOT / 'RESULTS.md'
    assert page.read_text(encoding='utf-8') == results.generate(record.RESULTS), 'run `make results`'


# -------------------------------------------------------------------------------------------- steps


def test_a_command_that_fails_shows_its_last_words(tmp_path: Path, capsys: pytest.CaptureFixture):
    code = 'import sys; print("what happened"); sys.exit(3)'
    with pytest.raises(SystemExit, match=r'(?s)what happened.*Exit status 3 of: python'):
        commands.execute(f'python -c {shlex.quote(code)}', tmp_path / 'log.txt', 1, commands.Progress(1, lambda: 0))


@pytest.mark.parametrize('sent', [signal.SIGINT, signal.SIGTERM])
def test_stopping_a_benchmark_stops_its_command(tmp_path: Path, sent: signal.Signals):
    benchmark, command, log = (tmp_path / name for name in ('benchmark.py', 'command.py', 'log.txt'))
    command.write_text('import time\nprint("begun", flush=True)\ntime.sleep(60)\n')
    benchmark.write_text(
        f'import sys\nfrom pathlib import Path\nsys.path.insert(0, {str(ROOT)!r})\n'
        'from benchmarks.common import commands\n'
        f'commands.execute("python {command}", Path({str(log)!r}), 1, commands.Progress(1, lambda: 0))\n'
    )
    process = subprocess.Popen([sys.executable, benchmark], stderr=subprocess.PIPE, text=True)
    while not log.exists() or 'begun' not in log.read_text():
        assert process.poll() is None, 'the benchmark ended before its command began'
        time.sleep(0.05)
    process.send_signal(sent)
    assert 'Run the same line again' in process.communicate(timeout=20)[1]
    assert process.returncode == 1 and 'KeyboardInterrupt' in log.read_text()
