"""Options of the task and of its generator. Imports nothing heavy, because every `parlai` command reads these flags."""

from dataclasses import dataclass
from pathlib import Path

from parlai_persona.flags import flag

PREFIX = 'babi'
TASKS = {1: 'API-calls', 2: 'API-refine', 3: 'options', 4: 'info', 5: 'full-dialogs'}
SIZES = ('small', 'full')  # of the personalised tasks; the plain ones have one size
CANDIDATES = ('released', 'task')
SPLITS = {'trn': 'train', 'dev': 'valid', 'tst': 'test', 'tst-OOV': 'test-OOV'}  # in file names -> in ids


@dataclass(frozen=True)
class Babi:
    """bAbI dialog tasks"""

    task: int = flag(5, '1: calls, 2: changed calls, 3: options, 4: information, 5: all of it', choices=tuple(TASKS))
    personalized: bool = flag(True, 'with a profile of the user; false: the bAbI dialog tasks these were made from')
    size: str = flag(
        'small', '1,000 or 6,000 to 12,000 dialogues a split; tasks without profile have 1,000', choices=SIZES
    )
    oov: bool = flag(False, 'test on restaurants that never occur in training')
    dialogues: int = flag(
        0, 'use only K dialogues of train and K of valid, chosen by --babi-seed; 0: all', least=0, metavar='K'
    )
    seed: int = flag(0, 'seed of that choice')
    candidates: str = flag(
        'released',
        "what --persona-candidates inline means: the release's list, or the replies of the dialogues in use (train, "
        'valid and test)',
        choices=CANDIDATES,
    )
    folder: Path | None = flag(None, "read files of the same names from this folder, not ParlAI's download")


@dataclass(frozen=True)
class Request:
    """Options of `parlai persona_babi_generate`: what it writes."""

    plain: Path = flag(None, 'folder of the plain bAbI dialog tasks and knowledge base', 'babi', metavar='DIR')
    output: Path = flag(None, 'folder to write to; existing files are never overwritten', metavar='DIR')
    tasks: tuple[int, ...] = flag(tuple(TASKS), 'some of 1,2,3,4,5', choices=tuple(TASKS))
    splits: tuple[str, ...] = flag(
        tuple(SPLITS.values()), 'some of train,valid,test,test-OOV', choices=tuple(SPLITS.values())
    )
    dialogues: int | None = flag(
        None,
        'dialogues in each file; a plain file with fewer is repeated with other draws; default: as many as it has, or '
        '1,000 with --fresh',
        least=1,
    )
    seed: int = flag(0, 'seed of profiles, answers to suggestions, questions')
    fresh: bool = flag(False, "new dialogues on the knowledge base's restaurants, instead of those of the plain files")
    kb: Path | None = flag(
        None, 'personalised knowledge base to take the specialities from; default: drawn', metavar='FILE'
    )
    kb_seed: int = flag(0, 'seed of the specialities, if they are drawn')
    lists: bool = flag(True, 'write the knowledge base and the candidates too')
