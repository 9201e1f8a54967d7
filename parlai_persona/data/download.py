"""Data that ParlAI downloads for one of our tasks."""

from importlib import import_module

from parlai.core.opt import Opt

from parlai_persona.data.dialogue import DataError
from parlai_persona.errors import UserError


def fetch(builder: str, opt: Opt, flag: str) -> None:
    """Run one of ParlAI's builders. Without a network, an error also names the flag of a folder that has the data."""
    try:
        import_module(builder).build(opt)
    except UserError as error:
        raise DataError(f'{error}; or unpack the data yourself and name their folder with {flag}') from None
