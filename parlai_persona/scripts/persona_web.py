"""`parlai persona_web`: talk to models in a browser (docs/web.md).

Every `parlai` command imports this module, so it imports the rest only when it runs.
"""

from parlai.core.params import ParlaiParser
from parlai.core.script import ParlaiScript, register_script

from parlai_persona.errors import UserError
from parlai_persona.flags import add_flags


@register_script('persona_web')
class PersonaWeb(ParlaiScript):
    """Serve a page on which visitors talk to one model or compare several."""

    @classmethod
    def setup_args(cls) -> ParlaiParser:
        from parlai_persona.chat.context import PersonaOptions
        from parlai_persona.web.options import Address, Judging, Limits
        from parlai_persona.web.parser import Files

        parser = ParlaiParser(True, True, 'Talk to models in a browser')
        group = parser.add_argument_group('Browser')
        group.add_argument(
            '-mf', '--model-file', action=Files, metavar='FILE', help='a model; give it again for more models'
        )
        add_flags(group, '', Address, PersonaOptions)
        add_flags(group, 'web', Limits)
        add_flags(group, 'judge', Judging)
        # The data of a persona are read from the valid split. Agents that rank say how they score candidates.
        parser.set_params(interactive_mode=True, interactive_task=True, return_cand_scores=True, datatype='valid')
        return parser

    def run(self) -> None:
        try:
            from parlai_persona.web.command import serve
        except ModuleNotFoundError as error:
            if error.name not in ('starlette', 'uvicorn'):
                raise
            raise UserError(f"{error.name} is not installed: pip install 'parlai-persona[web]'") from None
        serve(self.opt, self.setup_args)
