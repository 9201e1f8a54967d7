"""What the keyboard of `parlai interactive` lacks."""

import functools
import re
import sys
from typing import Any

from parlai_persona.compat.hooks import fixes

COLOUR = re.compile('\033\\[[0-9;]*m')


@fixes('parlai.agents.local_human.local_human')
def prompt_with_line_editing(module: Any) -> bool:
    """Messages are typed without line editing or history: an arrow key types `^[[A`.

    In ParlAI 1.7.2 whatever the stack: it does not import `readline`. Detected by that. It is imported before the first
    prompt of a terminal, whose colours are marked as taking no room; otherwise long lines would overwrite themselves.
    The history is kept in memory only.
    """
    if 'readline' in vars(module):
        return False
    colorize = module.colorize

    @functools.wraps(colorize)
    def colorized(text, style):
        coloured = colorize(text, style)
        if style != 'text' or not (sys.stdin.isatty() and sys.stdout.isatty()):
            return coloured
        try:
            import readline  # noqa: F401  importing it is what gives `input` line editing
        except ImportError:  # a Python without it, as on Windows
            return coloured
        return COLOUR.sub('\001\\g<0>\002', coloured)

    module.colorize = colorized
    return True
