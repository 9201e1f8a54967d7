"""Which file a request needs, and where it is: ParlAI's downloads, or a local folder with the same file names."""

from importlib import import_module
from pathlib import Path

from parlai.core.opt import Opt

from parlai_persona.data.dialogue import DataError, NoSplit

# personalised? -> (ParlAI's builder, folder below the datapath, how file names begin)
RELEASES = {
    True: (
        'parlai.tasks.personalized_dialog.build',
        'personalized-dialog/personalized-dialog-dataset',
        'personalized-dialog',
    ),
    False: ('parlai.tasks.dialog_babi.build', 'dialog-bAbI/dialog-bAbI-tasks', 'dialog-babi'),
}
TASKS = {1: 'API-calls', 2: 'API-refine', 3: 'options', 4: 'info', 5: 'full-dialogs'}
PLAIN_TASKS = {**TASKS, 4: 'phone-address'}
SIZES = ('small', 'full')  # of the personalised tasks; the plain ones have one size
SUFFIXES = {'train': 'trn', 'valid': 'dev', 'test': 'tst'}


def split_path(opt: Opt, fold: str) -> Path:
    """The file with the dialogues of a split."""
    names = TASKS if opt['babi_personalized'] else PLAIN_TASKS
    task, suffix = opt['babi_task'], SUFFIXES[fold]
    if fold == 'test' and opt['babi_oov']:
        suffix += '-OOV'
    path = folder(opt) / f'{prefix(opt)}-task{task}-{names[task]}-{suffix}.txt'
    if not path.is_file():
        there = ', '.join(sorted(p.name for p in path.parent.glob(f'{prefix(opt)}-task{task}-*.txt')))
        raise NoSplit(
            f'{path.parent} has no {path.name}; of this task it has {there or "nothing"}: choose another split with '
            '-dt, or another --babi-task'
        )
    return path


def kb_path(opt: Opt) -> Path:
    """The knowledge base: what is known about every restaurant."""
    return common(opt, f'{prefix(opt)}-kb-all.txt', 'it is needed to look restaurants up')


def candidates_path(opt: Opt) -> Path:
    """The replies of all tasks, splits and sizes."""
    return common(opt, f'{prefix(opt)}-candidates.txt', 'do without it by --babi-candidates task')


def prefix(opt: Opt) -> str:
    return RELEASES[opt['babi_personalized']][2]


def folder(opt: Opt) -> Path:
    """The folder with the dialogues; ParlAI downloads them if they are to come from there."""
    builder, below, _ = RELEASES[opt['babi_personalized']]
    if opt.get('babi_folder'):
        found, option = Path(opt['babi_folder']).expanduser(), '--babi-folder'
    else:
        import_module(builder).build(opt)
        found, option = Path(opt['datapath']) / below, '--babi-size'
        if opt['babi_personalized']:
            found /= opt['babi_size']
    if not found.is_dir():
        raise DataError(f'{option}: saw no folder {found}, expected one with files {prefix(opt)}-task….txt')
    return found


def common(opt: Opt, name: str, advice: str) -> Path:
    """A file for all tasks: beside the dialogues, or one folder up, as in the personalised release."""
    dialogues = folder(opt)
    for place in (dialogues, dialogues.parent):
        if (place / name).is_file():
            return place / name
    raise DataError(f'saw no {name} in {dialogues} nor one folder up; {advice}')
