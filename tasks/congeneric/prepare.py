"""Specific words, congeneric contexts and labels of a whole data set: made once, then read from the disk.

The folder of a data set has a folder for each split:

* `examples.jsonl`: the examples, and `dialogues.npy`: which dialogue each is from
* `words.npz` and `replies.json` (of training): counts for specific words, and for the labels by overlap
* `specific.jsonl`: the specific words of each example, and `labels.i32`: which sentence its reply expresses
* `masked.jsonl` (of training): the distinct masked contexts to search, and `owners.npy`: the dialogue that alone has
  it, or 0
* `neighbours.i32`: for each example, the numbers of the most similar of these, the best first; -1 where there are no
  more

`*.starts.npy` tell where lines begin; `stamp.json` has checksums of the source, the options and the files.
"""

import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import parlai.utils.logging as logging
from numpy.typing import NDArray
from tqdm import tqdm

from parlai_persona import fields
from parlai_persona.data.dialogue import DataError
from parlai_persona.data.specific_words import SpecificOptions, SpecificWords, masked
from parlai_persona.files import draft, read_json, write_array, write_json
from parlai_persona.models.checksums import digest
from parlai_persona.prepared import (
    ChunkedRows,
    Lines,
    add_checksums,
    damaged,
    exclusive,
    fault,
    read_stamp,
    write_lines,
    write_stamp,
)
from parlai_persona.tasks.congeneric.examples import CONTEXT, by_episode, dialogue_key
from parlai_persona.tasks.congeneric.labels import Labeller, Overlap
from parlai_persona.tasks.congeneric.neighbours import Search

