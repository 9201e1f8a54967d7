"""How `parlai persona_web` reads `-mf`. Nothing here needs the extra `web`."""

import argparse
from pathlib import Path

from parlai.core.loader import load_agent_module
from parlai.core.opt import Opt

from parlai_persona.errors import UserError

ZOO, ANY = 'zoo:persona/', 'persona:sample'


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
    """Return the task to talk in: that of the model's training, or one that suits its agent and needs no data."""
    if file.startswith(ZOO):
        from parlai_persona.zoo import registry  # here, because every `parlai` command imports this module

        return suitable_task(registry.find(file.removeprefix(ZOO)).about.agent)
    if file.startswith('zoo:'):
        return ANY  # a model of ParlAI's zoo
    path = Path(f'{file}.opt')
    if not path.is_file():
        raise UserError(f'-mf {file}: saw no file {path}; expected the model file of a trained agent')
    opt = Opt.load(str(path))
    return opt.get('task') or suitable_task(opt['model'])


def suitable_task(agent: str) -> str:
    return getattr(load_agent_module(agent), 'TALKS_IN', ANY)
