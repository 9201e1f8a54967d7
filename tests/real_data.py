"""Finds the real corpora; tests that need them are skipped without them."""

import os
from pathlib import Path

import pytest

DATAPATH = Path(os.environ.get('PERSONA_DATAPATH') or Path(__file__).parents[1] / 'data')


def real(*parts: str) -> Path:
    """Return a path in ParlAI's data folder; skip the test if it is not there."""
    path = DATAPATH.joinpath(*parts)
    if not path.exists():
        pytest.skip(f'{path} is not there: set PERSONA_DATAPATH to a ParlAI data folder that has it')
    return path
