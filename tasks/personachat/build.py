"""Chooses the files of a request: from ParlAI's downloads, which ParlAI checks, or from a local folder."""

from dataclasses import dataclass
from pathlib import Path

from parlai.core.opt import Opt

from parlai_persona.data.dialogue import DataError, NoSplit
from parlai_persona.data.download import fetch
from parlai_persona.flags import flag, from_opt

PREFIX = 'persona'
# source -> (ParlAI's builder, folder below the datapath, splits)
SOURCES = {
    'personachat': ('parlai.tasks.personachat.build', 'Persona-Chat/personachat', ('train', 'valid', 'test')),
    'convai2': ('parlai.tasks.convai2.build', 'ConvAI2', ('train', 'valid')),
}
FORMS = ('original', 'revised')
PERSONAS = {'self': {'self'}, 'other': {'other'}, 'both': {'self', 'other'}, 'none': set()}  # in a file of this side
# For each side of persona, the files to take the turns from, best first. ParlAI's own teachers read the first.
TURNS_FROM = {
    'self': ('self', 'both', 'other', 'none'),
    'other': ('other', 'both', 'self', 'none'),
    'both': ('both', 'self', 'other', 'none'),
    'none': ('none', 'self', 'other', 'both'),
}
NO_CANDIDATES_FIRST = ('_no_cands.txt', '.txt')


@dataclass(frozen=True)
class PersonaChat:
    """Persona-Chat"""

    source: str = flag(
        'personachat',
        'release: Persona-Chat (one side of each dialogue, has a test split) or ConvAI2 (both sides)',
        choices=tuple(SOURCES),
    )
    form: str = flag(
        'original',
        'persona sentences as the speakers saw them, or rewritten to share fewer words with the dialogue',
        choices=FORMS,
    )
    folder: Path | None = flag(
        None, "read <split>_<side>_<form>[_no_cands].txt from this folder instead of ParlAI's download"
    )


def paths(opt: Opt, fold: str) -> list[Path]:
    """Return the files to read for a split. The first has the turns, and the inline candidates if asked for."""
    options = from_opt(PersonaChat, opt, PREFIX)
    builder, below, splits = SOURCES[options.source]
    if fold not in splits:
        raise NoSplit(
            f'--persona-source {options.source} has no {fold} split; it has {" and ".join(splits)}: '
            f'choose one of those with -dt{", or --persona-source personachat" if fold == "test" else ""}'
        )
    if options.folder is None:
        fetch(builder, opt, '--persona-folder')
    elif not options.folder.is_dir():
        raise DataError(f'--persona-folder {options.folder}: no such folder')
    folder = options.folder or Path(opt['datapath']) / below
    return choose(folder, fold, options.form, opt['persona_side'], opt['persona_candidates'] == 'inline')


def choose(folder: Path, fold: str, form: str, side: str, inline: bool) -> list[Path]:
    """Return the fewest files of `folder` with the turns, the candidates if `inline`, and both personas if possible.

    The releases have a file for each side of persona, each with and without candidates. A folder may lack some.
    """

    def files(side: str, endings: tuple[str, ...]) -> list[Path]:
        stem = f'{fold}_none_original' if side == 'none' else f'{fold}_{side}_{form}'  # no persona: one form only
        return [folder / f'{stem}{ending}' for ending in endings]

    endings = ('.txt',) if inline else NO_CANDIDATES_FIRST
    turns = [(name, path) for ending in endings for name in TURNS_FROM[side] for path in files(name, (ending,))]
    first = next(((name, path) for name, path in turns if path.is_file()), None)
    if first is None:
        raise missing(folder, [path for _, path in turns])
    chosen, known = [first[1]], set(PERSONAS[first[0]])
    for name in ('both', 'self', 'other'):
        for path in files(name, NO_CANDIDATES_FIRST):
            if PERSONAS[name] - known and path.is_file():
                chosen.append(path)
                known |= PERSONAS[name]
    if PERSONAS[side] - known:
        raise missing(folder, [path for name in (side, 'both') for path in files(name, NO_CANDIDATES_FIRST)])
    return chosen


def missing(folder: Path, wanted: list[Path]) -> NoSplit:
    names = ', '.join(dict.fromkeys(path.name for path in wanted))
    fold = wanted[0].name.split('_')[0]
    there = ', '.join(sorted(path.name for path in folder.glob(f'{fold}_*.txt'))) or f'no {fold}_*.txt at all'
    return NoSplit(f'{folder} has none of {names}; it has {there}. Choose another split, persona form or side.')
