"""`-m persona:memnet`: picks responses by a persona memory network (Mazaré et al. 2018).

This is the ParlAI side: flags, messages, candidates, metrics. The network is in `model.py`, its loss in `losses.py`.
"""

import random
import sys
from pathlib import Path
from typing import Any

import torch
from parlai.core.metrics import AverageMetric
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.torch_agent import Batch, Output
from torch import Tensor

from parlai_persona import fields
from parlai_persona.agents.memnet.batches import (
    Example,
    Line,
    Memory,
    Texts,
    batch_personas,
    batch_texts,
    cached_lines,
    pad_rows,
)
from parlai_persona.agents.memnet.candidates import EncodingCache, ListedCandidates, ListsCandidates, Ranked
from parlai_persona.agents.memnet.checkpoint import SavesWords
from parlai_persona.agents.memnet.encoders import Shape
from parlai_persona.agents.memnet.index import CandidateIndex, IndexBuilder
from parlai_persona.agents.memnet.losses import losses_and_ranks, mean_loss, rows_of_all, scores_in_batch
from parlai_persona.agents.memnet.model import MemNet, PersonaMemory
from parlai_persona.agents.memnet.options import PREFIX, WordReading, refuse_flags
from parlai_persona.flags import add_flags, from_opt
from parlai_persona.models.history import ContextHistory, TextHistory
from parlai_persona.models.network import device_of

SHARED = ('lines', 'response_encodings', 'index')


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


