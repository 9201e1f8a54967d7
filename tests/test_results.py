"""benchmarks/common and benchmarks/results.py: rows are complete and counted once; pages show all; runs resume."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from conftest import PATIENCE

from benchmarks import pages, results
from benchmarks.common import jobs, judges, record, tables
from benchmarks.suite import baselines

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


def test_a_command_stands_once_and_rows_have_its_id(path: Path):
    record.append([ROW, row(seed=2)], path)
    record.append([row(method='other', command='echo "a, b"')], path.with_name('y.csv'))
    stored = path.with_name('commands.csv').read_text().splitlines()
    assert len(stored) == 3 and stored[0] == 'id,command'
    assert {line.split(',', 1)[1] for line in stored[1:]} == {ROW.command, '"echo ""a, b"""'}
    assert path.read_text().count(record.command_id(ROW.command)) == 2 and ROW.command not in path.read_text()
    assert record.read(path.with_name('y.csv'))[0].command == 'echo "a, b"'


def test_dirty_rows_need_a_flag(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    dirty = row(commit='abc1234-dirty')
    with pytest.raises(ValueError, match='differs from commit abc1234, .*--allow-dirty'):
        record.append([ROW, dirty], path)
    assert not path.exists()
    assert record.append([dirty], path, allow_dirty=True) == 1 and record.read(path) == [dirty]
    monkeypatch.setattr(sys, 'argv', ['benchmark'])
    monkeypatch.setattr(record, 'commit', lambda: 'abc1234-dirty')
    with pytest.raises(SystemExit):
        record.parse_arguments(record.parser('What it does.'))  # before anything is measured
    assert '--allow-dirty' in capsys.readouterr().err
    monkeypatch.setattr(sys, 'argv', ['benchmark', '--allow-dirty'])
    assert record.parse_arguments(record.parser('What it does.')).allow_dirty


def test_replace_keeps_the_place_of_a_row(path: Path):
    record.append([ROW, row(seed=2)], path)
    assert record.append([row(value=0.5)], path, replace=True) == 1
    assert [(r.seed, r.value) for r in record.read(path)] == [(1, 0.5), (2, 0.25)]


def test_find(path: Path):
    record.append([ROW, row(seed=2)], path)
    assert record.find(path, method='memnn', seed=2) == [row(seed=2)]
    assert record.find(path, method='other') == record.find(path.with_name('none.csv')) == []


def test_outdated_rows_are_removed(path: Path):
    record.append([ROW, row(seed=2), row(seed=2, method='other')], path)
    record.remove(path, method='memnn', seed=2)
    assert record.read(path) == [ROW, row(seed=2, method='other')]


@pytest.mark.parametrize('dies_in', ['fsync', 'replace'])
def test_a_crash_while_writing_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch, dies_in: str):
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    record.append([ROW], path)
    before = path.read_bytes()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*{'fsync': (record.os, 'fsync'), 'replace': (Path, 'replace')}[dies_in], crash)
        record.append([row(seed=2)], path)
    assert path.read_bytes() == before
    assert {file.name for file in path.parent.iterdir()} == {path.name, 'commands.csv'}
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
        (',0.25,', ',a quarter,', 'line 2: expected numbers as seed and value'),
        (record.command_id(ROW.command), '0' * 8, 'line 2: the command 00000000 is not in commands.csv'),
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
    rows += [row(method='chance', value=0.05), row(method='chance', metric='ppl_word', value=123.456)]
    record.append(rows, path)
    path.with_name('paper.csv').write_text(
        'method,task,data,split,metric,value,deviation,source\n'
        'memnn,persona:x,,,hits@1,0.35,0.01,"Somebody 2018, table 4"\n'
        'memnn,persona:x,"X, other",,hits@1,0.36,,other data\n'
        'memnn,persona:x,,,ppl,41.64,,another measure\n'
        'another,persona:x,,,f1,0.16,,Someone else\n'
    )
    return path.parent


def page_of(folder: Path, name: str = 'results/x.md', template: str = '') -> list[str]:
    return results.generate(folder, template)[name].splitlines()


def test_a_published_figure_stands_beside_the_same_measure_only(folder: Path):
    page = page_of(folder)
    start = page.index('| task | data | split | method | seeds | hits@1 | hits@1, *paper* | ppl_word |')
    assert page[start + 2 : start + 6] == [
        '| persona:x | X, full | valid | memnn | 3 | 0.3000 ± 0.1000 | 0.35 ± 0.01 |  |',
        '| persona:x | X, full | valid | chance | 1 | 0.0500 |  | 123.5 |',
        '',
        '*paper*: Somebody 2018, table 4',
    ]
    assert not any('41.64' in line or '0.36' in line for line in page)
    identity = record.command_id(ROW.command)
    assert f'| memnn | 1, 2, 3 | {identity} | abc1234 | a CPU, 1 thread on 2 cores | 2026-01-02 |' in page


