"""The progress line of long runs, and a training that is interrupted and goes on."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import parlai.utils.logging as logging
import pytest
from parlai.core.agents import Agent, register_agent
from parlai.core.message import Message
from parlai.scripts.eval_model import EvalModel
from parlai.scripts.train_model import TrainModel

from parlai_persona import fields
from parlai_persona.progress import ERASE, ProgressLine
from parlai_persona.tasks.few_shot.agents import turns
from tests import paml_tasks


class Terminal(io.StringIO):
    def isatty(self):
        return True


def played(out: io.StringIO, seconds: int, total: int = 1000) -> ProgressLine:
    """A line that could be updated each second of a run, at ten examples a second."""
    now = [0.0]
    line = ProgressLine('valid', out=out, clock=lambda: now[0])
    for second in range(1, seconds + 1):
        now[0] = second
        if line.due():
            line.show(10 * second / total, 10 * second)
    return line


def test_a_log_file_gets_plain_lines():
    out = io.StringIO()
    played(out, 25)
    assert out.getvalue() == (
        'valid: 10% · 100 examples · 10 examples/s · 0:01:30 left\n'
        'valid: 20% · 200 examples · 10 examples/s · 0:01:20 left\n'
    )


def test_lines_of_a_long_run_come_less_often():
    out = io.StringIO()
    played(out, 36_000)
    seconds = [int(found) // 10 for found in re.findall(r'([\d]+) examples ·', out.getvalue().replace(',', ''))]
    gaps = [after - before for before, after in zip(seconds, seconds[1:], strict=False)]
    assert gaps[0] == 10 and gaps[-1] == 600 and gaps == sorted(gaps) and len(seconds) < 110


def test_a_terminal_has_one_line_that_gives_way_to_the_log(monkeypatch):
    monkeypatch.setenv('COLUMNS', '30')
    out = Terminal()
    line = played(out, 2)
    assert out.getvalue() == f'{ERASE}valid: 1% · 10 examples · 10 {ERASE}valid: 2% · 20 examples · 10 '
    logging.error('something else')
    assert out.getvalue().endswith(f'· 10 {ERASE}')
    line.show(1, 1000)
    line.finish()
    logging.error('something else')
    assert out.getvalue().endswith('valid: 100% · 1,000 examples \n') and line.erase not in logging.logger.filters


def test_speed_is_measured_anew_after_a_pause():
    now = [0.0]
    line = ProgressLine('train', examples=500, out=io.StringIO(), clock=lambda: now[0])
    now[0] = 10
    line.show(None, 600)
    now[0] = 100
    line.restart(600)
    now[0] = 110
    line.show(None, 900, left=5, note='epoch 1.00')
    assert line.out.getvalue() == (
        'train: 600 examples · 10 examples/s\ntrain: 900 examples · 30 examples/s · 0:00:05 left · epoch 1.00\n'
    )


def test_training_validation_and_final_evaluations_each_have_their_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ProgressLine, 'due', lambda line: True)
    options = {'model': 'repeat_label', 'model_file': str(tmp_path / 'model'), 'max_train_steps': 4}
    options |= {'validation_every_n_steps': 2, 'validation_max_exs': 20, 'short_final_eval': True, 'batchsize': 10}
    options['validation_cutoff'] = 2  # accuracy 1 is no reason to stop
    TrainModel.main(task='persona:sample', **options)
    lines = capsys.readouterr().err.splitlines()
    shares = [match[0] for match in map(re.compile(r'(train|valid|test): \d+% · \d+ examples').match, lines) if match]
    validation = ['valid: 50% · 10 examples', 'valid: 100% · 20 examples']
    assert shares == [
        'train: 25% · 10 examples',
        'train: 50% · 20 examples',
        *validation,
        'train: 75% · 30 examples',
        'train: 100% · 40 examples',
        *validation,
        *(line.replace('valid', 'test') for line in validation),
    ]
    TrainModel.main(task='persona:sample', **options, loglevel='error')
    TrainModel.main(task='integration_tests', **options, datapath=str(tmp_path))
    assert '% · ' not in capsys.readouterr().err


@register_agent('says_no_to_a_person')
class SaysNoToAPerson(Agent):
    """Answers all messages of a person at once, as `persona:paml` does."""

    def act(self):
        task = self.observation
        queries = [task[fields.DIALOGUES][place] for fold in task[fields.FOLDS] for place in fold[fields.QUERY]]
        return Message({fields.REPLIES: [[Message(text='no') for _ in turns(query)] for query in queries]})


def test_a_share_is_that_of_the_messages_where_each_has_several_replies(tmp_path, monkeypatch, capsys):
    """A person of this task has three dialogues of two turns, and is one message."""
    monkeypatch.setattr(ProgressLine, 'due', lambda line: True)
    monkeypatch.setattr(logging.logger, 'level', logging.INFO)
    options = paml_tasks.options(model='says_no_to_a_person', datapath=str(tmp_path), loglevel='info')

    def shown(**more) -> list[str]:
        EvalModel.main(**options, datatype='valid', **more)
        return re.findall(r'valid: (\d+% · \d+) examples', capsys.readouterr().err)

    people = len(paml_tasks.PEOPLE)
    assert shown() == [f'{n / people:.0%} · {6 * n}' for n in range(1, people + 1)]
    assert shown(num_examples=4) == [f'{n / 4:.0%} · {6 * n}' for n in range(1, 5)]
    assert shown(batchsize=people // 2) == [f'50% · {3 * people}', f'100% · {6 * people}']


# ------------------------------------------------------------------------------------------------ Ctrl-C

TRAINING = ('--optimizer', 'adam', '-lr', '0.001', '--lr-scheduler', 'none', '-bs', '4', '--memnet-encoder', 'bow')


@pytest.fixture
def interrupted(tmp_path):
    """Start a training of `persona:memnet` and press Ctrl-C after its first log; return its status and its output."""
    command = [str(Path(sys.executable).parent / 'parlai'), 'train_model', '-t', 'persona:sample']
    command += ['-m', 'persona:memnet', '-mf', str(tmp_path / 'my model'), '--max-train-steps', '1000000', *TRAINING]
    process = subprocess.Popen(
        [*command, '--log-every-n-steps', '5'],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env={**os.environ, 'PYTHONUNBUFFERED': '1'},
    )
    said = []
    for line in process.stdout:
        said.append(line)
        if 'total_steps:5' in line:
            process.send_signal(signal.SIGINT)
    return process.wait(), ''.join(said)


def test_ctrl_c_saves_and_says_how_to_go_on(interrupted, tmp_path):
    code, said = interrupted
    assert code == 130 and 'Traceback' not in said
    stats = json.loads((tmp_path / 'my model.checkpoint.trainstats').read_text())
    steps = stats['train_steps']
    assert steps >= 5 and f'Stopped after {steps} steps (' in said
    assert f'Saved: {tmp_path}/my model.checkpoint, after {steps} steps\n' in said
    command = said.split('To go on: ')[1].strip()
    assert command.startswith(f"parlai train_model -t persona:sample -m persona:memnet -mf '{tmp_path}/my model' ")
    script, name, *arguments = shlex.split(command.replace('1000000', str(steps + 2)))
    assert (script, name) == ('parlai', 'train_model')
    TrainModel.main(*arguments, '--validation-max-exs', '4', '--short-final-eval', 'true')
    assert json.loads((tmp_path / 'my model.trainstats').read_text())['train_steps'] == steps + 2
