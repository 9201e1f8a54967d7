"""ParlAI 1.7.2 on today's Python stack: one function a defect, each applied once and only where the defect is.

A fix names the module it mends. It runs right after that module is first imported (at once, if it already
was), so arming the fixes imports neither torch nor ParlAI's agents. A fix looks for the defect before it
changes anything: on a ParlAI or torch that no longer has it, it does nothing.
"""

import importlib.abc
import importlib.util
import sys
from collections import defaultdict
from collections.abc import Callable
from types import ModuleType

Fix = Callable[[ModuleType], None]
FIXES: dict[str, list[Fix]] = defaultdict(list)
APPLIED: list[str] = []  # names of the fixes that have run, in order


def fixes(module: str) -> Callable[[Fix], Fix]:
    """Register a function as a fix to be run on `module` right after its import."""

    def register(fix: Fix) -> Fix:
        FIXES[module].append(fix)
        return fix

    return register


class PostImport(importlib.abc.MetaPathFinder):
    """A finder that lets the others find a module, and runs our fixes after it has been executed."""

    def __init__(self) -> None:
        self._searching: set[str] = set()

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in FIXES or fullname in self._searching:
            return None
        self._searching.add(fullname)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._searching.discard(fullname)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            apply(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def apply(module: ModuleType) -> None:
    for fix in FIXES[module.__name__]:
        name = f'{module.__name__}: {fix.__name__}'
        if name not in APPLIED:
            APPLIED.append(name)
            fix(module)


def arm() -> None:
    """Apply every fix to what is imported already and arm the rest; calling it again changes nothing."""
    if not any(isinstance(finder, PostImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, PostImport())
    for name in list(FIXES):
        if name in sys.modules:
            apply(sys.modules[name])