class MemnetAgent(SavesWords, ListsCandidates):
    """Encodes the context with its persona and the responses; dot products rank the responses."""

    NEEDS_TRAINING = True
    OPTIONS: tuple[type, type] = (Shape, WordReading)
    shape: Any
    reading: Any

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('Persona memory network'), PREFIX, *cls.OPTIONS)
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
        self.shape, self.reading = (from_opt(kind, opt, PREFIX) for kind in self.OPTIONS)
        refuse_flags(opt)
        super().__init__(opt, shared)
        if shared:
            for name in SHARED:
                setattr(self, name, shared[name])
            return
        self.prepare_network()
        text, label = self.most_words(self.text_truncate), self.most_words(self.label_truncate)
        self.lines = {
            'context': cached_lines(self.dict.txt2vec, text, keep_end=True),
            'sentence': cached_lines(self.dict.txt2vec, text),
            'response': cached_lines(self.dict.txt2vec, label),
        }
        self.response_encodings = EncodingCache()
        self.index = None if self._should_initialize_optimizer() else self.open_index(label)

    def prepare_network(self) -> None:
        """Do what a network needs before it is used."""

    def most_words(self, truncate: int | None) -> int | None:
        """Return how many words of a text the network can read, of those that a flag allows."""
        return truncate

    @property
    def vectors_file(self) -> str | None:
        return self.reading.vectors

    def build_model(self) -> PersonaMemory:
        net = MemNet(self.shape, len(self.dict), self.NULL_IDX, self.unknown_word())
        if not self.starts_from:
            self.start_from_file(net, self.words())
        return net

    def unknown_word(self) -> int | None:
        """Return the number of all words that the dictionary lacks, if it has one."""
        return self.dict.tok2ind.get(self.dict.unk_token)

    def share(self) -> dict[str, Any]:
        return {**super().share(), **{name: getattr(self, name) for name in SHARED}}

    def vectorize(self, obs, history, **_):
        """Add the context, the persona and the label as an `Example`."""
        if 'text' not in obs or obs.is_padding():
            return obs
        context = self.lines['context'](history.get_history_str() or '')
        labels = fields.labels_of(obs)
        label = self.random.choice(labels) if len(labels) > 1 else next(iter(labels), None)
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
        labels = self.responses([example.label for example in batch.examples])
        label_words = self.count_words(labels)
        if self.candidates == 'batch':  # the responses of the batch, from all processes
            u, y = self.model(contexts, personas, self.texts(labels))
            numbers = torch.tensor([label.number() for label in labels], device=u.device)
            scores, own = scores_in_batch(u, y, numbers, self.lexical_scores(batch.examples, label_words))
        else:
            listed = self.listed_candidates(batch, self.candidates)
            replies = self.responses(listed.replies)
            u, y = self.model(contexts, personas, self.texts(replies))
            lexical = self.lexical_scores(batch.examples, self.word_rows(replies))
            scores, own = listed.scores(u, y, lexical), listed.own.to(u.device)
        losses, ranks = losses_and_ranks(scores, own)
        self.backward(mean_loss(losses))
        self.update_params()
        self.record_labels(own, loss=losses, train_accuracy=(ranks == 1).float(), mrr=1 / ranks)
        return None

    def word_rows(self, lines: list[Line]) -> Tensor | None:
        """Return the words of some texts for the lexical term, if there is one, padded with -1: (len(lines), W)."""
        if self.net.lexical is None:
            return None
        return pad_rows([line.words for line in lines], -1)[0].to(device_of(self.net))

    def count_words(self, labels: list[Line]) -> Tensor | None:
        """Count the words of the labels of all processes for the lexical term, if there is one; return them (R, W)."""
        own = self.word_rows(labels)
        if own is None:
            return None
        words = rows_of_all(own)
        self.net.lexical.count(words)
        return words

    def lexical_scores(self, examples: list[Example], responses: Tensor | None) -> Tensor | None:
        """Return what the words in common add to the scores (B, R), if they do."""
        return None if responses is None else self.net.lexical(self.queries(examples), responses)

    def queries(self, examples: list[Example]) -> Tensor:
        """Return the words of persona and context, padded with -1: (B, W)."""
        rows = [example.words(self.shape.persona) for example in examples]
        return pad_rows(rows, -1)[0].to(device_of(self.net))

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
            ranked = self.search_index(self.index, batch, count)
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
        p, m = self.net.attention(h, memory)
        rows = zip(batch.examples, p.tolist(), strict=True)
        return self.net.add(h, p, m), [sentence_weights(example.persona, row) for example, row in rows]

    def score_candidates(self, batch: Batch, cand_vecs: ListedCandidates, cand_encs: Tensor | None = None) -> Tensor:
        """Return the scores (B, C) of the listed candidates with `batch.u`."""
        replies = self.responses(cand_vecs.replies)
        y = self.response_encodings.encode(self.net, replies)
        return cand_vecs.scores(batch.u, y, self.lexical_scores(batch.examples, self.word_rows(replies)))

    def search_index(self, index: CandidateIndex, batch: Batch, count: int) -> list[Ranked]:
        """Return the best `count` responses of the index for each example."""
        u = batch.u.float().cpu()
        if self.net.lexical is None:
            return [index.search(one, count) for one in u]
        queries = self.net.lexical.queries(self.queries(batch.examples)).cpu()
        return [index.search(one, count, query.numpy()) for one, query in zip(u, queries, strict=True)]

    def open_index(self, most_words: int | None) -> CandidateIndex | None:
        """Open the index of `--memnet-candidates`, or in a chat that of the replies published with the model.

        The first process to come builds it, unless it is up to date.
        """
        if self.reading.candidates:
            source, tokens = Path(self.reading.candidates), self.reading.candidate_tokens
        elif self.chooses_published():
            source, tokens = self.published_replies, most_words or sys.maxsize
        else:
            return None
        words = [self.opt['dict_tokenizer'], str(self.opt['dict_lower']), *self.words()]
        folder = Path(f'{self.opt["model_file"]}.candidates')
        self.model.eval()
        return IndexBuilder(source, folder, tokens, self.dict.txt2vec, words, self.net).open()


def sentence_weights(persona: list[Line], row: list[float]) -> list[float]:
    """Return the weight of each sentence; the memory has no repeated sentences, and none without words."""
    first = {line.key: place for place, line in reversed([*enumerate(persona)]) if line.key}
    weights = iter(row)
    return [next(weights) if first.get(line.key) == place else 0.0 for place, line in enumerate(persona)]
