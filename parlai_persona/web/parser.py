"""How `parlai persona_web` reads `-mf`. Nothing here needs the extra `web`."""

import argparse
from pathlib import Path

from parlai.core.opt import Opt

from parlai_persona.errors import UserError

NO_DATA = 'persona:sample'  # for models that name no task, such as those of the zoo: it needs no data


class Files(argparse._StoreAction):  # ParlAI's `parse_kwargs` knows only argparse's own actions
    """Keeps the first `-mf` as `model_file`, and all of them as `model_files`, one a line.

    Without -t, the task is that of the first model's training. ParlAI then also knows the options of that task.
    """

    def __call__(self, parser, namespace, value, option_string=None):
        known = getattr(namespace, 'model_files', None)
        namespace.model_files = f'{known}\n{value}' if known else value
        namespace.model_file = namespace.model_files.partition('\n')[0]
        if not getattr(namespace, 'task', None):
            namespace.task = task_of(value)


def task_of(file: str) -> str:
    """Return the task that a model was trained on."""
    if file.startswith('zoo:'):
        return NO_DATA
    path = Path(f'{file}.opt')
    if not path.is_file():
        raise UserError(f'-mf {file}: saw no file {path}; expected the model file of a trained agent')
    return Opt.load(str(path)).get('task') or NO_DATA
