"""What counts as a token, a sentence and a persona sentence: the definitions, one text at a time.

`kernels.py` computes the same for millions of texts; tests hold it to this module.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LONGEST = 100  # tokens of a comment (sec. 3.1)
SHORTEST_SENTENCE, LONGEST_SENTENCE = 4, 20  # words or punctuation marks (sec. 3.2, rule i)
ABOUT_ME = frozenset({'i', 'my'})  # rule ii
WORD, SPECIAL, SPACE = 0, 1, 2  # kinds of characters
ENDS = '.!?'  # of sentences

OFFSET, PRIME, MASK = 0xCBF29CE484222325, 0x100000001B3, (1 << 64) - 1  # FNV-1a

QUOTE = re.compile(r'^[ \t]*>.*$', re.MULTILINE)  # markdown: somebody else's words
LINK = re.compile(r'\[([^\]\[]*)\]\(([^()\s]*)\)')
URL = re.compile(r'(?:\w+://|www\.)[^\s<>\])]+', re.IGNORECASE)
EMAIL = re.compile(r'[\w.+-]+@[\w-]+(?:\.[\w-]+)+')
USER = re.compile(r'(?<![\w/])/?u/[\w-]+|(?<![\w.])@[A-Za-z]\w+', re.IGNORECASE)
ENTITIES = {'&gt;': '>', '&lt;': '<', '&quot;': '"', '&#39;': "'", '&nbsp;': ' ', '&amp;': '&'}
ENTITY = re.compile('|'.join(ENTITIES))


@dataclass(frozen=True)
class Cleaning:
    """What is taken out of comments."""

    quotes: bool = True  # lines that quote another comment
    urls: bool = True  # -> URL
    emails: bool = True  # -> EMAIL


def clean(body: str, cleaning: Cleaning) -> str:
    """Markdown and HTML entities resolved; mentions of users always masked.

    Most comments hold nothing to clean: the marks are looked for first, which is much quicker than the expressions.
    """
    if '&' in body:
        body = ENTITY.sub(lambda found: ENTITIES[found.group()], body)
    if cleaning.quotes and '>' in body:
        body = QUOTE.sub('', body)
    if '](' in body:
        body = LINK.sub(r'\1' if cleaning.urls else r'\1 \2', body)
    if cleaning.urls and ('://' in body or 'ww.' in body or 'WW.' in body):
        body = URL.sub(' URL ', body)
    if cleaning.emails and '@' in body:
        body = EMAIL.sub(' EMAIL ', body)
    if 'u/' in body or 'U/' in body or '@' in body:
        body = USER.sub(' USER ', body)
    return body


def kind(character: str) -> int:
    """Letters, digits and their marks make words; what else is seen stands alone."""
    category = unicodedata.category(character)
    if category[0] in 'LNM':
        return WORD
    return SPACE if category[0] in 'ZC' else SPECIAL


def tokens(text: str) -> list[tuple[str, bool]]:
    """Special characters padded with spaces, split at spaces (sec. 3.1). With each token: whether it ends a sentence,
    as the last of several marks before a space, or before the end of a line."""
    found: list[tuple[str, bool]] = []
    start = 0
    for place, character in enumerate(text):
        sort = kind(character)
        if sort == WORD:
            continue
        if place > start:
            found.append((text[start:place], False))
        start = place + 1
        if sort == SPECIAL:
            following = text[start : start + 1]
            ends = character in ENDS and (not following or kind(following) == SPACE)
            found.append((character, ends))
        elif character == '\n' and found:
            found[-1] = (found[-1][0], True)
    if start < len(text):
        found.append((text[start:], False))
    return found


@dataclass(frozen=True)
class Sentence:
    tokens: tuple[str, ...]

    @property
    def text(self) -> str:
        return ' '.join(self.tokens)


def sentences(found: list[tuple[str, bool]], cut: bool) -> Iterator[Sentence]:
    """`cut`: the text went on; a last sentence without an end is incomplete."""
    kept: list[str] = []
    for token, ends in found:
        kept.append(token)
        if ends:
            yield Sentence(tuple(kept))
            kept = []
    if kept and not cut:
        yield Sentence(tuple(kept))


def read(text: str) -> tuple[str, list[Sentence]]:
    """The first 100 tokens, and the whole sentences among them."""
    found = tokens(text)
    cut = len(found) > LONGEST
    found = found[:LONGEST]
    return ' '.join(token for token, _ in found), list(sentences(found, cut))


def lengthy(sentence: Sentence) -> bool:
    """Rule (i)."""
    return SHORTEST_SENTENCE <= len(sentence.tokens) <= LONGEST_SENTENCE


def about_me(sentence: Sentence) -> bool:
    """Rule (ii)."""
    return any(lower(token) in ABOUT_ME for token in sentence.tokens)


def persona_like(sentence: Sentence, verb: Callable[[str], bool]) -> bool:
    """Rules (i) to (iv). Rule (iv) asks for a noun, pronoun or adjective: I and my are pronouns, so (ii) implies it."""
    return lengthy(sentence) and about_me(sentence) and any(verb(token) for token in sentence.tokens)


def lower(token: str) -> str:
    """Of ASCII letters alone, on every machine the same."""
    return ''.join(chr(ord(c) + 32) if 'A' <= c <= 'Z' else c for c in token)


def hashed(text: str) -> int:
    """63 bits of a text, upper and lower case alike: FNV-1a, mixed as splitmix64 does last."""
    h = OFFSET
    for byte in lower(text).encode():
        h = ((h ^ byte) * PRIME) & MASK
    h = ((h ^ (h >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    h = ((h ^ (h >> 27)) * 0x94D049BB133111EB) & MASK
    return (h ^ (h >> 31)) >> 1
