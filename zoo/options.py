"""The options of a published agent: those that the agent declares, without files of the machine it was trained on."""

import os
import re
from argparse import Action, ArgumentTypeError
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parlai.core.loader import load_agent_module
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser

from parlai_persona.errors import UserError, printable
from parlai_persona.models.packages import PACKAGES
from parlai_persona.models.pretrained import HUB_NAME
from parlai_persona.models.saved import NotLoaded

MACHINE = {'gpu', 'no_cuda', 'init_model', 'dict_file', 'dict_initpath', 'model_parallel', 'data_parallel'}
OF_COMMANDS = {'log_every_n_secs': 10.0}  # ParlAI's rankers expect it when they list the replies of a task
AGENT = re.compile(r'(persona:)?\w+(/\w+)?|parlai_persona\.agents\.[\w.]+:\w+')  # none imports a module of the user's
PATH_IN_TASK = re.compile(r'=[^:,=]*[/\\]([^:,/\\]*)')  # an option in the name of a task
Options = dict[str, Any]


def to_publish(opt: Mapping[str, Any]) -> tuple[Options, list[str]]:
    """Return the agent's own options, and the flags of those that are left out because they name files."""
    known = declared(opt['model'], opt)
    own = {name: without_paths(value) for name, value in sorted(opt.items()) if name in known and name not in MACHINE}
    left_out = [
        name for name, value in own.items() if is_path(value, known[name].metavar) or is_here(value, known[name])
    ]
    flags = [f'--{name.replace("_", "-")}' for name in left_out]
    return {name: value for name, value in own.items() if name not in left_out}, flags


def to_load(config: Mapping[str, Any], where: Path) -> Options:
    """Return the `.opt` of a published model. Only agents of this package are loaded, with options of their own."""
    agent, given = config.get('agent'), config.get('options')
    if not isinstance(agent, str) or not isinstance(given, dict):
        raise NotLoaded(f'{where}: expected an agent and its options; copy the folder again')
    parser = declaring(agent, given)
    known, base = by_name(parser), base_option(agent)
    kept = {
        name: value
        for name, value in given.items()
        if name in known and name not in MACHINE and (name == base or not is_path(value, known[name].metavar))
    }
    for name, value in kept.items():
        if not is_valid(value, known[name], parser):
            raise NotLoaded(
                f'{where}: saw {printable(repr(value)[:80])} for the option {name}, which cannot have this value; copy '
                'the folder again'
            )
    if base in kept:
        public_base(agent, kept, '', None)
    return {**OF_COMMANDS, **{name: action.default for name, action in known.items()}, **kept, 'model': agent}


def declared(agent: str, opt: Mapping[str, Any]) -> dict[str, Action]:
    """Return the options that an agent declares."""
    return by_name(declaring(agent, opt))


def by_name(parser: ParlaiParser) -> dict[str, Action]:
    return {action.dest: action for action in parser._actions}


def is_valid(value: Any, action: Action, parser: ParlaiParser) -> bool:
    """Tell whether an option can have this value: the one that its parser reads from the value's text."""
    if value is None or value == action.default:
        return value == action.default
    if isinstance(value, list) and action.nargs in ('*', '+'):
        return all(is_one_valid(one, action, parser) for one in value)
    return is_one_valid(value, action, parser)


def is_one_valid(value: Any, action: Action, parser: ParlaiParser) -> bool:
    text = ','.join(map(str, value)) if isinstance(value, list) else str(value)
    kind = parser._registry_get('type', action.type, action.type) or str
    try:
        read = kind(text)
    except (TypeError, ValueError, ArgumentTypeError):
        return False
    read = list(read) if isinstance(read, tuple) else read
    large = isinstance(value, int) and abs(value) >> 63
    if action.choices and read not in action.choices:
        return False
    return read == value and isinstance(value, str) == isinstance(read, str) and not large


def declaring(agent: str, opt: Mapping[str, Any]) -> ParlaiParser:
    """Return a parser with the options of an agent."""
    if not AGENT.fullmatch(agent):
        raise UserError(f'agent {printable(agent)}: expected one of this package or of ParlAI, such as persona:memnet')
    parser = ParlaiParser(False, False)
    load_agent_module(agent).add_cmdline_args(parser, Opt(opt))
    return parser


def without_paths(value: Any) -> Any:
    """Shorten paths in the name of a task (`persona:own:own_file=/home/me/mine.txt`) to the name of the file."""
    return PATH_IN_TASK.sub(r'=\1', value) if isinstance(value, str) and ':' in value else value


def is_path(value: Any, metavar: Any = None) -> bool:
    if not isinstance(value, str) or not value or value.startswith('zoo:'):
        return False
    return metavar == 'FILE' or '/' in value or '\\' in value


def is_here(value: Any, action: Action) -> bool:
    """Tell whether a value is that of a file or folder in the current one."""
    return isinstance(value, str) and bool(value) and not action.choices and os.path.exists(value)


# ----------------------------------------------------------------------------------------------------- the base


def base_option(agent: str) -> str:
    """Return the name of the option that says what the agent's base model is; '' if it has none."""
    return getattr(load_agent_module(agent), 'BASE_FLAG', '').removeprefix('--').replace('-', '_')


def base_options(agent: str, source: str) -> Options:
    """Return the options that name a public base."""
    option, (name, _, revision) = base_option(agent), source.partition('@')
    return {option: name, f'{option.rpartition("_")[0]}_revision': revision or None}


def public_base(agent: str, opt: Mapping[str, Any], source: str, told: str | None) -> str:
    """Return where everybody finds the base that an agent was trained on: from its options, or what the user says.

    `source` is what was loaded: a name on the hub with its commit, or a folder.
    """
    asked = str(opt.get(base_option(agent)) or '')
    base = told or (source if asked and source.startswith(f'{asked}@') else asked)
    name = base.partition('@')[0]
    if name not in PACKAGES and (not HUB_NAME.fullmatch(name) or os.path.exists(name)):
        raise UserError(
            f'the agent stands on the base model {base or source}, a folder or file that others do not have: say where '
            'they find it with --base OWNER/MODEL[@REVISION], a name on the hub'
        )
    return base
