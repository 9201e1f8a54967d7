"""What a TorchAgent expects: a history, which here is turns and persona apart, and a dictionary."""

from parlai.core.dict import DictionaryAgent
from parlai.core.message import Message
from parlai.core.opt import Opt

from parlai_persona.fields import PARTNERS_PERSONA, PERSONA, YOUR_PERSONA

OWN, PARTNERS = YOUR_PERSONA.strip(), PARTNERS_PERSONA.strip()
READ = 1_000_000  # persona sentences to remember while a dictionary is built


class Turns:
    """What was said in a dialogue, and the persona of the one who is to reply.

    The persona is the field of that name; where a message has none, as with ParlAI's own teachers, it is the lines
    of the text that say so. No such line is part of what was said.
    """

    def __init__(self, opt: Opt, size: int = 1, **_):
        self.size, self.delimiter = size, opt.get('delimiter', '\n')
        self.reset()

    def reset(self) -> None:
        self.turns: list[str] = []
        self.persona: list[str] = []
        self.added = ''

    def update_history(self, observation: Message, temp_history: str | None = None) -> None:
        text = observation.get('text')
        lines = [] if text is None else text.split('\n')
        own = [line.removeprefix(OWN).strip() for line in lines if line.startswith(OWN)]
        if PERSONA in observation:
            self.persona = list(observation[PERSONA])
        elif own:
            self.persona = own
        said = [line for line in lines if not line.startswith((OWN, PARTNERS))]
        if said:
            self.turns.append('\n'.join(said))
        self.added = temp_history or ''

    def add_reply(self, text: str) -> None:
        self.turns.append(text)

    def context(self) -> str:
        """The last `--history-size` turns; all of them if that is less than 1."""
        return self.delimiter.join(self.turns[-self.size :] if self.size > 0 else self.turns) + self.added

    def said(self) -> frozenset[str]:
        """Every line of the dialogue."""
        return frozenset(line for turn in self.turns for line in turn.split('\n'))


class PersonaDictionary(DictionaryAgent):
    """Also counts the words of personas that stand in a field of their own: a sentence once, not at every turn."""

    def act(self):
        read = self.__dict__.setdefault('read', {})
        for sentence in self.observation.get(PERSONA) or ():
            if sentence not in read:
                if len(read) >= READ:
                    read.clear()
                read[sentence] = None
                self.add_to_dict(self.tokenize(sentence))
        return super().act()
