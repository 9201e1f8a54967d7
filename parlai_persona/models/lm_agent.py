"""The base of every agent that stands on a causal language model.

A turn's prompt is written by the `Layout`. In training, prompts and replies of a dialogue become one row of a `Tree`.
In evaluation, each row of a batch keeps what it has read of a dialogue, and reads only what is new.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any
from weakref import WeakSet

import torch
from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.torch_agent import Batch
from torch import Tensor

from parlai_persona import fields
from parlai_persona.errors import UserError
from parlai_persona.flags import add_flags
from parlai_persona.models.base import PREFIX, Base, base_of, check, load_base
from parlai_persona.models.generator import PersonaGenerator
from parlai_persona.models.history import SpokenHistory
from parlai_persona.models.language_model import Context, LanguageModel
from parlai_persona.models.network import device_of
from parlai_persona.models.precision import autocast, store_frozen
from parlai_persona.models.reading import Kept, read
from parlai_persona.models.tokenizer import TokenizerDictionary
from parlai_persona.models.trained import SavesTrained, keep_activations, prepare
from parlai_persona.models.tree import Row, Tokens, Tree, plant, rows_of

# Rows of a training step for each of its dialogues. A dialogue has one, and one for each reply whose context is longer
# than --text-truncate. With more rows than this, activations would take several times the usual memory.
ROWS = 2


class LanguageModelAgent(SavesTrained, PersonaGenerator):
    """A generator on a causal language model; checkpoints hold what was trained, and the base's name and checksum."""

    PREFIX, BASE_FLAG = PREFIX, f'--{PREFIX}-model'
    JUDGES = False  # whether the network has a head that judges replies

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('Language model'), PREFIX, Base)
        parser.set_defaults(
            optimizer='adamw', learningrate=3e-4, gradient_clip=1.0, text_truncate=512, label_truncate=64
        )
        return parser

    def __init__(self, opt: Opt, shared=None):
        self.options = base_of(opt)
        self.kept = Kept()
        self.readers: WeakSet[Kept] = shared['readers'] if shared else WeakSet()  # those of all clones
        self.readers.add(self.kept)
        self.owners: list[int] | None = None  # of the turns of a batch of dialogues
        self.version: list[object] = shared['version'] if shared else [object()]  # of the weights
        super().__init__(opt, shared)
        if self.amp and not shared:
            store_frozen(self.net.base)

    def share(self):
        return {**super().share(), 'version': self.version, 'readers': self.readers}

    # ------------------------------------------------------------------------------------------ the model

    @staticmethod
    def dictionary_class():
        return TokenizerDictionary

    @classmethod
    def history_class(cls):
        return SpokenHistory

    def build_model(self) -> LanguageModel:
        found = load_base(self.opt)
        self.stand_on(found)
        like = [self.dict.encode(word)[0] for word in ('My', 'Them', 'Me', '\n')] if self.dict.fresh else ()
        net = LanguageModel(found.model, like, self.JUDGES)
        check(net, self.options.model)
        self.check_room(found.model.config)
        prepare(net.base, self.options, PREFIX)
        return net

    def check_room(self, config: Any) -> None:
        """Refuse longer texts than the model has positions for."""
        most, text, label = positions(config), self.text_truncate, self.label_truncate
        if most and (text is None or text + (label or 0) > most):
            raise UserError(
                f'--text-truncate {text or -1} and --label-truncate {label or -1}: {self.options.model} has {most} '
                'positions for both together'
            )

    def check_persona(self, persona: Sequence[str], prompt: Tokens) -> None:
        """Refuse a persona that leaves no positions for a reply: it is never cut."""
        most = positions(self.net.base.config)
        if most and len(prompt) + (self.label_truncate or 0) > most:
            raise UserError(
                f'the persona {persona[:1]} … has {len(persona)} sentences, with which the text has {len(prompt)} '
                f'tokens; {self.options.model} has {most} positions for text and reply: shorten it'
            )

    # -------------------------------------------------------------------------------------- observations

    def observe(self, observation: Message) -> Message:
        if fields.DIALOGUES not in observation:
            seen = super().observe(observation)
            seen.force_set('kept', self.kept)
            return seen
        turns = [turn for dialogue in observation[fields.DIALOGUES] for turn in self.turns_to_learn(dialogue)]
        return self.observe_whole(turns_to_learn=turns, labels=observation['labels'])

    def turns_to_learn(self, dialogue: dict[str, Any]) -> list[Message]:
        turns = self.turns_of(dialogue[fields.MESSAGES], dialogue[fields.PERSONA] or None)
        for turn, name in product(turns, ('labels_vec', 'labels_choice')):  # as those of a turn that comes alone
            turn.force_set(name, turn[f'eval_{name}'])
        return turns

    def _set_text_vec(self, obs: Message, history: SpokenHistory, truncate: int | None) -> Message:
        if 'text' not in obs:
            return obs
        persona = self.shown_persona(history.persona, learns='labels' in obs) if self.options.persona else []
        whole = self.dict.layout.prompt(persona, history.turns(), None)
        cut = truncate is not None and len(whole) > truncate
        prompt = self.write(persona, history.turns()) if cut else whole
        obs.force_set('context_original_length', len(whole))
        obs.force_set('context_truncate_rate', cut)
        obs.force_set('context_truncated_length', len(whole) - len(prompt))
        obs.force_set('full_text_vec', whole)
        obs.force_set('text_vec', torch.tensor(prompt))
        return obs

    def write(self, persona: Sequence[str], turns: Sequence[tuple[str, str]]) -> Tokens:
        """Return the prompt of a reply. If it is too long, the oldest turns are left out, the persona never."""
        shown = persona if self.options.persona else ()
        prompt = self.dict.layout.prompt(shown, turns, self.text_truncate)
        self.check_persona(shown, prompt)
        return prompt

    def shown_persona(self, persona: list[str], learns: bool) -> list[str]:
        return persona

    def batchify(self, obs_batch, sort: bool = False) -> Batch:
        """Return a batch of turns; those of a whole dialogue belong to its place in `obs_batch`."""
        whole = any('turns_to_learn' in obs for obs in obs_batch)
        owners = [(place, turn) for place, obs in enumerate(obs_batch) for turn in obs.get('turns_to_learn', [obs])]
        batch = super().batchify([turn for _, turn in owners], sort=sort)
        if batch.valid_indices is None:
            return batch
        turns = [owners[number] for number in batch.valid_indices]
        if whole:
            batch.is_training = True
            batch.valid_indices = torch.tensor(sorted({place for place, _ in turns}))
        batch['owners'] = self.owners = [place for place, _ in turns] if whole else None
        batch['turns'] = [turn for _, turn in turns]
        return batch

    def batch_act(self, observations):
        if isinstance(observations, Batch):  # made by a process of --num-workers
            self.owners = observations.owners
        return super().batch_act(observations)

    def record_local_metric(self, keyname, values) -> None:
        """Record a value a turn; those of the turns of a dialogue are added up."""
        if self.owners:
            groups: dict[int, Any] = {}
            for owner, value in zip(self.owners, values, strict=True):
                groups[owner] = groups[owner] + value if owner in groups else value
            values = list(groups.values())
        super().record_local_metric(keyname, values)

    # ----------------------------------------------------------------------------------------- the input

    def tree(self, rows: Sequence[Row]) -> Tree:
        return plant(rows, self.NULL_IDX).to(device_of(self.net))

    def branches(self, replies: Sequence[Sequence[Tokens]]) -> Tree:
        """Return the tree of some replies to each context of a batch."""
        rows = [Row() for _ in replies]
        for row, some in zip(rows, replies, strict=True):
            for tokens in some:
                row.add([], tokens)
        return self.tree(rows)

    def _model_input(self, batch: Batch) -> tuple[Tree, Context | None]:
        if batch.is_training:
            rows = rows_of(map(self.with_others, batch.turns))
            large = len(rows) > ROWS * len(batch.valid_indices) and self.net.base.supports_gradient_checkpointing
            keep_activations(self.net.base, not (large or self.options.checkpointing))
            return self.tree(rows), None
        return self.branches([[reply_of(turn)] for turn in batch.turns]), self.context(batch)

    def with_others(self, turn: Message) -> tuple[Tokens, Tokens, list[Tokens]]:
        """Return the prompt of a turn, the reply, and other replies to judge."""
        return turn['text_vec'].tolist(), reply_of(turn), []

    def _encoder_input(self, batch: Batch) -> tuple[Context]:
        return (self.context(batch),)

    def context(self, batch: Batch) -> Context:
        """Return the batch's prompts as the model has read them; read what is new in them, once a batch."""
        if 'context' not in batch:
            kept = [turn.get('kept') or Kept() for turn in batch.turns]
            prompts = [turn['text_vec'].tolist() for turn in batch.turns]
            with autocast(self.net, self.amp):
                batch['context'] = read(self.net, prompts, kept, self.version[0], self.NULL_IDX)
        return batch['context']

    # ------------------------------------------------------------------------------------------ learning

    def update_params(self):
        super().update_params()
        self.version[0] = object()  # what was read with the old weights counts no more
        for kept in self.readers:
            kept.context = None

    # -------------------------------------------------------------------------------------------- replies

    def rank_eval_label_candidates(self, batch: Batch, batchsize: int):
        """Rank the candidates of each row, as branches of its context, read in one pass; a chat has none."""
        if batch.candidate_vecs is None:
            return None, None
        candidates = [[vec.tolist() for vec in vecs or ()] for vecs in batch.candidate_vecs]
        with autocast(self.net, self.amp):
            tree = self.branches(candidates)
            scores = self.candidate_scores(tree, self.net.states(tree, self.context(batch)))
        choices, ordered = [], []
        for texts, some in zip(batch.candidates, scores.split(list(map(len, candidates))), strict=True):
            best, places = some.sort(descending=True, stable=True)
            choices.append([texts[place] for place in places])
            ordered.append(best.tolist())
        return choices, ordered

    def candidate_scores(self, tree: Tree, states: Tensor) -> Tensor:
        """Return the mean log-likelihood of the tokens of each candidate, as ParlAI's generators do."""
        return self.net.log_likelihoods(tree, states, self.NULL_IDX).sum(1) / tree.targets.ne(self.NULL_IDX).sum(1)

    def _generation_activation(self, score: Tensor) -> Tensor:
        score[..., self.dict.unsaid] = -torch.inf
        return super()._generation_activation(score)


def reply_of(turn: Message) -> Tokens:
    vec = turn.get('labels_vec', turn.get('eval_labels_vec'))
    return vec.tolist() if vec is not None else []


def positions(config: Any) -> int | None:
    """Return how many tokens a model reads at once, if they are limited. All of them see each other here."""
    limits = (getattr(config, name, None) for name in ('max_position_embeddings', 'n_positions', 'sliding_window'))
    return min((limit for limit in limits if limit), default=None)
