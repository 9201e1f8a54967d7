"""`-m persona:memnet`: picks responses by a persona memory network (Mazaré et al. 2018).

This is the ParlAI side: flags, messages, candidates, metrics. The network and its loss are in `model.py`.
"""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import parlai.utils.logging as logging
import torch
from parlai.core.metrics import AverageMetric
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.torch_agent import Batch, Output, TorchAgent
from parlai.utils.io import PathManager
from torch import Tensor

from parlai_persona import fields
from parlai_persona.agents.memnet.batches import Example, Line, Memory, Texts, batch_personas, batch_texts, cached_lines
from parlai_persona.agents.memnet.candidates import EncodingCache, ListedCandidates
from parlai_persona.agents.memnet.checkpoint import SavesWords
from parlai_persona.agents.memnet.index import CandidateIndex, IndexBuilder
from parlai_persona.agents.memnet.model import MemNet, Shape, losses_and_ranks, mean_loss, scores_in_batch
from parlai_persona.errors import UserError
from parlai_persona.flags import add_flags, flag, from_opt
from parlai_persona.models.history import ContextHistory, TextHistory
from parlai_persona.models.network import device_of

PREFIX = 'memnet'
SHARED = ('lines', 'response_encodings', 'index')
NO_EFFECT = {  # ParlAI's flags that this agent does not read -> what to do instead
    **dict.fromkeys(['person_tokens', 'split_lines', 'history_reversed', 'dynamic_batching'], 'leave it out'),
    **dict.fromkeys(['data_parallel', 'model_parallel'], 'use multiprocessing_train'),
    'embedding_type': 'give --memnet-vectors a file',
}


@dataclass(frozen=True)
class Reading:
    """Options of what the agent reads."""

    sentences: int = flag(100, 'number of persona sentences to read, the first ones (N of Table 3); 0: none', least=0)
    vectors: str | None = flag(
        None, 'text file of word vectors to start from (GloVe, fastText; .txt, .vec, .gz)', metavar='FILE'
    )
    candidates: str | None = flag(
        None,
        'file of responses, one a line, up to millions (.gz works): evaluation and chats choose from these (Table 2)',
        metavar='FILE',
    )
    candidate_tokens: int = flag(10, 'words; longer lines of --memnet-candidates are left out (Table 2)', least=1)