CHUNK = 4096  # examples; an interruption loses at most these
EXAMPLES = ('examples.jsonl', 'examples.starts.npy', 'dialogues.npy')
COUNTS = ('words.npz', 'replies.json')
SPECIFIC = ('specific.jsonl', 'specific.starts.npy')
MASKED = ('masked.jsonl', 'masked.starts.npy', 'owners.npy')
LABELS, NEIGHBOURS = 'labels.i32', 'neighbours.i32'
TRAINING_FILES = (*EXAMPLES, *COUNTS, *SPECIFIC, *MASKED, LABELS, NEIGHBOURS)
OTHER_FILES = (*EXAMPLES, *SPECIFIC, LABELS, NEIGHBOURS)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides about the files, beside the data."""

    specific: SpecificOptions
    neighbours: int  # of each example
    pool: int  # training contexts to search, at most
    seed: int  # of the pool
    none: float  # a label needs a better score
    labeller: Callable[['PreparedSplit'], Labeller]  # given the training split
    description: str  # of all this and of the other task's options, for the stamp


class PreparedSplit:
    """The files of a split, mapped into memory and read as needed."""

    def __init__(self, folder: Path, recipe: Recipe):
        self.folder, self.recipe = folder, recipe

    def lines(self, name: str) -> Lines:
        return Lines(self.folder / f'{name}.jsonl', self.folder / f'{name}.starts.npy')

    def rows(self, name: str, width: int) -> NDArray:
        path = self.folder / name
        return np.memmap(path, np.int32, 'r').reshape(-1, width) if path.stat().st_size else np.zeros((0, width), int)

    @cached_property
    def examples(self) -> Lines:
        return self.lines('examples')

    @cached_property
    def dialogues(self) -> NDArray:
        return np.load(self.folder / 'dialogues.npy', mmap_mode='r')

    @cached_property
    def specific(self) -> Lines:
        return self.lines('specific')

    @cached_property
    def labels(self) -> NDArray:
        return self.rows(LABELS, 1)[:, 0]

    @cached_property
    def neighbours(self) -> NDArray:
        return self.rows(NEIGHBOURS, self.recipe.neighbours)

    @cached_property
    def masked(self) -> Lines:
        return self.lines('masked')

    @cached_property
    def owners(self) -> NDArray:
        return np.load(self.folder / 'owners.npy')

    @cached_property
    def words(self) -> SpecificWords:
        with np.load(self.folder / 'words.npz') as arrays:
            return SpecificWords.from_arrays(dict(arrays), self.recipe.specific)

    @cached_property
    def replies(self) -> tuple[dict[str, int], int]:
        """Return in how many replies each word is, and how many replies there are."""
        stored = read_json(self.folder / 'replies.json')
        return stored['words'], stored['replies']

    def __len__(self) -> int:
        return len(self.examples)

    def example(self, number: int) -> dict[str, Any]:
        return json.loads(self.examples[number])

    def masked_context(self, number: int) -> str:
        return masked(self.example(number)[CONTEXT], json.loads(self.specific[number]))


class Preparation(PreparedSplit):
    """Makes the files of a split, step by step; an interrupted one continues where it stopped.

    Several processes may open a split at the same time: the first one makes it while the others wait.
    """

    def __init__(
        self,
        finished: Path,
        recipe: Recipe,
        source: Callable[[], Iterator[dict[str, Any]]],
        training: PreparedSplit | None,
        check: bool = True,
    ):
        super().__init__(finished.with_name(f'.{finished.name}.part'), recipe)
        self.finished, self.source, self.check = finished, source, check
        self.training = training or self
        self.files = OTHER_FILES if training else TRAINING_FILES

    def open(self) -> PreparedSplit:
        """Open the split. Make it first, unless it is there and up to date."""
        with exclusive(self.finished):  # until all files are mapped: then they outlive a newer split of the same name
            self.make()
            split = PreparedSplit(self.finished, self.recipe)
            parts = ('examples', 'specific', 'labels', 'neighbours')
            for name in parts if self.training is not self else (*parts, 'masked', 'owners', 'words', 'replies'):
                getattr(split, name)
            return split

    def make(self) -> None:
        made_from = self.made_from()
        reason = fault(self.finished, made_from, self.files)
        if not reason:
            return
        if self.finished.exists():
            logging.info(f'{self.finished}: {reason}; making it again')
        if fault(self.folder, made_from, EXAMPLES):
            shutil.rmtree(self.folder, ignore_errors=True)
            write_stamp(self.folder, {**made_from, 'examples': self.write_examples()})
            add_checksums(self.folder, EXAMPLES)
        if self.training is self:
            self.step(self.write_counts, COUNTS)
        self.step(self.write_specific, SPECIFIC)
        if self.training is self:
            self.step(self.write_masked, MASKED)
        self.step(self.write_labels, [LABELS])
        self.step(self.write_neighbours, [NEIGHBOURS])
        shutil.rmtree(self.finished, ignore_errors=True)
        self.folder.replace(self.finished)

    def made_from(self) -> dict[str, str | int]:
        """Return checksums of options and data. The data count only if they are to be checked, or nothing is there."""
        known: dict[str, str | int] = {'options': self.recipe.description}
        if self.training is not self:
            stamp = read_stamp(self.training.folder) or {'made from': {}}
            known['training'] = stamp['made from'].get('examples', '')
        if self.check and any((folder / 'stamp.json').exists() for folder in (self.finished, self.folder)):
            known['examples'] = digest(json.dumps(example).encode() for example in self.source())
        return known

    def step(self, write: Callable[[], None], files: Sequence[str]) -> None:
        if damaged(self.folder, files):
            write()
            add_checksums(self.folder, files)

    # ----------------------------------------------------------------------------------------- the steps

    def write_examples(self) -> str:
        """Write the examples; return the checksum of all of them."""
        state = blake2b(digest_size=16)

        def lines() -> Iterator[str]:
            for example in tqdm(self.source(), f'{self.finished.name}: reading', unit=' examples', disable=None):
                line = json.dumps(example)
                state.update(line.encode())
                yield line

        write_lines(self.folder / EXAMPLES[0], self.folder / EXAMPLES[1], lines())
        keys = ([dialogue_key(episode)] * len(episode) for episode in by_episode(self.examples))
        write_array(self.folder / 'dialogues.npy', np.fromiter(chain.from_iterable(keys), np.int64))
        return state.hexdigest()

    def write_counts(self) -> None:
        if not len(self):
            raise DataError(f'{self.finished}: the training split has no examples, so there are no congeneric contexts')
        examples = tqdm(map(json.loads, self.examples), 'counting words', len(self), unit=' examples', disable=None)
        pairs = ((example[CONTEXT], example[fields.PERSONA]) for example in examples)
        with draft(self.folder / 'words.npz') as part, part.open('wb') as file:
            np.savez(file, **SpecificWords.count(pairs, self.recipe.specific).arrays())  # type: ignore[arg-type]
        words, replies = Overlap.count(example['labels'][0] for example in map(json.loads, self.examples))
        write_json(self.folder / 'replies.json', {'words': words, 'replies': replies})

    def write_specific(self) -> None:
        """Write the specific words of each example; a training example does not count for its own."""
        table, training = self.training.words, self.training is self

        def found() -> Iterator[str]:
            bar = tqdm(total=len(self), desc='finding specific words', unit=' examples', disable=None)
            for episode in by_episode(self.examples):
                own = [example[CONTEXT] for example in episode] if training else []
                for example in episode:
                    yield json.dumps(table.find(example[CONTEXT], example[fields.PERSONA], own))
                bar.update(len(episode))

        write_lines(self.folder / SPECIFIC[0], self.folder / SPECIFIC[1], found())

    def write_masked(self) -> None:
        """Write the distinct masked contexts of the training examples, or of a sample of them."""
        owners: dict[str, int] = {}
        for number in self.pool():
            text, dialogue = self.masked_context(number), int(self.dialogues[number])
            owners[text] = dialogue if owners.get(text, dialogue) == dialogue else 0
        write_lines(self.folder / MASKED[0], self.folder / MASKED[1], map(json.dumps, owners))
        write_array(self.folder / 'owners.npy', np.array([*owners.values()], np.int64))

    def pool(self) -> Sequence[int]:
        if len(self) <= self.recipe.pool:
            return range(len(self))
        return sorted(random.Random(self.recipe.seed).sample(range(len(self)), self.recipe.pool))

    def write_labels(self) -> None:
        labeller = self.recipe.labeller(self.training)

        def made(first: int, end: int) -> NDArray:
            examples = [self.example(number) for number in range(first, end)]
            pairs = [(example['labels'][0], example[fields.PERSONA]) for example in examples]
            return np.array(labeller.labels(pairs, self.recipe.none), np.int32)

        ChunkedRows(self.folder / LABELS, 4, CHUNK, 'labels.sums').write(len(self), made, 'labelling')

    def write_neighbours(self) -> None:
        texts = [json.loads(line) for line in self.training.masked]
        search = Search(texts, self.training.owners, self.recipe.neighbours)

        def made(first: int, end: int) -> NDArray:
            return search([self.masked_context(number) for number in range(first, end)], self.dialogues[first:end])

        row = 4 * self.recipe.neighbours
        ChunkedRows(self.folder / NEIGHBOURS, row, CHUNK, 'neighbours.sums').write(len(self), made, 'searching')
