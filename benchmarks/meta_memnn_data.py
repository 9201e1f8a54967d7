"""Personalised bAbI task 3 and bAbI task 5 as the paper's experiment has them, for several draws of dialogues at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from parlai_persona.agents.meta_memnn.learner import ONE_HEAD, PRIMARY, Learner, Pool, Recipe
from parlai_persona.agents.meta_memnn.model import DialogModel, Shape, WeightModel, stack
from parlai_persona.agents.meta_memnn.stories import FAR, Bags, Example, Story, StoryTable, Vocabulary, tokenize
from parlai_persona.dialogue import Dialogue
from parlai_persona.tasks.personalized_babi.parse import read_dialogues

PRIMARY_FILE = 'personalized-dialog/personalized-dialog-dataset/small/personalized-dialog-task3-options-{}.txt'
RELATED_FILE = 'dialog-bAbI/dialog-bAbI-tasks/dialog-babi-task5-full-dialogs-{}.txt'


def examples(dialogue: Dialogue) -> list[Example]:
    story, found = Story(), []
    for number, turn in enumerate(dialogue.turns):
        profile = list(dialogue.partner_persona) if number == 0 else []
        story.hear('\n'.join([*profile, turn.text]), len(profile))
        found.append(story.example(turn.reply))
        story.say(turn.reply)
    return found


@dataclass
class Data:
    """Every example once; a run is a choice of dialogues."""

    train: list[list[Example]]  # of each dialogue
    valid: list[list[Example]]
    test: list[list[Example]]
    related: list[list[Example]]

    @classmethod
    def read(cls, datapath: Path) -> 'Data':
        splits = [[examples(d) for d in read_dialogues(datapath / PRIMARY_FILE.format(fold), True)]
                  for fold in ('trn', 'dev', 'tst')]
        related = [examples(d) for d in read_dialogues(datapath / RELATED_FILE.format('trn'), False)]
        return cls(*splits, related)


@dataclass
class Runs:
    """A learner for R runs and what it is measured on."""

    learner: Learner
    table: StoryTable
    valid: list[np.ndarray]  # examples of each run
    test: np.ndarray
    dialogues: np.ndarray  # which test dialogue each test example belongs to


def words(example: Example) -> set[str]:
    return {*example.query, *tokenize(example.reply), *(word for line in example.memory for word in line), '$r', '$u'}


def prepare(data: Data, recipe: Recipe, size: int, seeds: Sequence[int], shape: Shape | None = None,
            related_size: int = 0) -> Runs:
    shape = shape or Shape()
    draws = [[np.random.default_rng((seed, 1)).permutation(1000)[:size], np.random.default_rng((seed, 2)).permutation(1000)[:size]]
             for seed in seeds]
    related = data.related[:related_size or None]
    vocabulary = Vocabulary()
    last = [d[-1] for d in related]  # the last example of a dialogue has all of its words
    for example in last:
        vocabulary.add(sorted(words(example)))
    vocabulary.related = len(vocabulary)
    for split in (data.train, data.valid, data.test):
        for dialogue in split:
            vocabulary.add(sorted(words(dialogue[-1])))
    replies = {}
    one = recipe.mode in ONE_HEAD
    shared = sorted({e.reply for d in related for e in d}) if recipe.mode in ('pretrain', 'joint') else []
    lists = []
    for train, valid in draws:
        kept = [d for n in train for d in data.train[n]] + [d for n in valid for d in data.valid[n]]
        lists.append({e.reply for e in kept} | {e.reply for d in data.test for e in d} | set(shared))
    for reply in sorted(set().union(*lists)):
        replies[reply] = len(replies)
    known = torch.tensor([[0.0 if reply in chosen else FAR for reply in replies] for chosen in lists])
    table = StoryTable(PRIMARY, vocabulary, len(vocabulary), replies, 250)
    places, n = [], 0
    dialogues = []
    for split in (data.train, data.valid, data.test):
        places.append([])
        for number, dialogue in enumerate(split):
            for example in dialogue:
                table.add(example)
                if split is data.test:
                    dialogues.append(number)
            places[-1].append(np.arange(n, n + len(dialogue)))
            n += len(dialogue)
    related_replies = replies if one else {r: n for n, r in enumerate(sorted({e.reply for d in related for e in d}))}
    related_table = StoryTable(PRIMARY if one else 'related', vocabulary, vocabulary.related, related_replies, 250)
    for dialogue in related:
        for example in dialogue:
            related_table.add(example)
    def bags(names, size):
        return Bags.of([vocabulary.ids(tokenize(name)) for name in names], size)
    heads = {PRIMARY: bags(replies, len(vocabulary))}
    if not one:
        heads['related'] = bags(related_replies, vocabulary.related)
    model, weigher = DialogModel(shape, heads, {PRIMARY: known} if len(seeds) > 1 else {}), WeightModel(shape)
    sizes = {'0': vocabulary.related, '1': len(vocabulary) - vocabulary.related}
    theta = stack([model.init(1, sizes, seed) for seed in seeds])
    eta = stack([weigher.init(1, {'0': vocabulary.related}, seed + 10**6) for seed in seeds])
    rng = [[np.random.default_rng((seed, task)) for seed in seeds] for task in (3, 4)]
    pool = Pool(table, [np.concatenate([places[0][n] for n in draw[0]]) for draw in draws], rng[0])
    everything = np.arange(len(related_table))
    other = Pool(related_table, [everything] * len(seeds), rng[1])
    learner = Learner(recipe, model, weigher, theta, eta, pool, [other], seeds)
    return Runs(learner, table, [np.concatenate([places[1][n] for n in draw[1]]) for draw in draws],
                np.concatenate(places[2]), np.array(dialogues))
