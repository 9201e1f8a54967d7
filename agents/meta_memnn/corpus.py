"""The data of a training: the words, candidate replies and examples of its tasks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from parlai_persona.agents.meta_memnn.batches import Bags, StoryTable, word_numbers
from parlai_persona.agents.meta_memnn.learner import PRIMARY
from parlai_persona.agents.meta_memnn.stories import SYSTEM, USER, Example, tokenize
from parlai_persona.agents.meta_memnn.vocabulary import Vocabulary


@dataclass
class Corpus:
    """A head is the name of a list of candidates: one for each task, or with `one_head` the primary's alone."""

    vocabulary: Vocabulary
    candidates: dict[str, list[str]]  # of each head
    one_head: bool
    memory: int  # lines to remember

    def __post_init__(self) -> None:
        lists = self.candidates.items()
        self.places = {head: {reply: place for place, reply in enumerate(replies)} for head, replies in lists}

    @classmethod
    def gather(
        cls,
        vocabulary: Vocabulary,
        examples: Mapping[str, Sequence[Example]],
        replies: dict[str, list[str]],
        one_head: bool,
        memory: int,
    ) -> 'Corpus':
        """Make a corpus of the training examples and the replies of each task. A vocabulary with words is kept."""
        if one_head:
            replies = {PRIMARY: list(dict.fromkeys(reply for listed in replies.values() for reply in listed))}
        if not len(vocabulary):
            gather_words(vocabulary, examples, replies[PRIMARY])
        return cls(vocabulary, replies, one_head, memory)

    def head(self, task: str) -> str:
        return PRIMARY if self.one_head else task

    def size(self, head: str) -> int:
        """Return how many of the first words of the vocabulary a head knows."""
        return len(self.vocabulary) if head == PRIMARY else self.vocabulary.related

    def blocks(self) -> dict[str, int]:
        """Return the sizes of the blocks of A: the words of the related tasks, and those of the primary task alone."""
        sizes = {'0': self.vocabulary.related, '1': len(self.vocabulary) - self.vocabulary.related}
        return {name: size for name, size in sizes.items() if size}

    def bags(self, texts: Iterable[str], head: str = PRIMARY) -> Bags:
        size = self.size(head)
        return Bags.of([word_numbers(tokenize(text), self.vocabulary.words, size) for text in texts], size)

    def table(self, task: str, examples: Iterable[Example]) -> StoryTable:
        head = self.head(task)
        table = StoryTable(head, self.vocabulary.words, self.size(task), self.places[head], self.memory)
        for example in examples:
            table.add(example)
        return table


def gather_words(vocabulary: Vocabulary, examples: Mapping[str, Sequence[Example]], candidates: Iterable[str]) -> None:
    """Add the words of the related tasks, then the others. Without related tasks all words are in the first block."""
    for task in sorted(examples, key=lambda task: task == PRIMARY):
        if task == PRIMARY and len(examples) > 1:
            vocabulary.related = len(vocabulary)
        lines: dict[tuple[str, ...], None] = {}  # each once: the examples of a dialogue share most of them
        for example in examples[task]:
            lines |= dict.fromkeys((*example.memory, example.query, tuple(tokenize(example.reply))))
        for line in lines:
            vocabulary.add(line)
        vocabulary.add((USER, SYSTEM))
    for reply in candidates:
        vocabulary.add(tokenize(reply))
    vocabulary.related = vocabulary.related or len(vocabulary)
