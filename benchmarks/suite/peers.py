"""Peers of our agents as ParlAI agents, so that one evaluation measures all alike; and what retrievers choose from.

python -m parlai eval_model -m benchmarks.suite.peers:TfidfAgent -t persona:personachat -dt valid
python -m parlai eval_model -m benchmarks.suite.peers:PublishedAgent --published data/peers/lmedr_original.tsv …
python -m benchmarks.suite.peers --datapath data --outfile replies.txt    # the different replies of the train split
"""

import argparse
import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from parlai.core.agents import Agent
from parlai.core.message import Message
from parlai.core.metrics import AverageMetric
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser

from benchmarks.suite import tfidf
from parlai_persona import fields
from parlai_persona.data.other_task import episodes, teacher
from parlai_persona.errors import UserError
from parlai_persona.files import draft, open_text

VECTORIZER = 'TF-IDF, characters'  # the better one of tfidf.py
RANKED = 100  # candidates that a message lists
Pair = tuple[Message, str]  # a message, and what a system says to it


class TfidfAgent(Agent):
    """Ranks replies by the cosine of TF-IDF vectors with those of persona and last message."""

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        parser.add_argument('--replies', help='file of replies to choose from; default: those of each message')
        return parser

    def __init__(self, opt: Opt, shared: dict[str, Any] | None = None):
        super().__init__(opt, shared)
        self.id = 'TF-IDF'
        if shared:
            self.vectorizer, self.replies, self.texts = shared['tfidf']
            return
        self.vectorizer = tfidf.fitted(VECTORIZER, list(tfidf.examples(opt['datapath'], 'train')))
        self.replies = Path(opt['replies']).read_text(encoding='utf-8').splitlines() if opt.get('replies') else []
        self.texts = self.vectorizer.transform(self.replies) if self.replies else None

    def share(self) -> dict[str, Any]:
        return {**super().share(), 'tfidf': (self.vectorizer, self.replies, self.texts)}

    def act(self) -> Message:
        """Rank the candidates of the message, or the file's; ties keep the order, which is random in our tasks."""
        seen = self.observation
        replies = self.replies or list(seen.get('label_candidates') or ())
        if not replies:
            return Message({'id': self.id})
        texts = self.vectorizer.transform(replies) if self.texts is None else self.texts
        last = seen['text'].rpartition('\n')[2]
        query = self.vectorizer.transform([' '.join([*(seen.get(fields.PERSONA) or ()), last])])
        best = np.argsort(-(texts @ query.T).toarray().ravel(), kind='stable')[:RANKED]
        ranked = [replies[place] for place in best]
        return Message({'id': self.id, 'text': ranked[0], 'text_candidates': ranked})


class PublishedAgent(Agent):
    """Says what the published file of another system says; nothing where the file has no reply."""

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        parser.add_argument('--published', help='lmedr_….tsv, or a file of llm_zero_shot/ beside its prompts.csv')
        return parser

    def __init__(self, opt: Opt, shared: dict[str, Any] | None = None):
        super().__init__(opt, shared)
        self.id = 'Published'
        self.said = shared['said'] if shared else replies_of(opt, Path(opt['published']))

    def share(self) -> dict[str, Any]:
        return {**super().share(), 'said': self.said}

    def act(self) -> Message:
        seen = self.observation
        text = self.said.get((seen.get(fields.DIALOGUE_ID), seen.get(fields.TURN)))
        reply = {} if text is None else {'text': text}
        return Message({'id': self.id, 'metrics': {'answered': AverageMetric(text is not None)}, **reply})


def replies_of(opt: Opt, path: Path) -> dict[tuple[str, int], str]:
    """Return the published replies to the valid split, by dialogue and turn."""
    plain = Opt({**opt, 'persona_metrics': False})
    messages = [message for turns in episodes(teacher(plain, opt['task'], 'valid')) for message in turns]
    one_each = path.suffix == '.tsv'
    pairs = lmedr(messages, path) if one_each else zero_shot(messages, path.with_name('prompts.csv'), path)
    return {(message[fields.DIALOGUE_ID], message[fields.TURN]): text for message, text in pairs}


def lmedr(messages: list[Message], path: Path) -> Iterator[Pair]:
    """Yield the replies of LMEDR's file, which has a row for each example of the valid split."""
    rows = list(table(path, ('query', 'response'), '\t'))
    if len(rows) != len(messages):
        raise UserError(f'{path}: saw {len(rows)} rows, expected {len(messages)}, one for each valid example')
    for number, (message, row) in enumerate(zip(messages, rows, strict=True)):
        if letters(row['query']) != letters(message['text'].rpartition('\n')[2]):
            raise UserError(f'{path}, row {number + 1}: saw {row["query"]!r}, expected {message["text"]!r}')
        yield message, row['response'].strip()


def zero_shot(messages: list[Message], prompts: Path, path: Path) -> Iterator[Pair]:
    """Yield the replies to the prompts whose last message and reply are in the valid split, compared by letters."""
    known = {(letters(one['text'].rpartition('\n')[2]), letters(one['eval_labels'][0])): one for one in messages}
    asked, said = list(table(prompts, ('context', 'act_response'))), list(table(path, ('gen_response',)))
    if len(asked) != len(said):
        raise UserError(f'{path}: saw {len(said)} rows, expected {len(asked)}, one for each of {prompts.name}')
    for prompt, reply in zip(asked, said, strict=True):
        key = tuple(letters(prompt[name].partition(': ')[2]) for name in ('context', 'act_response'))
        if key in known:
            yield known[key], reply['gen_response'].strip()


def table(path: Path, columns: Sequence[str], delimiter: str = ',') -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file; a row that is not one is an error."""
    with open_text(path) as lines:
        rows = csv.DictReader(lines, delimiter=delimiter, strict=True)
        try:
            missing = [name for name in columns if name not in (rows.fieldnames or ())]
            if missing:
                raise UserError(f'{path}: saw no column {" and no ".join(missing)}')
            for row in rows:
                if None in row or None in row.values():
                    raise UserError(f'{path}, line {rows.line_num}: expected {len(rows.fieldnames or ())} columns')
                yield row
        except csv.Error as error:
            raise UserError(f'{path}, line {rows.line_num + 1}: {error}') from None


def letters(text: str) -> str:
    return re.sub('[^a-z]', '', text.lower())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--datapath', required=True)
    parser.add_argument('--outfile', type=Path, required=True, help='where to write the replies, one a line, sorted')
    args = parser.parse_args()
    replies = sorted({one['labels'][0] for one in tfidf.examples(args.datapath, 'train')})
    with draft(args.outfile) as part:
        part.write_text('\n'.join(replies), encoding='utf-8')
    print(f'{len(replies):,} replies in {args.outfile}')


if __name__ == '__main__':
    main()
