"""The README's quick start and Python example do what the README says; training is shortened."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def block(language: str) -> str:
    """Return the block of the README in this language that this file runs."""
    marked = rf'<!-- tests/test_readme.py runs this block -->\n```{language}\n(.*?)```'
    found = re.search(marked, (ROOT / 'README.md').read_text(), re.S)
    assert found, f'README.md has no block of {language} for this test'
    return found[1]


def shortened(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def test_the_quick_start_runs(shell):
    commands = shortened(block('sh'), 'memnet/sample', 'memnet/sample --num-epochs 1')
    done = shell(commands, 'i am a nurse . where do you live ?\n[EXIT]\n')
    persona = "The model's persona:\n  - i own a cat."
    for shown in ('your persona: ', 'hits@1_persona', 'persona_f1', persona, '[Memnet]: '):
        assert shown in done.stdout, f'{shown!r} not in {done.stdout[-3000:]}'


def test_the_python_example_runs(shell):
    program = shortened(block('python'), 'max_train_steps=100', 'max_train_steps=2')
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
