"""The real corpora have the published sizes, and we read them as ParlAI does. Slow; needs ParlAI's data folder."""

import json
import re
from functools import cache
from pathlib import Path
from statistics import mean, stdev

import pytest
from parlai.core.teachers import FbDeprecatedDialogTeacher, create_task_agent_from_taskname
from parlai.scripts.display_data import setup_args
from real_data import DATAPATH, real

import parlai_persona  # noqa: F401  registers persona:
from benchmarks.common.record import PUBLISHED
from parlai_persona.data.dialogue import Dialogue
from parlai_persona.tasks.few_shot.groups import join, persona, read_map
from parlai_persona.tasks.personachat.build import SOURCES
from parlai_persona.tasks.personalized_babi.agents import choose
from parlai_persona.tasks.personalized_babi.build import RELEASES, TASKS, candidates_path, split_path
from parlai_persona.tasks.personalized_babi.parse import read_candidates, read_kb

pytestmark = pytest.mark.slow


def teacher(**options):
    opt = setup_args().parse_kwargs(**{'datapath': str(DATAPATH), 'loglevel': 'error', **options})
    return create_task_agent_from_taskname(opt)[0]


def fold(split: str) -> str:
    return 'train:evalmode' if split == 'train' else split


def parlais_reader(path: Path) -> FbDeprecatedDialogTeacher:
    opt = setup_args().parse_kwargs(task='integration_tests', datatype='train:evalmode', loglevel='error')
    return FbDeprecatedDialogTeacher({**opt, 'datafile': str(path)})


# ------------------------------------------------------------------------------------- Persona-Chat, few_shot

CORPORA = {'personachat': 'Persona-Chat', 'convai2': 'ConvAI2'}
FORMS = [
    (side, form, candidates)
    for side in ('self', 'other', 'both', 'none')
    for form in ('original', 'revised')
    for candidates in ('inline', 'none')
]


def ranked(messages) -> list[tuple]:
    return [(m['text'], tuple(m['eval_labels']), tuple(sorted(m.get('label_candidates') or ()))) for m in messages]


@pytest.mark.parametrize(('source', 'split'), [(name, split) for name, (_, _, all) in SOURCES.items() for split in all])
def test_personachat_is_read_as_by_parlai(source: str, split: str):
    folder = real(SOURCES[source][1])
    files = {one: folder / f'{split}_{one[0]}_{one[1]}{"_no_cands" * (one[2] == "none")}.txt' for one in FORMS}
    files = {one: path for one, path in files.items() if path.exists()}
    if not files:
        pytest.skip(f'{folder} has no files of the {split} split')
    for (side, form, candidates), path in files.items():
        options = {'source': source, 'form': form, 'side': side, 'candidates': candidates}
        options = {f'persona_{name}': value for name, value in options.items()}
        ours = teacher(task='persona:personachat', datatype=fold(split), **options)
        assert ranked(ours) == ranked(parlais_reader(path)), path
        sizes, published = (ours.num_episodes(), ours.num_examples()), PUBLISHED[CORPORA[source]][split]
        if split == 'train':  # a part of it may be at hand
            assert all(seen <= known for seen, known in zip(sizes, published, strict=True)), path
        else:
            assert sizes == published, path


@pytest.mark.parametrize(('split', 'people'), [('train', 1154), ('valid', 100)])  # Madotto et al. 2019: 1155, 100
def test_descriptions_of_the_authors_maps_make_as_many_people(split: str, people: int):
    assert len(set(join(list(read_map(real('paml', f'{split}_persona_map.json')))))) == people


def test_people_of_the_training_dialogues():
    lines = real('Persona-Chat', 'train_personas_all.jsonl').read_text(encoding='utf-8').splitlines()
    dialogues = [json.loads(line) for line in lines]
    groups = join([persona(one['persona_B']) for one in dialogues])
    assert len(groups) == PUBLISHED['Persona-Chat']['train'][0]
    assert len(set(groups)) < len(groups) / 5, 'people have several dialogues each'


# -------------------------------------------------------------------------------------------------------- bAbI

