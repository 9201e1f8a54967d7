"""The README's quick start does what it says; here with one epoch of training instead of its eight."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_quick_start_runs(shell):
    marked = r'<!-- tests/test_readme.py runs this block -->\n```sh\n(.*?)```'
    block = re.search(marked, (ROOT / 'README.md').read_text(), re.S)
    assert block
    commands = block[1].replace('--num-epochs 8', '--num-epochs 1')
    assert commands != block[1]
    done = shell(commands, 'i am a nurse . where do you live ?\n[EXIT]\n')
    persona = "The model's persona:\n  - i own a cat."
    for shown in ('your persona: ', 'hits@1_persona', 'persona_f1', persona, '[Memnn]: '):
        assert shown in done.stdout, f'{shown!r} not in {done.stdout[-3000:]}'


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
