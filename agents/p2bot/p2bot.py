"""`-m persona:p2bot`: two speakers who learn to be perceived (Liu et al. 2020, secs. 3.2 and 3.3).

A transmitter meets a frozen copy of itself. A Message of `-t persona:dialogues` is a meeting: two personas and the line
that opens their dialogue. Each meeting is held several times; what was said is rewarded, and REINFORCE (eq. 5) makes
the better utterances more likely. In an evaluation and in a chat the agent is a transmitter.
"""

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import parlai.utils.logging as logging
import torch
from parlai.core.message import Message
from parlai.core.metrics import AverageMetric
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.torch_agent import Batch
from torch import Tensor

from parlai_persona import fields
from parlai_persona.agents.p2bot.rewards import Consistency, LanguageStyle, Perception, log_next
from parlai_persona.agents.p2bot.self_play import (
    LEARNER,
    USER,
    Action,
    Draw,
    Meeting,
    Speaker,
    advantages,
    discounted,
    divergence,
    log_probabilities,
    play,
    scaled,
)
from parlai_persona.agents.p2bot.transmitter import PREFIX, TransmitterAgent
from parlai_persona.errors import UserError
from parlai_persona.flags import add_flags, flag, from_opt
from parlai_persona.metrics.formulas import repetition
from parlai_persona.models.base import load_base
from parlai_persona.models.history import said_lines
from parlai_persona.models.language_model import LanguageModel
from parlai_persona.models.precision import autocast, store_frozen
from parlai_persona.models.trained import merge_adapters, merged_adapters, recompute
from parlai_persona.models.tree import Tree, rows_of

SHOWN = 3  # conversations
LONGEST = 256  # tokens of an utterance without --label-truncate, as in ParlAI's searches
SPEAKERS = {'learner': LEARNER, 'partner': USER}


@dataclass(frozen=True)
class SelfPlay:
    receiver: str | None = flag(
        None, 'model file of a persona:p2bot/receiver, for the reward of perception', metavar='MODEL'
    )
    nli: str | None = flag(
        None, 'entailment classifier for the reward of consistency, as for --persona-nli', metavar='MODEL'
    )
    turns: int = flag(3, 'N: utterances of the learner in a meeting (sec. 5.1)', least=1)
    copies: int = flag(6, "times that each meeting is held (the authors' code)", least=1)
    opens: str = flag(
        'partner', 'who says the opening line of the data (sec. 3.2: the partner)', choices=tuple(SPEAKERS)
    )
    partner: str = flag(
        'frozen',
        "who the learner talks to: the transmitter that it starts from (sec. 3.2), or itself (the authors' code)",
        choices=('frozen', 'live'),
    )
    temperature: float = flag(1.0, 'of the sampled words; log-probabilities have none', least=0)
    top_k: int = flag(0, 'sample from so many words; 0: from all (sec. 3.2)', least=0)
    partner_temperature: float = flag(1.0, "the same for the partner's words; 0: the best word", least=0)
    style: float = flag(0.4, 'lambda 1: weight of the log-likelihood under the base model (R1, eq. 6)')
    coherence: float = flag(0.1, 'lambda 2: weight of log p(next utterance) (R2, eq. 7)')
    perception: float = flag(0.5, 'lambda 3: weight of being perceived (R3, eq. 8)')
    consistency: float = flag(0.0, 'weight of the persona sentences that a reply entails, less those it contradicts')
    gamma: float = flag(0.5, 'discount of the perception of each later utterance, of either speaker', least=0, most=1)
    scaled: bool = flag(
        False, "scale perception to 0 … 2 over all utterances of a step (the authors' code does so after discounting)"
    )
    baseline: str = flag(
        'mean',
        'what is subtracted from a reward: the mean of the copies of a meeting (sec. 3.2), of the other copies, or '
        'nothing',
        choices=('mean', 'leave-one-out', 'none'),
    )
    per_token: bool = flag(False, "divide the log-probability of an utterance by its length (the authors' code)")
    kl: float = flag(0.0, 'weight of an estimate of KL(learner || start), which keeps it near the transmitter', least=0)
    show: int = flag(50, f'log {SHOWN} conversations every so many updates; 0: none', least=0)


