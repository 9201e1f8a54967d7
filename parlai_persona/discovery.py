"""Tells ParlAI about `persona:`: one entry in its registry and a module alias.

ParlAI resolves `-m persona:x` and `-t persona:x` through `core.loader.REGISTERED_REPOS`. Its loader of worlds does not
look there, but it builds a module name that we can provide without changing the loader:
`load_world_module('persona:x', interactive_task=True)` looks for `InteractiveXWorld` in `parlai.tasks.persona.worlds`,
an alias of `task_worlds`, which returns the `InteractiveWorld` of task `x`. `compat/zoo.py` adds `zoo:persona/x`.

`-o persona:x` is the preset `agents/x/paper.opt`, and `-o persona:x/small` is `agents/x/small.opt`. ParlAI looks for
presets only by file name and in its own packages, so we extend that one function.
Dotted names (`-m parlai_persona.agents.x.x:XAgent`) need none of this.
"""

import importlib
import sys
from pathlib import Path

from parlai.core.loader import REGISTERED_REPOS
from parlai.core.opt import Opt

from parlai_persona.chat import task_worlds
from parlai_persona.errors import nearest

PREFIX = 'persona:'
PACKAGE = 'parlai_persona'


def register() -> None:
    """Tell ParlAI about `persona:`; a second call changes nothing."""
    REGISTERED_REPOS.setdefault(PREFIX, {'repo': PACKAGE, 'source': 'pip install parlai-persona'})
    sys.modules.setdefault('parlai.tasks.persona.worlds', task_worlds)
    if Opt.load_init.__func__ is not load_init:
        Opt.load_init = classmethod(load_init)


parlai_load_init = Opt.load_init.__func__


def load_init(cls: type[Opt], optfile: str) -> Opt:
    """Load options as ParlAI does, and accept `persona:x` too, alone or in a list of names."""
    try:
        return parlai_load_init(cls, ','.join(map(preset, optfile.split(','))))
    except TypeError:  # ParlAI looks for a preset in our part of `parlai_internal`, a package without a file
        raise FileNotFoundError(f'-o {optfile}: there is no such file, and no such preset of ParlAI') from None


def preset(name: str) -> str:
    """Return the path of `agents/x/paper.opt` for `persona:x`, and of `agents/x/y.opt` for `persona:x/y`.

    Return any other name as it is.
    """
    if not name.startswith(PREFIX):
        return name
    agents = [Path(folder) for folder in importlib.import_module(f'{PACKAGE}.agents').__path__]
    paths = [path for folder in agents for path in folder.glob('*/*.opt')]
    presets = {path.parent.name if path.stem == 'paper' else f'{path.parent.name}/{path.stem}': path for path in paths}
    if name.removeprefix(PREFIX) not in presets:
        known = [f'{PREFIX}{preset}' for preset in sorted(presets)]
        raise FileNotFoundError(
            f'-o {name}: there is no such preset; choose one of {", ".join(known)}{nearest(name, known)}'
        )
    return str(presets[name.removeprefix(PREFIX)])
