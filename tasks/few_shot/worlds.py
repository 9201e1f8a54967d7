"""`parlai interactive` with `-t persona:few_shot`."""

from typing import Any

from parlai.core.opt import Opt

from parlai_persona.chat.worlds import PersonaInteractiveWorld, PersonaSelfChatWorld
from parlai_persona.errors import UserError
from parlai_persona.tasks.few_shot.conversation import PersonConversation


class InteractiveWorld(PersonaInteractiveWorld):
    CONVERSATION = PersonConversation


class SelfChatWorld(PersonaSelfChatWorld):
    def __init__(self, opt: Opt, agents: list, shared: dict[str, Any] | None = None):
        raise UserError(
            'self_chat has no people to become, as -t persona:few_shot has: let two personas talk, with -t '
            'persona:personachat or another task with dialogues'
        )
