"""Pictures as PNG files, drawn by matplotlib (the extra `plots`)."""

from pathlib import Path
from typing import Any

from parlai_persona.errors import UserError
from parlai_persona.files import draft


def pyplot() -> Any:
    """Return matplotlib's pyplot for files."""
    try:
        import matplotlib
    except ImportError:
        raise UserError('pictures need matplotlib: saw none, pip install parlai-persona[plots]') from None
    matplotlib.use('Agg')
    from matplotlib import pyplot

    return pyplot


def save(figure: Any, path: Path, dpi: int = 80) -> None:
    """Write the figure as PNG and forget it."""
    with draft(path) as part:
        figure.savefig(part, dpi=dpi, format='png')
    pyplot().close(figure)