def test_groups_of_a_pattern_are_columns_and_can_run_across(folder: Path):
    rows = [row(data=f'alpha {alpha}, {k} steps', value=k * alpha) for alpha in (0.1, 0.2) for k in (10, 1)]
    shape = {'where': {'data': r'alpha (?P<α>\S+), (?P<steps>\d+) steps'}, 'metrics': ('hits@1',)}
    assert tables.markdown(tables.Table('x', ('α', 'steps'), **shape), rows, [], 3) == [
        '| α | steps | seeds | hits@1 |',
        '| ---: | ---: | ---: | ---: |',
        '| 0.1 | 10 | 1 | 1.00 |',
        '| 0.1 | 1 | 1 | 0.100 |',
        '| 0.2 | 10 | 1 | 2.00 |',
        '| 0.2 | 1 | 1 | 0.200 |',
    ]
    across = tables.Table('x', ('method', 'α'), **shape, across='steps', heading='{} steps')
    assert tables.markdown(across, rows, [], 3)[::2] == [
        '| method | α | seeds | 1 steps | 10 steps |',
        '| memnn | 0.1 | 1 | 0.100 | 1.00 |',
    ]


def test_what_runs_across_may_be_nothing():
    rows = [row(split='valid', value=0.5), row(split='valid, best epoch', value=0.75)]
    where = {'split': 'valid(, (?P<checkpoint>best epoch))?'}
    across = tables.Table('x', where=where, metrics=('hits@1', 'mrr'), across='checkpoint', heading='best epoch')
    assert tables.markdown(across, rows, [], 3)[::2] == [
        '| method | seeds | hits@1 | best epoch, hits@1 |',
        '| memnn | 1 | 0.500 | 0.750 |',
    ]


def test_the_last_value_of_a_flag_is_a_column():
    pattern = pages.flags(k='--shots', α='--rate', prior='--prior')
    command = 'parlai train --rate 1 --shots 5 && parlai eval --rate 0.3 -mf m --shots 10'
    assert re.fullmatch(pattern, command).groupdict() == {'k': '10', 'α': '0.3', 'prior': None}


def test_a_line_with_a_dirty_row_has_a_dagger(folder: Path):
    record.append([row(seed=4, commit='abc1234-dirty')], folder / 'x.csv', allow_dirty=True)
    lines = page_of(folder)
    assert any('| memnn | 4 |' in line and line.startswith('| persona:x † |') for line in lines)
    assert any(line.startswith('| memnn † |') and 'abc1234-dirty' in line for line in lines)
    assert not any('chance' in line and '†' in line for line in lines)


@pytest.mark.parametrize(
    'metric, asked, marked',
    [
        ('consistency', judges.ASK_NLI, False),
        ('consistency', f'{judges.ASK_NLI}0', True),
        ('consistency_fold', judges.ASK_RECEIVER, True),
        ('persona_perception', judges.ASK_RECEIVER, False),
        ('persona_perception', '--persona-receiver mine', True),
        ('hits@1', '', False),
    ],
)
def test_a_line_of_an_earlier_judge_is_marked(metric: str, asked: str, marked: bool):
    judged = row(metric=metric, command=f'parlai eval_model {asked} -n 5')
    assert ('‡' in tables.markdown(tables.Table('x'), [judged], [], 3)[-1]) == marked


def test_a_template_is_filled_in(folder: Path):
    def filled(template: str) -> str:
        return results.generate(folder, template)['RESULTS.md'].split('\n', 1)[1]

    assert filled("At {{value x 'hits@1' method=memnn}} of {{rows}} ({{dirty}}).") == 'At 0.300 ± 0.100 of 5 (0).'
    unmatched = filled('{{unmatched persona:x}}').splitlines()
    assert unmatched[2] == '- another: f1 0.16 (Someone else)' and len(unmatched) == 3
    for wrong, message in (
        ('{{value x mrr}}', 'saw rows of 0 measurements'),
        ("{{value x 'hits@1'}}", 'saw rows of 2 measurements'),
        ('{{table paml}}', 'no such rows'),
        ('{{figure paml}}', 'run the benchmark'),
    ):
        with pytest.raises(ValueError, match=message):
            filled(wrong)


