"""The generator that CONTRIBUTING.md shows, as a module that ParlAI can load."""

import re
from pathlib import Path

GUIDE = Path(__file__).parents[1] / 'CONTRIBUTING.md'
(CODE,) = re.findall(r'```python\n(.*?)```', GUIDE.read_text(encoding='utf-8'), re.S)
exec(compile(CODE, str(GUIDE), 'exec'))
