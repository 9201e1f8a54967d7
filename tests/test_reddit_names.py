"""No name of an author in what a build writes: by hand, by random forms of names, and held to the definition."""

import json
import pickle
import random
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import reddit_definitions as plain
from reddit_dumps import line, write

from parlai_persona.tasks.reddit.pipeline import build, hashes
from parlai_persona.tasks.reddit.pipeline import names as authors
from parlai_persona.tasks.reddit.pipeline.comments import clean, read_texts
from parlai_persona.tasks.reddit.pipeline.lexicon import dictionary
from parlai_persona.tasks.reddit.pipeline.names import Names
from parlai_persona.tasks.reddit.pipeline.options import Machine, Options

AUTHORS = [
    'Kwyzar',
    'zorp_ling',
    'Mip-Tok9',
    '_Frobnix_',
    '-Quux-Zed',
    'a_b_c_Dxy',
    'blargh77',
    'Wumpus_the-Cat',
    'x__Yzzy',
]
LANGUAGE = ['the', 'Apple', 'because', 'old-', 'User', '1984']  # authors with names that are words
STRANGERS = ['No_Author1', 'Grimblewick', 'ab-Cde_9']  # only named in ways that tell a name
TOLD = [
    *(
        'u/{}',
        '/u/{}',
        'user/{}',
        '/user/{}',
        'U/{}',
        'reddit.com/u/{}',
        'old.reddit.com/user/{}/',
        '(/u/{})',
        '_u/{}_',
    ),
    *(
        'https://www.reddit.com/user/{}/comments',
        '[him](/u/{})',
        '[she](/user/{} "title")',
        '&#117;/{}',
        'u&amp;#47;{}',
    ),
    *('u_{}', 'r/u_{}', '/r/u_{}', 'reddit.com/r/u_{}', '@{}', '.@{}', '@{}:'),
]
PLAIN = ['{}', "{}'s", '({})', '**{}**', 'by:{}.', '[{}](/u/{})', '~~{}~~', '&quot;{}&quot;', '{}\u200b', '#{}']
FILLER = 'tea coffee cats trains music old house river'.split()  # noqa: SIM905


def escaped(text: str) -> str:
    return re.sub(r'([/_@-])', r'\\\1', text)


def spaced(text: str) -> str:
    """Return a text as the tokeniser writes it, as in a dump that was tokenised before."""
    return ' '.join(token for token, _ in plain.tokens(text))


FORMS = [str, str, escaped, spaced, str.lower, str.upper, lambda text: spaced(escaped(text))]


def mention(rng: random.Random) -> str:
    name, templates = rng.choice([*((one, TOLD + PLAIN) for one in AUTHORS), *((one, TOLD) for one in STRANGERS)])
    text = rng.choice(templates).replace('{}', name)
    return text if '&' in text else rng.choice(FORMS)(text)


def dump(seed: int, count: int = 400) -> list[str]:
    """Comments that answer each other and name people, also where a comment is cut."""
    rng, lines = random.Random(seed), []
    for number in range(count):
        filler = ' '.join(rng.choices(FILLER, k=rng.choice([1, 3, rng.randrange(80, 105)])))
        body = f'I like {mention(rng)} and {mention(rng)}. The {filler} because of {mention(rng)}\nApple {mention(rng)}'
        author = rng.choice(AUTHORS + LANGUAGE)
        lines.append(line(f'{number:x}', author, body, f't1_{number - 1:x}' if number % 50 else 't3_top'))
    return lines


def everything(folder: Path) -> str:
    """Return all texts in the files of a folder."""
    found = []
    for path in folder.iterdir():
        if path.suffix == '.parquet':
            found += [json.dumps(row, ensure_ascii=False) for row in pq.read_table(path).to_pylist()]
        else:
            found.append(path.read_text())
    return '\n'.join(found)


def leaks(text: str, names: list[str]) -> list[str]:
    """Return what stands around names in a text, spaces around marks do not count."""
    dense = re.sub(r'[\s\\]*([_/-])[\s\\]*', r'\1', text).lower()
    pattern = '|'.join(re.escape(name.lower()) for name in sorted(names, key=len, reverse=True))
    found = re.finditer(f'(?<![a-z0-9])({pattern})(?![a-z0-9])', dense)
    return [dense[max(0, one.start() - 30) : one.end() + 10] for one in found]