class P2botAgent(TransmitterAgent):
    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('P2Bot: self-play'), PREFIX, SelfPlay)
        parser.set_defaults(optimizer='adam', learningrate=1e-6)
        return parser

    def __init__(self, opt: Opt, shared=None):
        self.game = from_opt(SelfPlay, opt, PREFIX)
        self.saved_start: dict[str, Tensor] | None = None
        super().__init__(opt, shared)
        self.perceives = shared['perceives'] if shared else self.perception()
        if not shared and self._should_initialize_optimizer():
            self.check()
            self.start = copy.deepcopy(self.net)
            _, is_new = self._get_init_model(opt, shared)
            if self.saved_start is not None and not is_new:
                self.start.load_state_dict(self.saved_start, strict=False)
            learned, trained = self.start.state_dict(), self.trained()  # before 16 bits round them
            self.start_weights = {name: p for name, p in learned.items() if name in trained}
            merge_adapters(self.start.base)
            self.frozen(self.start)
            self.prepare_rewards()

    def share(self):
        return {**super().share(), 'perceives': self.perceives}

    def perception(self) -> Perception | None:
        """Return the receiver, if something is to be learned from it."""
        if not self._should_initialize_optimizer() or not self.game.perception:
            return None
        if not self.game.receiver:
            raise UserError(
                f'--{PREFIX}-perception {self.game.perception} needs --{PREFIX}-receiver MODEL, the model file of a '
                f'persona:p2bot/receiver; with --{PREFIX}-perception 0 nothing is perceived'
            )
        return Perception.load(self.game.receiver, self.opt.get('datapath'))

    def check(self) -> None:
        if not any((self.game.style, self.game.coherence, self.game.perception, self.game.consistency)):
            raise UserError(f'all rewards have the weight 0: give one of --{PREFIX}-style, -coherence, -perception, …')
        if self.game.consistency and not self.game.nli:
            raise UserError(
                f'--{PREFIX}-consistency {self.game.consistency} needs --{PREFIX}-nli MODEL; 0 leaves this reward out'
            )
        if self.game.coherence and not self.JUDGES:
            raise UserError(
                f'--{PREFIX}-coherence {self.game.coherence} needs the head that judges replies, which '
                f'--{PREFIX}-distractors 0 leaves out: give --{PREFIX}-coherence 0'
            )
        if self.game.coherence and not self.knows_head:
            raise UserError(
                f'--{PREFIX}-coherence {self.game.coherence} needs a head that learned to judge replies: start with '
                f'--init-model MODEL from a persona:p2bot/transmitter, or give --{PREFIX}-coherence 0'
            )
        if self.game.copies == 1 and self.game.baseline != 'none':
            raise UserError(
                f'--{PREFIX}-copies 1 and --{PREFIX}-baseline {self.game.baseline}: a single copy has no others to be '
                f'compared with. Ask for 2 or more, or for --{PREFIX}-baseline none'
            )

    def build_model(self) -> LanguageModel:
        """Return the transmitter; its head stays as it is, because words are what is learned here."""
        net = super().build_model()
        if self.JUDGES:
            net.head.requires_grad_(False)
        return net

    def frozen(self, net: LanguageModel) -> LanguageModel:
        net.requires_grad_(False).eval()
        if self.amp:
            store_frozen(net)
        return net.cuda() if self.use_cuda else net

    def prepare_rewards(self) -> None:
        """Make the rewards of single utterances, by the names of their weights."""
        game = self.game
        self.rewards: dict[str, Any] = {}
        if game.style:
            base = self.frozen(LanguageModel(load_base(self.opt).model))
            self.rewards['style'] = LanguageStyle(base, self.dict, self.amp)
        if game.consistency:
            self.rewards['consistency'] = Consistency.load(str(game.nli), self.opt.get('datapath'))

    # ------------------------------------------------------------------------------------------ checkpoints

    def state_dict(self) -> dict[str, Any]:
        states = super().state_dict()
        if hasattr(self, 'start'):
            states['start'] = self.start_weights
        return states

    def load(self, path: str) -> dict[str, Any]:
        states = super().load(path)
        self.saved_start = states.get('start')
        return states

    # ------------------------------------------------------------------------------------------- self-play

    def observe(self, observation: Message) -> Message:
        if fields.DIALOGUES not in observation:
            return super().observe(observation)
        meetings = [self.meeting(one) for one in observation[fields.DIALOGUES] if one[fields.MESSAGES]]
        return self.observe_whole(meetings=meetings, labels=observation['labels'])

    def meeting(self, dialogue: dict[str, Any]) -> Meeting:
        """Return a meeting that begins with the first utterance of a dialogue."""
        own, other = dialogue[fields.PERSONA], dialogue[fields.PARTNER_PERSONA]
        first = dialogue[fields.MESSAGES][0]
        text = ' '.join(said_lines(first['text'].split('\n')))
        if text == fields.SILENCE:  # the owner of the persona opens
            text, own, other = first['labels'][0], other, own
        opener = SPEAKERS[self.game.opens]
        personas = (own, other) if opener == USER else (other, own)
        if not personas[LEARNER] and (self.game.perception or self.game.consistency):
            raise UserError(
                f'dialogue {dialogue.get(fields.DIALOGUE_ID)}: the learner has no persona to be perceived. Expected '
                f'those of both speakers in each dialogue (fields {fields.PERSONA!r} and {fields.PARTNER_PERSONA!r})'
            )
        return Meeting(personas, [(opener, text)])

    def batchify(self, obs_batch, sort: bool = False) -> Batch:
        meetings = [meeting for obs in obs_batch for meeting in obs.get('meetings', ())]
        if not meetings:
            nothing = Message.padding_example()
            return super().batchify([nothing if 'meetings' in obs else obs for obs in obs_batch], sort)
        self.refuse_mixture(obs_batch)
        rows = torch.tensor([row for row, obs in enumerate(obs_batch) if obs.get('meetings')])
        self.owners = None
        return Batch(
            batchsize=len(rows), valid_indices=rows, is_training=True, meetings=meetings, observations=obs_batch
        )

    def compute_loss(self, batch: Batch, return_output: bool = False):
        if 'meetings' not in batch:
            return super().compute_loss(batch, return_output)
        self.model.eval()  # what is scored is what was sampled
        copies = [meeting.copy() for meeting in batch.meetings for _ in range(self.game.copies)]
        actions = self.play(copies)
        own = [action for some in actions for action in some if action.speaker == LEARNER]
        tree = self.tree(rows_of([(action.prompt, action.tokens, []) for action in own]))
        with torch.no_grad():
            start, odds = self.scored(self.start, tree)
        rewards = self.rewarded(actions, own, odds)
        self.record(own, rewards)
        recompute(self.net.base)
        loss = self.policy_loss(tree, rewards['whole'], start)
        if self.game.show and self._number_training_updates % self.game.show == 0:
            logging.info('\n\n'.join(['Self-play:', *map(shown, copies[:SHOWN])]))
        return (loss, None) if return_output else loss

    def play(self, copies: Sequence[Meeting]) -> list[list[Action]]:
        """Hold the meetings, with adapters merged meanwhile, unless weights of 16 bits would round them."""
        with nullcontext() if self.amp else merged_adapters(self.net.base):
            return play(copies, *self.speakers(), self.game.turns)

    def speakers(self) -> tuple[Speaker, Speaker]:
        """Return the learner and the user."""
        game, end, longest = self.game, self.dict.layout.end, self.label_truncate or LONGEST
        never = self.dict.unsaid
        draws = Draw(never, game.temperature, game.top_k), Draw(never, game.partner_temperature)
        nets = self.net, self.start if game.partner == 'frozen' else self.net
        learner, user = (
            Speaker(number, net, self.write, self.dict.vec2txt, draw, end, self.NULL_IDX, longest, self.amp)
            for number, net, draw in zip((LEARNER, USER), nets, draws, strict=True)
        )
        return learner, user

    # --------------------------------------------------------------------------------------------- rewards

    def rewarded(
        self, actions: Sequence[Sequence[Action]], own: Sequence[Action], odds: Tensor | None
    ) -> dict[str, Tensor]:
        """Return each reward of the learner's utterances, and their weighted sum (eq. 10) as 'whole'.

        Shapes: (M, K, N) of M meetings, K copies and N turns.
        """
        shape = -1, self.game.copies, self.game.turns
        found = {name: called(reward, own).view(shape) for name, reward in self.rewards.items()}
        if self.game.coherence and odds is not None:
            found['coherence'] = log_next(odds).cpu().view(shape)
        if self.perceives:
            scores = called(self.perceives, [action for some in actions for action in some])
            if self.game.scaled:
                scores = scaled(scores)
            by_meeting = scores.view(len(actions), -1).tolist()
            found['perception'] = torch.tensor(
                [
                    value
                    for some, row in zip(actions, by_meeting, strict=True)
                    for action, value in zip(some, discounted(row, self.game.gamma), strict=True)
                    if action.speaker == LEARNER
                ]
            ).view(shape)
        return {
            **found,
            'whole': sum((getattr(self.game, name) * some for name, some in found.items()), torch.zeros(())),
        }

    def policy_loss(self, tree: Tree, rewards: Tensor, start: Tensor) -> Tensor:
        """Return the loss whose gradient is that of eq. 5, with a baseline, and with KL(learner || start)."""
        game = self.game
        log_p, _ = self.scored(self.model, tree)  # (M K N, L)
        lengths = tree.targets.ne(self.NULL_IDX).sum(1)
        kl = divergence(log_p, start).sum(1) / lengths
        self.record_values('kl', kl)
        worth = advantages(rewards, game.baseline).to(log_p).flatten()
        chosen = log_p.sum(1) / lengths if game.per_token else log_p.sum(1)
        return -(worth * chosen).mean() * game.turns + game.kl * kl.mean()

    def scored(self, net: Any, tree: Tree) -> tuple[Tensor, Tensor | None]:
        """Return log p of the tokens of each utterance, (M K N, L), and the head's log-odds, (M K N)."""
        with autocast(self.net, self.amp):
            scores, _, odds = net(tree, None, ys=tree.targets)
        return log_probabilities(scores, tree.targets, self.NULL_IDX, self.dict.unsaid), odds

    # --------------------------------------------------------------------------------------------- reports

    def record(self, own: Sequence[Action], rewards: dict[str, Tensor]) -> None:
        for name, some in rewards.items():
            self.record_values(f'reward_{name}', some)
        self.record_values('length', torch.tensor([len(action.tokens) for action in own]))
        self.record_values('repetition', torch.tensor([repeated(action) for action in own]))

    def record_values(self, name: str, values: Tensor) -> None:
        """Record for each meeting the mean over copies and turns."""
        means = values.detach().float().reshape(-1, self.game.copies * self.game.turns).mean(1)
        self.record_local_metric(name, AverageMetric.many(means))


def called(reward: Any, actions: Sequence[Action]) -> Tensor:
    """Return what a reward says of these utterances."""
    return torch.tensor(
        reward(
            prompts=[action.chat for action in actions],
            completions=[action.text for action in actions],
            persona=[action.persona for action in actions],
        )
    )


def repeated(action: Action) -> float:
    return repetition(action.text, [one['content'] for one in action.chat if one['role'] == 'assistant'])


def shown(meeting: Meeting) -> str:
    """Return personas and words of a meeting, for the log."""
    names = {LEARNER: 'learner', USER: 'partner'}
    personas = [f'{names[who]}: {" | ".join(meeting.personas[who])}' for who in names]
    return '\n'.join([*personas, *(f'  {names[who]:>7}: {text}' for who, text in meeting.said)])
