"""The generator of CONTRIBUTING.md: `test_contract.py` runs all clauses over it; here is what the page says of it."""

import subprocess
import sys

import contract
import minimal_generator
from contract import changed, dialogues, reply, value

ENTRY = next(entry for entry in contract.AGENTS if entry.name.startswith('minimal_generator'))


def test_it_is_short_and_keeps_to_the_style():
    lines = [line for line in minimal_generator.CODE.splitlines() if line]
    assert len(lines) <= 65
    ruff = [sys.executable, '-m', 'ruff']
    for command in ('check', 'format --check'):
        done = subprocess.run(
            [*ruff, *command.split(), '--stdin-filename', 'agents/minimal.py', '-'],
            input=minimal_generator.CODE,
            cwd=minimal_generator.GUIDE.parent,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_it_reads_its_persona(tmp_path):
    """From the field alone: another persona gives another loss, and the text of the persona lines does not matter."""
    agent = contract.train(ENTRY, tmp_path, steps=3).load()
    turn = dialogues()[0][0]
    said = turn['text'].split('\n')[-1]
    usual, other, without_lines = (
        value(reply(agent.clone(), [changed(turn, **fields)]), 'loss')
        for fields in ({}, {'persona': ['i like rock music best.']}, {'text': said})
    )
    assert usual == without_lines != other
