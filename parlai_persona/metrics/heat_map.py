"""A heat map of what a receiver perceives (P²Bot, Liu et al. 2020, figure 6): as text for a terminal, and as PNG."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from parlai_persona.metrics.perception import Receiver
from parlai_persona.pictures import pyplot, save

BLOCKS, ASCII = ' ░▒▓█', ' .:+#'  # from the lowest relevance to the highest
NARROWEST = 24  # columns for utterances; with more sentences there are several tables


@dataclass(frozen=True)
class HeatMap:
    """The relevance of each utterance to each sentence of a persona (eq. 11), and its score with the whole (eq. 15)."""

    utterances: tuple[str, ...]
    persona: tuple[str, ...]
    relevance: list[list[float]]  # a row for each utterance, a column for each sentence
    scores: list[float]

    @classmethod
    def of(cls, receiver: Receiver, utterances: Sequence[str], persona: Sequence[str]) -> 'HeatMap':
        """Return what a receiver perceives of a persona in these utterances."""
        relevance = receiver.relevance(utterances, persona).tolist()
        scores = receiver.perception(utterances, [persona] * len(utterances))
        return cls(tuple(utterances), tuple(persona), relevance, scores)

    # ------------------------------------------------------------------------------------------- as text

    def text(self, encoding: str = 'utf-8', width: int = 80) -> str:
        """Return the persona, numbered, and a table with a row for each utterance."""
        lines = [f'{number:3} {sentence}' for number, sentence in enumerate(self.persona, 1)]
        digits = max(len(f'{value:.2f}') for row in [*self.relevance, self.scores] for value in row)
        cell = digits + 4  # two blanks or blocks on the left of a number, and a blank between cells
        most = max(1, (width - NARROWEST - cell) // cell)
        for first in range(0, len(self.persona), most):
            chosen = range(first, min(first + most, len(self.persona)))
            lines += ['', *self.table(chosen, cell, width, encoding)]
        return '\n'.join(lines)

    def table(self, chosen: range, cell: int, width: int, encoding: str) -> Iterator[str]:
        """Yield the lines of a table of some sentences."""
        room = width - cell * (len(chosen) + 1)
        yield ' ' * room + ''.join(f'{number + 1:{cell}}' for number in chosen) + f'{"score":>{cell}}'
        for utterance, row, score in zip(self.utterances, self.relevance, self.scores, strict=True):
            first, *more = textwrap.wrap(utterance, room - 1) or ['']
            cells = [f' {self.shade(row[place], encoding) * 2}{row[place]:{cell - 3}.2f}' for place in chosen]
            yield f'{first:{room}}' + ''.join(cells) + f'{score:{cell}.2f}'
            yield from more

    def shade(self, value: float, encoding: str) -> str:
        """Return the block of a value: its place between the lowest and the highest of the whole map."""
        values = [value for row in self.relevance for value in row]
        low, high = min(values), max(values)
        blocks = BLOCKS if can_show(BLOCKS, encoding) else ASCII
        place = (value - low) / (high - low) if high > low else 0.0
        return blocks[min(int(place * len(blocks)), len(blocks) - 1)]

    # ----------------------------------------------------------------------------------------- as a picture

    def draw(self, path: Path) -> None:
        """Write the map as PNG: the darker, the more relevant."""
        plt = pyplot()
        size = 5 + 1.1 * len(self.persona), 2.5 + 0.5 * len(self.utterances)
        figure, axis = plt.subplots(figsize=size, layout='constrained')
        image = axis.imshow(self.relevance, cmap='Blues', aspect='auto')
        axis.set_xticks(range(len(self.persona)), wrapped(self.persona, 20), rotation=40, ha='right', fontsize=8)
        axis.set_yticks(range(len(self.utterances)), wrapped(self.utterances, 50), fontsize=8)
        for y, row in enumerate(self.relevance):
            for x, value in enumerate(row):
                colour = 'white' if image.norm(value) > 0.6 else 'black'
                axis.text(x, y, f'{value:.2f}', ha='center', va='center', color=colour, fontsize=7)
        figure.colorbar(image, label='relevance (eq. 11)')
        save(figure, path, dpi=100)


def can_show(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def wrapped(texts: tuple[str, ...], width: int) -> list[str]:
    """Return labels in several lines. A dollar sign is escaped, because it begins a formula in matplotlib."""
    return [textwrap.fill(text, width).replace('$', r'\$') for text in texts]
