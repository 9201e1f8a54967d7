"""`parlai interactive -t persona:few_shot`."""

from parlai_persona.chat.worlds import PersonaInteractiveWorld
from parlai_persona.tasks.few_shot.conversation import PersonConversation


class InteractiveWorld(PersonaInteractiveWorld):
    CONVERSATION = PersonConversation
