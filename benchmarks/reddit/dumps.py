"""Dumps of any size from a seed: comments in the public schema; authors, threads and words follow Zipf's law.

python -m benchmarks.reddit.dumps --comments 5000000 --output dumps/5m.zst
"""

import argparse
from pathlib import Path

import numpy as np
import zstandard
from tqdm import tqdm

from parlai_persona.files import draft

PIECE = 100_000  # comments
SENTENCES = 200_000  # different sentences to make comments from
VOCABULARY = 30_000
VERBS = ('like', 'have', 'saw', 'want', 'think', 'know', 'made', 'bought', 'play', 'live')
STARTS = ('I {v} {w}', 'my {w} {v} {w}', 'you {v} {w}', 'the {w} is {w}', "I don't {v} {w}", '{w} {w}', 'what {w} {w}')
MARKS = ('.', '.', '.', '!', '?', '...')
LINE = (
    '{{"author":"{author}","author_flair_css_class":null,"author_flair_text":null,"body":"{body}",'
    '"can_gild":true,"controversiality":0,"created_utc":{time},"distinguished":null,"edited":false,"gilded":0,'
    '"id":"{id}","is_submitter":false,"link_id":"t3_{thread}","parent_id":"{parent}","permalink":"/r/s/{id}/",'
    '"retrieved_on":{time},"score":1,"stickied":false,"subreddit":"s{sub}","subreddit_id":"t5_{sub}"}}\n'
)


def zipf(rng: np.random.Generator, count: int, size: int, exponent: float = 1.1) -> np.ndarray:
    """Draw numbers below `size`, the first the most frequent."""
    shares = 1 / np.arange(1, size + 1) ** exponent
    return np.searchsorted(np.cumsum(shares / shares.sum()), rng.random(count)).clip(max=size - 1)


def sentences(rng: np.random.Generator) -> np.ndarray:
    words = np.array([''.join(rng.choice(list('etaoinshrdlu'), rng.integers(2, 9))) for _ in range(VOCABULARY)])
    drawn = words[zipf(rng, 14 * SENTENCES, VOCABULARY)]
    made, place = [], 0
    for number in range(SENTENCES):
        count = int(rng.integers(1, 12))
        pattern = STARTS[number % len(STARTS)]
        text = pattern.format(v=VERBS[number % len(VERBS)], w=drawn[place])
        made.append(f'{text} {" ".join(drawn[place + 1 : place + count])}{MARKS[number % len(MARKS)]}')
        place += 14
    return np.array(made, object)


def write(output: Path, count: int, seed: int) -> None:
    """Write comments that answer one of the last of their thread; 2% are deleted, 1% have an address."""
    rng = np.random.default_rng(seed)
    pool = sentences(rng)
    authors, threads = max(10, count // 15), max(10, count // 20)
    last: dict[int, str] = {}
    packer = zstandard.ZstdCompressor(level=3)
    with draft(output) as unfinished, unfinished.open('wb') as raw, packer.stream_writer(raw) as file:
        for start in tqdm(range(0, count, PIECE), desc=output.name, unit='00k comments'):
            file.write(''.join(piece(rng, pool, start, min(PIECE, count - start), authors, threads, last)).encode())


def piece(rng, pool, start: int, count: int, authors: int, threads: int, last: dict[int, str]) -> list[str]:
    author, thread = zipf(rng, count, authors, 0.9), zipf(rng, count, threads, 0.9)
    picked = pool[rng.integers(0, len(pool), (count, 5))]
    length, luck, answers = rng.integers(1, 6, count), rng.random(count), rng.random(count) < 0.85
    made = []
    for n in range(count):
        id, of = f'{start + n + 1:x}', int(thread[n])
        body = ' '.join(picked[n, : length[n]])
        if luck[n] < 0.02:
            body = '[deleted]'
        elif luck[n] < 0.03:
            body += ' see http://example.org/a?b=c&amp;d'
        name = 'AutoModerator' if luck[n] > 0.99 else f'writer_{author[n]}'
        parent = f't1_{last[of]}' if answers[n] and of in last else f't3_{of:x}'
        if n % 3 == 0 or of not in last:
            last[of] = id
        made.append(
            LINE.format(
                author=name,
                body=body,
                time=1500000000 + start + n,
                id=id,
                thread=f'{of:x}',
                parent=parent,
                sub=of % 997,
            )
        )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--comments', type=int, default=1_000_000)
    parser.add_argument('--output', type=Path, required=True)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    write(args.output, args.comments, args.seed)


if __name__ == '__main__':
    main()
