"""parlai-persona: five methods of personalised dialogue for ParlAI.

Importing this package registers the `persona:` prefix with ParlAI and arms the compatibility fixes; it loads
no torch. The stock `parlai` command does it by itself (see `scripts/persona_plugin.py`); Python code does
`import parlai_persona` before it uses ParlAI.
"""

from parlai_persona import requirements

__version__ = '0.1.0'

requirements.check()

from parlai_persona import compat, discovery  # noqa: E402  both import ParlAI, which has just been checked

compat.arm()
discovery.register()
