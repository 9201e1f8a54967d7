"""How ParlAI comes to know `persona:`: one entry in its registry and two aliases in its name space.

ParlAI resolves `-m persona:x` and `-t persona:x` through `core.loader.REGISTERED_REPOS`. Two of its loaders do
not look there, and each derives a module name that we can provide instead of patching the loader:

* `modelzoo_path('zoo:persona/…')` imports `parlai.zoo.persona.…`: an alias of our `zoo` package;
* `load_world_module('persona:x', interactive_task=True)` looks for `InteractiveXWorld` in
  `parlai.tasks.persona.worlds`: an alias of `task_worlds`, which hands out the `InteractiveWorld` of task `x`.

Dotted names (`-m parlai_persona.agents.x.x:XAgent`) need nothing of this.
"""

import importlib
import sys

from parlai.core.loader import REGISTERED_REPOS

from parlai_persona import task_worlds

PREFIX = 'persona:'
PACKAGE = 'parlai_persona'


def register() -> None:
    """Make `persona:` known to ParlAI; calling it again changes nothing."""
    REGISTERED_REPOS.setdefault(PREFIX, {'repo': PACKAGE, 'source': 'pip install parlai-persona'})
    sys.modules.setdefault('parlai.zoo.persona', importlib.import_module(f'{PACKAGE}.zoo'))
    sys.modules.setdefault('parlai.tasks.persona.worlds', task_worlds)
