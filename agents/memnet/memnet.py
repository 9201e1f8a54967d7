"""`-m persona:memnet`: picks responses by a persona memory network (Mazaré et al. 2018).

The ParlAI side only: flags, messages -> lines of words, metrics, saving. `model.py` is the network, `negatives.py` its
loss, `index.py` the search among many candidates.
"""

import random
from pathlib import Path
from typing import Any

import parlai.utils.logging as logging
import torch
from parlai.core.metrics import AverageMetric
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.torch_agent import Batch, Output, TorchAgent
from parlai.utils.distributed import is_distributed, is_primary_worker, sync_object
from parlai.utils.io import PathManager
from torch import Tensor

from parlai_persona.agents.memnet.checkpoint import KeepsWords
from parlai_persona.agents.memnet.choices import Choices, Encodings, Version
from parlai_persona.agents.memnet.index import Candidates, Maker
from parlai_persona.agents.memnet.model import MemNet, Shape
from parlai_persona.agents.memnet.negatives import rank
from parlai_persona.agents.memnet.parts import Example, Material, PersonaDictionary, Turns, check, without_repeats
from parlai_persona.agents.memnet.texts import Line, Lines, memory, texts
from parlai_persona.flags import add_flags, from_opt

PREFIX = 'memnet'
SHARED = ('lines', 'context_encodings', 'response_encodings', 'index')


