"""Which files a request needs, and where they are: ParlAI's downloads and checksums, or a local folder."""

from importlib import import_module
from pathlib import Path

from parlai.core.opt import Opt

from parlai_persona.data.dialogue import DataError, NoSplit

# source -> (ParlAI's builder, folder below the datapath, splits)
SOURCES = {
    'personachat': ('parlai.tasks.personachat.build', 'Persona-Chat/personachat', ('train', 'valid', 'test')),
    'convai2': ('parlai.tasks.convai2.build', 'ConvAI2', ('train', 'valid')),
}
SHOWS = {'self': {'self'}, 'other': {'other'}, 'both': {'self', 'other'}, 'none': set()}
# For each side of persona, the files to take the turns from, best first: ParlAI's own teachers read the first.
TURNS_FROM = {
    'self': ('self', 'both', 'other', 'none'),
    'other': ('other', 'both', 'self', 'none'),
    'both': ('both', 'self', 'other', 'none'),
    'none': ('none', 'self', 'other', 'both'),
}


def paths(opt: Opt, fold: str) -> list[Path]:
    """The files to read for this split: the first has the turns (and the inline candidates, if asked for)."""
    builder, folder, splits = SOURCES[opt['persona_source']]
    if fold not in splits:
        raise NoSplit(
            f'--persona-source {opt["persona_source"]} has no {fold} split; it has {" and ".join(splits)}: '
            f'choose one of those with -dt{", or --persona-source personachat" if fold == "test" else ""}'
        )
    if opt.get('persona_folder'):
        found = Path(opt['persona_folder']).expanduser()
        if not found.is_dir():
            raise DataError(f'--persona-folder {found}: no such folder')
    else:
        import_module(builder).build(opt)
        found = Path(opt['datapath']) / folder
    return choose(found, fold, opt['persona_form'], opt['persona_side'], opt['persona_candidates'] == 'inline')


def choose(folder: Path, fold: str, form: str, side: str, inline: bool) -> list[Path]:
    """The fewest files of `folder` that hold the turns, the candidates if `inline`, and both personas if they can.

    The releases have a file for each side of persona, each with and without candidates; a folder may lack some.
    """
    stems = {name: f'{fold}_{name}_{form}' for name in ('both', 'self', 'other')}
    stems['none'] = f'{fold}_none_original'  # without personas there is one form only
    suffixes = ('.txt',) if inline else ('_no_cands.txt', '.txt')
    turns = [(name, folder / f'{stems[name]}{suffix}') for suffix in suffixes for name in TURNS_FROM[side]]
    first = next(((name, path) for name, path in turns if path.is_file()), None)
    if first is None:
        raise missing(folder, [path for _, path in turns])
    chosen, shown = [first[1]], set(SHOWS[first[0]])
    for name in ('both', 'self', 'other'):
        for suffix in ('_no_cands.txt', '.txt'):
            path = folder / f'{stems[name]}{suffix}'
            if SHOWS[name] - shown and path.is_file():
                chosen.append(path)
                shown |= SHOWS[name]
    if SHOWS[side] - shown:
        wanted = [folder / f'{stems[name]}{suffix}' for name in (side, 'both') for suffix in ('_no_cands.txt', '.txt')]
        raise missing(folder, wanted)
    return chosen


def missing(folder: Path, wanted: list[Path]) -> NoSplit:
    names = ', '.join(dict.fromkeys(path.name for path in wanted))
    fold = wanted[0].name.split('_')[0]
    there = ', '.join(sorted(path.name for path in folder.glob(f'{fold}_*.txt'))) or f'no {fold}_*.txt at all'
    return NoSplit(f'{folder} has none of {names}; it has {there}. Choose another split, persona form or side.')
