"""Runs a fix right after the import of the module that it mends."""

import os
import sys
import warnings
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any

Fix = Callable[[Any], bool]  # given the module, which it changes
FIXES: dict[str, list[Fix]] = {}  # name of a module -> its fixes, in the order of registration
APPLIED: list[str] = []  # names of the fixes that found their defect and mended it, in order
SKIP = 'PARLAI_PERSONA_SKIP_FIXES'


def fixes(module: str) -> Callable[[Fix], Fix]:
    """Register a function to be run on `module` after its import; it returns whether it found the defect."""

    def register(fix: Fix) -> Fix:
        FIXES.setdefault(module, []).append(fix)
        return fix

    return register


def mend(module: Any) -> None:
    """Run the fixes of a module that has just been imported, except those that the user has switched off."""
    skipped = {name.strip() for name in os.environ.get(SKIP, '').split(',')}
    for fix in FIXES[module.__name__]:
        if not skipped & {'all', fix.__name__} and fix(module):
            APPLIED.append(fix.__name__)


class PostImport:
    """A finder for `sys.meta_path` that lets the others find a module, and mends it when it has been executed."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname not in FIXES:
            return None
        others = (f for f in sys.meta_path if f is not self and hasattr(f, 'find_spec'))
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            mend(module)

        # Only this loader is changed. A loader of our own would hide the source that tracebacks and debuggers read.
        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def arm() -> None:
    """Mend the modules that are imported already, and the others on import. A second call changes nothing."""
    if any(isinstance(finder, PostImport) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, PostImport())
    for name in FIXES:
        if name in sys.modules:
            mend(sys.modules[name])


def fails(action: Callable[[], object], *errors: type[Exception]) -> bool:
    """Tell whether an action ends in one of these errors, which shows a defect. Its warnings are not shown."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            action()
        except errors:
            return True
    return False


def replace_everywhere(old: Callable[..., Any], new: Callable[..., Any]) -> None:
    """Put `new` where `old` is, also in the modules that have already imported it by its name."""
    for module in list(sys.modules.values()):
        if getattr(module, '__dict__', {}).get(old.__name__) is old:
            setattr(module, old.__name__, new)