class DialogueHistory(TextHistory, ContextHistory):
    """Also remembers every line of the dialogue, however small `--history-size` is."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.said: set[str] = set()

    def reset(self) -> None:
        super().reset()
        self.said = set()

    def _update_raw_strings(self, text: str) -> None:
        super()._update_raw_strings(text)
        self.said.update(text.split('\n'))


class MemnetAgent(SavesWords):
    """Encodes the context with its persona and the responses; dot products rank the responses."""

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('Persona memory network'), PREFIX, Shape, Reading)
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

    @classmethod
    def history_class(cls):
        return DialogueHistory

    def __init__(self, opt: Opt, shared=None):
        self.shape, self.reading = (from_opt(kind, opt, PREFIX) for kind in (Shape, Reading))
        self.vectors_file = self.reading.vectors
        refuse_flags(opt)
        super().__init__(opt, shared)
        if shared:
            for name in SHARED:
                setattr(self, name, shared[name])
            return
        self.lines = {
            'context': cached_lines(self.dict.txt2vec, self.text_truncate, keep_end=True),
            'sentence': cached_lines(self.dict.txt2vec, self.text_truncate),
            'response': cached_lines(self.dict.txt2vec, self.label_truncate),
        }
        self.response_encodings = EncodingCache()
        self.index = None
        if self.reading.candidates and not self._should_initialize_optimizer():
            self.index = self.open_index()

    def build_model(self) -> MemNet:
        net = MemNet(self.shape, len(self.dict), self.NULL_IDX)
        if not self.starts_from:
            self.start_from_file(net, self.words())
        return net

    def share(self) -> dict[str, Any]:
        return {**super().share(), **{name: getattr(self, name) for name in SHARED}}

    def vectorize(self, obs, history, **_):
        """Add the context, the persona and the label as an `Example`."""
        if 'text' not in obs or obs.is_padding():
            return obs
        context = self.lines['context'](history.get_history_str() or '')
        labels = obs.get('labels') or obs.get('eval_labels') or [None]
        label = labels[0] if len(labels) == 1 else self.random.choice(labels)
        persona = [self.lines['sentence'](sentence) for sentence in history.persona[: self.reading.sentences]]
        obs['example'] = Example(context, persona, label, frozenset(history.said))
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

    def texts(self, lines: list[Line]) -> Texts:
        return batch_texts(lines).to(device_of(self.net))

    def personas(self, examples: list[Example]) -> Memory | None:
        if not self.shape.persona:
            return None
        return batch_personas(example.persona for example in examples).to(device_of(self.net))

    def responses(self, replies: list[str]) -> list[Line]:
        return [self.lines['response'](reply) for reply in replies]

    def train_step(self, batch: Batch) -> Output | None:
        """Descend on the cross-entropy of each label among its candidates."""
        if not batch.batchsize:
            return None
        self.model.train()
        self.zero_grad()
        contexts = self.texts([example.context for example in batch.examples])
        personas = self.personas(batch.examples)
        if self.candidates == 'batch':  # the responses of the batch, from all processes
            responses = self.responses([example.label for example in batch.examples])
            u, y = self.model(contexts, personas, self.texts(responses))
            numbers = torch.tensor([response.number() for response in responses], device=u.device)
            scores, own = scores_in_batch(u, y, numbers)
        else:
            listed = self.listed_candidates(batch, self.candidates)
            u, y = self.model(contexts, personas, self.texts(self.responses(listed.replies)))
            scores, own = listed.scores(u, y), listed.own.to(u.device)
        losses, ranks = losses_and_ranks(scores, own)
        self.backward(mean_loss(losses))
        self.update_params()
        self.record_labels(own, loss=losses, train_accuracy=(ranks == 1).float(), mrr=1 / ranks)
        return None

    def record_labels(self, own: Tensor, **metrics: Tensor) -> None:
        """Record a value for each example that has its label among the candidates (`own` is not -1)."""
        has_label = own >= 0
        if has_label.any():
            for name, values in metrics.items():
                counted = values.masked_fill(~has_label, 0.0).tolist()
                self.record_local_metric(name, AverageMetric.many(counted, has_label.int().tolist()))

    def eval_step(self, batch: Batch) -> Output | None:
        """Rank candidates of each example, and reply with the best."""
        if not batch.batchsize:
            return None
        self.model.eval()
        batch['u'], weights = self.recall(batch)
        count = self.rank_top_k if self.rank_top_k > 0 else self.opt['cap_num_predictions']
        if self.index:
            ranked = [self.index.search(u, count) for u in batch.u.float().cpu()]
        else:
            listed = self.listed_candidates(batch, self.eval_candidates)
            scores, own = self.score_candidates(batch, listed), listed.own.to(device_of(self.net))
            losses, ranks = losses_and_ranks(scores, own)
            self.record_labels(own, loss=losses, rank=ranks, mrr=1 / ranks)
            ranked = listed.best(scores, count)
        if self.opt['repeat_blocking_heuristic'] and (self.index or self.eval_candidates == 'fixed'):
            said = [example.said for example in batch.examples]
            ranked = [[(r, s) for r, s in row if r not in old] or row for row, old in zip(ranked, said, strict=True)]
        replies = [[reply for reply, _ in row] for row in ranked]
        choose_from = self.opt['topk'] if self.opt['inference'] == 'topk' else 1
        output = Output([random.choice(row[:choose_from]) for row in replies], text_candidates=replies)
        output[fields.PERSONA_WEIGHTS] = weights
        if self.opt['return_cand_scores']:
            output.sorted_scores = [[score for _, score in row] for row in ranked]
        return output

    def recall(self, batch: Batch) -> tuple[Tensor, list[list[float]] | None]:
        """Return u of the examples (B, d), and how much each sentence of their personas counts, if they are read."""
        h = self.net.joint(self.texts([example.context for example in batch.examples]), None)
        memory = self.personas(batch.examples)
        if memory is None:
            return h, None
        rows = zip(batch.examples, self.net.attention(h, memory)[0].tolist(), strict=True)
        return self.net.recall(h, memory), [sentence_weights(example.persona, row) for example, row in rows]

    def score_candidates(self, batch: Batch, cand_vecs: ListedCandidates, cand_encs: Tensor | None = None) -> Tensor:
        """Return the scores (B, C) of the listed candidates with `batch.u`."""
        y = self.response_encodings.encode(self.net, self.responses(cand_vecs.replies))
        return cand_vecs.scores(batch.u, y)

    def listed_candidates(self, batch: Batch, source: str) -> ListedCandidates:
        """Return the candidates of each example, from a source that has a name of ParlAI's: batch, inline, fixed, …"""
        labels = [example.label for example in batch.examples]
        if source == 'batch':
            return ListedCandidates.of_all([label for label in labels if label is not None], labels)
        if source != 'fixed' and not all(batch.candidates):
            raise UserError(
                f'--{"eval-" * (not batch.is_training)}candidates is {source}, and a message has no label_candidates: '
                'choose batch or fixed, or give --memnet-candidates'
            )
        if source == 'fixed':
            listed = ListedCandidates.of_all(self.fixed_candidates, labels)
        elif source == 'batch-all-cands':
            listed = ListedCandidates.of_all([reply for replies in batch.candidates for reply in replies], labels)
        else:
            listed = ListedCandidates.of_each(batch.candidates, labels)
        missing = [
            label for label, own in zip(labels, listed.own.tolist(), strict=True) if own < 0 and label is not None
        ]
        if missing and (self.is_training or not self.ignore_bad_candidates):
            where = 'the fixed candidates' if source == 'fixed' else 'its label_candidates'
            raise UserError(
                f'the label {missing[0]!r} is not among {where}; in an evaluation --ignore-bad-candidates true counts '
                'such an example as wrong'
            )
        return listed

    def set_interactive_mode(self, mode, shared=False) -> None:
        """Do as ParlAI does, but with a file of candidates make no list of all labels of the task."""
        if mode and self.reading.candidates:
            TorchAgent.set_interactive_mode(self, mode, shared)
            self.ignore_bad_candidates = True
        else:
            super().set_interactive_mode(mode, shared)

    def get_task_candidates_path(self) -> str:
        """Prefer the replies that were published with the model to a list of all labels of the task."""
        published = f'{self.opt["model_file"]}.replies'
        return published if PathManager.exists(published) else super().get_task_candidates_path()

    def set_fixed_candidates(self, shared) -> None:
        """Read the lines of `--fixed-candidates-path`, or of the task's file.

        ParlAI would keep their vectors in files, which become wrong when the weights change.
        """
        if shared:
            super().set_fixed_candidates(shared)
            return
        self.fixed_candidates = self.fixed_candidate_vecs = self.fixed_candidate_encs = None
        self.num_fixed_candidates = 0
        if 'fixed' in (self.candidates, self.eval_candidates):
            path = self.fixed_candidates_path or self.get_task_candidates_path()
            with PathManager.open(path, 'r', encoding='utf-8') as file:
                self.fixed_candidates = list(dict.fromkeys(line.strip() for line in file if line.strip()))
            self.num_fixed_candidates = len(self.fixed_candidates)
            logging.info(f'{self.num_fixed_candidates} candidates in {path}')

    def open_index(self) -> CandidateIndex:
        """Open the index of `--memnet-candidates`. The first process to come builds it, unless it is up to date."""
        words = [self.opt['dict_tokenizer'], str(self.opt['dict_lower']), *self.words()]
        source, folder = Path(self.reading.candidates), Path(f'{self.opt["model_file"]}.candidates')
        self.model.eval()
        return IndexBuilder(source, folder, self.reading.candidate_tokens, self.dict.txt2vec, words, self.net).open()


def sentence_weights(persona: list[Line], row: list[float]) -> list[float]:
    """Return the weight of each sentence; the memory has no repeated sentences, and none without words."""
    first = {line.key: place for place, line in reversed([*enumerate(persona)]) if line.key}
    weights = iter(row)
    return [next(weights) if first.get(line.key) == place else 0.0 for place, line in enumerate(persona)]


def refuse_flags(opt: Opt) -> None:
    """Refuse flags that would have no effect."""
    for name, instead in NO_EFFECT.items():
        if opt.get(name) not in (None, False, 'random'):
            raise UserError(f'--{name.replace("_", "-")} is {opt[name]}; persona:memnet does not know it: {instead}')
    if 'vocab' in (opt['candidates'], opt['eval_candidates'], opt['interactive_candidates']):
        raise UserError('candidates are vocab; persona:memnet chooses among responses: batch, inline or fixed')
