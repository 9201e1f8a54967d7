"""How `parlai persona_web` reads `-mf`. Nothing here needs the extra `web`."""

import argparse
from pathlib import Path

from parlai_persona.chat.model_task import ANY, task_of
from parlai_persona.errors import UserError


class Files(argparse._StoreAction):  # ParlAI's `parse_kwargs` knows only argparse's own actions
    """Keeps the first `-mf` as `model_file`, and all of them as `model_files`, one a line.

    Without -t, the task is that of the first model's training. ParlAI then also knows the options of that task.
    """

    def __call__(self, parser, namespace, value, option_string=None):
        if not value.startswith('zoo:') and not Path(f'{value}.opt').is_file():
            raise UserError(f'-mf {value}: saw no file {value}.opt; expected the model file of a trained agent')
        known = getattr(namespace, 'model_files', None)
        namespace.task = getattr(namespace, 'task', None) or task_of(value) or ANY  # of ParlAI's zoo
        namespace.model_files = f'{known}\n{value}' if known else value
        namespace.model_file = namespace.model_files.partition('\n')[0]
