"""Lines of a dump -> comments without deleted ones, bots, markup and names."""

import html
import re
from collections.abc import Iterable
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parlai_persona.tasks.reddit.pipeline.lexicon import words
from parlai_persona.tasks.reddit.pipeline.names import MASK, Among, Names, without_compounds, without_told_names
from parlai_persona.tasks.reddit.pipeline.options import Options
from parlai_persona.tasks.reddit.pipeline.tokens import Tokens, tokenize

GONE = frozenset({'[deleted]', '[removed]', '[ Removed by Reddit ]', ''})  # authors and bodies
BOTS = words(
    'AutoModerator autotldr RemindMeBot TotesMessenger TweetPoster imgurtranscriber ImgurTranscriber LinkFixerBot '
    'WikiTextBot HelperBot_ GifReversingBot sneakpeekbot tweetposter MTGCardFetcher dogetipbot changetip '
    'TrollaBot JoeBidenBot timezone_bot youtubefactsbot autowikibot xkcd_transcriber conspirobot '
    'CompileBot sexual_coffee ObamaRobot PORTMANTEAU-BOT'
)
BOT_NAME = re.compile(r'Bot\d*$|BOT$|[_-]bot\d*$|^bot[_-]|^Bot[A-Z_-]|[_-]Bot[_-]')
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

QUOTE = re.compile(r'^[ \t]*>.*$', re.MULTILINE)  # markdown: somebody else's words
LINK = re.compile(r'\[([^\]\[]*)\]\(([^()\s]*)\)')
ESCAPE = re.compile(r'\\+[ \t]*(?=[^\w\s]|_)')  # markdown: \_ is _, and so for other marks
URL = re.compile(r'(?:\w+://|www\.)[^\s<>\])]+', re.IGNORECASE)
EMAIL = re.compile(r'[\w.+-]+@[\w-]+(?:\.[\w-]+)+')
MARKS = r'[&>@\\]|\]\(|://|ww\.|WW\.|\b[uU](?:[sS][eE][rR])?[^0-9A-Za-z]*[/_]|_[uU](?:[sS][eE][rR])?[^0-9A-Za-z]*/'
LINES = '[_-]'  # a body without them and without MARKS has nothing to clean
BETWEEN = r'[\s^*_]+'  # words, also in markdown
BY_BOT = (
    rf"(?i)\bI[\s^*_]*(?:am|(?:['’]|&#0*39;)?\s*m){BETWEEN}(?:(?:just|only){BETWEEN})?an?{BETWEEN}(?:\w+{BETWEEN})?bot\b"
    rf'|\bthis{BETWEEN}action{BETWEEN}was{BETWEEN}performed{BETWEEN}automatically\b|\bbl?eep\W+bl?oop\b'
)

Id = Annotated[str, msgspec.Meta(max_length=64)]


class Comment(msgspec.Struct, gc=False):
    """The fields that are read; msgspec skips the rest of a line."""

    author: str
    body: str
    id: Id
    link_id: Id
    parent_id: Id


class Author(msgspec.Struct, gc=False):
    """The one field that is read before all others."""

    author: str


COMMENTS, AUTHORS = msgspec.json.Decoder(Comment), msgspec.json.Decoder(Author)


def read_comments(block: bytes) -> tuple[pa.RecordBatch, list[bytes]]:
    """Return the comments in a block of lines, and the lines that cannot be read."""
    comments, broken = read_lines(block, COMMENTS)
    return columns(comments), broken


def read_lines(block: bytes, decoder: msgspec.json.Decoder) -> tuple[list[Any], list[bytes]]:
    """Return what stands on the lines of a block, and the lines that cannot be read."""
    try:
        found = decoder.decode_lines(block)
        ends = np.count_nonzero(np.frombuffer(block, np.uint8) == ord('\n'))
        if len(found) == ends + (not block.endswith(b'\n')):  # none stands on two lines
            return found, []
    except UNREADABLE:
        pass
    return read_one_by_one(block.split(b'\n'), decoder)


def read_one_by_one(lines: Iterable[bytes], decoder: msgspec.json.Decoder) -> tuple[list[Any], list[bytes]]:
    found, broken = [], []
    for line in lines:
        try:
            found.append(decoder.decode(line))
        except UNREADABLE:
            if line.strip():
                broken.append(line)
    return found, broken


def columns(comments: list[Comment]) -> pa.RecordBatch:
    names = Comment.__struct_fields__
    texts = [pa.array(list(map(attrgetter(name), comments)), pa.string()) for name in names]
    return pa.RecordBatch.from_arrays(texts, names)


def is_gone(bodies: pa.Array) -> np.ndarray:
    return pc.is_in(bodies, pa.array(sorted(GONE))).to_numpy(zero_copy_only=False)


def is_bot(author: str, bots: frozenset[str], by_name: bool) -> bool:
    """Tell whether an author is among the bots (in lower case) or has the name of one."""
    return author.lower() in bots or (by_name and bool(BOT_NAME.search(author)))


def is_by_bot(bodies: pa.Array) -> np.ndarray:
    """Tell which comments say that a bot has written them."""
    return pc.match_substring_regex(bodies, BY_BOT).to_numpy(zero_copy_only=False)


def read_texts(bodies: pa.Array, options: Options, names: Names) -> Tokens:
    """Return the tokens of texts without markup and names."""
    tokens = tokenize(cleaned(bodies, options, names.among))
    return tokens.replaced(names.among(set(tokens.words)), MASK)


def cleaned(bodies: pa.Array, options: Options, among: Among) -> pa.Array:
    """Clean the few bodies that hold something to clean."""
    marked = pc.match_substring_regex(bodies, MARKS)
    some = pc.or_(marked, pc.match_substring_regex(bodies, LINES))
    pairs = zip(bodies.filter(some).to_pylist(), marked.filter(some).to_pylist(), strict=True)
    texts = without_compounds([clean(body, options) if has_marks else body for body, has_marks in pairs], among)
    return pc.replace_with_mask(bodies, some, pa.array(texts, pa.string()))


def clean(body: str, options: Options) -> str:
    """Resolve markdown and HTML entities, mask what is written as a name, and drop what the options say."""
    while '&' in body and (resolved := html.unescape(body)) != body:  # dumps have &amp;gt; as well
        body = resolved
    if options.drop_quotes and '>' in body:
        body = QUOTE.sub('', body)
    if '](' in body:
        body = LINK.sub(r'\1' if options.drop_urls else r'\1 \2', body)
    if '\\' in body:
        body = ESCAPE.sub('', body)
    if options.drop_urls and ('://' in body or 'ww.' in body or 'WW.' in body):
        body = URL.sub(' URL ', body)
    if options.drop_emails and '@' in body:
        body = EMAIL.sub(' EMAIL ', body)
    return without_told_names(body)
