"""How ParlAI comes to know `persona:`: one entry in its registry and two aliases in its name space.

ParlAI resolves `-m persona:x` and `-t persona:x` through `core.loader.REGISTERED_REPOS`. Two of its loaders do
not look there, and each derives a module name that we can provide instead of patching the loader:

* `modelzoo_path('zoo:persona/…')` imports `parlai.zoo.persona.…`: an alias of our `zoo` package;
* `load_world_module('persona:x', interactive_task=True)` looks for `InteractiveXWorld` in
  `parlai.tasks.persona.worlds`: an alias of `task_worlds`, which hands out the `InteractiveWorld` of task `x`.

`-o persona:x` is the preset `agents/x/paper.opt`, `-o persona:x/small` is `agents/x/small.opt`; ParlAI looks for
presets by file name and in packages of its own, so that one function is extended.
Dotted names (`-m parlai_persona.agents.x.x:XAgent`) need nothing of this.
"""

import importlib
import sys
from pathlib import Path

from parlai.core.loader import REGISTERED_REPOS
from parlai.core.opt import Opt

from parlai_persona.chat import task_worlds

PREFIX = 'persona:'
PACKAGE = 'parlai_persona'


def register() -> None:
    """Make `persona:` known to ParlAI; calling it again changes nothing."""
    REGISTERED_REPOS.setdefault(PREFIX, {'repo': PACKAGE, 'source': 'pip install parlai-persona'})
    sys.modules.setdefault('parlai.zoo.persona', importlib.import_module(f'{PACKAGE}.zoo'))
    sys.modules.setdefault('parlai.tasks.persona.worlds', task_worlds)
    if Opt.load_init.__func__ is not load_init:
        Opt.load_init = classmethod(load_init)


parlai_load_init = Opt.load_init.__func__


def load_init(cls: type[Opt], optfile: str) -> Opt:
    """ParlAI's, which also takes `persona:x`, alone or in its list of names."""
    return parlai_load_init(cls, ','.join(map(preset, optfile.split(','))))


def preset(name: str) -> str:
    """`persona:x` -> the path of `agents/x/paper.opt`, `persona:x/y` -> that of `y.opt`; any other name as it is."""
    if not name.startswith(PREFIX):
        return name
    agents = [Path(folder) for folder in importlib.import_module(f'{PACKAGE}.agents').__path__]
    paths = [path for folder in agents for path in folder.glob('*/*.opt')]
    found = {path.parent.name if path.stem == 'paper' else f'{path.parent.name}/{path.stem}': path for path in paths}
    if name.removeprefix(PREFIX) not in found:
        there = ', '.join(f'{PREFIX}{method}' for method in sorted(found))
        raise FileNotFoundError(f'-o {name}: there is no such preset; there is {there}')
    return str(found[name.removeprefix(PREFIX)])
