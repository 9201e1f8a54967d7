"""Raw comment dumps -> a data set of personas, contexts and responses; `parlai persona_reddit build`.

Four steps, each in pieces that are whole or not there, in a folder beside the output: blocks of lines -> authors
(names.py), blocks of lines -> clean comments (stage.py), parts -> pairs, shelves -> personas and examples (plan.py).
A build that was stopped goes on where
it was. The output takes its name when everything is there.
"""

import hashlib
import secrets
import shutil
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import parlai.utils.logging as logging
import pyarrow.compute as pc
import pyarrow.parquet as pq
from parlai.core.opt import Opt

from parlai_persona.data.dialogue import DataError
from parlai_persona.files import draft, naming, read_json, read_text, typed_path, write_json
from parlai_persona.models.checksums import file_checksum
from parlai_persona.tasks.reddit.pipeline import classifier, dump, manifest, plan, workers
from parlai_persona.tasks.reddit.pipeline.comments import BOTS
from parlai_persona.tasks.reddit.pipeline.duck import DuckEngine, explained
from parlai_persona.tasks.reddit.pipeline.lexicon import dictionary, verbs
from parlai_persona.tasks.reddit.pipeline.names import Names
from parlai_persona.tasks.reddit.pipeline.options import Machine, Options
from parlai_persona.tasks.reddit.pipeline.sentences import Classifier
from parlai_persona.tasks.reddit.pipeline.spark import SparkEngine
from parlai_persona.tasks.reddit.pipeline.stage import Job
from parlai_persona.tasks.reddit.pipeline.storage import Folders
from parlai_persona.tasks.reddit.pipeline.tagger import choose

FORMAT = 3  # of unfinished builds
PART, PARTS = 1 << 28, 1024  # bytes of lines, about, that are computed together; of large dumps more
EXPANDS = {'.zst': 12, '.xz': 12, '.bz2': 8, '.gz': 6}  # how much a dump grows when unpacked, about
WORDS = 250_000  # of the dictionary (sec. 3.1)


@explained()
def build(
    patterns: list[str], output: Path, options: Options, machine: Machine, opt: Opt, key: bytes | None = None
) -> Path:
    """Return the data set's folder. `opt`: ParlAI's, for the data of Persona-Chat. `key`: of the hash of authors'
    names; without it a new one, which is kept nowhere."""
    folders = Folders(output.with_name(output.name + '.building'))
    if output.exists():
        if folders.work.exists() and not folders.data.exists():  # stopped after the data set got its name
            shutil.rmtree(folders.work)
            return output
        raise DataError(f'{output} is there already; name another --output, or remove it')
    started = time.monotonic()
    files = dump.find(patterns)
    parts = machine.parts or default_parts(files)
    tagger = choose(options.tagger, options.spacy_model)
    logging.info(f'verbs are found by {f"spaCy, model {tagger}" if tagger else "a lexicon"}')
    options = replace(options, tagger='spacy' if tagger else 'lexicon')
    key = begin(folders.work, files, options, machine.engine, parts, key)
    if (folders.data / 'manifest.json').exists():  # stopped while it was published
        publish(folders, output)
        return output
    secret = hashlib.blake2b(key).digest()
    engine: Any = (
        SparkEngine(folders, machine.master)
        if machine.engine == 'spark'
        else DuckEngine(folders, machine.memory, machine.workers)
    )
    engine.read(files, workers.FindAuthors(secret))
    names = Names(secret, workers.merge_authors(folders), dictionary())
    judge = classifier_of(options, files, folders, opt, names)
    sliced = machine.engine == 'duckdb'
    job = Job(options, secret, names, parts, bots(options), verbs(), tagger, judge, sliced)
    engine.read(files, workers.CleanComments(job))
    counts, sources = workers.summary(files, folders)
    choice = plan.Choice(parts, options.selection, options.persona_size)
    engine.pairs(parts, choice)
    pairs = engine.all(folders.pairs)
    counts['pairs'] = number(pairs.count())
    engine.examples(replace(choice, cuts=cuts(pairs, options, counts['pairs'])))
    write_dictionary(plan.frequent(engine.all(folders.words), 2 * WORDS).to_pyarrow().to_pylist(), folders)
    about = manifest.describe(folders, options, machine.engine, counts)
    about |= {'inputs': sources, 'seconds': round(time.monotonic() - started, 1)}
    write_manifest(about, folders.data)
    publish(folders, output)
    return output


def default_parts(files: list[Path]) -> int:
    size = sum(path.stat().st_size * EXPANDS.get(path.suffix.lower(), 1) for path in files)
    return min(PARTS, max(1, round(size / PART)))


