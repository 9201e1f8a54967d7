"""Lines of a dump -> comments without deleted ones, bots and markup."""

import re
from collections.abc import Iterable
from operator import attrgetter
from typing import Annotated

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parlai_persona.tasks.reddit.pipeline.options import Options
from parlai_persona.tasks.reddit.pipeline.verbs import words

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
URL = re.compile(r'(?:\w+://|www\.)[^\s<>\])]+', re.IGNORECASE)
EMAIL = re.compile(r'[\w.+-]+@[\w-]+(?:\.[\w-]+)+')
USER = re.compile(r'(?<![\w/])/?u/[\w-]+|(?<![\w.])@[A-Za-z]\w+', re.IGNORECASE)
ENTITIES = {'&gt;': '>', '&lt;': '<', '&quot;': '"', '&#39;': "'", '&nbsp;': ' ', '&amp;': '&'}
ENTITY = re.compile('|'.join(ENTITIES))
MARKS = r'[&>@]|\]\(|://|ww\.|WW\.|[uU]/'  # a body without any of them has nothing to clean

Id = Annotated[str, msgspec.Meta(max_length=64)]


class Comment(msgspec.Struct, gc=False):
    """The fields that are read; msgspec skips the rest of a line."""

    author: str
    body: str
    id: Id
    link_id: Id
    parent_id: Id


DECODER = msgspec.json.Decoder(Comment)


def read_lines(block: bytes) -> tuple[pa.RecordBatch, list[bytes]]:
    """Return the comments in a block of lines, and the lines that cannot be read."""
    try:
        comments = DECODER.decode_lines(block)
        ends = np.count_nonzero(np.frombuffer(block, np.uint8) == ord('\n'))
        if len(comments) == ends + (not block.endswith(b'\n')):  # none stands on two lines
            return columns(comments), []
    except UNREADABLE:
        pass
    return read_one_by_one(block.split(b'\n'))


def read_one_by_one(lines: Iterable[bytes]) -> tuple[pa.RecordBatch, list[bytes]]:
    comments, broken = [], []
    for line in lines:
        try:
            comments.append(DECODER.decode(line))
        except UNREADABLE:
            if line.strip():
                broken.append(line)
    return columns(comments), broken


def columns(comments: list[Comment]) -> pa.RecordBatch:
    names = Comment.__struct_fields__
    texts = [pa.array(list(map(attrgetter(name), comments)), pa.string()) for name in names]
    return pa.RecordBatch.from_arrays(texts, names)


def is_gone(bodies: pa.Array) -> np.ndarray:
    return pc.is_in(bodies, pa.array(sorted(GONE))).to_numpy(zero_copy_only=False)


def is_bot(author: str, bots: frozenset[str], by_name: bool) -> bool:
    """Tell whether an author is among the bots (in lower case) or has the name of one."""
    return author.lower() in bots or (by_name and bool(BOT_NAME.search(author)))


def cleaned(bodies: pa.Array, options: Options) -> pa.Array:
    """Clean the few bodies that hold something to clean."""
    marked = pc.match_substring_regex(bodies, MARKS)
    replaced = [clean(body, options) for body in bodies.filter(marked).to_pylist()]
    return pc.replace_with_mask(bodies, marked, pa.array(replaced, pa.string()))


def clean(body: str, options: Options) -> str:
    """Resolve markdown and HTML entities, mask names, and drop what the options say."""
    if '&' in body:
        body = ENTITY.sub(lambda found: ENTITIES[found.group()], body)
    if options.drop_quotes and '>' in body:
        body = QUOTE.sub('', body)
    if '](' in body:
        body = LINK.sub(r'\1' if options.drop_urls else r'\1 \2', body)
    if options.drop_urls and ('://' in body or 'ww.' in body or 'WW.' in body):
        body = URL.sub(' URL ', body)
    if options.drop_emails and '@' in body:
        body = EMAIL.sub(' EMAIL ', body)
    if 'u/' in body or 'U/' in body or '@' in body:
        body = USER.sub(' USER ', body)
    return body
