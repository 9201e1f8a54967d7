"""Two speakers meet (Liu et al. 2020, sec. 3.2): what is said in many meetings at once, and what each word is worth.

Sampling needs no gradient, so it reads each token once. The log-probabilities come from one pass over all meetings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from parlai_persona.models.language_model import Context, LanguageModel
from parlai_persona.models.layout import PARTNER, SELF
from parlai_persona.models.precision import autocast, precise
from parlai_persona.models.reading import Kept, read
from parlai_persona.models.tree import Tokens

LEARNER, USER = 0, 1  # the two speakers; the user is what the learner talks to
Chat = list[dict[str, str]]
Write = Callable[[Sequence[str], Sequence[tuple[str, str]]], Tokens]  # persona and turns -> prompt


@dataclass
class Meeting:
    """A conversation of two personas."""

    personas: tuple[Sequence[str], Sequence[str]]
    said: list[tuple[int, str]]  # speaker and text
    kept: tuple[Kept, Kept] = field(default_factory=lambda: (Kept(), Kept()), compare=False)  # what each has read

    def copy(self) -> 'Meeting':
        return Meeting(self.personas, list(self.said))

    def turns(self, speaker: int) -> list[tuple[str, str]]:
        return [(SELF if one == speaker else PARTNER, text) for one, text in self.said]

    def chat(self, speaker: int) -> Chat:
        """Return what was said as chat messages; the speaker is the assistant."""
        roles = {SELF: 'assistant', PARTNER: 'user'}
        return [{'role': roles[who], 'content': text} for who, text in self.turns(speaker)]


@dataclass(frozen=True)
class Action:
    """What a speaker said, and what they had read."""

    speaker: int
    persona: Sequence[str]
    chat: Chat
    prompt: Tokens
    tokens: Tokens
    text: str


@dataclass(frozen=True)
class Draw:
    """Multinomial sampling; with temperature 0 the best token."""

    never: Sequence[int]  # tokens
    temperature: float = 1.0
    top_k: int = 0

    def __call__(self, scores: Tensor) -> Tensor:  # (B, V) -> (B,)
        scores = without(precise(scores), self.never)
        if not self.temperature:
            return scores.argmax(-1)
        scores = scores / self.temperature
        if self.top_k:
            least = scores.topk(min(self.top_k, scores.shape[-1])).values[:, -1:]
            scores = scores.masked_fill(scores < least, -torch.inf)
        return torch.multinomial(scores.softmax(-1), 1).squeeze(1)


@dataclass
class Speaker:
    """One of the two, in all meetings."""

    number: int
    net: LanguageModel
    write: Write
    text: Callable[[Tokens], str]
    draw: Draw
    end: int
    pad: int
    longest: int  # tokens of an utterance
    amp: bool = False
    version: object = field(default_factory=object)  # of the weights

    @torch.no_grad()
    def speak(self, meetings: Sequence[Meeting]) -> list[Action]:
        """Say something in each meeting."""
        me = self.number
        prompts = [self.write(meeting.personas[me], meeting.turns(me)) for meeting in meetings]
        with autocast(self.net, self.amp):
            kept = [meeting.kept[me] for meeting in meetings]
            context = read(self.net, prompts, kept, self.version, self.pad)
            replies = sample(self.net, context, self.draw, self.end, self.longest)
        actions = []
        for meeting, prompt, tokens in zip(meetings, prompts, replies, strict=True):
            text = self.text([token for token in tokens if token != self.end])
            actions.append(Action(me, meeting.personas[me], meeting.chat(me), prompt, tokens, text))
            meeting.said.append((me, text))
        return actions


def sample(net: LanguageModel, context: Context, draw: Draw, end: int, longest: int) -> list[Tokens]:
    """Return tokens drawn after each row of a context, up to `end`; rows that have ended are left out."""
    replies: list[Tokens] = [[] for _ in context.seen]
    rows = torch.arange(len(replies), device=context.seen.device)
    for length in range(1, longest + 1):
        chosen = draw(net.output(context.last))
        for row, token in zip(rows.tolist(), chosen.tolist(), strict=True):
            replies[row].append(token)
        goes_on = (chosen != end).nonzero().flatten()
        if length == longest or not len(goes_on):
            break
        rows, words = rows[goes_on], chosen[goes_on][:, None]
        context = net.extend(context.select(goes_on), words, torch.ones_like(words, dtype=torch.bool))
    return replies


def play(meetings: Sequence[Meeting], learner: Speaker, user: Speaker, turns: int) -> list[list[Action]]:
    """Go on with the meetings until the learner has spoken so many times. Return the actions of each, in order."""
    actions: list[list[Action]] = [[] for _ in meetings]
    speaker = user if meetings[0].said[-1][0] == LEARNER else learner
    while turns:
        for own, action in zip(actions, speaker.speak(meetings), strict=True):
            own.append(action)
        turns -= speaker is learner
        speaker = user if speaker is learner else learner
    return actions


# ------------------------------------------------------------------------------------------ policy gradient


def without(scores: Tensor, tokens: Sequence[int]) -> Tensor:
    """Return the scores when these tokens are never said."""
    return scores.index_fill(-1, torch.tensor(tokens, device=scores.device), -torch.inf)


def log_probabilities(scores: Tensor, targets: Tensor, pad: int, never: Sequence[int]) -> Tensor:
    """Return log p of the target tokens (R, L) from scores (R, L, V): 0 where there is padding."""
    real = targets != pad
    logs = log_softmax(without(precise(scores[real]), never), -1)
    chosen = logs.gather(-1, targets[real][:, None]).squeeze(-1)
    return chosen.new_zeros(targets.shape).masked_scatter(real, chosen)


def discounted(scores: Sequence[float], gamma: float) -> list[float]:
    """Return for each utterance its score and those of all later ones, discounted by distance (eq. 8)."""
    sums: list[float] = []
    for score in reversed(scores):
        sums.insert(0, score + gamma * (sums[0] if sums else 0))
    return sums


def advantages(rewards: Tensor, baseline: str) -> Tensor:
    """Return rewards (M, K, N) of M meetings, K copies and N turns, less a baseline of the other copies or of all."""
    copies = rewards.shape[1]
    mean = rewards.mean(1, keepdim=True)
    if baseline == 'mean':  # sec. 3.2
        return rewards - mean
    if baseline == 'leave-one-out':
        return (rewards - mean) * copies / (copies - 1)
    return rewards


def divergence(log_p: Tensor, start: Tensor) -> Tensor:
    """Return an estimate of KL(policy || start) for each token, from its log-probabilities: never below 0."""
    difference = start - log_p
    return difference.exp() - difference - 1


def scaled(scores: Tensor, most: float = 2.0) -> Tensor:
    """Return scores that reach from 0 to `most` (the authors' code)."""
    least, reach = scores.min(), scores.max() - scores.min()
    return (scores - least) * most / reach if reach > 0 else torch.zeros_like(scores)
