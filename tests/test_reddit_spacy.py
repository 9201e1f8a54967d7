"""`--tagger spacy`: with a real spaCy pipeline, made here from patterns, the model's parts of speech decide.

spaCy's own models are not in the package registry; what differs in them is only where the parts of speech come from.
"""

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import reddit_definitions as text
from reddit_dumps import line, write

from parlai_persona.data.dialogue import DataError
from parlai_persona.tasks.reddit.pipeline import build, lexicon, tagger
from parlai_persona.tasks.reddit.pipeline.options import Machine, Options

spacy = pytest.importorskip('spacy', reason='spaCy is optional: pip install spacy')

# The model knows four words, in lower case or at the beginning of a sentence. The lexicon knows other verbs.
PARTS = {'grok': 'VERB', 'mought': 'AUX', 'i': 'PRON', 'tea': 'NOUN'}
BOTH = 'I grok and love tea .'
MODEL_ALONE = ['I mought the tea today .', 'Today I mought the tea .']
LEXICON_ALONE = ['I love green tea .', 'I drink the best tea .']
NEITHER = 'My tea of the day .'
NO_NOUN = 'My grok of the day .'  # a verb, but nothing that the model calls a noun, pronoun or adjective: rule (iv)
NOT_ABOUT_ME = 'They mought and grok the tea .'  # rule (ii)
TOO_SHORT = 'I grok .'  # rule (i)
SENTENCES = [BOTH, *MODEL_ALONE, *LEXICON_ALONE, NEITHER, NO_NOUN, NOT_ABOUT_ME, TOO_SHORT]


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> Path:
    """A pipeline on disk."""
    nlp = spacy.blank('en')
    ruler = nlp.add_pipe('attribute_ruler')
    for word, part in PARTS.items():
        ruler.add([[{'LOWER': word}]], {'POS': part})
    folder = tmp_path_factory.mktemp('spacy') / 'model'
    nlp.to_disk(folder)
    return folder


@pytest.fixture
def dump(tmp_path) -> Path:
    lines = [line('a', 'Ann', ' '.join(SENTENCES)), line('b', 'Bob', 'hm', 't1_a'), line('c', 'Ann', 'hm hm', 't1_b')]
    return write(tmp_path / 'dump.jsonl', lines)


def personas(folder: Path) -> set[str]:
    found = [row for path in folder.glob('personas-*.parquet') for row in pq.read_table(path).to_pylist()]
    return {line for row in found for line in row['persona']}


def tagged_with(folder: Path) -> str:
    return json.loads((folder / 'manifest.json').read_text())['options']['tagger']


BY_MODEL, BY_LEXICON = {BOTH, *MODEL_ALONE}, {BOTH, *LEXICON_ALONE}


def test_the_sentences_are_what_their_names_say():
    known = lexicon.verbs()
    _, found = text.read(' '.join(SENTENCES))
    assert [sentence.text for sentence in found] == SENTENCES
    assert {one.text for one in found if text.persona_like(one, lambda word: word.lower() in known)} == BY_LEXICON


def made(dump: Path, output: Path, workers: int = 1, **options) -> Path:
    machine = Machine(workers=workers, parts=1)
    return build.build([str(dump)], output, Options(valid=0, test=0, **options), machine, {})


@pytest.mark.parametrize('workers', [1, 2])
def test_the_parts_of_speech_of_the_model_decide(model, dump, tmp_path, workers):
    folder = made(dump, tmp_path / 'data', workers, tagger='spacy', spacy_model=str(model))
    assert personas(folder) == BY_MODEL
    assert tagged_with(folder) == 'spacy'


def test_auto_takes_the_model_where_there_is_one(model, dump, tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(build.logging, 'info', said.append)
    with_model = made(dump, tmp_path / 'with', spacy_model=str(model))
    without = made(dump, tmp_path / 'without', spacy_model='en_no_such_model')
    assert said == [f'verbs are found by spaCy, model {model}', 'verbs are found by a lexicon']
    assert (personas(with_model), tagged_with(with_model)) == (BY_MODEL, 'spacy')
    assert (personas(without), tagged_with(without)) == (BY_LEXICON, 'lexicon')


def test_a_model_that_was_asked_for_has_to_be_there(dump, tmp_path):
    with pytest.raises(DataError, match="saw no model 'en_no_such_model'; python -m spacy download .*--tagger lexicon"):
        made(dump, tmp_path / 'data', tagger='spacy', spacy_model='en_no_such_model')
    assert not list(tmp_path.glob('data*'))


@pytest.mark.slow  # two commands, ten seconds each
def test_command(model, dump, tmp_path, parlai):
    words = ['persona_reddit', 'build', '--input', str(dump), '--output', str(tmp_path / 'data'), '--workers', '1']
    words += ['--valid', '0', '--test', '0', '--tagger', 'spacy', '--spacy-model']
    done = parlai(*words, str(tmp_path / 'nowhere'))
    assert done.returncode and '--tagger spacy: saw no model' in done.stderr and 'Traceback' not in done.stderr
    done = parlai(*words, str(model))
    assert done.returncode == 0, done.stderr
    assert f'verbs are found by spaCy, model {model}' in done.stdout + done.stderr
    assert personas(tmp_path / 'data') == BY_MODEL


def test_without_spacy(monkeypatch):
    monkeypatch.setitem(sys.modules, 'spacy', None)  # its import fails from now on
    with pytest.raises(DataError, match='needs the package spacy: pip install spacy'):
        tagger.choose('spacy', 'en_core_web_sm')
    assert tagger.choose('auto', 'en_core_web_sm') is None
