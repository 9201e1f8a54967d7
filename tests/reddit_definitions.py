"""The textbook form of tasks/reddit/pipeline/{tokens,sentences,names}.py: one text, one character at a time."""

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


def places(text: str) -> list[tuple[int, int]]:
    """Return where each token begins and ends."""
    found: list[tuple[int, int]] = []
    for place, character in enumerate(text):
        if is_word(character) and found and found[-1][1] == place and is_word(text[place - 1]):
            found[-1] = (found[-1][0], place + 1)
        elif not is_space(character):
            found.append((place, place + 1))
    return found


def may_be_name(pieces: list[str]) -> bool:
    """Tell whether these are a word, or words and lines, no word right after another."""
    words = [is_word(piece[0]) for piece in pieces]
    lines = all(word or piece in '_-' for word, piece in zip(words, pieces, strict=True))
    return lines and not any(one and other for one, other in zip(words, words[1:], strict=False))


def masked(text: str, names: set[str]) -> str:
    """Write USER instead of each name, the longest first. Spaces and backslashes around lines do not count.

    A name of several tokens leaves spaces, so that USER is no part of the word before or after.
    """
    found = [(start, end) for start, end in places(text) if text[start] != '\\']
    kept, done, first = '', 0, 0
    while first < len(found):
        for last in range(min(len(found), first + 20), first, -1):
            pieces = [text[start:end] for start, end in found[first:last]]
            if may_be_name(pieces) and ''.join(pieces).lower() in names:
                kept += text[done : found[first][0]] + (' USER ' if len(pieces) > 1 else 'USER')
                done, first = found[last - 1][1], last - 1
                break
        first += 1
    return kept + text[done:]


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
