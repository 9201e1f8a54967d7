"""The README's quick start does what it says; here with one epoch of training instead of its eight."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_quick_start_runs(tmp_path):
    marked = r'<!-- tests/test_readme.py runs this block -->\n```sh\n(.*?)```'
    block = re.search(marked, (ROOT / 'README.md').read_text(), re.S)
    assert block
    commands = block[1].replace('--num-epochs 8', '--num-epochs 1')
    assert commands != block[1]
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    done = subprocess.run(
        ['bash', '-euo', 'pipefail', '-c', commands],
        cwd=tmp_path,
        env={**os.environ, 'PATH': path},
        input='i am a nurse . where do you live ?\n[EXIT]\n',
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
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
