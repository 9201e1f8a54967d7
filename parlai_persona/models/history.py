"""The history of a dialogue with the personas of its speakers."""

from collections.abc import Iterable

from parlai.core.message import Message
from parlai.core.torch_agent import History

from parlai_persona.fields import PARTNER_PERSONA, PERSONA, STATED, stated_persona
from parlai_persona.models.layout import PARTNER, SELF


class TextHistory(History):
    """ParlAI's history for an agent that reads its texts alone: none of them is looked up in the dictionary."""

    def parse(self, text: str) -> list[int]:
        return []


class PersonaHistory(History):
    """ParlAI's history that also remembers both personas until it is reset.

    A persona is the message field of that name. Messages of ParlAI's own teachers have no such field: there a persona
    is the lines of the text that begin with "your persona:" or "partner's persona:".

    Every ParlAI agent can use this class: return it from `history_class()`.
    """

    persona_in_text = True  # False: persona lines are left out of the text of the history

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.forget_personas()

    def reset(self) -> None:
        super().reset()
        self.forget_personas()

    def forget_personas(self) -> None:
        self.persona: list[str] = []  # of the speaker who replies
        self.partner_persona: list[str] = []

    def update_history(self, obs: Message, temp_history: str | None = None) -> None:
        text = obs.get(self.field)
        lines = [] if text is None else text.split('\n')
        self.persona = stated_persona(obs, PERSONA, lines, self.persona)
        self.partner_persona = stated_persona(obs, PARTNER_PERSONA, lines, self.partner_persona)
        if lines and not self.persona_in_text:
            said = said_lines(lines)
            obs = Message({**obs, self.field: '\n'.join(said) if said else None})
        super().update_history(obs, temp_history)


class ContextHistory(PersonaHistory):
    """A `PersonaHistory` with a text of what was said only, without persona lines."""

    persona_in_text = False


class SpokenHistory(TextHistory, ContextHistory):
    """A `ContextHistory` that knows who said what, for an agent that writes its own prompts."""

    def forget_personas(self) -> None:
        super().forget_personas()
        self.speakers: list[str] = []

    def _update_raw_strings(self, text: str) -> None:
        super()._update_raw_strings(text)
        self.speakers.append(PARTNER)

    def add_reply(self, text: str) -> None:
        super().add_reply(text)
        self.speakers[-1] = SELF

    def turns(self) -> list[tuple[str, str]]:
        """Return speaker and text of the turns, the oldest first; ParlAI's `--history-size` says how many."""
        said = self.history_raw_strings
        return list(zip(self.speakers[len(self.speakers) - len(said) :], said, strict=True))


def said_lines(lines: Iterable[str]) -> list[str]:
    """Return the lines of a text without those that state a persona."""
    return [line for line in lines if not line.startswith((*STATED.values(),))]
