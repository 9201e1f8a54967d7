"""`parlai interactive` and `parlai self_chat` with `-t persona:own`."""

from parlai_persona.chat.worlds import PersonaInteractiveWorld as InteractiveWorld
from parlai_persona.chat.worlds import PersonaSelfChatWorld as SelfChatWorld

__all__ = ['InteractiveWorld', 'SelfChatWorld']
