"""Raw comment dumps -> a data set of personas, contexts and responses; `parlai persona_reddit build`.

Three steps, each in pieces that are whole or not there, in a folder beside the output: blocks of lines -> clean
comments (stage.py), parts -> pairs, shelves -> personas and examples (plan.py, engines.py). A build that was stopped
goes on where it was. The output takes its name when all is there.
"""

import json
import secrets
import shutil
import sys
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import parlai.utils.logging as logging
import pyarrow.compute as pc
import pyarrow.parquet as pq
from parlai.core.opt import Opt
from tqdm import tqdm

from parlai_persona.data.dialogue import DataError
from parlai_persona.files import draft, write_json
from parlai_persona.tasks.reddit import classifier, dump, manifest, plan, text
from parlai_persona.tasks.reddit.blocks import stage
from parlai_persona.tasks.reddit.classifier import Classifier
from parlai_persona.tasks.reddit.engines import DuckEngine, Folders, SparkEngine
from parlai_persona.tasks.reddit.options import Machine, Options
from parlai_persona.tasks.reddit.stage import BOTS, Job
from parlai_persona.tasks.reddit.tagger import choose
from parlai_persona.tasks.reddit.verbs import verbs

PART, PARTS = 1 << 28, 1024  # bytes of lines, about, that are computed together; of large dumps more
EXPANDS = {'.zst': 12, '.xz': 12, '.bz2': 8, '.gz': 6}  # how much a dump grows when unpacked, about
WORDS = 250_000  # of the dictionary (sec. 3.1)


def build(
    patterns: list[str], output: Path, options: Options, machine: Machine, opt: Opt, key: bytes | None = None
) -> Path:
    """The data set's folder. `opt`: ParlAI's, for the data of Persona-Chat. `key`: of the hash of authors' names;
    without it a new one, kept nowhere."""
    if output.exists():
        raise DataError(f'{output} is there already; name another --output, or remove it')
    started = time.monotonic()
    work = output.with_name(output.name + '.building')
    folders = Folders(work)
    files = dump.find(patterns)
    parts = machine.parts or default_parts(files)
    tagger = choose(options.tagger, options.spacy_model)
    logging.info(f'verbs are found by {f"spaCy, model {tagger}" if tagger else "a lexicon"}')
    options = replace(options, tagger='spacy' if tagger else 'lexicon')
    key = begin(work, files, options, machine.engine, parts, key)
    job = job_of(options, machine, parts, key, tagger, classifier_of(options, files, folders, opt))
    engine = engine_of(machine, folders)
    counts, sources = stage(files, job, folders, machine.workers, engine)
    choice = plan.Choice(parts, options.selection, options.persona_size)
    engine.pairs(parts, choice)
    counts['pairs'] = engine.rows(folders.pairs)
    choice = replace(choice, cuts=cuts(engine, options, counts['pairs']))
    engine.examples(choice)
    finish(folders, output, options, machine, counts, sources, engine.words(2 * WORDS), time.monotonic() - started)
    return output


def cleaning(options: Options) -> text.Cleaning:
    return text.Cleaning(options.drop_quotes, options.drop_urls, options.drop_emails)


def default_parts(files: list[Path]) -> int:
    size = sum(path.stat().st_size * EXPANDS.get(path.suffix.lower(), 1) for path in files)
    return min(PARTS, max(1, round(size / PART)))


def begin(work: Path, files: list[Path], options: Options, engine: str, parts: int, key: bytes | None) -> bytes:
    """A new build, or the one of these files and options that was stopped; its key."""
    mine: dict[str, Any] = {
        'inputs': [{'path': str(path.resolve()), 'bytes': path.stat().st_size} for path in files],
        'options': asdict(options),
        'parts': parts,
        'engine': engine,  # which keep their work in other files
    }
    if (work / 'build.json').exists():
        theirs = json.loads((work / 'build.json').read_text())
        if not any((work / 'data').glob('*.parquet')):  # nothing is split yet
            theirs['options'].update({name: mine['options'][name] for name in ('valid', 'test')})
        other = [name for name in mine if mine[name] != theirs.get(name)]
        if other:
            raise DataError(
                f'{work} holds an unfinished build with other {" and ".join(other)}: saw {theirs.get(other[0])}, '
                f'expected {mine[other[0]]}. Give the same ones to go on with it, or remove it'
            )
        write_json(work / 'build.json', mine)
        return (work / 'key').read_bytes()
    work.mkdir(parents=True, exist_ok=True)
    key = key or secrets.token_bytes(32)
    (work / 'key').touch(mode=0o600)
    (work / 'key').write_bytes(key)
    write_json(work / 'build.json', mine)
    return key


