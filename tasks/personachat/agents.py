"""`-t persona:personachat`: Persona-Chat (Zhang et al. 2018) in both of its releases; every variant is an option."""

from collections.abc import Iterator

from parlai_persona.data.dialogue import Dialogue
from parlai_persona.data.teacher import PersonaTeacher
from parlai_persona.tasks.personachat.build import PREFIX, PersonaChat, paths
from parlai_persona.tasks.personachat.parse import read_views


class DefaultTeacher(PersonaTeacher):
    """Persona-Chat; `tasks/personachat/README.md` explains the options."""

    OPTIONS = PersonaChat
    PREFIX = PREFIX

    def dialogues(self, fold: str) -> Iterator[Dialogue]:
        yield from read_views(paths(self.opt, fold))
