"""benchmarks/meta_memnn/table2.py: it goes on exactly, refuses another training's checkpoint, and writes rows."""

import sys

import pytest
import torch
from parlai.core.agents import create_agent
from parlai.scripts.train_model import TrainModel

from benchmarks.meta_memnn import table2

SAMPLE = (
    '-t persona:sample --persona-sample-dialogues 6 -m persona:meta_memnn --dict-file unused --loglevel error -bs 8 '
    '--meta-memnn-related persona:sample:persona_sample_dialogues=4 --meta-memnn-updates 2 --meta-memnn-steps 2 '
    '--meta-memnn-batch 8 --meta-memnn-embedding-size 8 --learningrate 0.01'
)


def sample_agent(datapath=None, dialogues=0, seed=1, *options):
    torch.manual_seed(seed)
    return create_agent(TrainModel.setup_args().parse_args([*SAMPLE.split(), *options]))


def test_a_run_that_was_stopped_goes_on_exactly(tmp_path):
    whole = table2.Run(sample_agent(), tmp_path / 'whole.pt')
    whole.train(6, 2, 'whole')
    first = table2.Run(sample_agent(), tmp_path / 'x.pt')
    first.train(3, 2, 'first')
    second = table2.Run(sample_agent(), tmp_path / 'x.pt')
    assert second.agent.learner.iteration == 3 and second.best == first.best > -1
    second.train(6, 2, 'second')
    for (name, p), other in zip(whole.parameters().items(), second.parameters().values(), strict=True):
        assert torch.equal(p, other), name
    assert (whole.best, whole.when) == (second.best, second.when) and whole.test() == second.test()
    with pytest.raises(SystemExit, match='name this one with --variant'):
        table2.Run(sample_agent(), tmp_path / 'x.pt', ['--meta-memnn-hops', '1'])


def test_main_writes_rows(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(table2, 'paper_agent', sample_agent)
    monkeypatch.setattr(table2, 'RUNS', tmp_path)
    monkeypatch.setattr(table2.record, 'commit', lambda: 'abc1234')  # uncommitted changes are no error here
    rows = tmp_path / 'x.csv'
    command = f'table2 --modes primary --sizes 50 --seeds 1 2 --iterations 2 --results {rows}'
    other = [*command.split(), '--meta-memnn-hops', '2']
    monkeypatch.setattr(sys, 'argv', other)
    with pytest.raises(SystemExit, match='by --variant'):
        table2.main()
    monkeypatch.setattr(sys, 'argv', [*other, '--variant', 'two hops'])
    table2.main()
    written = table2.record.read(rows)
    assert [(row.seed, row.split, row.metric) for row in written] == [
        (seed, *what)
        for seed in (1, 2)
        for what in (('valid', 'accuracy'), ('test', 'accuracy'), ('test', 'dialogue_accuracy'))
    ]
    assert {row.method for row in written} == {'meta_memnn primary (two hops, words of training alone)'}
    assert written[0].command.endswith('--iterations 2 --meta-memnn-hops 2 --variant "two hops"')
    assert 'test accuracy' in capsys.readouterr().out
