"""The peer of pipeline.py: the same rules the way one writes them with pandas, all in memory.

    python -m benchmarks.reddit.pandas_pipeline dumps/100k.zst folder 20 0.01 key

It does what `parlai persona_reddit build --selection rules --tagger lexicon` does, and writes the same rows. The hashes
that decide which sentences and comments are chosen come from the pipeline, as vectorised calls: they cost little.
"""

import hashlib
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from parlai_persona.tasks.reddit.pipeline import hashes
from parlai_persona.tasks.reddit.pipeline.comments import BOT_NAME, BOTS, GONE, clean, is_by_bot
from parlai_persona.tasks.reddit.pipeline.lexicon import dictionary, verbs
from parlai_persona.tasks.reddit.pipeline.names import MASK, Names, without_compounds
from parlai_persona.tasks.reddit.pipeline.options import Options

TOKEN = re.compile(r'[^\W_]+|[^\w\s]|_|\n')
SENTENCE = re.compile(r'(?<=[.!?])(?=\s)|\n')
FIELDS = ['author', 'body', 'id', 'link_id', 'parent_id']


def tokenize(text: str) -> list[str]:
    return [token for token in TOKEN.findall(text) if token != '\n']


def shortened(body: str) -> str:
    return ' '.join(tokenize(body)[:100])


def sentences(body: str) -> list[tuple[int, str]]:
    """Return whole sentences of the first 100 tokens, with 4 to 20 tokens, about the writer, with a verb."""
    found, left = [], 100
    for place, sentence in enumerate(part for part in SENTENCE.split(body) if part.strip()):
        tokens = tokenize(sentence)
        left -= len(tokens)
        if left < 0:
            break
        low = [token.lower() for token in tokens]
        if 4 <= len(tokens) <= 20 and ('i' in low or 'my' in low) and any(token in VERBS for token in low):
            found.append((place, ' '.join(tokens)))
    return found


def without_names(bodies: list[str], people: set[str]) -> list[str]:
    bodies = without_compounds(bodies, people.intersection)
    return [TOKEN.sub(lambda token: MASK if token[0].lower() in people else token[0], body) for body in bodies]


VERBS, ORDINARY = verbs(), Names(dictionary=dictionary()).is_ordinary


def build(source: Path, output: Path, most: int, share: float, key: bytes) -> None:
    some = pd.read_json(source, lines=True, chunksize=100_000, dtype=False)
    comments = pd.concat([piece[FIELDS] for piece in some], ignore_index=True)
    gone = comments.author.isin(GONE) | comments.body.isin(GONE)
    bots = comments.author.isin(BOTS) | comments.author.str.contains(BOT_NAME) | is_by_bot(pa.array(comments.body))
    people = {name for name in comments.author.str.lower().unique() if not ORDINARY(name)}
    comments = comments[~gone & ~bots].drop_duplicates('id')
    comments['body'] = without_names([clean(body, Options()) for body in comments.body], people)
    comments['text'] = comments.body.apply(shortened)
    comments = comments[comments.text.str.contains(r'[^\W_]')]
    numbers = hashes.id_numbers(pa.array(comments.id, pa.string()))
    comments['number'] = numbers
    comments['order'] = hashes.drawn(numbers, np.zeros(len(numbers), np.int64), 0)
    names, codes = np.unique(comments.author.to_numpy(str), return_inverse=True)
    secret = hashlib.blake2b(key).digest()
    comments['persona_id'] = np.array([hashes.author_number(name, secret) for name in names])[codes]
    pairs = comments.assign(parent=comments.parent_id.str.removeprefix('t1_')).merge(
        comments[['id', 'text']].rename(columns={'id': 'parent', 'text': 'context'}), on='parent'
    )
    cuts = [np.partition(pairs.order, n := k * round(share * len(pairs)))[n - 1] + 1 for k in (1, 2)]
    comments['sentences'] = comments.body.apply(sentences)
    said = comments[['number', 'persona_id', 'order', 'sentences']].explode('sentences').dropna()
    comments = comments.drop(columns=['body', 'sentences'])
    said['place'], said['line'] = said.sentences.str[0].astype(np.int32), said.sentences.str[1]
    said['hash'] = hashes.sentence_numbers(pa.array(said.line))
    said['lot'] = hashes.drawn(said.number.to_numpy(), said.place.to_numpy(), 1)
    training = said[said.order >= cuts[1]].sort_values(['lot', 'hash']).drop_duplicates(['persona_id', 'hash'])
    chosen = training.assign(rank=training.groupby('persona_id').cumcount())
    chosen = chosen[chosen['rank'] < most]
    personas = chosen.groupby('persona_id').line.apply(list).rename('persona').reset_index()
    copies = said.merge(chosen[['persona_id', 'hash', 'rank']], on=['persona_id', 'hash'])
    without = copies.groupby('number')['rank'].apply(lambda ranks: sorted(set(ranks))).rename('without')
    examples = pairs.merge(without, on='number', how='left').rename(columns={'text': 'response'})
    examples['without'] = [[] if ranks is np.nan else ranks for ranks in examples.without]
    examples['fold'] = np.select([examples.order < cuts[0], examples.order < cuts[1]], ['test', 'valid'], 'train')
    output.mkdir(parents=True)
    columns = ['order', 'persona_id', 'context', 'response', 'without']
    for fold, rows in examples.groupby('fold'):
        rows.sort_values('order')[columns].to_parquet(output / f'{fold}-00000-of-00001.parquet', compression='zstd')
    personas.sort_values('persona_id').to_parquet(output / 'personas-00000-of-00001.parquet', compression='zstd')
    counts: Counter[str] = Counter()
    training = examples[examples.fold == 'train']
    for column in (training.context, training.response):
        for text in column:
            counts.update(text.lower().split(' '))
    (output / 'dictionary').write_text(''.join(f'{word}\t{n}\n' for word, n in counts.most_common(250_000)))


if __name__ == '__main__':
    build(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5].encode())
