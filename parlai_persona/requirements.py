"""Checks that ParlAI is installed in the right version; if not, says in one sentence which command installs it."""

from importlib.util import find_spec

PARLAI_VERSION = '1.7.2'
NEED = f'parlai-persona needs ParlAI {PARLAI_VERSION}'
INSTALL_PARLAI = f'pip install --no-deps parlai=={PARLAI_VERSION}'
INSTALL_SETUPTOOLS = "pip install 'setuptools>=70,<80.9'"


class MissingRequirement(ImportError):
    """ParlAI, or a module that it needs, is missing or has another version. The message has the command to fix that."""


def check() -> None:
    """Raise `MissingRequirement` unless ParlAI 1.7.2 and `pkg_resources`, which it imports, are installed."""
    if find_spec('parlai') is None:
        raise MissingRequirement(f'{NEED}, and no ParlAI is installed: {INSTALL_PARLAI}')
    import parlai

    seen = getattr(parlai, '__version__', 'of unknown version')
    if seen != PARLAI_VERSION:
        raise MissingRequirement(f'{NEED}, but {seen} is installed: {INSTALL_PARLAI}')
    if find_spec('pkg_resources') is None:
        raise MissingRequirement(
            f'ParlAI {PARLAI_VERSION} imports pkg_resources, which setuptools 81 dropped: {INSTALL_SETUPTOOLS}'
        )
