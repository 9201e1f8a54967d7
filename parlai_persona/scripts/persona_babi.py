"""`parlai persona_babi_generate`: personalised bAbI dialogues out of plain ones; see docs/babi_generator.md.

Every `parlai` command imports this module: what the command needs is imported when it runs.
"""

from parlai.core.params import ParlaiParser
from parlai.core.script import ParlaiScript, register_script


@register_script('persona_babi_generate')
class PersonaBabiGenerate(ParlaiScript):
    """Writes files that `-t persona:personalized_babi --babi-folder DIR` reads."""

    @classmethod
    def setup_args(cls) -> ParlaiParser:
        parser = ParlaiParser(False, False, 'Write personalised bAbI dialogues, made from plain ones or new')
        group = parser.add_argument_group('Personalised bAbI')
        group.add_argument(
            '--babi', default=None, metavar='DIR', help='folder of the plain bAbI dialog tasks and knowledge base'
        )
        group.add_argument('--output', default=None, metavar='DIR', help='folder to write to; nothing is overwritten')
        group.add_argument('--tasks', default='1,2,3,4,5', help='some of 1,2,3,4,5')
        group.add_argument('--splits', default='train,valid,test,test-OOV', help='some of train,valid,test,test-OOV')
        group.add_argument(
            '--dialogues',
            type=int,
            default=None,
            help='number in each file, repeated with other draws if the plain file has fewer; default: as many as it '
            'has, or 1,000 with --fresh',
        )
        group.add_argument('--seed', type=int, default=0, help='seed of profiles, answers to suggestions, questions')
        group.add_argument(
            '--fresh',
            type='bool',
            default=False,
            help="new dialogues on the knowledge base's restaurants, instead of those of the plain files",
        )
        group.add_argument(
            '--kb',
            default=None,
            metavar='FILE',
            help='personalised knowledge base to take the specialities from; default: drawn',
        )
        group.add_argument('--kb-seed', type=int, default=0, help='seed of the specialities, if they are drawn')
        group.add_argument(
            '--lists', type='bool', default=True, help='write the knowledge base and the candidates, too'
        )
        return parser

    def run(self) -> list[str]:
        """The paths of the files written."""
        from pathlib import Path

        import parlai.utils.logging as logging

        from parlai_persona.data.dialogue import DataError
        from parlai_persona.tasks.personalized_babi.generate import Request, generate

        opt = self.opt
        for key in ('babi', 'output'):  # not `required`: ParlAI would complain of them where help is asked for
            if not opt[key]:
                raise SystemExit(f'persona_babi_generate: --{key} DIR is missing; parlai persona_babi_generate --help')
        tasks, splits = (opt[key].replace(' ', '').split(',') for key in ('tasks', 'splits'))
        request = Request(
            plain=Path(opt['babi']).expanduser(),
            output=Path(opt['output']).expanduser(),
            tasks=tuple(int(task) if task.isdecimal() else task for task in tasks),
            splits=tuple(splits),
            dialogues=opt['dialogues'],
            seed=opt['seed'],
            fresh=opt['fresh'],
            kb=Path(opt['kb']).expanduser() if opt['kb'] else None,
            kb_seed=opt['kb_seed'],
            lists=opt['lists'],
        )
        try:
            return [str(path) for path in generate(request, logging.info)]
        except DataError as error:
            raise SystemExit(f'persona_babi_generate: {error}') from None
