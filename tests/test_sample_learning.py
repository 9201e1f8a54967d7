"""`persona:sample` shows who reads the persona: agents reach the ceilings of its grammar, and do not pass them.

In the fast tests rules play: each reads what its ceiling allows and guesses the rest. The slow ones train ParlAI's
memory network, which reads persona and history, and the demo's `persona:memnet`, which reads persona and last message.
"""

import math
import random
import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import contract
import parlai.utils.logging as logging
import pytest
from parlai.core.message import Message
from parlai.scripts.eval_model import EvalModel
from parlai.scripts.train_model import TrainLoop, TrainModel

from parlai_persona import demo
from parlai_persona.fields import KIND, YOUR_PERSONA
from parlai_persona.tasks.sample import grammar

DIALOGUES = 300
GUESS = 0.1  # the ten values of a topic are equally likely
READS = {'all': {'persona', 'history'}, 'no persona': {'history'}, 'no history': {'persona'}, 'neither': set()}


class Hints(NamedTuple):
    """Hints that a guess might use."""

    shown: list[str]  # the ten values, in the order of their candidates
    named: list[str]  # those that the other candidates name
    others: list[str]  # the other speaker's
    right: Counter  # how often each was right so far


CUES: dict[str, Callable[[Hints], list[str]]] = {
    'none': lambda hints: hints.shown,
    'shown first': lambda hints: hints.shown[:1],
    'shown last': lambda hints: hints.shown[-1:],
    'also said of the wrong person': lambda hints: hints.named,
    'not said of the wrong person': lambda hints: [value for value in hints.shown if value not in hints.named],
    "the other speaker's": lambda hints: hints.others,
    'right most often': lambda hints: [max(hints.shown, key=lambda value: hints.right[value])],
}


# ----------------------------------------------------------------------------------------------- rules


class Rules:
    """An agent that understands the grammar, and reads the persona, the history, both or neither."""

    def __init__(self, reads: set[str], cue: str = 'none'):
        self.reads = reads
        self.cue = CUES[cue]
        self.rng = random.Random(0)
        self.right: Counter = Counter()

    def play(self, dialogue: list[Message]) -> list[tuple[str, bool]]:
        """Each turn's kind, and whether the reply was right."""
        persona: list[str] = []
        told: list[str] = []  # by the partner, in earlier turns
        results = []
        for message in dialogue:
            *lines, said = message['text'].split('\n')
            persona += [line.removeprefix(YOUR_PERSONA) for line in lines]
            reply = self.reply(said, persona, told, message['label_candidates'])
            results.append((message[KIND], reply in message['labels']))
            told.append(said)
            self.right.update(message['labels'][0].split())
        return results

    def reply(self, said: str, persona: list[str], told: list[str], candidates: list[str]) -> str:
        question = asked(said)
        if question is None:
            return next(candidate for candidate in candidates if candidate in grammar.WELCOMES)
        topic, form = question
        fitting = answers(candidates, topic, form)
        source, other = (persona, [*told, said]) if form == 'statements' else (told, persona)
        if ('persona' if form == 'statements' else 'history') in self.reads:
            (known,) = mentioned(topic, source)
            return fitting[known]
        named = mentioned(topic, [candidate for candidate in candidates if candidate not in fitting.values()])
        preferred = self.cue(Hints(list(fitting), named, mentioned(topic, other), self.right))
        return fitting[self.rng.choice(preferred or list(fitting))]


def asked(said: str) -> tuple[grammar.Topic, str] | None:
    """The topic of a question and the form of its answers; None for a greeting."""
    for topic in grammar.TOPICS:
        if said in topic.recalls:
            return topic, 'answers'
        if said.endswith(topic.questions):
            return topic, 'statements'
    return None


def mentioned(topic: grammar.Topic, texts: list[str]) -> list[str]:
    words = {word for text in texts for word in re.findall('[a-z]+', text)}
    return [value for value in topic.values if value in words]


def answers(candidates: list[str], topic: grammar.Topic, form: str) -> dict[str, str]:
    """Value -> the candidate that answers with it, in the order of the candidates."""
    sentences = {sentence.format(value): value for sentence in getattr(topic, form) for value in topic.values}
    return {sentences[candidate]: candidate for candidate in candidates if candidate in sentences}


def scores(rules: Rules) -> dict[str, tuple[int, int]]:
    """Kind of turn -> right replies and turns, over the first training dialogues."""
    results = [result for dialogue in contract.dialogues('train:ordered', DIALOGUES) for result in rules.play(dialogue)]
    return {
        kind: (sum(right for k, right in results if k == kind), sum(k == kind for k, _ in results))
        for kind in ('open', 'persona', 'history')
    }


def deviation(turns: int) -> float:
    """Three standard deviations of the number of right guesses."""
    return 3 * math.sqrt(turns * GUESS * (1 - GUESS))


