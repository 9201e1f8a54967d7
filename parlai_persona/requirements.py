"""Is there a ParlAI that we can work with? One sentence and one command if not."""

from importlib.util import find_spec

PARLAI_VERSION = '1.7.2'
NEED = f'parlai-persona needs ParlAI {PARLAI_VERSION}'
INSTALL_PARLAI = f'pip install --no-deps parlai=={PARLAI_VERSION}'
INSTALL_SETUPTOOLS = "pip install 'setuptools>=70,<80.9'"


class MissingRequirement(ImportError):
    """ParlAI is absent or of another version; the message holds the command that mends it."""


def check() -> None:
    """Raise `MissingRequirement` unless ParlAI 1.7.2 and the `pkg_resources` it imports are there."""
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
