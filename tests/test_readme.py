"""The README's quick start and Python example do what the README says; training is shortened."""

import re
import shlex
import subprocess
from pathlib import Path

from parlai.core.script import superscript_main

ROOT = Path(__file__).parents[1]
BRIEFLY = '--validation-max-exs 8 --short-final-eval true'


def block(language: str) -> str:
    """Return the block of the README in this language that this file runs."""
    marked = rf'<!-- tests/test_readme.py runs this block -->\n```{language}\n(.*?)```'
    found = re.search(marked, (ROOT / 'README.md').read_text(), re.S)
    assert found, f'README.md has no block of {language} for this test'
    return found[1]


def shortened(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def test_the_quick_start_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    typed = iter(['i am a nurse . where do you live ?', '[EXIT]'])
    monkeypatch.setattr('builtins.input', lambda prompt='': next(typed))
    commands = shortened(block('sh'), 'memnet/sample', f'memnet/sample --max-train-steps 2 {BRIEFLY}')
    commands = shortened(commands, '-dt valid', '-dt valid --num-examples 64')
    for command in commands.splitlines():
        name, *arguments = shlex.split(command)
        assert name == 'parlai'
        superscript_main(arguments)
    said = capsys.readouterr().out
    persona = "The model's persona:\n  - i own a cat."
    for shown in ('your persona: ', 'hits@1_persona', 'persona_f1', persona, '[Memnet]: '):
        assert shown in said, f'{shown!r} not in {said[-3000:]}'


def test_the_python_example_runs(shell):
    brief = 'max_train_steps=2, validation_max_exs=8, short_final_eval=True'
    program = shortened(block('python'), 'max_train_steps=100', brief)
    done = shell(f"python - <<'END'\n{program}\nEND\n")
    answers = re.search(r"'label_candidates': (\[.*?\])", program)
    assert answers and done.stdout.splitlines()[-1] in answers[1]


def test_links_lead_somewhere():
    listed = subprocess.run(
        ['git', 'ls-files', '--cached', '--others', '--exclude-standard', '*.md'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for page in map(ROOT.joinpath, listed.stdout.split()):
        for target in re.findall(r'\]\(([^)#:]+)\)', page.read_text()):
            assert (page.parent / target).exists(), f'{page.relative_to(ROOT)} links to {target}'
