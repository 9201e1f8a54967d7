"""What the tasks of a training are made of: words, replies to choose from, and tables of examples."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from parlai_persona.agents.meta_memnn.learner import PRIMARY
from parlai_persona.agents.meta_memnn.stories import SYSTEM, USER, Bags, Example, StoryTable, Vocabulary, tokenize


@dataclass
class Corpus:
    """A head is the name of a list of candidates: `primary`, and with `one_head` that alone."""

    vocabulary: Vocabulary
    candidates: dict[str, list[str]]
    one_head: bool
    memory: int  # lines to remember

    @classmethod
    def gather(
        cls,
        vocabulary: Vocabulary,
        examples: Mapping[str, Sequence[Example]],
        replies: dict[str, list[str]],
        one_head: bool,
        memory: int,
    ) -> 'Corpus':
        """From the training examples of each task and its replies. A vocabulary that has words already is kept."""
        if one_head:
            replies = {PRIMARY: list(dict.fromkeys(reply for found in replies.values() for reply in found))}
        if not len(vocabulary):
            gather_words(vocabulary, examples, replies[PRIMARY])
        return cls(vocabulary, replies, one_head, memory)

    def head(self, task: str) -> str:
        return PRIMARY if self.one_head else task

    def size(self, head: str) -> int:
        """How many of the first words of the vocabulary a head knows."""
        return len(self.vocabulary) if head == PRIMARY else self.vocabulary.related

    def blocks(self) -> dict[str, int]:
        """The parts of the embedding: the words of the related tasks, and those of the primary task alone."""
        sizes = {'0': self.vocabulary.related, '1': len(self.vocabulary) - self.vocabulary.related}
        return {name: size for name, size in sizes.items() if size}

    def bags(self, texts: Iterable[str], head: str = PRIMARY) -> Bags:
        known = (self.vocabulary.ids(tokenize(text)) for text in texts)
        return Bags.of([[word for word in words if word < self.size(head)] for words in known], self.size(head))

    def table(self, task: str, examples: Iterable[Example]) -> StoryTable:
        head = self.head(task)
        places = {reply: place for place, reply in enumerate(self.candidates[head])}
        table = StoryTable(head, self.vocabulary, self.size(task), places, self.memory)
        for example in examples:
            table.add(example)
        return table


def gather_words(vocabulary: Vocabulary, examples: Mapping[str, Sequence[Example]], candidates: Iterable[str]) -> None:
    """The words of the related tasks come first; without related tasks all words are in the first block."""
    for task in sorted(examples, key=lambda task: task == PRIMARY):
        if task == PRIMARY and len(examples) > 1:
            vocabulary.related = len(vocabulary)
        lines: dict[tuple[str, ...], None] = {}  # each once: the examples of a dialogue have most of theirs in common
        for example in examples[task]:
            lines |= dict.fromkeys((*example.memory, example.query, tuple(tokenize(example.reply))))
        for line in lines:
            vocabulary.add(line)
        vocabulary.add((USER, SYSTEM))
    for reply in candidates:
        vocabulary.add(tokenize(reply))
    vocabulary.related = vocabulary.related or len(vocabulary)
