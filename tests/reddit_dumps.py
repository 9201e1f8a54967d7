"""Dumps of comments for tests: by hand, or many from a seed."""

import json
import random
from pathlib import Path

WORDS = 'tea coffee cats dogs trains music the a big small and or old new house river very often'.split()  # noqa: SIM905
MINE = ['I like {}', 'my {} is old', 'I have a {} at home', 'I never eat {}', 'we saw a {} there', 'what about {}']


def line(id: str, author: str, body: str, parent: str = 't3_top', thread: str = 't3_top', **others) -> str:
    comment = {'author': author, 'body': body, 'id': id, 'link_id': thread, 'parent_id': parent, 'subreddit': 'tea'}
    return json.dumps({**comment, 'created_utc': 1, **others})


def comments(count: int, seed: int = 0, authors: int = 20) -> list[str]:
    """A few authors write a lot, a few threads have most of the answers; some comments are gone, some authors bots."""
    rng = random.Random(seed)
    made, ids = [], []
    for number in range(count):
        author = f'author{int(rng.paretovariate(0.8)) % authors}'
        thread = f't3_{int(rng.paretovariate(0.8)) % 10}'
        answers = [id for id, of in ids[-40:] if of == thread]
        parent = f't1_{rng.choice(answers)}' if answers and rng.random() < 0.8 else thread
        body = '. '.join(
            rng.choice(MINE).format(' '.join(rng.choices(WORDS, k=rng.randint(1, 3)))) for _ in range(rng.randint(1, 4))
        ) + rng.choice(['', '.', '!'])
        gone = rng.random()
        if gone < 0.05:
            body = '[deleted]'
        elif gone < 0.1:
            author = 'AutoModerator'
        made.append(line(f'{number:x}', author, body, parent, thread))
        ids.append((f'{number:x}', thread))
    return made


def write(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(f'{text}\n' for text in lines), encoding='utf-8')
    return path
