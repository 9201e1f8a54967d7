"""Misspelt names of tasks, agents, models and options: what was seen, and the most similar name that exists."""

import argparse
import functools
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from parlai_persona.compat.hooks import fixes, replace_everywhere
from parlai_persona.errors import UserError, nearest, printable

PACKAGES = {'': 'parlai', 'persona:': 'parlai_persona'}  # by the prefix of a name
CHOICES = re.compile(r"'(?P<seen>.*)' \(choose from (?P<known>.*)\)", re.DOTALL)
LONGEST = 300  # characters of a message, which may quote what was typed


@fixes('parlai.core.loader')
def misspelt_tasks_and_agents(module: Any) -> bool:
    """A misspelt task or agent ends in a traceback of Python's importer, without the name that was meant.

    ParlAI 1.7.2 does this on every stack. The functions that load a task or an agent now say which one is missing and
    which is the most similar. If the task exists but not a package that it imports, they name the package.
    """
    for load, folder in ((module.load_teacher_module, 'tasks'), (module.load_agent_module, 'agents')):
        replace_everywhere(load, _explained(load, folder))
    return True


def _explained(load: Callable[[str], Any], folder: str) -> Callable[[str], Any]:
    """Return a function that loads a task or an agent by its name and explains why it cannot."""
    kind = folder[:-1]

    @functools.wraps(load)
    def load_or_explain(name: str) -> Any:
        said = f'{kind} {name[:LONGEST]!r}'
        if not all(re.split('[.:/_]', name.partition('=')[0])):  # ParlAI makes module and class names of the parts
            raise UserError(f'{said}: there is no such {kind}{nearest(name, known_names(folder))}')
        try:
            return load(name)
        except ModuleNotFoundError as error:
            missing = error.name or ''
            if missing.split('.')[0] in {*PACKAGES.values(), *re.split('[.:]', name)}:
                raise UserError(f'{said}: there is no such {kind}{nearest(name, known_names(folder))}') from None
            raise UserError(
                f'{said} needs the Python package {missing}, which is not installed: pip install {missing}'
            ) from error
        except AttributeError as error:
            if not isinstance(error.obj, ModuleType):
                raise
            similar = nearest(error.name or '', vars(error.obj))
            raise UserError(f'{said}: there is no {error.name} in {error.obj.__name__}{similar}') from None

    return load_or_explain


def known_names(folder: str) -> Iterator[str]:
    """Yield the short names of what ParlAI and this package have in their folder `tasks`, `agents` or `zoo`."""
    for prefix, package in PACKAGES.items():
        for path in importlib.import_module(f'{package}.{folder}').__path__:
            for file in Path(path).glob('*/*.py'):
                yield f'{prefix}{file.parent.name}'
                yield f'{prefix}{file.parent.name}/{file.stem}'


@fixes('parlai.core.build_data')
def misspelt_zoo_models(module: Any) -> bool:
    """A misspelt model of the zoo ends in a traceback, and the message suggests to pull ParlAI's main branch.

    ParlAI 1.7.2 does this on every stack. The message now names the most similar models.
    """
    path_of = module.modelzoo_path

    @functools.wraps(path_of)
    def path_or_explain(datapath, path):
        try:
            return path_of(datapath, path)
        except (ImportError, UnboundLocalError) as error:  # the second for a name without a slash
            zoo, _, name = path.partition(':')
            folder, _, model = name.partition('/')
            similar = nearest(f'{folder}/{model.split("/")[0]}', known_names('zoo'))
            other_lists = ". parl.ai/docs/zoo.html lists ParlAI's, and parlai persona_zoo list ours (zoo:persona/NAME)"
            raise UserError(f'{path!r}: there is no such model in the zoo{similar or other_lists}') from error

    replace_everywhere(path_of, path_or_explain)
    return True


@fixes('parlai.core.teachers')
def misspelt_options_in_tasks(module: Any) -> bool:
    """A misspelt option in a task's name, as in `-t persona:personachat:persona_sid=none`, is silently ignored.

    ParlAI 1.7.2 does this on every stack. It is now an error, unless the option is known to the command or the task.
    """
    add = module._add_task_flags_to_agent_opt

    @functools.wraps(add)
    def add_known(agent, opt, flags):
        for part in flags.split(':'):
            key = part.partition('=')[0].replace('-', '_')
            if '=' in part and key not in opt and key not in (known := _options_of(agent, opt)):
                option = key.replace('_', '-')
                raise UserError(
                    f'task {flags!r}: there is no option {option}{nearest(key, [*known, *opt]).replace("_", "-")}'
                )
        return add(agent, opt, flags)

    module._add_task_flags_to_agent_opt = add_known
    return True


def _options_of(teacher: Any, opt: Any) -> set[str]:
    """Return the names of ParlAI's options and of those of a task."""
    from parlai.core.params import ParlaiParser

    parser = ParlaiParser(True, True)
    teacher.add_cmdline_args(parser, opt)
    return {action.dest for action in parser._actions}


@fixes('parlai.core.params')
def misspelt_options(module: Any) -> bool:
    """A misspelt option prints the help of the whole command, some 200 lines, and the error below it.

    ParlAI 1.7.2 does this on every stack. The error is now one line with the most similar option.
    """

    def error(self, message):
        program = Path(self.prog).name
        sys.stderr.write(f'{program}: {printable(_with_suggestion(self, message))} (see {program} --help)\n')
        sys.exit(2)

    module.ParlaiParser.error = error
    return True


def _with_suggestion(parser: argparse.ArgumentParser, message: str) -> str:
    """Return a message of argparse with the most similar option or choice, and without long lists and values."""
    choices = CHOICES.search(message)
    if choices:
        known = [name.strip(" '") for name in choices['known'].split(',')]
        listed = f' (choose from {choices["known"]})' if len(choices['known']) < LONGEST else ''
        message = f'{message[: choices.start()]}{choices["seen"][:LONGEST]!r}{listed}{nearest(choices["seen"], known)}'
    elif message.startswith('unrecognized arguments:'):
        wrong = [word.partition('=')[0] for word in message.split() if word.startswith('--')]
        message = message[:LONGEST] + ''.join(_hint(word, _flags(parser)) for word in wrong)
    return message if len(message) <= 2 * LONGEST else f'{message[:LONGEST]} …'


def _hint(word: str, known: list[str]) -> str:
    return f'. {word} belongs to another command, or to a task (-t)' if word in known else nearest(word, known)


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    """Return the options of a parser and of its subcommands."""
    flags = list(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            flags += [flag for command in action.choices.values() for flag in command._option_string_actions]
    return flags