@pytest.mark.parametrize('urls', [True, False])
def test_no_name_leaks(urls, tmp_path):
    weights = {'kwyzar': 1.0, 'i': 1.0, 'the': 0.5}  # of a build before this one
    (tmp_path / 'classifier.json').write_text(json.dumps({'bias': 0.0, 'weights': weights}))
    options = Options('rules+classifier', 5, 0.1, 0.1, tagger='lexicon', threshold=-9, drop_urls=urls)
    options = Options(**{**vars(options), 'classifier': str(tmp_path / 'classifier.json')})
    sources = [str(write(tmp_path / f'{seed}.jsonl', dump(seed))) for seed in (1, 2)]
    folder = build.build(sources, tmp_path / 'data', options, Machine(workers=1, parts=2), {})
    text = everything(folder)
    assert leaks(text, AUTHORS + STRANGERS) == []
    assert text.count('USER') > 2000
    words = dict(row.split('\t') for row in (folder / 'dictionary').read_text().splitlines())
    assert min(int(words[word]) for word in ('the', 'apple', 'because')) > 500


@pytest.mark.parametrize(
    'body, expected',
    [
        ('ask u/Some-Body_1, or /u/x', 'ask  USER , or  USER '),
        ('ask u/Some-Body - he knows', 'ask  USER  - he knows'),
        (r'ask u\/Some\_Body', 'ask  USER '),
        ('ask u / Some _ Body .', 'ask  USER  .'),
        ('ask u _ somebody or r/u_somebody', 'ask  USER  or  USER '),
        ('see old.reddit.com/user/Some_Body/ now', 'see  USER / now'),
        ('Yes.\n/u/somebody said so', 'Yes.\n USER  said so'),
        ('hi @some_body, @ some _ body', 'hi  USER ,  USER '),
        ("u/Body's dog", " USER 's dog"),
        ('you/me and/or r/books, menu/item, u, user, 50 @ 3', 'you/me and/or r/books, menu/item, u, user, 50 @ 3'),
    ],
)
def test_what_is_written_as_a_name(body, expected):
    assert clean(body, Options()) == expected


def known(path: Path, names: list[str], key: bytes = b'k') -> Names:
    """Return the names of authors from several files, as a build has them."""
    parts = [path / str(number) for number in range(3)]
    for number, part in enumerate(parts):
        authors.write_numbers(names[number::2], key, part)  # some stand in two files
    authors.merge_numbers(parts, path / 'all')
    return Names(key, path / 'all', dictionary())


def test_authors_are_names_unless_they_are_words(tmp_path):
    names = known(tmp_path, ['Kwyzar', 'the', 'running', '_apple_', 'well-knownish', '1984', '90s', 'x', 'Zürps'])
    asked = {
        'kwyzar',
        'the',
        'running',
        '_apple_',
        'well-knownish',
        '1984',
        '90s',
        'x',
        'zürps',
        'nobodyx',
        'wellknownish',
    }
    assert names.among(asked) == {'kwyzar', 'well-knownish', 'zürps'}
    assert names.among(asked) == pickle.loads(pickle.dumps(names)).among(asked)
    assert Names().among(asked) == known(tmp_path, []).among(asked) == set()


def test_numbers_of_several_files_are_merged(tmp_path):
    people = [f'person{number}' for number in range(5000)]
    known(tmp_path, people)
    expected = np.unique([hashes.author_number(name, b'k') for name in people])
    assert (authors.read_numbers(tmp_path / 'all') == expected).all()


def test_masked_texts_are_the_definitions():
    """As if the texts had been written with USER, also where they are cut and where sentences end."""
    rng = random.Random(3)
    names = {'zorp', 'zorp_ling', '_ab', 'ling-', 'ab-ab-zorp', 'a__a', '-_-x'}
    pieces = ['Zorp', 'ling', 'ab', 'A', 'x', 'tea', 'I', *'__--..! \n', '  ', ' tea', ' my ']
    texts = [''.join(rng.choices(pieces, k=rng.randrange(250))) for _ in range(200)]

    class Known(Names):
        def among(self, words: set[str]) -> set[str]:
            return words & names

    found = read_texts(pa.array(texts), Options(), Known())
    expected = [plain.read(plain.masked(text, names)) for text in texts]
    assert found.texts().to_pylist() == [text for text, _ in expected]
    sentences = found.sentences(np.arange(len(found.row))).to_pylist()
    assert sentences == [sentence.text for _, some in expected for sentence in some]
    counts = found.counts().to_pylist()
    assert sum(row['count'] for row in counts if row['word'] == 'user') == ' '.join(found.texts().to_pylist()).count(
        'USER'
    )
    assert not names & {row['word'] for row in counts}
