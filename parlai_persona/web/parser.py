"""How `parlai persona_web` reads `-mf`. Nothing here needs the extra `web`."""

from pathlib import Path

from parlai_persona.chat.model_task import ANY, ModelFile
from parlai_persona.errors import UserError


class Files(ModelFile):
    """Keeps the first `-mf` as `model_file`, and all of them as `model_files`, one a line. The first names the task."""

    def __call__(self, parser, namespace, value, option_string=None):
        if not value.startswith('zoo:') and not Path(f'{value}.opt').is_file():
            raise UserError(f'-mf {value}: saw no file {value}.opt; expected the model file of a trained agent')
        known = getattr(namespace, 'model_files', None)
        super().__call__(parser, namespace, value)
        namespace.task = namespace.task or ANY  # a model of ParlAI's
        namespace.model_files = f'{known}\n{value}' if known else value
        namespace.model_file = namespace.model_files.partition('\n')[0]
