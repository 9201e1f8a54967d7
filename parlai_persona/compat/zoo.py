"""Models of our zoo by name and version."""

import functools
from typing import Any

from parlai_persona.compat.hooks import fixes, replace_everywhere


@fixes('parlai.core.build_data')
def models_of_our_zoo(module: Any) -> bool:
    """`-mf zoo:NAME` imports a Python module for each model, without versions, and downloads without a hash.

    ParlAI 1.7.2 does this on every stack. `zoo:persona/NAME` and `zoo:persona/NAME@VERSION` now come from our registry.
    Other names are left to ParlAI.
    """
    path_of = module.modelzoo_path

    @functools.wraps(path_of)
    def path_in_our_zoo(datapath, path):
        where, _, name = (path or '').partition(':persona/')
        if where not in ('zoo', 'models'):
            return path_of(datapath, path)
        from parlai_persona.zoo.registry import find
        from parlai_persona.zoo.store import model_file

        return model_file(find(name), datapath)

    replace_everywhere(path_of, path_in_our_zoo)
    return True