class MemnetAgent(KeepsWords):
    """Context and responses by two encoders, the persona as memory of the context, dot products."""

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('Persona memory network'), PREFIX, Shape, Material)
        parser.set_defaults(
            optimizer='adamax',
            learningrate=8e-4,
            lr_scheduler='none',
            gradient_clip=1.0,
            candidates='batch',
            eval_candidates='inline',
            history_size=1,
            text_truncate=100,
            label_truncate=100,
        )
        return parser

    @staticmethod
    def dictionary_class():
        return PersonaDictionary

    @classmethod
    def history_class(cls):
        return Turns

    def __init__(self, opt: Opt, shared=None):
        self.shape, self.material = (from_opt(kind, opt, PREFIX) for kind in (Shape, Material))
        self.vectors_file = self.material.vectors
        check(opt)
        super().__init__(opt, shared)
        if shared:
            for name in SHARED:
                setattr(self, name, shared[name])
            return
        self.lines = {
            'context': Lines(self.dict.txt2vec, self.text_truncate, newest=True),
            'sentence': Lines(self.dict.txt2vec, self.text_truncate),
            'response': Lines(self.dict.txt2vec, self.label_truncate),
        }
        self.context_encodings, self.response_encodings = Encodings(), Encodings()
        self.index = None
        if self.material.candidates and not self._should_initialize_optimizer():
            self.index = self.open_index()

    # ----------------------------------------------------------------------------------------- building

    def build_model(self) -> MemNet:
        model = MemNet(self.shape, len(self.dict), self.NULL_IDX)
        if not self.starts_from:
            self.put_vectors(model, list(self.dict.tok2ind))
        return model

    def share(self) -> dict[str, Any]:
        return {**super().share(), **{name: getattr(self, name) for name in SHARED}}

    # ---------------------------------------------------------------------------------------- messages

    def vectorize(self, obs, history, **_):
        """The context, the persona and the label as lines of words."""
        if 'text' not in obs or obs.is_padding():
            return obs
        labels = obs.get('labels') or obs.get('eval_labels') or [None]
        label = labels[0] if len(labels) == 1 else self.random.choice(labels)
        persona = [self.lines['sentence'](sentence) for sentence in history.persona[: self.material.sentences]]
        obs['example'] = Example(self.lines['context'](history.context()), persona, label, history.said())
        return obs

    def is_valid(self, obs) -> bool:
        return 'example' in obs

    def batchify(self, obs_batch, sort=False) -> Batch:
        training = any('labels' in obs for obs in obs_batch)
        valid = [
            (place, obs)
            for place, obs in enumerate(obs_batch)
            if self.is_valid(obs) and (obs['example'].label is not None or not training)
        ]
        return Batch(
            batchsize=len(valid),
            valid_indices=torch.tensor([place for place, _ in valid], dtype=torch.long),
            is_training=training,
            examples=[obs['example'] for _, obs in valid],
            candidates=[obs.get('label_candidates') for _, obs in valid],
        )

    def device(self) -> torch.device:
        return self.net.embedding.weight.device

    def responses(self, replies) -> list[Line]:
        return [self.lines['response'](reply) for reply in replies]

    # ---------------------------------------------------------------------------------------- training

    def train_step(self, batch: Batch) -> Output | None:
        if not batch.batchsize:
            return None
        self.model.train()
        self.zero_grad()
        labels = [example.label for example in batch.examples]
        contexts = texts([example.context for example in batch.examples]).to(self.device())
        personas = self.memory(batch.examples)
        if self.candidates == 'batch':
            lines = self.responses(labels)
            u, y = self.model(contexts, personas, texts(lines).to(self.device()))
            ranked = rank(u, y, torch.tensor([line.number() for line in lines], device=u.device))
            losses, loss, measures = ranked.losses, ranked.mean(), ranked.measures()
        else:
            choices = self.choices(batch, self.candidates)
            u, y = self.model(contexts, personas, texts(self.responses(choices.replies)).to(self.device()))
            losses, places = choices.losses(choices.scores(u, y))
            loss, measures = losses.mean(), {'train_accuracy': (places == 1).float(), 'mrr': 1 / places}
        self.backward(loss)
        self.update_params()
        for name, values in {'loss': losses, **measures}.items():
            self.record_local_metric(name, AverageMetric.many(values.tolist()))
        return None

    def memory(self, examples: list[Example]):
        if not self.shape.persona:
            return None
        return memory(example.persona for example in examples).to(self.device())

    # -------------------------------------------------------------------------------------- candidates

    def choices(self, batch: Batch, source: str) -> Choices:
        """What to choose from, by ParlAI's names."""
        labels = [example.label for example in batch.examples]
        if source == 'batch':
            return Choices.shared([label for label in labels if label is not None], labels)
        if source == 'fixed':
            return self.found(Choices.shared(self.fixed_candidates, labels), labels, 'the fixed candidates')
        if not all(batch.candidates):
            raise ValueError(
                f'--{"eval-" * (not batch.is_training)}candidates is {source}, and a message has no label_candidates: '
                'choose batch or fixed, or give --memnet-candidates'
            )
        lists = [list(listed) for listed in batch.candidates]
        if source == 'batch-all-cands':
            return Choices.shared([reply for listed in lists for reply in listed], labels)
        return self.found(Choices.listed(lists, labels), labels, 'its label_candidates')

    def found(self, choices: Choices, labels: list[str | None], where: str) -> Choices:
        bad = [label for label, own in zip(labels, choices.own.tolist(), strict=True) if own < 0 and label is not None]
        if bad and (self.is_training or not self.ignore_bad_candidates):
            raise ValueError(
                f'the label {bad[0]!r} is not among {where}; in an evaluation --ignore-bad-candidates true counts '
                'such an example as wrong'
            )
        return choices

    def set_interactive_mode(self, mode, shared=False) -> None:
        """With a file of candidates there is no need for ParlAI's list of all labels of the task."""
        if mode and self.material.candidates:
            TorchAgent.set_interactive_mode(self, mode, shared)
            self.ignore_bad_candidates = True
        else:
            super().set_interactive_mode(mode, shared)

    def set_fixed_candidates(self, shared) -> None:
        """The lines of `--fixed-candidates-path`, else of the task. Their encodings are kept only in memory: files
        of ParlAI's outlive the weights."""
        super().set_fixed_candidates(shared or NO_CANDIDATES)
        if not shared and 'fixed' in (self.candidates, self.eval_candidates):
            path = self.fixed_candidates_path or self.get_task_candidates_path()
            with PathManager.open(path, 'r', encoding='utf-8') as file:
                self.fixed_candidates = list(dict.fromkeys(line.strip() for line in file if line.strip()))
            self.num_fixed_candidates = len(self.fixed_candidates)
            logging.info(f'{self.num_fixed_candidates} candidates in {path}')

    def open_index(self) -> Candidates:
        """The index of `--memnet-candidates`, made first if need be; one process makes it."""
        maker = Maker(
            Path(self.material.candidates),
            Path(f'{self.opt["model_file"]}.candidates'),
            self.material.index,
            self.material.candidate_tokens,
            self.dict.txt2vec,
            self.net,
            [self.opt['dict_tokenizer'], str(self.opt['dict_lower']), *self.words()],
            self.encode_lines,
            self.ask,
        )
        self.model.eval()
        if is_primary_worker():
            maker.make()
        if is_distributed():
            sync_object(None)
        return maker.open()

    @torch.no_grad()
    def encode_lines(self, lines: list[Line]) -> Tensor:
        return self.net.encode_responses(texts(lines).to(self.device())).float().cpu()

    @torch.no_grad()
    def ask(self, lines: list[Line]) -> Tensor:
        """What contexts ask for, each with its neighbour as persona."""
        personas = memory([line] for line in lines[1:] + lines[:1]).to(self.device()) if self.shape.persona else None
        return self.net.joint(texts(lines).to(self.device()), personas).float().cpu()

    # -------------------------------------------------------------------------------------- evaluation

    def eval_step(self, batch: Batch) -> Output | None:
        if not batch.batchsize:
            return None
        self.model.eval()
        count = self.rank_top_k if self.rank_top_k > 0 else self.opt['cap_num_predictions']
        if self.index:
            found = [self.index.search(u, count) for u in self.joint(batch.examples).float().cpu()]
            ranked, scores = [replies for replies, _ in found], [values for _, values in found]
        else:
            choices = self.choices(batch, self.eval_candidates)
            z = self.score_candidates(batch, choices)
            self.record(choices, z)
            ranked, scores = choices.best(z, count)
        if self.opt['repeat_blocking_heuristic'] and (self.index or self.eval_candidates == 'fixed'):
            ranked, scores = without_repeats(ranked, scores, batch.examples)
        first = self.opt['topk'] if self.opt['inference'] == 'topk' else 1
        said = [random.choice(replies[:first]) for replies in ranked]
        if self.opt['return_cand_scores']:
            return Output(said, text_candidates=ranked, sorted_scores=scores)
        return Output(said, text_candidates=ranked)

    def score_candidates(self, batch: Batch, cand_vecs: Choices, cand_encs: Tensor | None = None) -> Tensor:
        """Scores (B, C) of the choices; each distinct text is encoded once as long as the weights stay."""
        net = self.net
        y = self.response_encodings(
            self.responses(cand_vecs.replies), lambda new: net.encode_responses(new.to(self.device())), Version.of(net)
        )
        return cand_vecs.scores(self.joint(batch.examples), y)

    def joint(self, examples: list[Example]) -> Tensor:
        """Contexts with their personas: (B, d)."""
        net, device = self.net, self.device()
        lines = [example.context for example in examples]
        h = self.context_encodings(lines, lambda new: net.joint(new.to(device), None), Version.of(net))
        personas = self.memory(examples)
        return h if personas is None else net.recall(h, personas)

    @torch.no_grad()
    def attention(self, context: str, persona: list[str]) -> list[float]:
        """Return how much each of these different persona sentences counts for the reply to a context."""
        self.model.eval()
        h = self.net.joint(texts([self.lines['context'](context)]).to(self.device()), None)
        sentences = memory([[self.lines['sentence'](sentence) for sentence in persona]]).to(self.device())
        return self.net.attention(h, sentences)[0][0].tolist()

    def record(self, choices: Choices, z: Tensor) -> None:
        losses, places = choices.losses(z)
        there = (choices.own >= 0).tolist()
        if any(there):
            for name, values in {'loss': losses, 'rank': places, 'mrr': 1 / places}.items():
                known = [value if own else 0.0 for value, own in zip(values.tolist(), there, strict=True)]
                self.record_local_metric(name, AverageMetric.many(known, [int(own) for own in there]))


NO_CANDIDATES = dict.fromkeys(
    ['fixed_candidates', 'fixed_candidate_vecs', 'fixed_candidate_encs', 'num_fixed_candidates']
)
