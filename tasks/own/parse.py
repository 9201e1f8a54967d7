"""Your own files -> `Dialogue` records with a split and candidates. Pure: paths in, records out."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from parlai_persona.data.candidates import example_rng
from parlai_persona.data.dialogue import DataError, Dialogue, Turn
from parlai_persona.data.dialogue_file import read_dialogues

VALID = 10  # one of this many dialogues is in the valid split
CANDIDATES = 20


def read_path(path: Path) -> list[Dialogue]:
    """Read a file of dialogues, or all files of a folder that end in .txt."""
    files = sorted(path.glob('*.txt')) if path.is_dir() else [path]
    if not files:
        raise DataError(f'the folder {path} holds no file *.txt')
    return [dialogue for file in files for dialogue in read_dialogues(file)]


def split(dialogues: Sequence[Dialogue], where: Path) -> dict[str, list[Dialogue]]:
    """Return train and valid. Valid has the tenth of the dialogues, at least one, with the smallest hashes.

    A hash depends on what was said only, so few dialogues change their split when others are added.
    """
    if len(dialogues) < 2:
        raise DataError(f'{where} holds one dialogue; write a second one, or name a file with --own-valid-file')
    by_hash = sorted(dialogues, key=lambda one: hashlib.blake2b(repr(one.turns).encode()).digest())
    valid = {one.id for one in by_hash[: max(1, len(dialogues) // VALID)]}
    return {
        'train': [one for one in dialogues if one.id not in valid],
        'valid': [one for one in dialogues if one.id in valid],
    }


def add_candidates(dialogue: Dialogue, replies: Sequence[str]) -> Dialogue:
    """Return the dialogue with `CANDIDATES` candidates a turn, or fewer if `replies` has fewer from other dialogues."""
    own = {turn.reply for turn in dialogue.turns}

    def with_candidates(number: int, turn: Turn) -> Turn:
        drawn = example_rng(0, dialogue.id, number).sample(replies, min(len(replies), CANDIDATES + len(own)))
        others = [reply for reply in drawn if reply not in own]
        return replace(turn, candidates=(*others[: CANDIDATES - 1], turn.reply))

    return replace(dialogue, turns=tuple(with_candidates(*numbered) for numbered in enumerate(dialogue.turns)))
