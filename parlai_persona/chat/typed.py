"""What a person typed, as the words of one message.

Agents read more than words in a text: a line that begins with "your persona:" is a persona, and `__end__` is the end of
a text. From a person these are words. They are broken up here, where the text comes from a person, and not in the
agents: in their data the same strings mean what they say, and every tokenizer has its own.
"""

import re

PERSONA_MARK = re.compile(r"\b((?:your|partner's) persona)\s*:", re.IGNORECASE)
# <KEY>, <|endoftext|>, </s>; not <silence>, which a person may mean: it lets an agent of the bAbI tasks go on
ANGLES = re.compile(r'<(?!silence>)([^\s<>]+)>', re.IGNORECASE)
BRACKETS = re.compile(r'\[([A-Z]+)\]')  # [SEP]
UNDERSCORES = re.compile(r'_(?=_)')  # __null__, __SILENCE__


def words_of(typed: str) -> str:
    """Return a message in one line in which no agent sees a persona or a special token."""
    text = ' '.join(typed.splitlines()).strip()
    text = PERSONA_MARK.sub(r'\1 :', text)
    text = ANGLES.sub(r'< \1 >', text)
    text = BRACKETS.sub(r'[ \1 ]', text)
    return UNDERSCORES.sub('_ ', text)
