"""The worlds of our tasks under the names that ParlAI's world loader makes up (see `discovery`)."""

import importlib
import re

NAME = re.compile(r'(?P<kind>Interactive|SelfChat|)(?P<task>\w+)World')


def __getattr__(name: str) -> type:
    """Return a world by ParlAI's name: `InteractiveSampleWorld` is `InteractiveWorld` of `tasks.sample.worlds`.

    A task without worlds has those of the task that it is made of, if there is one.
    """
    parts = NAME.fullmatch(name)
    if not parts:
        raise AttributeError(name)
    task = parts['task'].lower()
    module = f'parlai_persona.tasks.{task}.worlds'
    try:
        worlds = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        context = importlib.import_module('parlai_persona.chat.context')  # only now, because it loads torch
        there_is_a_task = error.name == module
        if not (there_is_a_task and parts['kind'] and context.is_made_of_another(f'persona:{task}')):
            raise AttributeError(f'{name}: no module {module}') from None
        worlds = importlib.import_module('parlai_persona.chat.other_world')
    return getattr(worlds, f'{parts["kind"] or "Default"}World')
