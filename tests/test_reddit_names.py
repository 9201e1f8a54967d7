"""No name of an author in what a build writes: by hand, by random forms of names, and held to the definition."""

import json
import random
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import reddit_definitions as plain
from reddit_dumps import line, write

from parlai_persona.tasks.reddit.pipeline import build
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
