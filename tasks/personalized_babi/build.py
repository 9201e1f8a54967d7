"""Finds the files of a request: ParlAI's downloads, or files of the same names in a local folder."""

from pathlib import Path

from parlai.core.opt import Opt

from parlai_persona.data.dialogue import DataError, NoSplit
from parlai_persona.data.download import fetch
from parlai_persona.flags import from_opt
from parlai_persona.tasks.personalized_babi.options import PREFIX, SIZES, SPLITS, TASKS, Babi

__all__ = ['RELEASES', 'SIZES', 'TASKS', 'candidates_path', 'file_name', 'folder', 'kb_path', 'split_path']

# personalised? -> (ParlAI's builder, folder below the datapath, how file names begin)
RELEASES = {
    True: (
        'parlai.tasks.personalized_dialog.build',
        'personalized-dialog/personalized-dialog-dataset',
        'personalized-dialog',
    ),
    False: ('parlai.tasks.dialog_babi.build', 'dialog-bAbI/dialog-bAbI-tasks', 'dialog-babi'),
}
PLAIN_TASKS = {**TASKS, 4: 'phone-address'}
ENDINGS = {split: ending for ending, split in SPLITS.items()}


def file_name(personalized: bool, task: int, split: str) -> str:
    names = TASKS if personalized else PLAIN_TASKS
    return f'{RELEASES[personalized][2]}-task{task}-{names[task]}-{ENDINGS[split]}.txt'


def split_path(opt: Opt, fold: str) -> Path:
    """Return the file with the dialogues of a split."""
    options = from_opt(Babi, opt, PREFIX)
    split = 'test-OOV' if fold == 'test' and options.oov else fold
    path = folder(opt) / file_name(options.personalized, options.task, split)
    if not path.is_file():
        others = path.parent.glob(f'{RELEASES[options.personalized][2]}-task{options.task}-*.txt')
        there = ', '.join(sorted(other.name for other in others))
        raise NoSplit(
            f'{path.parent} has no {path.name}; of this task it has {there or "nothing"}: choose another split with '
            '-dt, or another --babi-task'
        )
    return path


def kb_path(opt: Opt) -> Path:
    """Return the file of the knowledge base, which has the facts about every restaurant."""
    return common_file(opt, 'kb-all', 'it is needed to look restaurants up')


def candidates_path(opt: Opt) -> Path:
    """Return the file with the replies of all tasks, splits and sizes."""
    return common_file(opt, 'candidates', 'do without it by --babi-candidates task')


def folder(opt: Opt) -> Path:
    """Return the folder with the dialogues, after ParlAI has downloaded them if necessary."""
    options = from_opt(Babi, opt, PREFIX)
    builder, below, prefix = RELEASES[options.personalized]
    if options.folder:
        place, option = options.folder, '--babi-folder'
    else:
        fetch(builder, opt, '--babi-folder')
        place, option = Path(opt['datapath']) / below, '--babi-size'
        if options.personalized:
            place /= options.size
    if not place.is_dir():
        raise DataError(f'{option}: saw no folder {place}, expected one with files {prefix}-task….txt')
    return place


def common_file(opt: Opt, name: str, advice: str) -> Path:
    """Return a file for all tasks. It is beside the dialogues, or one folder up as in the personalised release."""
    dialogues = folder(opt)
    file = f'{RELEASES[from_opt(Babi, opt, PREFIX).personalized][2]}-{name}.txt'
    for place in (dialogues, dialogues.parent):
        if (place / file).is_file():
            return place / file
    raise DataError(f'saw no {file} in {dialogues} nor one folder up; {advice}')
