"""`-t persona:personachat`: Persona-Chat (Zhang et al. 2018) in both of its releases, all variants as options."""

from collections.abc import Iterator

from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser

from parlai_persona.data.dialogue import Dialogue
from parlai_persona.data.messages import check_choice
from parlai_persona.data.teacher import PersonaTeacher
from parlai_persona.tasks.personachat.build import SOURCES, paths
from parlai_persona.tasks.personachat.parse import read_views

FORMS = ('original', 'revised')


class DefaultTeacher(PersonaTeacher):
    """Persona-Chat; `tasks/personachat/README.md` says what each option selects."""

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        group = parser.add_argument_group('Persona-Chat')
        group.add_argument(
            '--persona-source',
            choices=tuple(SOURCES),
            default='personachat',
            help='release: Persona-Chat (one side of each dialogue, has a test split) or ConvAI2 (both sides)',
        )
        group.add_argument(
            '--persona-form',
            choices=FORMS,
            default='original',
            help='persona sentences as the speakers saw them, or rewritten to share fewer words with the dialogue',
        )
        group.add_argument(
            '--persona-folder',
            default=None,
            help="read <split>_<side>_<form>[_no_cands].txt from this folder instead of ParlAI's download",
        )
        return parser

    def dialogues(self, fold: str) -> Iterator[Dialogue]:
        check_choice(self.opt, 'persona_source', tuple(SOURCES))
        check_choice(self.opt, 'persona_form', FORMS)
        yield from read_views(paths(self.opt, fold))