FOLDS = (('train', False), ('valid', False), ('test', False), ('test', True))  # and whether out of vocabulary
# Examples of each fold, as released. There is more than one copy of the personalised tasks 3 and 5.
EXAMPLES = {
    ('small', 1): (6024, 6015, 5936, 6020),
    ('plain', 1): (6024, 6015, 5936, 6020),
    ('small', 2): (9498, 9513, 9464, 9460),
    ('plain', 2): (9498, 9513, 9464, 9460),
    ('small', 4): (3507, 3529, 3498, 3510),
    ('plain', 4): (3507, 3529, 3498, 3510),
    ('plain', 3): (9855, 9978, 10018, 9788),
    ('plain', 5): (18340, 18457, 18398, 18368),
}
PARLAIS = {'small': 'personalized_dialog:SmallTask', 'plain': 'dialog_babi:Task'}
LISTS = {True: (43863, 2400), False: (4212, 1200)}  # personalised or not: candidates, restaurants


def babi(size: str, task: int, split: str, oov: bool = False):
    real(RELEASES[size != 'plain'][1])
    options = {'task': task, 'personalized': size != 'plain', 'size': 'small', 'oov': oov}
    return teacher(
        task='persona:personalized_babi',
        datatype=fold(split),
        persona_candidates='none',
        **{f'babi_{name}': value for name, value in options.items()},
    )


def shown(messages) -> list[tuple]:
    return [(m['text'], tuple(m['eval_labels']), m['episode_done']) for m in messages]


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('size', ['small', 'plain'])
def test_babi_is_read_as_by_parlai(size: str, task: int):
    for number, (split, oov) in enumerate(FOLDS):
        ours = babi(size, task, split, oov)
        if oov:  # ParlAI has no task for these files
            theirs = parlais_reader(split_path(ours.opt, split))
        else:
            theirs = teacher(task=f'{PARLAIS[size]}:{task}', datatype=fold(split))
        assert shown(ours) == shown(theirs), (split, oov)
        assert ours.num_episodes() == 1000
        assert ours.num_examples() == EXAMPLES.get((size, task), [ours.num_examples()] * 4)[number]


@pytest.mark.parametrize('personalized', [True, False])
def test_candidates_and_restaurants_are_all_there(personalized: bool):
    _, folder, prefix = RELEASES[personalized][:3]
    candidates = read_candidates(real(folder, f'{prefix}-candidates.txt'))
    assert (len(candidates), len(read_kb(real(folder, f'{prefix}-kb-all.txt')))) == LISTS[personalized]


PAPER = {50: 4129, 100: 4657, 150: 4981}  # Rajendran et al.: dialogues of train and of valid -> words


@cache
def words(text: str) -> frozenset[str]:
    """Return lower-cased words without articles; runs of punctuation are words."""
    return frozenset(re.findall(r'<silence>|\w+|[^\w\s]+', text.lower())) - {'a', 'an', 'the'}


def vocabulary(dialogues: list[Dialogue]) -> set[str]:
    lines = [line for one in dialogues for line in one.partner_persona]
    lines += [line for one in dialogues for turn in one.turns for line in f'{turn.text}\n{turn.reply}'.split('\n')]
    return set().union(*map(words, lines))


def line_numbers(dialogues: list[Dialogue]) -> int:
    return max(len(d.partner_persona) + sum(turn.text.count('\n') + 1 for turn in d.turns) for d in dialogues)


@pytest.mark.parametrize('count', PAPER)
def test_the_papers_vocabulary_has_the_test_set_but_not_the_released_candidates(count: int):
    """Words of task 3 and plain task 5, and a token for each speaker and line number, over 20 choices of dialogues."""
    related = list(babi('plain', 5, 'train').dialogues('train'))
    task = babi('small', 3, 'test')
    train, valid, test = (list(task.dialogues(split)) for split in ('train', 'valid', 'test'))
    fixed = vocabulary([*related, *test])
    sizes = []
    for seed in range(20):
        chosen = [*choose(train, count, seed, 'task 3'), *choose(valid, count, seed, 'task 3')]
        sizes.append(len(fixed | vocabulary(chosen)) + 2 + line_numbers([*chosen, *related, *test]))
    assert abs(mean(sizes) - PAPER[count]) < 2 * stdev(sizes)
    released = read_candidates(candidates_path(task.opt))
    assert len(fixed.union(*map(words, released))) > 3 * PAPER[count]
