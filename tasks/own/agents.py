"""`-t persona:own`: dialogues of your own, from a text file or a folder of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from parlai_persona.data.dialogue import DataError, Dialogue, NoSplit
from parlai_persona.data.teacher import PersonaTeacher
from parlai_persona.flags import flag
from parlai_persona.tasks.own.parse import add_candidates, read_path, split


@dataclass(frozen=True)
class Own:
    """Own dialogues"""

    file: Path | None = flag(None, 'text file of dialogues, or folder of such files (*.txt)', metavar='FILE')
    valid_file: Path | None = flag(
        None, 'the same for the valid split; default: a tenth of the dialogues of --own-file', metavar='FILE'
    )


class DefaultTeacher(PersonaTeacher):
    """Your own dialogues; `tasks/own/README.md` shows what a file looks like."""

    OPTIONS = Own
    PREFIX = 'own'

    def dialogues(self, fold: str) -> Iterator[Dialogue]:
        file, valid_file = self.options.file, self.options.valid_file
        if not file:
            raise DataError('--own-file is missing: name a text file of dialogues (docs/own_data.md)')
        if fold == 'test':
            raise NoSplit('persona:own has no test split; choose train or valid with -dt')
        dialogues = read_path(file)
        splits = {'train': dialogues, 'valid': read_path(valid_file)} if valid_file else split(dialogues, file)
        everything = [*splits['train'], *splits['valid']]
        replies = list(dict.fromkeys(turn.reply for dialogue in everything for turn in dialogue.turns))
        for dialogue in splits[fold]:
            yield add_candidates(dialogue, replies)
