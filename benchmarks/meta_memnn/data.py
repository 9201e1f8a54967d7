"""Personalised bAbI task 3 and bAbI task 5 as in the paper's experiment, for several choices of dialogues at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from parlai_persona.agents.meta_memnn.learner import ONE_HEAD, PRIMARY, RELATED, Learner, Pool, Recipe
from parlai_persona.agents.meta_memnn.model import DialogModel, Shape, WeightModel, stack
from parlai_persona.agents.meta_memnn.stories import (
    FAR,
    SYSTEM,
    USER,
    Bags,
    Example,
    Story,
    StoryTable,
    Vocabulary,
    tokenize,
)
from parlai_persona.data.dialogue import Dialogue
from parlai_persona.tasks.personalized_babi.agents import choose
from parlai_persona.tasks.personalized_babi.parse import read_dialogues

PRIMARY_FILE = 'personalized-dialog/personalized-dialog-dataset/small/personalized-dialog-task3-options-{}.txt'
RELATED_FILE = 'dialog-bAbI/dialog-bAbI-tasks/dialog-babi-task5-full-dialogs-{}.txt'
MEMORY = 250  # lines


@dataclass
class Data:
    """Every dialogue once; a run is a choice of them."""

    train: list[Dialogue]
    valid: list[Dialogue]
    test: list[Dialogue]
    related: list[Dialogue]

    def splits(self) -> tuple[list[Dialogue], ...]:
        return self.related, self.train, self.valid, self.test

    @classmethod
    def read(cls, datapath: Path) -> 'Data':
        primary = [list(read_dialogues(datapath / PRIMARY_FILE.format(fold), True)) for fold in ('trn', 'dev', 'tst')]
        return cls(*primary, list(read_dialogues(datapath / RELATED_FILE.format('trn'), False)))


@dataclass
class Runs:
    """A learner for R runs and what it is measured on."""

    learner: Learner
    table: StoryTable
    valid: list[np.ndarray]  # examples of each run
    test: np.ndarray
    dialogues: np.ndarray  # which test dialogue each test example belongs to


def examples(dialogue: Dialogue, back: bool) -> list[Example]:
    story, found = Story(back), []
    for number, turn in enumerate(dialogue.turns):
        profile = list(dialogue.partner_persona) if number == 0 else []
        story.hear('\n'.join([*profile, turn.text]), len(profile))
        found.append(story.example(turn.reply))
        story.say(turn.reply)
    return found


def words(examples: Sequence[Example]) -> set[str]:
    lines = {line for example in examples for line in (*example.memory, example.query, tuple(tokenize(example.reply)))}
    return {USER, SYSTEM}.union(*lines)


def replies(dialogues: Iterable[Dialogue]) -> set[str]:
    return {turn.reply for dialogue in dialogues for turn in dialogue.turns}


class Prepared:
    """Vocabulary, candidates and tables of the experiment, as the paper's counts of words suggest them.

    Vocabulary: every word of both tasks, test set included; the words of the related task come first. Candidates of
    the primary task: the replies of a run's train and valid dialogues and of the whole test set; those of the related
    task: its replies. With one head for both tasks (`one_head`) both have the primary's list.
    """

    def __init__(
        self, data: Data, size: int, seeds: Sequence[int], one_head: bool, both_lists: bool, back: bool = False
    ):
        self.chosen = [
            (choose(data.train, size, seed, 'train'), choose(data.valid, size, seed, 'valid')) for seed in seeds
        ]
        stories = {id(dialogue): examples(dialogue, back) for split in data.splits() for dialogue in split}
        self.vocabulary = Vocabulary()
        for split in data.splits():
            for dialogue in split:
                self.vocabulary.add(sorted(words(stories[id(dialogue)])))
            self.vocabulary.related = self.vocabulary.related or len(self.vocabulary)
        always = replies(data.test) | (replies(data.related) if both_lists else set())
        lists = [replies(train) | replies(valid) | always for train, valid in self.chosen]
        self.candidates = numbered(set().union(*lists))
        self.known = torch.tensor([[0.0 if reply in own else FAR for reply in self.candidates] for own in lists])
        self.related_candidates = self.candidates if one_head else numbered(replies(data.related))
        everything, related = len(self.vocabulary), self.vocabulary.related
        self.primary = StoryTable(PRIMARY, self.vocabulary, everything, self.candidates, MEMORY)
        self.related = StoryTable(
            PRIMARY if one_head else RELATED, self.vocabulary, related, self.related_candidates, MEMORY
        )
        self.places: dict[int, np.ndarray] = {}  # the examples of each dialogue in its table
        for split in data.splits():
            table = self.related if split is data.related else self.primary
            for dialogue in split:
                start = len(table)
                for example in stories[id(dialogue)]:
                    table.add(example)
                self.places[id(dialogue)] = np.arange(start, len(table))

    def examples(self, dialogues: Iterable[Dialogue]) -> np.ndarray:
        return np.concatenate([self.places[id(dialogue)] for dialogue in dialogues])

    def bags(self, candidates: Iterable[str], words: int) -> Bags:
        return Bags.of([self.vocabulary.ids(tokenize(reply)) for reply in candidates], words)


def numbered(replies: Iterable[str]) -> dict[str, int]:
    return {reply: number for number, reply in enumerate(sorted(replies))}


def prepare(
    data: Data,
    recipe: Recipe,
    size: int,
    seeds: Sequence[int],
    shape: Shape | None = None,
    back: bool = False,
    held_out: bool = False,
) -> Runs:
    """`back`: time tokens count from the query back. `held_out`: the valid dialogues judge the weights."""
    shape, one_head = shape or Shape(), recipe.mode in ONE_HEAD
    made = Prepared(data, size, seeds, one_head, recipe.mode in ('pretrain', 'joint'), back)
    words, related = len(made.vocabulary), made.vocabulary.related
    heads = {PRIMARY: made.bags(made.candidates, words)}
    if not one_head:
        heads[RELATED] = made.bags(made.related_candidates, related)
    model, weigher = DialogModel(shape, heads, {PRIMARY: made.known} if len(seeds) > 1 else {}), WeightModel(shape)
    theta = stack([model.init(1, {'0': related, '1': words - related}, seed) for seed in seeds])
    eta = stack([weigher.init(1, {'0': related}, seed + 10**6) for seed in seeds])
    rngs = [[np.random.default_rng((seed, task)) for seed in seeds] for task in (3, 4)]
    primary = Pool(made.primary, [made.examples(train) for train, _ in made.chosen], rngs[0])
    other = Pool(made.related, [np.arange(len(made.related))] * len(seeds), rngs[1])
    valid = [made.examples(valid) for _, valid in made.chosen]
    judge = Pool(made.primary, valid, [np.random.default_rng((seed, 5)) for seed in seeds]) if held_out else None
    learner = Learner(recipe, model, weigher, theta, eta, primary, [other], seeds, judge=judge)
    test = made.examples(data.test)
    dialogues = np.concatenate([np.full(len(d.turns), number) for number, d in enumerate(data.test)])
    return Runs(learner, made.primary, valid, test, dialogues)
