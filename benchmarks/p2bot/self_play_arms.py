"""The arms of the part `self_play` of benchmarks/p2bot/speed.py. Each runs in a process of its own.

Each learns from two meetings: the authors' way from one after the other, ours also from both in one step. A meeting has
six copies, as theirs. It is cut short to one turn of 16 words, because the authors' way keeps the activations of every
sampled word: 0.7 GB. Words are the most probable ones, and no utterance ends early, so all arms say the same.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from parlai.core.agents import create_agent
from torch import Tensor

from benchmarks.common.arms import Figures
from benchmarks.p2bot.speed_arms import dialogues, options, timed
from parlai_persona import fields
from parlai_persona.agents.p2bot import p2bot, self_play
from parlai_persona.agents.p2bot.rewards import log_next
from parlai_persona.agents.p2bot.self_play import LEARNER, USER, Draw, Meeting, advantages, log_probabilities
from parlai_persona.data.other_task import whole_dialogue
from parlai_persona.models.language_model import padded

COPIES, TURNS, WORDS = 6, 1, 16
Dialogue = dict[str, Any]


@dataclass(frozen=True)
class Endless(Draw):
    """Draws the best word that is not the end."""

    end: int = -1

    def __call__(self, scores: Tensor) -> Tensor:
        return super().__call__(self_play.without(scores, [self.end]))


def learner_of(datapath: Path) -> tuple[Any, list[Dialogue]]:
    """Return an agent and three meetings: one to warm up, two to measure."""
    sizes = {'p2bot_copies': COPIES, 'p2bot_turns': TURNS, 'label_truncate': WORDS, 'p2bot_show': 0}
    start = {'init_model': 'zoo:persona/p2bot', 'p2bot_perception': 0, 'p2bot_baseline': 'none'}
    opt = options(datapath, 'train', 'persona:p2bot', **start, **sizes)
    agent: Any = create_agent(opt)
    return agent, [whole_dialogue(turns, number) for number, turns in enumerate(dialogues(opt, 3))]


def measured(learn: Callable[[list[Dialogue]], float], meetings: list[Dialogue], at_once: int) -> Figures:
    """Return the seconds for a meeting, the memory, and the mean reward. `learn` takes so many meetings at once."""
    rewards: list[float] = []
    steps = [meetings[first : first + at_once] for first in range(1, len(meetings), at_once)]
    figures = timed(lambda: rewards.extend(map(learn, steps)), lambda: learn(meetings[:1]))
    return {**figures, 'seconds': figures['seconds'] / (len(meetings) - 1), 'reward': statistics.mean(rewards)}


def self_play_ours(datapath: Path, at_once: int = 1) -> Figures:
    agent, meetings = learner_of(datapath)
    p2bot.Draw = lambda never, temperature, top_k=0: Endless(never, 0, 0, agent.dict.layout.end)

    def learn(some: list[Dialogue]) -> float:
        messages = [agent.observe({fields.DIALOGUES: [dialogue], 'labels': ['']}) for dialogue in some]
        return statistics.mean(reply['metrics']['reward_whole'].value() for reply in agent.batch_act(messages))

    return measured(learn, meetings, at_once)


def self_play_ours_two_at_once(datapath: Path) -> Figures:
    return self_play_ours(datapath, 2)


def self_play_authors(datapath: Path) -> Figures:
    """The authors' way: no cache, a pass with gradient for each word, each turn rewarded by itself."""
    agent, meetings = learner_of(datapath)
    draw = Endless(agent.dict.unsaid, 0, 0, agent.dict.layout.end)

    def learn(some: list[Dialogue]) -> float:
        (dialogue,) = some
        agent.model.eval()
        agent.zero_grad()
        copies = [agent.meeting(dialogue) for _ in range(COPIES)]
        log_p, rewards = [], []
        for turn in range(TURNS):
            if turn:
                with torch.no_grad():
                    spoken(agent, agent.start, USER, copies, draw)
            before = [meeting.chat(LEARNER) for meeting in copies]
            total, prompts, replies = spoken(agent, agent.net, LEARNER, copies, draw)
            log_p.append(total)
            said = {
                'prompts': before,
                'completions': [meeting.said[-1][1] for meeting in copies],
                'persona': [meeting.personas[LEARNER] for meeting in copies],
            }
            style, next_one = torch.tensor(agent.rewards['style'](**said)), log_next(judged(agent, prompts, replies))
            rewards.append(agent.game.style * style + agent.game.coherence * next_one)
        worth = torch.stack(rewards, 1)[None]  # (1, K, N)
        loss = -(advantages(worth, 'none')[0] * torch.stack(log_p, 1)).mean() * TURNS
        agent.backward(loss)
        agent.update_params()
        return worth.mean().item()

    return measured(learn, meetings, 1)


@torch.no_grad()
def judged(agent: Any, prompts: list[list[int]], replies: list[list[int]]) -> Tensor:
    """Return the head's log-odds of replies, from a pass of their own."""
    tokens, real = padded([prompt + reply for prompt, reply in zip(prompts, replies, strict=True)], agent.NULL_IDX)
    return agent.start.judge(agent.start.base.base_model(tokens, attention_mask=real.long()).last_hidden_state[:, -1])


def spoken(
    agent: Any, net: Any, speaker: int, copies: list[Meeting], draw: Draw
) -> tuple[Tensor, list[list[int]], list[list[int]]]:
    """Let a speaker say something in each copy; return its log-probability (K,), what was read and what was said."""
    prompts = [agent.write(meeting.personas[speaker], meeting.turns(speaker)) for meeting in copies]
    replies: list[list[int]] = [[] for _ in copies]
    total = torch.zeros(len(copies))
    for _ in range(WORDS):
        texts = [prompt + reply for prompt, reply in zip(prompts, replies, strict=True)]
        tokens, real = padded(texts, agent.NULL_IDX)
        scores = net.output(net.base.base_model(tokens, attention_mask=real.long()).last_hidden_state[:, -1])
        chosen = draw(scores.detach())
        total = total + log_probabilities(scores[:, None], chosen[:, None], agent.NULL_IDX, agent.dict.unsaid)[:, 0]
        for reply, token in zip(replies, chosen.tolist(), strict=True):
            reply.append(token)
    for meeting, reply in zip(copies, replies, strict=True):
        meeting.said.append((speaker, agent.dict.vec2txt(reply)))
    return total, prompts, replies
