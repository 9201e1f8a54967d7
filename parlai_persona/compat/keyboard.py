"""Line editing in `parlai interactive`."""

import functools
import re
import sys
from typing import Any

from parlai_persona.compat.hooks import fixes

COLOUR = re.compile('\033\\[[0-9;]*m')


@fixes('parlai.agents.local_human.local_human')
def prompt_with_line_editing(module: Any) -> bool:
    """A message is typed without line editing or history: an arrow key types `^[[A`.

    ParlAI 1.7.2 never imports `readline`, on any stack. Detected by that. `readline` is now imported before the first
    prompt in a terminal. The colours of the prompt are marked as taking no room, because long lines would otherwise
    overwrite themselves. The history is kept in memory only.
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