@pytest.mark.parametrize('ceiling', READS)
def test_rules_reach_their_ceiling(ceiling):
    """Each kind of agent gets right all that it can know, and a tenth of the rest: together, the ceiling."""
    found = scores(Rules(READS[ceiling]))
    guessed = sum(turns for kind, (_, turns) in found.items() if kind != 'open' and kind not in READS[ceiling])
    for kind, (right, turns) in found.items():
        if kind == 'open' or kind in READS[ceiling]:
            assert right == turns, kind
        else:
            assert right == pytest.approx(GUESS * turns, abs=deviation(turns)), kind
    right, turns = (sum(counts) for counts in zip(*found.values(), strict=True))
    assert turns == 8 * DIALOGUES
    assert right == pytest.approx(float(grammar.ceilings()[ceiling] * turns), abs=deviation(guessed))


@pytest.mark.parametrize('cue', CUES)
def test_nothing_gives_the_reply_away(cue):
    """An agent without persona and history gets a tenth of the questions right, whatever hint its guesses use."""
    for kind, (right, turns) in scores(Rules(set(), cue)).items():
        if kind != 'open':
            assert right == pytest.approx(GUESS * turns, abs=deviation(turns)), kind


# -------------------------------------------------------------------------------------------- learning


# ParlAI's memory network with every persona line and message as a memory of its own; see the demo for the tokenizer
# and the candidates.
MEMNN = {
    'model': 'memnn',
    'hops': 2,
    'embedding_size': 64,
    'memsize': 32,
    'split_lines': True,
    'dict_tokenizer': 're',
    'candidates': 'inline',
    'eval_candidates': 'inline',
    'optimizer': 'adam',
    'learningrate': 3e-3,
    'lr_scheduler': 'none',
    'gradient_clip': 1.0,
    'batchsize': 64,
    'num_epochs': 9,
}
MEMNET = {'init_opt': demo.PRESET}


def learn(model_file: str, **options) -> None:
    opt = TrainModel.setup_args().parse_kwargs(
        task=demo.TASK, model_file=model_file, loglevel=contract.QUIET, seed=1, **options
    )
    logging.set_log_level(contract.QUIET.upper())
    for _ in TrainLoop(opt).train_steps():
        pass


def evaluate(model_file: str, **options) -> dict[str, float]:
    report = EvalModel.main(
        task=demo.TASK, model_file=model_file, datatype='valid', batchsize=64, loglevel=contract.QUIET, **options
    )
    return {name: float(report[name]) for name in ('hits@1', 'hits@1_persona', 'hits@1_history')}


def check_ceiling_without_persona(scores: dict[str, float], ceiling: Fraction, guessed_turns: int) -> None:
    """Check that an agent without the persona stays under its ceiling, and guesses what only the persona tells."""
    questions = grammar.SIZES['valid'] * grammar.TOPICS_PER_DIALOGUE  # to which the persona has the answer
    assert scores['hits@1'] <= ceiling + deviation(guessed_turns) / (2 * questions)
    assert scores['hits@1_persona'] == pytest.approx(GUESS, abs=deviation(questions) / questions)


@pytest.mark.slow
def test_an_agent_that_reads_the_persona_beats_the_one_that_does_not(tmp_path):
    """A memory network comes near the ceiling with the persona, and stays under the other one where the persona is
    withheld, whether from the trained agent or from its training."""
    best: dict[str, Fraction] = grammar.ceilings()
    questions = grammar.SIZES['valid'] * grammar.TOPICS_PER_DIALOGUE
    reader, blind = str(tmp_path / 'reader'), str(tmp_path / 'blind')
    learn(reader, persona_side='self', **MEMNN)
    learn(blind, persona_side='none', **MEMNN)
    informed, withheld = evaluate(reader, persona_side='self'), evaluate(reader, persona_side='none')
    assert informed['hits@1'] >= best['all'] - 0.05
    assert informed['hits@1_persona'] >= 0.9
    assert withheld['hits@1_history'] >= 0.9  # what it lacks is the persona
    for without in (withheld, evaluate(blind, persona_side='none')):
        check_ceiling_without_persona(without, best['no persona'], questions)


@pytest.mark.slow
def test_the_demos_agent_reads_the_persona(tmp_path):
    """The same for `persona:memnet`. It reads the last message only, so its ceilings are those without the history."""
    best: dict[str, Fraction] = grammar.ceilings()
    guessed = grammar.SIZES['valid'] * (2 * grammar.TOPICS_PER_DIALOGUE - 1)  # all turns but the greeting
    reader, blind = str(tmp_path / 'reader'), str(tmp_path / 'blind')
    learn(reader, **MEMNET)
    learn(blind, **MEMNET, **demo.NO_PERSONA)
    informed = evaluate(reader)
    assert informed['hits@1'] >= best['no history'] - 0.05
    assert informed['hits@1_persona'] >= 0.95
    for without in (evaluate(reader, **demo.NO_PERSONA), evaluate(blind)):
        check_ceiling_without_persona(without, best['neither'], guessed)
