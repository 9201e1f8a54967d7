"""`parlai interactive` and `parlai self_chat` with `-t persona:personalized_babi`."""

from parlai_persona.chat.worlds import PersonaInteractiveWorld
from parlai_persona.chat.worlds import PersonaSelfChatWorld as SelfChatWorld
from parlai_persona.tasks.personalized_babi.conversation import BookingConversation

__all__ = ['InteractiveWorld', 'SelfChatWorld']


class InteractiveWorld(PersonaInteractiveWorld):
    CONVERSATION = BookingConversation