def begin(work: Path, files: list[Path], options: Options, engine: str, parts: int, key: bytes | None) -> bytes:
    """Begin a build, or go on with the one of these files and options that was stopped; return its key."""
    mine: dict[str, Any] = {
        'format': FORMAT,
        'inputs': [{'path': str(path.resolve()), 'bytes': path.stat().st_size} for path in files],
        'options': asdict(options),
        'parts': parts,
        'engine': engine,  # the two keep their work in different files
    }
    if (work / 'build.json').exists():
        theirs = read_json(work / 'build.json')
        if not any((work / 'data').glob('*.parquet')):  # nothing is split yet
            theirs['options'].update({name: mine['options'][name] for name in ('valid', 'test')})
        other = [name for name in mine if mine[name] != theirs.get(name)]
        if other:
            raise DataError(
                f'{work} holds an unfinished build with other {" and ".join(other)}: saw {theirs.get(other[0])}, '
                f'expected {mine[other[0]]}. Give the same ones to go on with it, or remove it'
            )
        write_json(work / 'build.json', mine)
        return (work / 'key').read_bytes() if (work / 'key').exists() else b''  # `publish` removes it
    work.mkdir(parents=True, exist_ok=True)
    key = key or secrets.token_bytes(32)
    (work / 'key').touch(mode=0o600)
    with naming(work / 'key'):
        (work / 'key').write_bytes(key)
    write_json(work / 'build.json', mine)
    return key


def classifier_of(options: Options, files: list[Path], folders: Folders, opt: Opt, names: Names) -> Classifier | None:
    """Return the classifier, which knows no names."""
    if options.selection != 'rules+classifier':
        return None
    kept = folders.data / 'classifier.json'
    if not kept.exists():
        given = options.classifier
        found = Classifier.load(Path(given)) if given else classifier.from_data(opt, files, options, names)
        found.without(names.among(set(found.weights))).save(kept)
    return Classifier.load(kept)


def bots(options: Options) -> frozenset[str]:
    if not options.bot_list:
        return BOTS
    path = typed_path(options.bot_list)
    if not path.exists():
        raise DataError(f'--bot-list {path}: saw no such file; expected one author a line')
    return BOTS.union(read_text(path).split())


def number(expression: Any) -> int:
    return int(expression.to_pyarrow().as_py())


def cuts(pairs: Any, options: Options, count: int) -> tuple[int, int]:
    """Return the numbers below which comments are held out, for test and for valid."""
    if not count:
        raise DataError('no comment answers another one in these dumps: saw 0 pairs, expected some. Are files missing?')
    test, valid = (int(size) if size >= 1 else round(size * count) for size in (options.test, options.valid))
    both = test + valid
    if both >= count:
        raise DataError(
            f'--valid and --test ask for {both:,} examples, but the dumps have {count:,} in all: lower them, or give '
            'shares (--valid 0.05 --test 0.05)'
        )
    return number(plan.cut(pairs, test)) if test else 0, number(plan.cut(pairs, both)) if both else 0


def write_dictionary(words: list[dict[str, Any]], folders: Folders) -> None:
    """Write the most frequent words and their counts without the responses of valid and test."""
    counts = {row['word']: int(row['count']) for row in words}
    for path in (*folders.data.glob('valid-*'), *folders.data.glob('test-*')):
        responses = pq.read_table(path, columns=['response']).column('response')
        said = pc.value_counts(pc.list_flatten(pc.split_pattern(pc.ascii_lower(responses), ' ')))
        for word, count in zip(said.field('values').to_pylist(), said.field('counts').to_pylist(), strict=True):
            if word in counts:
                counts[word] -= count
    kept = sorted(((word, count) for word, count in counts.items() if count > 0), key=lambda one: (-one[1], one[0]))
    with draft(folders.data / 'dictionary') as unfinished:
        unfinished.write_text(''.join(f'{word}\t{count}\n' for word, count in kept[:WORDS]), encoding='utf-8')


def write_manifest(about: dict[str, Any], folder: Path) -> None:
    """Write what a data set says about itself, the last of its files, with the checksums of its shards."""
    about['checksums'] = {path.name: file_checksum(path) for path in sorted(folder.glob('*.parquet'))}
    write_json(folder / 'manifest.json', about)


def publish(folders: Folders, output: Path) -> None:
    """Give the data set its name, keep the broken lines beside it, and remove the rest, the key first."""
    (folders.work / 'key').unlink(missing_ok=True)
    broken, count = sorted(folders.stage.glob('*.broken')), 0
    if broken:
        with draft(output.with_name(output.name + '.broken')) as unfinished, unfinished.open('wb') as file:
            for path in broken:
                count += path.read_bytes().count(b'\n')
                file.write(path.read_bytes())
        print(
            f'{count:,} broken lines stand in {output}.broken, as they came, names and all: look at them, '
            'then remove them',
            file=sys.stderr,
        )
    for part in folders.data.glob('.*.part'):  # of a build that was killed
        part.unlink()
    folders.data.rename(output)
    shutil.rmtree(folders.work)
