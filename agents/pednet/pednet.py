"""`-m persona:pednet`: chooses a sentence of its persona and replies with it (Jiang et al. 2020).

This is the ParlAI side: flags, messages, metrics. The networks are in `model.py`.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from parlai.core.message import Message
from parlai.core.metrics import AverageMetric
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.torch_agent import Batch
from parlai.utils.distributed import is_distributed
from torch import Tensor
from tqdm import tqdm

from parlai_persona import fields
from parlai_persona.agents.pednet.model import Choice, Chosen, ContextDominated, PedNet, PersonaDominated, choice_loss
from parlai_persona.data.epochs import epoch_key
from parlai_persona.data.other_task import episodes, from_all_workers, teachers
from parlai_persona.data.specific_words import SpecificOptions, SpecificWords
from parlai_persona.errors import UserError
from parlai_persona.fields import NO_SENTENCE
from parlai_persona.flags import add_flags, flag, from_opt
from parlai_persona.models.batches import persona_tensors
from parlai_persona.models.choice import ChoosingAgent, record_choice
from parlai_persona.models.history import PersonaHistory, said_lines
from parlai_persona.models.recurrent import Sizes
from parlai_persona.models.saved import expected_parts

NONE = 'none'  # what is read for "no sentence of the persona"


@dataclass(frozen=True)
class Learning:
    gamma: float = flag(0.5, 'share of batches that train PDNet; the others train CDNet (sec. 3.4)', least=0, most=1)
    reply_weight: float = flag(1.0, "weight of a reply's negative log-likelihood in CDNet's loss", least=0)
    choice_weight: float = flag(1.0, "weight of the choice's cross-entropy in CDNet's loss", least=0)
    none: bool = flag(False, 'also let CDNet choose no sentence: it reads "none" before the persona')


class PednetAgent(ChoosingAgent):
    """Trains PDNet or CDNet with each batch; speaks with CDNet.

    The specific words of a text come with its message, from `persona:congeneric`. For other messages, as in a chat, the
    agent finds them itself: its checkpoint holds the counts of the training split.
    """

    PREFIX = 'pednet'
    NETWORK: type[PedNet] = PedNet

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('PEDNet'), cls.PREFIX, Learning, Choice, SpecificOptions)
        return parser

    def __init__(self, opt: Opt, shared=None):
        self.learning = from_opt(Learning, opt, self.PREFIX)
        self.added = int(self.learning.none)
        self.known_words: SpecificWords | None = shared['known_words'] if shared else None
        super().__init__(opt, shared)
        _, is_new = self._get_init_model(opt, shared)  # with --init-model: of another training split
        if (is_new or self.known_words is None) and not shared and self._should_initialize_optimizer():
            options = from_opt(SpecificOptions, opt, self.PREFIX)
            self.known_words = SpecificWords.count(contexts_and_personas(opt), options)

    def share(self) -> dict[str, Any]:
        return {**super().share(), 'known_words': self.known_words}

    def state_dict(self) -> dict[str, Any]:
        known = self.known_words.arrays() if self.known_words else {}
        return {**super().state_dict(), 'known_words': {name: torch.tensor(array) for name, array in known.items()}}

    def load(self, path: str) -> dict[str, Any]:
        states = super().load(path)
        if not states.get('known_words'):
            return states
        with expected_parts(path):
            arrays = {name: tensor.numpy() for name, tensor in states['known_words'].items()}
            self.known_words = SpecificWords.from_arrays(arrays, from_opt(SpecificOptions, self.opt, self.PREFIX))
        return states

    def network(self, sizes: Sizes, words: int, start: int, end: int, pad: int) -> PedNet:
        return self.NETWORK(sizes, from_opt(Choice, self.opt, self.PREFIX), words, start, end, pad)

    def _get_special_tokens(self) -> list[str]:
        return [*super()._get_special_tokens(), fields.MASK]

    # ------------------------------------------------------------------------------------------ messages

    def vectorize(self, obs: Message, history: PersonaHistory, *args, **kwargs) -> Message:
        """Add the specific words, the labelled sentence and, in training, the congeneric contexts."""
        obs = super().vectorize(obs, history, *args, **kwargs)
        specific = self.specific_words(obs, history)
        words, unknown = (word for text in specific for word in self.sentence_vec(text)), self.dict[self.dict.unk_token]
        obs.force_set('specific_vec', [word for word in words if word != unknown])
        if self.added:
            obs.force_set('persona_vecs', [self.sentence_vec(NONE), *obs['persona_vecs']])
        if 'labels' in obs and self.learning.gamma:
            obs.force_set('context_vecs', [self.context_vec(text) for text in contexts_of(obs)])
        return obs

    def specific_words(self, obs: Message, history: PersonaHistory) -> Sequence[str]:
        if fields.SPECIFIC_WORDS in obs:
            return obs[fields.SPECIFIC_WORDS]
        return self.known_words.find(history.get_history_str() or '', history.persona) if self.known_words else ()

    def context_vec(self, text: str) -> list[int]:
        return self.sentence_vec(text)[-(self.text_truncate or 0) :]

    def batchify(self, obs_batch, sort: bool = False) -> Batch:
        batch = super().batchify(obs_batch, sort=sort)
        if batch.valid_indices is None:
            return batch
        valid = [obs_batch[row] for row in batch.valid_indices]
        batch['specific_vec'] = self._pad_tensor([obs['specific_vec'] for obs in valid])[0]
        if batch.is_training and self.learning.gamma:
            batch['contexts'], _ = persona_tensors([obs['context_vecs'] for obs in valid], self.NULL_IDX)
        return batch

    def _model_input(self, batch: Batch) -> tuple[ContextDominated | PersonaDominated]:
        if batch.is_training and self.is_persona_dominated():
            return (PersonaDominated(batch.contexts, labelled(batch, self.NULL_IDX)),)
        return (
            ContextDominated(
                batch.text_vec, batch.persona_vec, batch.persona_mask, batch.specific_vec, batch.sentence_place
            ),
        )

    def is_persona_dominated(self) -> bool:
        """Draw the task of the next batch: the same in all processes, and after a resumption."""
        key = epoch_key(self.opt, self._number_training_updates)
        return random.Random(key).random() < self.learning.gamma

    # ------------------------------------------------------------------------------------------ learning

    def compute_loss(self, batch: Batch, return_output: bool = False):
        """Return the loss of the replies, summed over their words, and that of the choice."""
        loss, output = super().compute_loss(batch, return_output=True)
        if batch.is_training:
            loss = loss * (batch.label_vec != self.NULL_IDX).sum() / len(batch.label_vec)
        encoded = output[2]
        if batch.is_training:
            network = 'cdnet' if isinstance(encoded, Chosen) else 'pdnet'
            self.record_local_metric(f'ppl_{network}', self._local_metrics['ppl'])
        if isinstance(encoded, Chosen):
            choice = self.measure_choice(encoded, batch)
            if batch.is_training:
                loss = self.learning.reply_weight * loss + self.learning.choice_weight * choice
            else:
                self.weights = encoded.probabilities
        return (loss, output) if return_output else loss

    def measure_choice(self, chosen: Chosen, batch: Batch) -> Tensor:
        """Note how often the labelled sentence is chosen; return the loss of the choice."""
        label = batch.sentence_place
        losses, counted = choice_loss(chosen.scores, label), (label != NO_SENTENCE).int().tolist()
        record_choice(self, chosen.scores, label, batch.persona_mask)
        if any(counted):
            self.record_local_metric('choice_loss', AverageMetric.many(losses.tolist(), counted))
        return losses.sum() / max(1, sum(counted))


def contexts_and_personas(opt: Opt) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the text and the persona of each message of the training split."""
    for other in teachers({**opt, 'mutators': None}, opt['task'], 'train'):
        pairs = (
            pair
            for messages in tqdm(episodes(other), 'counting words', unit=' dialogues', disable=None)
            for pair in said_and_personas(messages)
        )
        yield from from_all_workers(list(pairs)) if is_distributed() else pairs


def said_and_personas(messages: Iterable[dict[str, Any]]) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield what is said in each message of a dialogue, and the persona, which its first text may state."""
    persona: list[str] = []
    for message in messages:
        lines = message['text'].split('\n')
        persona = fields.stated_persona(message, fields.PERSONA, lines, persona)
        yield '\n'.join(said_lines(lines)), persona


def contexts_of(obs: Message) -> list[str]:
    if fields.CONGENERIC not in obs:
        raise UserError(
            f'--pednet-gamma needs messages with congeneric contexts (the field {fields.CONGENERIC!r}): train on '
            '-t persona:congeneric (--congeneric-of TASK makes them for any task with personas), or with '
            '--pednet-gamma 0'
        )
    return obs[fields.CONGENERIC]


def labelled(batch: Batch, pad: int) -> Tensor:
    """Return the labelled sentences (B, T); those of examples without one are padding."""
    place: Any = batch.sentence_place
    rows = torch.arange(len(place), device=place.device)
    sentences = batch.persona_vec[rows, place.clamp(min=0)]
    return sentences.masked_fill((place == NO_SENTENCE)[:, None], pad)
