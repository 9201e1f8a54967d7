"""`parlai persona_zoo`: lists the models of the zoo, gets them, and writes a model of one's own in their form.

Every `parlai` command imports this module, so it imports the rest only when it runs.
"""

from dataclasses import dataclass
from pathlib import Path

from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.script import ParlaiScript, register_script

from parlai_persona.errors import UserError, printable
from parlai_persona.flags import add_flags, flag, from_opt

ACTIONS = {'list': 0, 'show': 1, 'get': 1, 'push': 1}  # each with the number of words that follow


@dataclass(frozen=True)
class Published:
    offline: bool = flag(False, 'leave the network alone; HF_HUB_OFFLINE=1 does the same in every command')
    license: str = flag('other', "push: licence of the model, as Hugging Face's hub spells it (mit, cc-by-4.0)")
    title: str = flag('A model of parlai-persona.', 'push: what the model is, in one line')
    data: str = flag('', 'push: what the model was trained on')
    replies: Path | None = flag(
        None, 'push: text file with a reply a line, from which a retriever chooses in a chat', metavar='FILE'
    )
    base: str | None = flag(
        None,
        'push: where others find the base model, if it was a folder here: OWNER/MODEL[@REVISION] on the hub',
        metavar='NAME',
    )


@register_script('persona_zoo')
class PersonaZoo(ParlaiScript):
    """List, show and get models (`-mf zoo:persona/NAME`), or write one of your own in their form."""

    @classmethod
    def setup_args(cls) -> ParlaiParser:
        parser = ParlaiParser(True, True, 'Models to talk to without training')
        parser.add_argument(
            'action',
            nargs='*',
            metavar='list | show NAME | get NAME|FOLDER | push FOLDER',
            help='list the models; show the card of one; get one, or unpack a folder to -mf MODEL; write -mf MODEL '
            'into a folder that can be published',
        )
        add_flags(parser.add_argument_group('Zoo'), '', Published)
        return parser

    def run(self) -> str:
        """Do what was asked; return what was printed."""
        words = [word for word in self.opt['action'] or () if word != 'persona_zoo'] or ['list']  # ParlAI leaves it in
        action, *others = words
        if len(others) != ACTIONS.get(action):
            raise UserError(f'persona_zoo {" ".join(words)}: expected list, show NAME, get NAME, or push FOLDER')
        said = printable(getattr(self, action)(*others))
        print(said)
        return said

    def list(self) -> str:
        from parlai_persona.zoo.card import JUDGES
        from parlai_persona.zoo.registry import entries
        from parlai_persona.zoo.sources import readable
        from parlai_persona.zoo.store import is_here

        lines = [
            f'{"*" if is_here(entry, self.opt["datapath"]) else " "} {str(entry).removeprefix("zoo:persona/"):20}'
            f'{readable(entry.bytes):>9}  {entry.about.title}'
            for entry in entries()
        ]
        judges = ' and '.join(dict.fromkeys(entry.name for entry in entries() if entry.about.agent in JUDGES))
        chat = 'parlai interactive -mf zoo:persona/NAME talks' + (f' ({judges} judge)' if judges else '')
        return '\n'.join([*lines, '', f'* is on this machine. {chat}.', 'persona_zoo show NAME says more.'])

    def show(self, name: str) -> str:
        from parlai_persona.zoo.card import card, usage
        from parlai_persona.zoo.registry import find

        entry = find(name)
        return card(entry.name, entry.about, usage(entry.about.agent, str(entry))).rstrip()

    def get(self, name: str) -> str:
        from parlai_persona.zoo.registry import find
        from parlai_persona.zoo.store import model_file

        if '/' in name or Path(name).is_dir():
            return self.unpack(Path(name).expanduser())
        entry = find(name)
        path = model_file(entry, self.opt['datapath'], from_opt(Published, self.opt, '').offline)
        return f'{entry} is {path}'

    def unpack(self, folder: Path) -> str:
        """Write the model in a folder to the model file that the user names."""
        from parlai_persona.zoo.card import usage
        from parlai_persona.zoo.form import files_of, unpack

        model = self.model_file('where the model is to be written')
        if model.exists():
            raise UserError(f'-mf {model}: there is a model already; remove it, or name another file')
        unpack(files_of(folder), model)
        return f'Wrote {model}. Use it: {usage(agent_of(model), str(model))}'

    def push(self, name: str) -> str:
        from parlai_persona.zoo.card import card, usage
        from parlai_persona.zoo.form import publish
        from parlai_persona.zoo.registry import About

        model, folder = self.model_file('the model to publish'), Path(name).expanduser()
        if not model.exists():
            raise UserError(f'-mf {model}: no such model file')
        options = from_opt(Published, self.opt, '')
        agent = agent_of(model)
        about = About(options.title, agent, options.license, base=options.base, data=options.data)
        copy = f'runs/{folder.name}/model'
        load = f'parlai persona_zoo get FOLDER -mf {copy}\n{usage(agent, copy)}'
        left_out = publish(model, folder, card(folder.name, about, load), options.base, options.replies)
        said = [f'Wrote {", ".join(sorted(path.name for path in folder.iterdir()))} into {folder}.']
        if left_out:
            said.append(f'Left out, because they name files of this machine: {", ".join(left_out)}.')
        said.append(f'Complete README.md, then publish it: hf upload OWNER/{folder.name} {folder}')
        return '\n'.join(said)

    def model_file(self, what: str) -> Path:
        if not self.opt.get('model_file'):
            raise UserError(f'-mf MODEL is missing: {what}')
        return Path(self.opt['model_file']).expanduser()


def agent_of(model: Path) -> str:
    return 'transformers' if model.is_dir() else Opt.load(f'{model}.opt')['model']
