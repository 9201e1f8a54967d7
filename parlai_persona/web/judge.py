"""People compare two logs of conversations, blind: left and right are drawn, and votes are counted by a sign test.

The first four questions ask what those of ACUTE-Eval ask (Li, Weston and Roller 2019,
https://arxiv.org/abs/1909.03087), in our own words. The fifth asks about the persona.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from parlai_persona.errors import UserError, printable
from parlai_persona.files import open_text, parse_json

QUESTIONS = {
    'engaging': 'With which second speaker would you rather go on talking for a long time?',
    'interesting': 'Which second speaker is interesting, and which one is dull? Choose the interesting one.',
    'human': 'Which second speaker sounds more like a person?',
    'knowing': 'Which second speaker seems to know more?',
    'consistent': 'Which second speaker seems to be one and the same person all the time?',
}
SIDES = ('left', 'right')
EXPECTED = 'expected conversations as `parlai self_chat --outfile` and the download of the page write them'


@dataclass(frozen=True)
class Ballot:
    """A question to a judge: which log is on which side is known to the server alone."""

    question: str
    pair: int  # place of the conversations in both logs
    left: int  # number of the log on the left: 0 or 1


class Judge:
    """Two logs, and the file that votes are appended to."""

    def __init__(self, logs: tuple[Path, Path], votes: Path, rng: random.Random | None = None):
        self.logs, self.votes, self.rng = logs, votes, rng or random.Random()
        if logs[0] == logs[1]:
            raise UserError(f'two different logs are compared, saw {logs[0]} twice')
        self.dialogues = [read_log(path) for path in logs]
        self.pairs = min(map(len, self.dialogues))

    def ballot(self) -> Ballot:
        draw = self.rng.choice
        return Ballot(draw(list(QUESTIONS)), self.rng.randrange(self.pairs), draw((0, 1)))

    def shown(self, ballot: Ballot) -> dict[str, Any]:
        """Return what a judge sees, which does not tell the logs apart."""
        sides = (ballot.left, 1 - ballot.left)
        texts = {side: self.dialogues[log][ballot.pair] for side, log in zip(SIDES, sides, strict=True)}
        return {'question': QUESTIONS[ballot.question], **texts}

    def vote(self, ballot: Ballot, choice: str) -> None:
        """Append a vote to the file, as a line of JSON."""
        chosen = ballot.left if choice == 'left' else 1 - ballot.left
        vote = {
            'question': ballot.question,
            'pair': ballot.pair,
            'chosen': str(self.logs[chosen]),
            'other': str(self.logs[1 - chosen]),
            'side': choice,
            'time': round(time.time()),
        }
        with self.votes.open('a', encoding='utf-8') as file:
            file.write(json.dumps(vote) + '\n')

    def results(self) -> list[dict[str, Any]]:
        """Return the votes for each question and in all, with the p value of a two-sided sign test."""
        votes = Counter(self.read_votes())
        rows = [(name, tuple(votes[name, log] for log in (0, 1))) for name in QUESTIONS]
        rows.append(('all', tuple(sum(counts[log] for _, counts in rows) for log in (0, 1))))
        return [
            {'question': name, 'votes': counts, 'p': sign_test(*counts)}
            for name, counts in rows
            if sum(counts) or name == 'all'
        ]

    def read_votes(self) -> Iterable[tuple[str, int]]:
        """Yield the question and the chosen log of each vote about these two logs."""
        if not self.votes.exists():
            return
        names = [str(path) for path in self.logs]
        with open_text(self.votes) as lines:
            for number, line in enumerate(lines, 1):
                try:
                    vote = parse_json(line)
                    question, chosen, other = vote['question'], vote['chosen'], vote['other']
                    if question not in QUESTIONS or not isinstance(chosen, str) or not isinstance(other, str):
                        raise ValueError
                except (ValueError, KeyError, TypeError):
                    raise UserError(
                        f'{self.votes}, line {number}: expected a vote; choose another --judge-votes'
                    ) from None
                if {chosen, other} == {*names}:
                    yield question, names.index(chosen)


def sign_test(first: int, second: int) -> float:
    """Return how probable a difference as large as this one is if both are chosen equally often."""
    return float(binomtest(first, first + second).pvalue) if first + second else 1.0


def read_log(path: Path) -> list[list[str]]:
    """Return the texts of each conversation of a file in the form of ParlAI's `Conversations`."""
    found = []
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                acts = [act for pair in parse_json(line)['dialog'] for act in pair]
                texts = [act['text'] for act in acts]
                if not all(isinstance(text, str) for text in texts):
                    raise TypeError
                found.append([printable(text) for text in texts])
            except (ValueError, KeyError, TypeError):
                raise UserError(f'{path}, line {number}: {EXPECTED}, a line for each') from None
    if not any(found):
        raise UserError(f'{path}: saw no conversation; {EXPECTED}')
    return found
