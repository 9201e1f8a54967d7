"""The worlds of our tasks under the names that ParlAI's world loader makes up (see `discovery`)."""

import importlib
import re

NAME = re.compile(r'(?P<kind>Interactive|SelfChat|)(?P<task>\w+)World')


def __getattr__(name: str) -> type:
    """Return a world by ParlAI's name: `InteractiveSampleWorld` is `InteractiveWorld` of `tasks.sample.worlds`."""
    parts = NAME.fullmatch(name)
    if not parts:
        raise AttributeError(name)
    module = f'parlai_persona.tasks.{parts["task"].lower()}.worlds'
    try:
        worlds = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and module.startswith(error.name):
            raise AttributeError(f'{name}: no module {module}') from None  # a task without worlds of its own
        raise
    return getattr(worlds, f'{parts["kind"] or "Default"}World')
