"""The task of a chat with a trained model, for commands that are given `-mf` and no `-t`."""

import argparse
from pathlib import Path

from parlai.core.loader import load_agent_module
from parlai.core.opt import Opt

ZOO, ANY = 'zoo:persona/', 'persona:sample'


class ModelFile(argparse._StoreAction):  # ParlAI's `parse_kwargs` knows only argparse's own actions
    """`-mf`. Without -t it also names the task, if that is ours, and so ParlAI knows the options of that task."""

    def __call__(self, parser, namespace, value, option_string=None):
        namespace.model_file = value
        task = task_of(value) or ''
        if namespace.task == parser.get_default('task') and task.startswith('persona:'):
            namespace.task = task


def task_of(file: str) -> str | None:
    """Return the task of a model's training, or one that suits its agent and needs no data; None if unknown."""
    if file.startswith(ZOO):
        from parlai_persona.zoo import registry  # here, because every `parlai` command imports this module

        return suitable_task(registry.find(file.removeprefix(ZOO)).about.agent)
    path = Path(f'{file}.opt')
    if not path.is_file():
        return None
    opt = Opt.load(str(path))
    return opt.get('task') or suitable_task(opt['model'])


def suitable_task(agent: str) -> str:
    return getattr(load_agent_module(agent), 'TALKS_IN', ANY)