def test_numbers():
    shown = {0.25: '0.2500', 34.5067: '34.51', 1234.5: '1234', 0.00004: '4.0e-05', 0: '0.0000', float('inf'): 'inf'}
    assert {value: tables.number(value, 4) for value in shown} == shown
    assert tables.mean_and_deviation([30.0, 34.0], 4) == '32.00 ± 2.83'
    assert tables.mean_and_deviation([30.0, 34.0], 3) == '32.0 ± 2.8'


def run(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    template = folder.with_name('template.md')
    template.write_text("{{value x 'hits@1' method=memnn}}\n")
    places = ('--results', str(folder), '--template', str(template))
    return subprocess.run([sys.executable, '-m', 'benchmarks.results', *places, *flags], capture_output=True, text=True)


def test_check(folder: Path):
    page = folder.with_name('RESULTS.md')
    assert run(folder, '--check').returncode == 1  # there is no page yet
    assert run(folder).returncode == 0
    assert run(folder, '--check').returncode == 0
    first = page.read_bytes()
    assert run(folder).returncode == 0 and page.read_bytes() == first
    record.append([row(seed=9)], folder / 'x.csv')
    checked = run(folder, '--check')
    assert checked.returncode == 1 and 'make results' in checked.stderr
    assert page.read_bytes() == first  # a check writes nothing


def test_a_folder_without_results_says_so(tmp_path: Path):
    with pytest.raises(ValueError, match='run a benchmark first'):
        results.generate(tmp_path, '')


# -------------------------------------------------------------------------------- the pages of this repository


def test_the_pages_in_the_repository_are_up_to_date():
    for name, text in results.generate(record.RESULTS, results.TEMPLATE.read_text(encoding='utf-8')).items():
        assert (ROOT / name).read_text(encoding='utf-8') == text, f'{name}: run `make results`'


def test_results_fit_on_a_few_screens():
    assert len((ROOT / 'RESULTS.md').read_text(encoding='utf-8').splitlines()) <= 230


def test_every_row_is_in_a_table_of_its_page():
    files = results.read_all(record.RESULTS)
    assert not results.unnamed(files)
    shown_by = [table for _, shown in pages.PAGES.values() for table in shown]
    for file, rows in files.items():
        shown = {one.row.key for table in shown_by if table.file == file for one in tables.select(rows, table)}
        assert [row for row in rows if row.key not in shown] == [], file


def test_figures_in_sentences_come_from_rows():
    """Numbers that the template writes out are years, numbers of tables, or parts of what rows call their data."""
    prose = re.sub(
        r'\{\{.+?\}\}|`.*?`|\(#.*?\)|results/\S+|[Tt]ables? [\d, and]+|Figure \d',
        '',
        results.TEMPLATE.read_text('utf-8'),
    )
    said = ' '.join(f'{one.data} {one.split}' for rows in results.read_all(record.RESULTS).values() for one in rows)
    said += ' '.join(figure.source for figure in tables.read_published(record.RESULTS / results.PAPER))
    sizes = [f'{number:,}' for splits in record.PUBLISHED.values() for counts in splits.values() for number in counts]
    known = set(re.findall(r'\d[\d.,:-]*\d|\d', said)) | set(sizes) | set('01')
    assert [number for number in re.findall(r'\d[\d.,:-]*\d|\d', prose) if number not in known] == []


def test_commands_stand_once():
    stored = record.read_commands(record.RESULTS)
    assert all(record.command_id(command) == identity for identity, command in stored.items())
    files = [path for path in record.RESULTS.glob('*.csv') if path.name not in (record.COMMANDS, results.PAPER)]
    used = {cells[7] for path in files for cells, _ in record.read_cells(path, record.HEADER)}
    assert used == set(stored)


# --------------------------------------------------------------------------------------------- jobs


def job(folder: Path, **changes) -> jobs.Job:
    model = jobs.model_file(folder, 'memnn', 1)
    columns = {'method': 'memnn', 'task': 'persona:x', 'data': 'X, full', 'split': 'valid', 'seed': 1}
    steps = {'train': {'parlai train': Path(f'{model}.valid')}, 'evaluate': 'parlai eval'}
    told = {'report': model.with_name('rank.json'), 'metrics': ('hits@1', 'ppl_token_*')}
    return jobs.Job(**{**columns, **steps, **told, **changes})


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that a job runs; a stand-in writes what they would leave."""
    seen = []

    def execute(command: str, log: Path) -> None:
        seen.append(command)
        if 'train' in command:
            log.with_name('model.valid').touch()
        else:
            report = {'exs': 7, 'hits@1': 0.25, 'ppl_token_re': 30.0, 'loss': 1.0}
            log.with_suffix('.json').write_text(json.dumps({'report': report}))

    monkeypatch.setattr(jobs, 'execute', execute)
    return seen


def run_jobs(path: Path, *todo: jobs.Job) -> None:
    jobs.run_all(todo, path, allow_dirty=True)


def test_a_job_trains_once_and_is_measured_once(path: Path, tmp_path: Path, executed: list[str]):
    run_jobs(path, job(tmp_path))
    rows = record.read(path)
    assert [(r.metric, r.value, r.command) for r in rows] == [
        ('hits@1', 0.25, 'parlai train && parlai eval'),
        ('ppl_token_re', 30.0, 'parlai train && parlai eval'),
    ]
    run_jobs(path, job(tmp_path), job(tmp_path, method='memnn, other split', split='test', metrics=('loss',)))
    assert executed == ['parlai train', 'parlai eval', 'parlai eval']
    assert record.find(path, split='test')[0].metric == 'loss'


def test_figures_of_two_commands_are_not_mixed(
    path: Path, tmp_path: Path, executed: list[str], capsys: pytest.CaptureFixture
):
    run_jobs(path, job(tmp_path))
    other = job(tmp_path)
    other = replace(other, train={'parlai train --hops 2': other.train['parlai train']})
    run_jobs(path, other)
    assert 'by another command; remove its rows' in capsys.readouterr().out
    path.unlink()
    with pytest.raises(SystemExit, match='was made by another command; remove it'):
        run_jobs(path, other)
    assert executed == ['parlai train', 'parlai eval']


@pytest.mark.parametrize(('changes', 'message'), [({'examples': 8}, 'saw 7 examples'), ({'metrics': ('f1',)}, 'f1')])
def test_a_report_that_is_not_as_expected_writes_no_row(
    path: Path, tmp_path: Path, executed: list[str], changes: dict, message: str
):
    with pytest.raises(SystemExit, match=message):
        run_jobs(path, job(tmp_path, **changes))
    assert not path.exists()


def test_rows_of_the_baselines_have_the_commands_of_today():
    today = {
        (one.method, one.split, one.seed): one.command
        for baseline in baselines.BASELINES
        for evaluation in baseline.evaluations
        for side in baseline.sides
        for one in [baselines.job(baseline, evaluation, side, 1 if baseline.train else 0, 'data', '')]
    }
    for measured in record.read(record.RESULTS / 'baselines.csv'):
        if 'TF-IDF' in measured.method:  # benchmarks/suite/tfidf.py
            continue
        assert measured.command == today[measured.method, measured.split, measured.seed]


# -------------------------------------------------------------------------------------------- steps


def test_a_command_that_fails_shows_its_last_words(tmp_path: Path, capsys: pytest.CaptureFixture):
    code = 'import sys; print("what happened"); sys.exit(3)'
    with pytest.raises(SystemExit, match=r'(?s)what happened.*Exit status 3 of: python'):
        jobs.execute(f'python -c {shlex.quote(code)}', tmp_path / 'log.txt')


@pytest.mark.parametrize('sent', [signal.SIGINT, signal.SIGTERM])
def test_stopping_a_benchmark_stops_its_command(tmp_path: Path, sent: signal.Signals):
    benchmark, command, log = (tmp_path / name for name in ('benchmark.py', 'command.py', 'log.txt'))
    command.write_text(f'import time\nprint("begun", flush=True)\ntime.sleep({PATIENCE})\n')
    benchmark.write_text(
        f'import sys\nfrom pathlib import Path\nsys.path.insert(0, {str(ROOT)!r})\n'
        'from benchmarks.common import jobs\n'
        f'jobs.execute("python {command}", Path({str(log)!r}))\n'
    )
    process = subprocess.Popen([sys.executable, benchmark], stderr=subprocess.PIPE, text=True)
    while not log.exists() or 'begun' not in log.read_text():
        assert process.poll() is None, 'the benchmark ended before its command began'
        time.sleep(0.05)
    process.send_signal(sent)
    assert 'Run the same line again' in process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 1 and 'KeyboardInterrupt' in log.read_text()


def test_a_killed_benchmark_takes_its_arm_with_it(tmp_path: Path):
    benchmark = tmp_path / 'benchmark.py'
    benchmark.write_text(
        f'import sys, time\nsys.path.insert(0, {str(ROOT)!r})\n'
        f'def arm():\n    print("begun", flush=True)\n    time.sleep({2 * PATIENCE})\n'
        'if __name__ == "__main__":\n    from benchmarks.common.arms import child\n    child(arm)\n'
    )
    process = subprocess.Popen([sys.executable, benchmark], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == 'begun\n'
    process.kill()
    process.communicate(timeout=PATIENCE)  # until nobody can write to it any more