def classifier_of(options: Options, files: list[Path], folders: Folders, opt: Opt) -> Classifier | None:
    if options.selection != 'rules+classifier':
        return None
    kept = folders.data / 'classifier.json'
    if not kept.exists():
        if options.classifier:
            found = Classifier.load(Path(options.classifier))
        else:
            found = classifier.from_data(opt, files, cleaning(options), options.seed)
        found.save(kept)
    return Classifier.load(kept)


def job_of(
    options: Options, machine: Machine, parts: int, key: bytes, tagger: str | None, judge: Classifier | None
) -> Job:
    bots = set(BOTS)
    if options.bot_list:
        path = Path(options.bot_list)
        if not path.exists():
            raise DataError(f'--bot-list {path}: saw no such file; expected one author a line')
        bots.update(path.read_text(encoding='utf-8').split())
    scoring = {'weights': judge.weights, 'bias': judge.bias, 'threshold': options.threshold} if judge else {}
    return Job(
        key,
        parts,
        options.seed,
        options.selection,
        cleaning(options),
        options.bot_rule,
        frozenset(bots),
        verbs(),
        tagger=tagger,
        sliced=machine.engine == 'duckdb',
        **scoring,
    )


def engine_of(machine: Machine, folders: Folders) -> DuckEngine | SparkEngine:
    if machine.engine == 'spark':
        return SparkEngine(folders, machine.master, shown())
    return DuckEngine(folders, machine.memory, machine.workers, shown())


def shown() -> Any:
    """A bar a step."""
    bars: dict[str, tqdm] = {}

    def progress(step: str, done: int, of: int) -> None:
        if step not in bars:
            bars[step] = tqdm(total=of, desc=step)
        bar = bars[step]
        bar.update(done - bar.n)
        if done == of:
            bar.close()

    return progress


def cuts(engine: DuckEngine | SparkEngine, options: Options, pairs: int) -> tuple[int, int]:
    """The numbers below which comments are held out, for test and for valid."""
    if not pairs:
        raise DataError('no comment answers another one in these dumps: saw 0 pairs, expected some. Are files missing?')
    test, valid = (int(size) if size >= 1 else round(size * pairs) for size in (options.test, options.valid))
    both = test + valid
    if both >= pairs:
        raise DataError(
            f'--valid and --test ask for {both:,} examples, but the dumps have {pairs:,} in all: lower them, or give '
            'shares (--valid 0.05 --test 0.05)'
        )
    return engine.cut(test) if test else 0, engine.cut(both) if both else 0


def finish(
    folders: Folders,
    output: Path,
    options: Options,
    machine: Machine,
    counts: Counter[str],
    sources: list[dict[str, Any]],
    words: list[tuple[str, int]],
    seconds: float,
) -> None:
    """Dictionary and manifest; then the output takes its name and the rest goes."""
    with draft(folders.data / 'dictionary') as unfinished:
        lines = (f'{word}\t{count}\n' for word, count in without_held_out(words, folders)[:WORDS])
        unfinished.write_text(''.join(lines), encoding='utf-8')
    write_json(folders.data / 'manifest.json', manifest.of(folders, options, machine, counts, sources, seconds))
    broken = sorted(folders.stage.glob('*.broken'))
    if broken:
        with draft(output.with_name(output.name + '.broken')) as unfinished, unfinished.open('wb') as file:
            for path in broken:
                file.write(path.read_bytes())
        print(
            f'{counts["broken"]:,} broken lines stand in {output}.broken, as they came, names and all: look at them, '
            'then remove them',
            file=sys.stderr,
        )
    folders.data.rename(output)
    shutil.rmtree(folders.work)


def without_held_out(words: list[tuple[str, int]], folders: Folders) -> list[tuple[str, int]]:
    """The dictionary knows nothing of the responses of valid and test."""
    counts = dict(words)
    for path in (*folders.data.glob('valid-*'), *folders.data.glob('test-*')):
        responses = pq.read_table(path, columns=['response']).column('response')
        said = pc.value_counts(pc.list_flatten(pc.split_pattern(pc.ascii_lower(responses), ' ')))
        for word, count in zip(said.field('values').to_pylist(), said.field('counts').to_pylist(), strict=True):
            if word in counts:
                counts[word] -= count
    return sorted(((word, count) for word, count in counts.items() if count > 0), key=lambda one: (-one[1], one[0]))
