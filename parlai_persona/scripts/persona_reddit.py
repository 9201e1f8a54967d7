"""`parlai persona_reddit`: make personas, contexts and responses from raw comment dumps; see tasks/reddit/README.md.

Every `parlai` command imports this module, so what the command needs is imported when it runs.
"""

from dataclasses import dataclass

from parlai.core.params import ParlaiParser
from parlai.core.script import ParlaiScript, register_script

from parlai_persona.flags import add_flags, flag, from_opt
from parlai_persona.tasks.reddit.pipeline.options import Machine, Options

ACTIONS = ('build', 'export')


@dataclass(frozen=True)
class DataSets:
    output: str | None = flag(None, 'what to write; nothing is overwritten')
    split: str = flag('train', 'what to export', choices=('train', 'valid', 'test'))
    author_key: str | None = flag(
        None,
        "secret key of the hash of authors' names: builds with the same key give them the same numbers (default: a new "
        'key that is kept nowhere)',
        metavar='FILE',
    )


@register_script('persona_reddit')
class PersonaReddit(ParlaiScript):
    """build: dumps -> a folder for `-t persona:reddit --reddit-data DIR`. export: such a folder -> JSON lines."""

    @classmethod
    def setup_args(cls) -> ParlaiParser:
        parser = ParlaiParser(True, False, 'Make a data set of personas from raw comment dumps')
        parser.add_argument('action', nargs='*', metavar='|'.join(ACTIONS), help='build or export a data set')
        group = parser.add_argument_group('Reddit')
        group.add_argument(
            '--input',
            nargs='+',
            default=None,
            metavar='FILE',
            help='build: dumps of comments, paths or globs (.zst, .bz2, .xz, .gz, plain JSON lines); export: the data '
            'set',
        )
        add_flags(group, '', DataSets, Options, Machine)
        return parser

    def run(self) -> str:
        """Return the path of what was written."""
        from pathlib import Path

        opt = self.opt
        action = [word for word in opt['action'] or () if word != 'persona_reddit'] or ['build']  # ParlAI leaves it in
        if len(action) > 1 or action[0] not in ACTIONS:
            raise SystemExit(f'persona_reddit {" ".join(action)}: expected {" or ".join(ACTIONS)}')
        for key in ('input', 'output'):
            if not opt[key]:
                raise SystemExit(f'persona_reddit: --{key} is missing; parlai persona_reddit --help')
        try:
            from parlai_persona.tasks.reddit.pipeline import build, export
        except ImportError as error:
            raise SystemExit(
                f"persona_reddit needs {error.name}, which is not installed: pip install 'parlai-persona[reddit]'"
            ) from None
        output = Path(opt['output']).expanduser()
        try:
            if action == ['export']:
                return str(export.export(Path(opt['input'][0]).expanduser(), opt['split'], output))
            options, machine = (from_opt(kind, opt, '') for kind in (Options, Machine))
            secret = Path(opt['author_key']).read_bytes() if opt['author_key'] else None
            made = build.build(opt['input'], output, options, machine, opt, secret)
        except KeyboardInterrupt:
            raise SystemExit('\npersona_reddit: stopped. The same command continues where it stopped.') from None
        print((made / 'manifest.json').read_text())
        return str(made)


if __name__ == '__main__':
    PersonaReddit.main()
