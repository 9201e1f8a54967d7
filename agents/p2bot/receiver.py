"""`-m persona:p2bot/receiver`: perceives a speaker's persona in what they say (Liu et al. 2020, sec. 4).

This is the ParlAI side: flags, texts, candidates, metrics. The text of a message is utterances of one speaker, one a
line; a candidate is a persona, a sentence a line (`-t persona:perception`). The equations are in `perception.py`.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from parlai.core.metrics import AverageMetric
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.torch_agent import Batch, Output
from parlai.core.torch_ranker_agent import TorchRankerAgent
from parlai.utils.distributed import get_rank, is_distributed, num_workers
from torch import Tensor

from parlai_persona.agents.p2bot import perception
from parlai_persona.agents.p2bot.perception import IMPRESSION, OVER, PERSONA, Encoders, Tokens, numbered, padded
from parlai_persona.agents.p2bot.sentences import FLAG, PREFIX, SentenceDictionary, Source
from parlai_persona.errors import UserError
from parlai_persona.flags import add_flags, flag, from_opt
from parlai_persona.models.encoder import load_encoder
from parlai_persona.models.network import unwrapped
from parlai_persona.models.precision import Precision, autocast, report_gain
from parlai_persona.models.trained import Learning, SavesTrained, prepare
from parlai_persona.models.vector_cache import VectorCache

CACHED = 100_000  # vectors of each encoder
FAR = -1e4  # the score of a persona that is not to be chosen
TAU_FLAG = f'--{PREFIX.replace("_", "-")}-tau'


@dataclass(frozen=True)
class Receiver(Learning):
    train: str = flag(
        'all', 'what is trained: all weights, adapters (LoRA), or nothing', choices=('all', 'lora', 'nothing')
    )
    shared: bool = flag(False, 'one encoder for utterances and persona sentences (the paper: two, its code: one)')
    loss: str = flag('margin', 'the margin of eq. 12, or the cross-entropy of the candidates', choices=('margin', 'ce'))
    margin: float = flag(0.4, 'm of eq. 12', least=0)
    beta: float = flag(1e-4, 'weight of the L1 norm of the relevances (eq. 12)', least=0)
    cosine: float = flag(
        0.0, 'relevance is so many times the cosine of the vectors; 0: their scaled dot product (eq. 11)', least=0
    )
    deviations: float = flag(
        0.0,
        'relevance is so many times the number of standard deviations above the mean relevance of the sentence to '
        'utterances of the training; 0: relevance as it is',
        least=0,
    )
    over: str = flag(
        'utterances',
        "mean over the utterances of each one's best sentences (eq. 14), the other way round, or both",
        choices=OVER,
    )
    tau_start: float = flag(10.0, 'temperature at the start of training (eq. 13, sec. 5.1)')
    tau_end: float = flag(0.5, 'temperature at the end of training, and in every evaluation')
    tau_updates: int = flag(10_000, 'updates in which the temperature falls, linearly', least=1)
    hide: float = flag(
        0.0,
        'training: share of the content words in common with the persona that the utterances lose, so that meaning '
        'is learned, too',
        least=0,
        most=1,
    )


class ReceiverAgent(SavesTrained, TorchRankerAgent):
    """Ranks personas by the cumulative score c of eq. 14."""

    BASE_FLAG = FLAG

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('P2Bot: receiver'), PREFIX, Source, Receiver, Precision)
        parser.set_defaults(
            optimizer='adam',
            learningrate=6.25e-5,
            gradient_clip=1.0,
            candidates='inline',
            eval_candidates='inline',
            encode_candidate_vecs=False,
        )
        return parser

    @staticmethod
    def dictionary_class():
        return SentenceDictionary

    def __init__(self, opt: Opt, shared=None):
        self.options = from_opt(Receiver, opt, PREFIX)
        self.amp = from_opt(Precision, opt, PREFIX).amp
        self.caches = shared['caches'] if shared else {name: VectorCache(CACHED) for name in (IMPRESSION, PERSONA)}
        super().__init__(opt, shared)
        self.check()
        if self.amp and not shared:
            report_gain(self.net, f'--{PREFIX.replace("_", "-")}-amp')

    def share(self):
        return {**super().share(), 'caches': self.caches}

    def check(self) -> None:
        start, end = self.options.tau_start, self.options.tau_end
        if min(start, end) <= 0:
            raise UserError(f'{TAU_FLAG}-start {start} and {TAU_FLAG}-end {end}: a temperature has to be above 0')
        learns = self._should_initialize_optimizer()
        if learns and self.candidates == 'batch' and self.opt['batchsize'] == 1 and not is_distributed():
            raise UserError('--candidates batch with --batchsize 1 has no other persona: give --batchsize 2 or more')

    @property
    def net(self) -> Encoders:
        return unwrapped(self.model)

    def build_model(self) -> Encoders:
        found = load_encoder(SentenceDictionary.place(self.opt), FLAG)
        self.stand_on(found)
        net = Encoders(found.model, self.options.shared, background=self.options.deviations > 0)
        for encoder in (found.model, *([] if self.options.shared else [net.persona])):
            prepare(encoder, self.options, PREFIX.replace('_', '-'))
        return net

    def build_criterion(self):
        """Return the loss of each row, given scores (B, C) and the place of the own persona (B,)."""
        if self.options.loss == 'ce':
            return torch.nn.CrossEntropyLoss(reduction='none')
        return lambda c, own: perception.margin_loss(c, own, self.options.margin, c > FAR)

    def vectorize(self, *args, **kwargs):
        return super().vectorize(*args, **{**kwargs, 'add_start': False, 'add_end': False})

    # ----------------------------------------------------------------------------------------- training

    def train_step(self, batch: Batch) -> Output | None:
        """Descend on eq. 12, or on the cross-entropy of the candidates."""
        if batch.text_vec is None:
            return None
        self.model.train()
        self.zero_grad()
        personas, own = self.choices(batch)
        if self.candidates != 'batch' and max(map(len, personas)) == 1:
            raise UserError(
                'the only candidate of each message is the persona of its speaker, so there is nothing to learn: give '
                '--perception-train-distractors 1 or more, or --candidates batch'
            )
        truth = [row[place] for row, place in zip(personas, own.tolist(), strict=True)]
        utterances = self.hidden(self.texts(batch.text_vec), truth)
        U, is_utterance, is_sentence = self.relevances(utterances, personas, self.encoded_anew)
        c = self.scores(U, is_utterance, is_sentence, self.tau(self._number_training_updates))  # (B, C)
        c = c.masked_fill(not_to_learn_from(personas, own).to(c.device), FAR)
        losses = self.criterion(c, own)
        if self.options.loss == 'margin':
            losses = losses + self.options.beta * perception.l1_norm(U, is_utterance, is_sentence).sum(1)
        self.record_training(losses, c, own)
        self.backward(losses.mean())
        self.update_params()
        return None

    def choices(self, batch: Batch) -> tuple[list[list[list[Tokens]]], Tensor]:
        """Return the personas that each row is to be told from, and the place of its own.

        With `--candidates batch`, these are the personas of all processes' batches.
        """
        _, cand_vecs, own = self._build_candidates(batch, self.candidates, 'train')
        personas = self.personas(cand_vecs, len(own))
        if self.candidates != 'batch' or not is_distributed():
            return personas, own
        shares: list = [None] * num_workers()
        torch.distributed.all_gather_object(shares, personas[0])
        first = sum(map(len, shares[: get_rank()]))
        return [[persona for share in shares for persona in share]] * len(own), own + first

    def record_training(self, losses: Tensor, c: Tensor, own: Tensor) -> None:
        ranks = (c.detach() >= c.detach().gather(1, own[:, None])).sum(1)  # 1 is the best
        self.record_local_metric('loss', AverageMetric.many(losses))
        self.record_local_metric('train_accuracy', AverageMetric.many((ranks == 1).float()))
        self.record_local_metric('train_mrr', AverageMetric.many(1 / ranks))
        self.global_metrics.add('tau', AverageMetric(self.tau(self._number_training_updates)))

    def tau(self, updates: int) -> float:
        return perception.temperature(updates, self.options.tau_start, self.options.tau_end, self.options.tau_updates)

    def hidden(self, utterances: list[list[Tokens]], personas: list[list[Tokens]]) -> list[list[Tokens]]:
        """Leave out of each speaker's utterances some of the content words that their persona has, too."""
        if not self.options.hide:
            return utterances
        rows = []
        for said, persona in zip(utterances, personas, strict=True):
            common = {token for text in said for token in text} & {token for text in persona for token in text}
            gone = {token for token in sorted(common - self.dict.stop_tokens) if random.random() < self.options.hide}
            rows.append([tuple(token for token in text if token not in gone) for text in said])
        return rows

    # ------------------------------------------------------------------------------------------ ranking

    def score_candidates(self, batch: Batch, cand_vecs: Tensor, cand_encs: Tensor | None = None) -> Tensor:
        """Return c of each candidate: (B, C)."""
        personas = self.personas(cand_vecs, len(batch.text_vec))
        parts = self.relevances(self.texts(batch.text_vec), personas, self.encoded)
        return self.scores(*parts, self.options.tau_end)

    def texts(self, vecs: Tensor) -> list[list[Tokens]]:
        return [self.dict.sentences(vec) for vec in vecs.tolist()]

    def personas(self, cand_vecs: Tensor, rows: int) -> list[list[list[Tokens]]]:
        """Return the sentences of each candidate of each row; rows may have their candidates in common."""
        if cand_vecs.dim() == 2:
            return [self.texts(cand_vecs)] * rows
        return [self.texts(vecs) for vecs in cand_vecs]

    def relevances(self, utterances, personas, encode) -> tuple[Tensor, Tensor, Tensor]:
        """Return U (B, C, N, L), and where there are utterances (B, 1, N) and sentences (B, C, L).

        Each distinct text of the batch is encoded once.
        """
        said = numbered(text for row in utterances for text in row) or {self.nothing: 0}
        stated = numbered(text for row in personas for persona in row for text in persona) or {self.nothing: 0}
        table = self.similarity(*encode(list(said), list(stated)))  # of all texts
        rows, is_utterance = padded([[said[text] for text in row] for row in utterances])  # (B, N)
        flat = [[stated[text] for text in persona] for row in personas for persona in row]
        columns, is_sentence = (part.view(len(utterances), -1, part.shape[1]) for part in padded(flat))  # (B, C, L)
        U = table[rows[:, None, :, None].to(table.device), columns[:, :, None, :].to(table.device)]
        return U, is_utterance[:, None].to(U.device), is_sentence.to(U.device)

    def similarity(self, H: Tensor, W: Tensor) -> Tensor:
        """Return U of all utterances and sentences (eq. 11, or as the options say)."""
        cosine, deviations = self.options.cosine, self.options.deviations
        U = perception.scaled_cosine(H, W, cosine) if cosine else perception.scaled_dot(H, W)
        if not deviations:
            return U
        if cosine:
            H, W = perception.normalize(H, dim=-1), perception.normalize(W, dim=-1)
        if self.model.training:
            mean, covariance = perception.moments(H)
            self.net.head.see(mean, covariance)
        elif self.net.head.seen:
            mean, covariance = self.net.head.mean, self.net.head.covariance
        else:
            return U  # nothing is known of other utterances
        return deviations * perception.standardised(H @ W.T, W, mean, covariance)

    def scores(self, U: Tensor, is_utterance: Tensor, is_sentence: Tensor, tau: float) -> Tensor:
        """Return c (B, C); a candidate without sentences is padding, which comes last."""
        is_utterance = is_utterance.expand(U.shape[:3])
        c = perception.cumulative(U, tau, is_utterance, is_sentence, self.options.over)
        return c.masked_fill(~is_sentence.any(-1), FAR)

    def encoded_anew(self, utterances: list[Tokens], sentences: list[Tokens]) -> tuple[Tensor, Tensor]:
        with autocast(self.net, self.amp):
            return self.model(utterances, sentences)

    @torch.no_grad()
    def encoded(self, utterances: list[Tokens], sentences: list[Tokens]) -> tuple[Tensor, Tensor]:
        """Return the vectors of texts; each text is encoded once in an evaluation."""
        with autocast(self.net, self.amp):
            return self.vectors(IMPRESSION, utterances), self.vectors(PERSONA, sentences)

    def vectors(self, which: str, texts: list[Tokens]) -> Tensor:
        return self.caches[which].vectors(self.net, texts, lambda new: self.net.encode(which, new), tuple)

    # --------------------------------------------------------------------------- for other parts of P2Bot

    def perception(self, utterances: Sequence[str], personas: Sequence[Sequence[str]]) -> list[float]:
        """Return score(x, w) of each utterance and the persona beside it (eq. 15)."""
        if not utterances:
            return []
        rows = [[self.sentence(text)] for text in utterances]
        U, _, is_sentence = self.relevances_of(rows, [[persona] for persona in personas])  # (B, 1, 1, L)
        return perception.aggregate(U[:, 0, 0], self.options.tau_end, is_sentence[:, 0]).tolist()

    def relevance(self, utterances: Sequence[str], persona: Sequence[str]) -> Tensor:
        """Return U (N, L) of eq. 11."""
        U, _, _ = self.relevances_of([list(map(self.sentence, utterances))], [[persona]])  # (1, 1, N, L)
        return U[0, 0, : len(utterances), : len(persona)]

    def cumulative(self, utterances: Sequence[str], personas: Sequence[Sequence[str]]) -> list[float]:
        """Return c of these utterances together with each of the personas (eq. 14)."""
        parts = self.relevances_of([list(map(self.sentence, utterances))], [personas])
        return self.scores(*parts, self.options.tau_end)[0].tolist()

    def relevances_of(self, utterances: list[list[Tokens]], personas) -> tuple[Tensor, Tensor, Tensor]:
        self.model.eval()
        sentences = [[[self.sentence(text) for text in persona] for persona in row] for row in personas]
        return self.relevances(utterances, sentences, self.encoded)

    def sentence(self, text: str) -> Tokens:
        """Return the tokens of a text, as of one line."""
        return tuple(self.dict.txt2vec(' '.join(text.split('\n')))) or self.nothing

    @property
    def nothing(self) -> Tokens:
        """Return the tokens of an empty text, which an encoder can read."""
        return tuple(self.dict.line(''))


def not_to_learn_from(personas: list[list[list[Tokens]]], own: Tensor) -> Tensor:
    """Tell which candidates are no distractors, because they share a sentence with the speaker's persona: (B, C)."""
    rows = []
    for row, place in zip(personas, own.tolist(), strict=True):
        truth = set(row[place])
        rows.append([number != place and not truth.isdisjoint(persona) for number, persona in enumerate(row)])
    return torch.tensor(rows)
