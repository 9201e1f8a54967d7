"""`parlai persona_babi_generate`: makes personalised bAbI dialogues from plain ones; see docs/babi_generator.md.

Every `parlai` command imports this module, so what the command needs is imported when it runs. `persona_plugin` comes
before it in the alphabet. If that cannot load the plugin, the imports below fail and ParlAI leaves out the command.
"""

from parlai.core.params import ParlaiParser
from parlai.core.script import ParlaiScript, register_script

from parlai_persona.errors import UserError
from parlai_persona.flags import add_flags, from_opt
from parlai_persona.tasks.personalized_babi.options import Request


@register_script('persona_babi_generate')
class PersonaBabiGenerate(ParlaiScript):
    """Writes files that `-t persona:personalized_babi --babi-folder DIR` reads."""

    @classmethod
    def setup_args(cls) -> ParlaiParser:
        parser = ParlaiParser(False, False, 'Write personalised bAbI dialogues, made from plain ones or new')
        add_flags(parser.add_argument_group('Personalised bAbI'), '', Request)
        return parser

    def run(self) -> list[str]:
        """Write the files and return their paths."""
        import parlai.utils.logging as logging

        from parlai_persona.tasks.personalized_babi.generate import generate

        for key in ('babi', 'output'):  # not `required`: then ParlAI would complain even when asked for --help
            if not self.opt[key]:
                raise UserError(f'--{key} DIR is missing; parlai persona_babi_generate --help')
        return [str(path) for path in generate(from_opt(Request, self.opt, ''), logging.info)]
