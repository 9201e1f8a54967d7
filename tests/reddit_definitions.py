"""The textbook form of tasks/reddit/pipeline/tokens.py and sentences.py: one text, one character at a time."""

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LONGEST = 100  # tokens of a comment
ENDS = '.!?'


def is_word(character: str) -> bool:
    return unicodedata.category(character)[0] in 'LNM'


def is_space(character: str) -> bool:
    return unicodedata.category(character)[0] in 'ZC'


def tokens(text: str) -> list[tuple[str, bool]]:
    """Return the tokens, and whether each ends a sentence."""
    found: list[tuple[str, bool]] = []
    start = 0
    for place, character in enumerate(text):
        if is_word(character):
            continue
        if place > start:
            found.append((text[start:place], False))
        start = place + 1
        if not is_space(character):
            following = text[start : start + 1]
            found.append((character, character in ENDS and (not following or is_space(following))))
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
    """Yield sentences. `cut`: the text went on, so a last sentence without an end is incomplete."""
    kept: list[str] = []
    for token, ends in found:
        kept.append(token)
        if ends:
            yield Sentence(tuple(kept))
            kept = []
    if kept and not cut:
        yield Sentence(tuple(kept))


def read(text: str) -> tuple[str, list[Sentence]]:
    """Return the first 100 tokens, and the whole sentences among them."""
    found = tokens(text)
    cut = len(found) > LONGEST
    found = found[:LONGEST]
    return ' '.join(token for token, _ in found), list(sentences(found, cut))


def lengthy(sentence: Sentence) -> bool:
    """Rule (i)."""
    return 4 <= len(sentence.tokens) <= 20


def about_me(sentence: Sentence) -> bool:
    """Rule (ii)."""
    return any(lower(token) in ('i', 'my') for token in sentence.tokens)


def persona_like(sentence: Sentence, verb: Callable[[str], bool]) -> bool:
    """Rules (i) to (iv)."""
    return lengthy(sentence) and about_me(sentence) and any(verb(token) for token in sentence.tokens)


def lower(token: str) -> str:
    """Lower ASCII letters alone."""
    return ''.join(chr(ord(c) + 32) if 'A' <= c <= 'Z' else c for c in token)


def hashed(text: str) -> int:
    """Return 63 bits: FNV-1a of the lower-case bytes, mixed as splitmix64 does last."""
    h = 0xCBF29CE484222325
    for byte in lower(text).encode():
        h = ((h ^ byte) * 0x100000001B3) % 2**64
    h = ((h ^ (h >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    h = ((h ^ (h >> 27)) * 0x94D049BB133111EB) % 2**64
    return (h ^ (h >> 31)) >> 1
