"""Pin today's versions of all but torch and ParlAI in requirements.lock, for all supported Pythons (`make lock`).

torch is left out because its build is chosen by whoever installs it, ParlAI because it is installed without its own
requirements; what torch itself needs is therefore listed here. Packages that need torch do not bring it back in
(excludes.txt).
"""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

LOCK = Path(__file__).parents[1] / 'requirements.lock'
OF_TORCH = ['filelock', 'fsspec', 'jinja2', 'networkx', 'sympy', 'typing-extensions']
EXTRAS = ('dev', 'fast', 'lm', 'plots', 'reddit', 'spark', 'tensorboard', 'web')
HEADER = """\
# The closure that the project is tested with, for Python 3.10-3.13; written by `make lock`, read by the Makefile.
# torch and ParlAI are not here: torch comes first and alone, ParlAI without its own outdated pins.
"""


def wanted() -> list[str]:
    """Our own requirements, and those of the extras that `make` installs."""
    found = []
    for requirement in metadata.requires('parlai-persona') or []:
        name, _, marker = requirement.partition(';')
        extra = re.search(r"extra == ['\"](.+)['\"]", marker)
        if re.match(r'torch\b', name) is None and (extra is None or extra[1] in EXTRAS):
            found.append(name.strip())
    return found + OF_TORCH


def main() -> None:
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'uv',
            'pip',
            'compile',
            '--universal',
            '--python-version',
            '3.10',
            '--excludes',
            str(Path(__file__).with_name('excludes.txt')),
            '-',
            '--no-python-downloads',
            '--no-emit-index-url',
            '--no-header',
            '--no-annotate',
        ],
        input='\n'.join(wanted()),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    new = LOCK.with_suffix('.new')
    new.write_text(HEADER + done.stdout, encoding='utf-8')
    new.replace(LOCK)
    print(f'{LOCK.name}: {done.stdout.count("==")} pins')


if __name__ == '__main__':
    main()
