"""Dictionaries that count words beyond the text and labels of a message."""

from parlai.core.dict import DictionaryAgent

from parlai_persona import fields

REMEMBERED = 1_000_000  # persona sentences, while a dictionary is built


class DialoguesDictionary(DictionaryAgent):
    """Also counts the dialogues in a message of `persona:few_shot`."""

    def act(self):
        if fields.DIALOGUES not in self.observation:
            return super().act()
        for dialogue in self.observation[fields.DIALOGUES] or ():
            for turn in dialogue[fields.MESSAGES]:
                for text in (turn['text'], *turn['labels']):
                    self.add_to_dict(self.tokenize(text))
        return {'id': 'Dictionary'}


class PersonaDictionary(DialoguesDictionary):
    """Also counts the persona of the speaker who replies: each sentence once, not at every turn."""

    def __init__(self, opt, shared=None):
        super().__init__(opt, shared)
        self.counted: set[str] = set()

    def act(self):
        for sentence in self.observation.get(fields.PERSONA) or ():
            if sentence in self.counted:
                continue
            if len(self.counted) >= REMEMBERED:
                self.counted.clear()
            self.counted.add(sentence)
            self.add_to_dict(self.tokenize(sentence))
        return super().act()
