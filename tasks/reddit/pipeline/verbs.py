"""Which words can be verbs: rule (iii) without a tagger."""

import gzip
from importlib import resources

from parlai_persona.data.dialogue import DataError


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The lexicon lists only the base form of these verbs; and the rests of contractions: I 'm, don 't.
AUXILIARIES = words(
    'am is are was were be been being has have had having do does did will would can could may might must shall should '
    'm s d ve re ll don doesn didn isn aren wasn weren haven hasn hadn won wouldn couldn shouldn cannot dont didnt '
    'doesnt isnt wasnt cant wont im ive ill id gonna wanna gotta'
)
# The lexicon lists these as verbs, too, but they are nearly always something else.
OTHERS = words(
    'a i the in on out up down no well so even back off over my me you it not too now then here there and but or if ok '
    'yes still just very through round near past right only better best last long short clear clean dry cool warm '
    'open free due same other more most less fine sure good bad worse worst above about again all any at by for from '
    'of to with what who how why when where which that this these those than as like one two'
)
LIKE = frozenset({'like'})  # "I like it" is what personas are made of


def verbs() -> frozenset[str]:
    """Return every form of every English verb, in lower case."""
    try:
        file = resources.files('lemminflect').joinpath('resources/infl_lu.csv.gz')
        with file.open('rb') as raw, gzip.open(raw, 'rt', encoding='utf-8') as lines:
            forms = {form.lower() for line in lines for form in verb_forms(line)}
    except (ImportError, FileNotFoundError):
        raise DataError(
            "finding verbs needs the lexicon of the package lemminflect: pip install 'parlai-persona[reddit]'"
        ) from None
    return frozenset((forms - OTHERS) | AUXILIARIES | LIKE)


def verb_forms(line: str) -> set[str]:
    """Return the forms on a line `lemma,part of speech,form,…`; slashes separate spellings of a form."""
    lemma, part, *forms = line.rstrip('\n').split(',')
    return {lemma, *(spelling for form in forms for spelling in form.split('/'))} - {''} if part == 'verb' else set()
