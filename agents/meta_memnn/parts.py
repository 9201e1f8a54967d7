"""What a TorchAgent expects to have: a history, a dictionary and a module, here over stories, words and parameters."""

import os

from parlai.core.build_data import make_dir
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from torch import Tensor, nn

from parlai_persona.agents.meta_memnn.examples import profile_lines
from parlai_persona.agents.meta_memnn.stories import Story, Vocabulary


class StoryHistory:
    """What a TorchAgent asks of a history, over a `Story`."""

    def __init__(self, opt: Opt, **_):
        self.back = opt['meta_memnn_time'] == 'back'
        self.reset()

    def reset(self) -> None:
        self.story = Story(self.back)

    def update_history(self, observation, temp_history=None) -> None:
        self.story.hear(observation.get('text', ''), profile_lines(observation))

    def add_reply(self, text: str) -> None:
        self.story.say(text)


class Words:
    """The vocabulary where a TorchAgent wants a dictionary; `<model>.dict` is its list of words."""

    null_token, start_token, end_token = '__null__', '__start__', '__end__'

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        return parser

    def __init__(self, opt: Opt | None = None):
        self.vocabulary = Vocabulary()

    def is_prebuilt(self) -> bool:
        """ParlAI need not pass over the data for it: the agent does, as it has the related tasks to read as well."""
        return True

    def __getitem__(self, token: str) -> int:
        return self.vocabulary.words.get(token, 0)

    def __len__(self) -> int:
        return len(self.vocabulary)

    def save(self, path: str, sort: bool = False) -> None:
        make_dir(os.path.dirname(path) or '.')
        with open(path, 'w', encoding='utf-8') as file:
            file.writelines(f'{word}\t1\n' for word in self.vocabulary.words)


class Network(nn.Module):
    """theta and eta under names that torch accepts."""

    def __init__(self, theta: dict[str, Tensor], eta: dict[str, Tensor]):
        super().__init__()
        for group, tensors in (('theta', theta), ('eta', eta)):
            named = {name.replace('.', '_'): nn.Parameter(p) for name, p in tensors.items()}
            setattr(self, group, nn.ParameterDict(named))
        self.names = {'theta': list(theta), 'eta': list(eta)}

    def group(self, which: str) -> dict[str, nn.Parameter]:
        return {name: getattr(self, which)[name.replace('.', '_')] for name in self.names[which]}
