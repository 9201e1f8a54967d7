"""`-m persona:p2bot/transmitter`: a language model that replies, and tells the next reply from others (Liu et al. 2020,
sec. 3.1)."""

import random
from dataclasses import dataclass
from typing import Any

import torch
from parlai.core.message import Message
from parlai.core.metrics import AverageMetric
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.torch_agent import Batch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from parlai_persona import fields
from parlai_persona.errors import UserError
from parlai_persona.flags import add_flags, flag, from_opt
from parlai_persona.models.generator import Found
from parlai_persona.models.lm_agent import LanguageModelAgent
from parlai_persona.models.precision import precise
from parlai_persona.models.tree import Tokens, Tree

PREFIX = 'p2bot'


@dataclass(frozen=True)
class Transmitter:
    distractors: int = flag(
        1,
        "other replies to judge beside each reply (sec. 3.1), drawn from its candidates; 0: don't learn to judge",
        least=0,
    )
    hard: int = flag(0, 'further ones that are drawn from the other replies of the same dialogue', least=0)
    mix: float = flag(
        0.4, "share of the judgement in the loss; the rest is the words' (the authors' code: 0.4)", least=0, most=1
    )
    smoothing: float = flag(0.0, "label smoothing of the words (the authors' code: 0.05)", least=0, most=1)
    shuffle: bool = flag(True, 'training: show the sentences of a persona in a new order each time')
    alpha: float = flag(
        0.1,
        'choice among the replies of a beam: weight of log p / length against the judgement (eq. 3)',
        least=0,
        most=1,
    )


class TransmitterAgent(LanguageModelAgent):
    """Without distractors it has no head: it ranks by likelihood, and chooses by eq. 2."""

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('P2Bot: transmitter'), PREFIX, Transmitter)
        parser.set_defaults(inference='beam', beam_size=2, rank_candidates=True)
        return parser

    def __init__(self, opt: Opt, shared=None):
        self.transmitter = from_opt(Transmitter, opt, PREFIX)
        self.JUDGES = self.transmitter.distractors + self.transmitter.hard > 0
        super().__init__(opt, shared)

    def build_criterion(self):
        criterion = super().build_criterion()
        amount = self.transmitter.smoothing
        return Smoothed(criterion, self.NULL_IDX, amount) if amount else criterion

    # ----------------------------------------------------------------------------------------- training

    def shown_persona(self, persona: list[str], learns: bool) -> list[str]:
        return random.sample(persona, len(persona)) if learns and self.transmitter.shuffle else persona

    def turns_to_learn(self, dialogue: dict[str, Any]) -> list[Message]:
        persona = self.shown_persona(dialogue[fields.PERSONA], learns=True)
        turns = super().turns_to_learn({**dialogue, fields.PERSONA: persona})
        replies = [turn['labels'][0] for turn in dialogue[fields.MESSAGES]]
        for number, turn in enumerate(turns):
            turn.force_set('same_dialogue', replies[:number] + replies[number + 1 :])
        return turns

    def with_others(self, turn: Message) -> tuple[Tokens, Tokens, list[Tokens]]:
        prompt, reply, _ = super().with_others(turn)
        label = turn['labels_choice']
        drawn = drawn_from(turn.get('label_candidates'), self.transmitter.distractors, label)
        if len(drawn) < self.transmitter.distractors:
            raise UserError(
                f'--p2bot-distractors {self.transmitter.distractors}: the turn {turn.get("text", "")[:60]!r} has only '
                f'{len(drawn)} other candidates. Use a task with candidates (--persona-candidates sampled), or ask for '
                'fewer'
            )
        if self.transmitter.hard and 'same_dialogue' not in turn:
            raise UserError(
                f'--p2bot-hard {self.transmitter.hard} takes replies of the same dialogue; a turn comes alone here: '
                'train with -t persona:dialogues --dialogues-of TASK, or leave it out'
            )
        drawn += drawn_from(turn.get('same_dialogue'), self.transmitter.hard, label)
        if self.JUDGES and not drawn:
            raise UserError(
                f'--p2bot-hard {self.transmitter.hard}: the dialogue of {turn.get("text", "")[:60]!r} has no other '
                'reply to judge. Ask for --p2bot-distractors 1 or more, too'
            )
        others = [self._vectorize_text(text, False, True, self.label_truncate, False) for text in drawn]
        return prompt, reply, [other.tolist() for other in others]

    def compute_loss(self, batch: Batch, return_output: bool = False):
        """Return the loss of the words (eq. 1), mixed with that of judging replies and distractors."""
        loss, output = super().compute_loss(batch, return_output=True)
        if batch.is_training and self.JUDGES:
            judged = self.judgement_loss(output[2], batch)
            loss = (1 - self.transmitter.mix) * loss + self.transmitter.mix * judged
        return (loss, output) if return_output else loss

    def judgement_loss(self, odds: Tensor, batch: Batch) -> Tensor:
        """Return the binary cross-entropy: half of it that of the replies, half that of the distractors."""
        replies, others = odds.float().tensor_split([len(batch.turns)])
        right = softplus(-replies)  # -log p(y = 1)
        self.record_local_metric('next_loss', AverageMetric.many(right))
        self.record_local_metric('next_acc', AverageMetric.many((replies > 0).float()))
        return (right.mean() + softplus(others).mean()) / 2

    # ------------------------------------------------------------------------------------------ replies

    def candidate_scores(self, tree: Tree, states: Tensor) -> Tensor:
        """Return log p(y = 1) of each candidate."""
        if not self.JUDGES:
            return super().candidate_scores(tree, states)
        return logsigmoid(self.net.judge(states[tree.ends]).float())

    def reply_scores(self, batch: Batch, found: Found) -> Tensor:
        """Return the score of each reply by eq. 3; without a head, or with alpha 1, by eq. 2."""
        alpha = self.transmitter.alpha
        tree = self.branches([[tokens[1:].tolist() for tokens, *_ in replies] for replies in found])
        states = self.net.states(tree, self.context(batch))
        words = super().candidate_scores(tree, states)
        return alpha * words + (1 - alpha) * self.candidate_scores(tree, states) if self.JUDGES else words


class Smoothed(torch.nn.Module):
    """A loss with label smoothing in training only; perplexity in an evaluation is without it."""

    def __init__(self, criterion: torch.nn.Module, pad: int, amount: float):
        super().__init__()
        self.criterion = criterion
        self.smoothed = torch.nn.CrossEntropyLoss(ignore_index=pad, reduction='none', label_smoothing=amount)

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        learning = torch.is_grad_enabled()
        return self.smoothed(precise(scores), labels) if learning else self.criterion(scores, labels)


def drawn_from(texts: list[str] | None, count: int, label: str) -> list[str]:
    """Draw some of the texts that are not the label."""
    others = [text for text in texts or () if text != label]
    return random.sample(others, min(count, len(others)))
