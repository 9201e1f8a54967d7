"""Our metrics in ParlAI's reports, for any agent: a mixin for teachers. `metrics.formulas` computes the numbers.

A metric that an example lacks (no reply text, no persona, no ranked list) is absent from its report and from the
average. It never counts as 0. docs/metrics.md explains every name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from parlai.core.dict import DictionaryAgent
from parlai.core.loader import load_agent_module
from parlai.core.message import Message
from parlai.core.metrics import METRICS_DISPLAY_DATA, AverageMetric, MetricDisplayData, normalize_answer
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from parlai.core.teachers import FixedDialogTeacher
from parlai.utils.data import DatatypeHelper

from parlai_persona.errors import UserError
from parlai_persona.fields import DIALOGUE_ID, PARTNER_PERSONA, PERSONA
from parlai_persona.flags import add_flags, flag, from_opt
from parlai_persona.metrics import formulas, perception
from parlai_persona.metrics.nli import Nli, load
from parlai_persona.metrics.types import (
    BleuMetric,
    ConsistencyMetric,
    DistinctMetric,
    PerplexityMetric,
    PersonaF1Metric,
)
from parlai_persona.metrics.whole import WholeDialogue

sentence_words = lru_cache(maxsize=2**14)(formulas.content_words)  # Persona-Chat has some 6,000 sentences

DISPLAY = {
    'persona_recall': ('P-R', "share of a persona sentence's words that the reply says (eq. 19)"),
    'persona_precision': ('P-P', "share of the reply's words that are in that sentence (eq. 19)"),
    'persona_recall_letter': ('P-R, letter', 'eq. 19 with its two names exchanged: persona_precision'),
    'persona_precision_letter': ('P-P, letter', 'eq. 19 with its two names exchanged: persona_recall'),
    'persona_f1': ('P-F1 of averages', 'harmonic mean of the two averages, as in table 2'),
    'persona_f1_mean': ('P-F1, mean', "average of the replies' own F1"),
    'persona_used': ('Persona used', 'share of replies with a content word of their persona'),
    'persona_cover_train': ('P-Cover, train', 'eq. 20, words ranked by frequency in the training split'),
    'persona_cover_file': ('P-Cover, file', 'eq. 20, words ranked by --persona-metrics-ranks'),
    'distinct_raw_1': ('Distinct-1, raw', 'different words / words of all replies, whitespace tokens'),
    'distinct_raw_2': ('Distinct-2, raw', 'different bigrams / bigrams of all replies, whitespace tokens'),
    'repetition': ('Repetition', "share of a reply's trigrams that it or an earlier reply of the dialogue already has"),
    'hits@3': ('Hits@3', 'share of ranked lists with the label among the first 3'),
    'hits@10': ('Hits@10', 'share of ranked lists with the label among the first 10'),
    'mrr': ('MRR', 'average of 1 / rank of the label; 0 where it is not in the list'),
    'mrr_sentences': (
        'MRR, sentences',
        "average of 1 / rank of a speaker's profile sentences among all (P²Bot, table 5)",
    ),
    'bleu_corpus': ('BLEU, corpus', 'BLEU-4 by 100 of all replies together, unsmoothed'),
    'bleu_fold': ('BLEU, by dialogue', 'the same of each held-out dialogue, then their mean (PAML)'),
    'ppl_fold': ('Perplexity, by dialogue', 'exp of the mean over held-out dialogues of the mean over tokens (PAML)'),
    'consistency': ('C', 'persona sentences that a reply entails less those that it contradicts (PAML, eq. 7)'),
    'consistency_fold': ('C, by dialogue', 'mean over held-out dialogues of the mean over their replies (PAML)'),
    'persona_perception': ('Persona perceived', 'share of dialogues from whose replies the receiver picks the persona'),
    'persona_perception_gold': ('Persona perceived, gold', "the same from the data's own replies"),
    'persona_perception_score': ('Perception score', 'score of a reply with its persona (P2Bot, eq. 15)'),
    'persona_perception_score_gold': ('Perception score, gold', "the same of the data's own replies"),
    'reply_words': ('Length', 'whitespace tokens of a reply'),
    'ppl_word': ('Perplexity per word', 'per whitespace token of the label, end included'),
}
METRICS_DISPLAY_DATA.update({name: MetricDisplayData(*shown) for name, shown in DISPLAY.items()})


@dataclass(frozen=True)
class Measured:
    metrics: bool = flag(
        True, 'in evaluation, report persona F1 and coverage, Distinct, hits@3, MRR, perplexity per word'
    )
    metrics_ranks: str | None = flag(
        None,
        'vector file or word list, most frequent word first, that ranks words for persona coverage (PEDNet, eq. 20); '
        'without it, frequency in the training split ranks them',
        metavar='FILE',
    )
    nli: str | None = flag(
        None,
        'report consistency with the persona (PAML, eq. 7), judged by this entailment classifier: a ParlAI model '
        'file, a folder, or a name on the hub of transformers',
        metavar='MODEL',
    )


class WordRarity:
    """The idf of eq. 20, from a file or from the training texts; computed when first used, then shared.

    `idf` is None if there are no training texts. Coverage is then absent from the report.
    """

    def __init__(self, path: str | None, training_texts: Callable[[], Iterable[str]]):
        if path and not os.path.isfile(path):
            raise FileNotFoundError(
                f'--persona-metrics-ranks {path}: saw no such file, expected a vector file or a word list'
            )
        self.path, self.training_texts = path, training_texts
        self.metric = 'persona_cover_file' if path else 'persona_cover_train'

    @cached_property
    def idf(self) -> formulas.ZipfIdf | None:
        if not self.path:
            ranks = formulas.frequency_ranks(self.training_texts())
            return formulas.ZipfIdf(ranks) if ranks else None
        with open(self.path, 'rb') as lines:
            return formulas.ZipfIdf(formulas.read_ranks(lines, self.path))


def token_perplexity_name(opt: Opt) -> str | None:
    """Return `ppl_token_…` with the tokenisation of the agent's dictionary, or None if the options do not tell it.

    This reads the options file beside the weights, because the agent may have taken its tokenisation from there while
    the teacher's options still have the default.
    """
    saved = f'{opt.get("model_file")}.opt'
    if os.path.isfile(saved):
        opt = Opt({**Opt.load(saved), **(opt.get('override') or {})})
    agent = load_agent_module(opt['model']) if opt.get('model') else None
    dictionary_class = getattr(agent, 'dictionary_class', None)
    if dictionary_class is None:
        return None
    dictionary = dictionary_class()
    tokenizer = opt.get('dict_tokenizer', DictionaryAgent.default_tok)
    if hasattr(dictionary, 'tokens_of'):
        tokenizer = dictionary.tokens_of(opt)
    elif (dictionary.tokenize, dictionary.txt2vec) != (DictionaryAgent.tokenize, DictionaryAgent.txt2vec):
        # for example Gpt2DictionaryAgent, which ignores dict_tokenizer
        tokenizer = dictionary.__name__.removesuffix('DictionaryAgent').lower()
    name = f'ppl_token_{re.sub(r"[^0-9a-zA-Z]+", "_", tokenizer)}'
    METRICS_DISPLAY_DATA[name] = MetricDisplayData(
        f'Perplexity per token ({tokenizer})', "the agent's ppl: comparable only with the same dictionary"
    )
    return name


class PersonaMetrics(FixedDialogTeacher):
    """Mixin: `class MyTeacher(PersonaMetrics, DialogTeacher)` reports our metrics in evaluations, not in training.

    Its messages carry the speaker's persona in `fields.PERSONA`, a list of sentences.
    """

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        super().add_cmdline_args(parser, partial_opt)
        add_flags(parser.add_argument_group('Persona metrics'), 'persona', Measured, perception.Perceived)
        return parser

    def __init__(self, opt: Opt, shared: dict[str, Any] | None = None):
        super().__init__(opt, shared)
        measured = from_opt(Measured, opt, 'persona')
        if shared:
            self.word_rarity: WordRarity = shared['word_rarity']
        else:
            self.word_rarity = WordRarity(measured.metrics_ranks, self.training_texts)
        self.nli: Nli | None = shared['nli'] if shared else None
        self.perception: perception.Perception | None = shared['perception'] if shared else None
        self.earlier: list[str] = []  # the agent's replies in this dialogue
        self.said: WholeDialogue[tuple[str, str]] = WholeDialogue()  # the replies, each with that of the data
        self.measures_persona = measured.metrics and not DatatypeHelper.is_training(opt['datatype'])
        if self.measures_persona:
            self.metrics.eval_pr = [1, 3, 5, 10, 100]  # ParlAI computes hits@3 if told to
            if measured.nli and not shared:
                self.nli = load(measured.nli, opt.get('datapath'))
            if not shared:
                self.perception = perception.from_options(opt, self.personas)

    def reset(self) -> None:
        super().reset()
        self.earlier = []

    def share(self) -> dict[str, Any]:
        return {**super().share(), 'word_rarity': self.word_rarity, 'nli': self.nli, 'perception': self.perception}

    @cached_property
    def _token_ppl(self) -> str | None:
        return token_perplexity_name(self.opt)

    def training_texts(self) -> Iterable[str]:
        """Return all utterances of the training split, which rank words; without any, no `persona_cover_train`."""
        raise NotImplementedError(
            f'{type(self).__name__} has no training_texts(), from which persona_cover_train ranks words: '
            'define it, give --persona-metrics-ranks FILE, or switch off with --persona-metrics false'
        )

    def personas(self) -> Iterable[Sequence[str]]:
        """Return the personas of this split's speakers, among which --persona-receiver recognises one."""
        raise UserError(f'{type(self).__name__} has no personas(), which --persona-receiver needs: see docs/metrics.md')

    def custom_evaluation(
        self, teacher_action: Message, labels: tuple[str, ...] | None, model_response: Message
    ) -> None:
        super().custom_evaluation(teacher_action, labels, model_response)
        if not self.measures_persona:
            return
        text = model_response.get('text')
        if text is not None:
            self._measure_persona(text, teacher_action.get(PERSONA) or ())
            self._measure_distinct(text)
            self.metrics.add('repetition', AverageMetric(formulas.repetition(text, self.earlier)))
            self.earlier = [] if teacher_action.get('episode_done', True) else [*self.earlier, text]
            if labels:
                self.metrics.add('bleu_corpus', BleuMetric.compute(text, labels[0]))
            if self.nli and teacher_action.get(PERSONA):
                self.metrics.add('consistency', ConsistencyMetric([[(text, teacher_action[PERSONA])]], self.nli))
        if self.perception and labels and teacher_action.get(PERSONA):
            self._measure_perception(self.perception, teacher_action, text, labels[0])
        if model_response.get('text_candidates') is not None and labels:
            self._measure_rank(model_response['text_candidates'], labels)
        if labels and 'ppl' in model_response.get('metrics', {}):
            self._measure_perplexity(model_response['metrics'], labels)

    def _measure_persona(self, text: str, persona: Sequence[str]) -> None:
        if isinstance(persona, str):
            raise TypeError(f'field {PERSONA!r}: saw the str {persona!r}, expected a list of sentences')
        sentences = [sentence_words(sentence) for sentence in persona]
        reply = formulas.content_words(text)
        overlap = formulas.persona_overlap(reply, sentences)
        if overlap is None:
            return
        recall, precision = overlap.recall, overlap.precision
        averages: dict[str, float | None] = {
            'persona_recall': recall,
            'persona_precision': precision,
            'persona_recall_letter': precision,
            'persona_precision_letter': recall,
            'persona_f1_mean': formulas.f1(recall, precision),
            'persona_used': float(overlap.shared > 0),
        }
        idf = self.word_rarity.idf
        if idf is not None:
            averages[self.word_rarity.metric] = formulas.persona_cover(reply, sentences, idf)
        for name, value in averages.items():
            self.metrics.add(name, AverageMetric(value))
        self.metrics.add('persona_f1', PersonaF1Metric(recall, precision))

    def _measure_perception(self, judge: perception.Perception, action: Message, reply: str | None, gold: str) -> None:
        """Add the scores of the reply and of that in the data; after the last one of a dialogue, the ranks too."""
        persona, sources = action[PERSONA], ('', '_gold')
        both = None if reply is None else (reply, gold)
        if both:
            for source, score in zip(sources, judge.scores(both, persona), strict=True):
                self.metrics.add(f'persona_perception_score{source}', AverageMetric(score))
        dialogue = self.said.add(action, both)
        if dialogue:
            choices = judge.choices(persona, action.get(PARTNER_PERSONA) or (), action[DIALOGUE_ID])
            for source, replies in zip(sources, zip(*dialogue, strict=True), strict=True):
                rank = judge.rank(replies, choices)
                self.metrics.add(f'persona_perception{source}', AverageMetric(formulas.hits(rank, 1)))

    def _measure_distinct(self, text: str) -> None:
        raw, normalised = text.split(), normalize_answer(text).split()
        self.metrics.add('reply_words', AverageMetric(len(raw)))
        reported = self.metrics.report_recent()
        for n in (1, 2):
            self.metrics.add(f'distinct_raw_{n}', DistinctMetric.compute(raw, n))
            if f'interdistinct-{n}' not in reported:  # ParlAI's own, on `--metrics distinct`
                self.metrics.add(f'interdistinct-{n}', DistinctMetric.compute(normalised, n))

    def _measure_rank(self, ranked: Iterable[str], labels: Sequence[str]) -> None:
        """Add MRR, unless the agent reports one. Texts are compared as for ParlAI's hits@k, so the two agree."""
        if 'mrr' not in self.metrics.report_recent():
            rank = formulas.label_rank(map(normalize_answer, ranked), set(map(normalize_answer, labels)))
            self.metrics.add('mrr', AverageMetric(formulas.reciprocal_rank(rank)))

    def _measure_perplexity(self, reported: dict[str, Any], labels: Sequence[str]) -> None:
        """Add perplexity per word, and the agent's own perplexity under a name that says what its tokens are.

        TorchGeneratorAgent's `loss` of an example holds the sum over the label's tokens, end included, and their
        number. A label that --label-truncate cut or that was drawn from several is left out, because its words are
        not those that were scored.
        """
        if self._token_ppl:
            self.metrics.add(self._token_ppl, reported['ppl'])
        truncated = 'ltrunc' in reported and reported['ltrunc'].value() > 0
        if len(labels) == 1 and not truncated and isinstance(reported.get('loss'), AverageMetric):
            nll = reported['loss']._numer
            self.metrics.add('ppl_word', PerplexityMetric(nll, formulas.word_count(labels[0])))
