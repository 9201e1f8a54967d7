"""Do the bAbI dialog files at hand hold what was published, do we read them as ParlAI does, which words are in them?

    python -m benchmarks.counts.personalized_babi --datapath data

First a line for every file: dialogues, examples, and whether every text and label is what ParlAI's own task sends.
Then the candidate lists and knowledge bases. Then the size of the vocabulary of Rajendran et al. (task 3 with 50,
100 or 150 dialogues, and bAbI task 5), under different ideas of what they counted, beside the numbers they print.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from statistics import mean, stdev

import parlai.utils.logging as logging
from parlai.core.teachers import FbDeprecatedDialogTeacher, create_task_agent_from_taskname
from parlai.scripts.display_data import setup_args

import parlai_persona  # noqa: F401  registers persona:
from parlai_persona.data.dialogue import DataError, Dialogue, NoSplit
from parlai_persona.tasks.personalized_babi.agents import choose
from parlai_persona.tasks.personalized_babi.build import SIZES, TASKS, candidates_path, kb_path, split_path
from parlai_persona.tasks.personalized_babi.build import folder as split_folder
from parlai_persona.tasks.personalized_babi.parse import read_candidates, read_kb

DIALOGUES = {'small': 1000, 'plain': 1000}  # a split; the full set has 6,000 or 12,000
# Examples of train, valid, test and OOV test, as released. Of personalised tasks 3 and 5 there is more than one copy.
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
SPLITS = (('train', False), ('valid', False), ('test', False), ('test', True))  # and whether out of vocabulary
CANDIDATES = {True: 43863, False: 4212}
RESTAURANTS = {True: 2400, False: 1200}
THEIRS = {'small': 'personalized_dialog:SmallTask', 'full': 'personalized_dialog:FullTask', 'plain': 'dialog_babi:Task'}
PAPER = {50: 4129, 100: 4657, 150: 4981}  # dialogues of train and of valid: words
DRAWS = 20
ARTICLES = {'a', 'an', 'the'}


def options(folder: Path, size: str, task: int, fold: str, oov: bool = False) -> dict:
    return {
        'task': 'persona:personalized_babi',
        'datapath': str(folder),
        'loglevel': 'error',
        'babi_task': task,
        'babi_personalized': size != 'plain',
        'babi_size': 'small' if size == 'plain' else size,
        'babi_oov': oov,
        'datatype': 'train:evalmode' if fold == 'train' else fold,
        'persona_candidates': 'none',
    }


def teacher(**chosen):
    return create_task_agent_from_taskname(setup_args().parse_kwargs(**chosen))[0]


def shown(messages: Iterable) -> list[tuple]:
    return [(m['text'], tuple(m['eval_labels']), m['episode_done']) for m in messages]


# ------------------------------------------------------------------------------------------------ the files


def files(folder: Path) -> int:
    """A line a file; how many are not read as ParlAI reads them, or do not have the size they should have."""
    wrong = 0
    line('size', 'task', 'split', 'dialogues', 'examples', 'as ParlAI reads')
    for size in (*SIZES, 'plain'):
        try:
            split_folder(setup_args().parse_kwargs(**options(folder, size, 1, 'train')))
        except DataError as error:
            line(size, '', '', '', '', str(error))
            continue
        wrong += sum(row(folder, size, task, *split) for task in TASKS for split in enumerate(SPLITS))
    return wrong


def row(folder: Path, size: str, task: int, number: int, split: tuple[str, bool]) -> bool:
    fold, oov = split
    name = f'{fold}, OOV' if oov else fold
    try:
        ours = teacher(**options(folder, size, task, fold, oov))
    except NoSplit as error:
        line(size, task, name, '', '', str(error))
        return False
    same = shown(ours) == parlais(ours.opt, THEIRS[size], task, fold, oov)
    known = (DIALOGUES.get(size), EXAMPLES.get((size, task), [None] * 4)[number])
    seen = (ours.num_episodes(), ours.num_examples())
    counts = [f'{n:,} of {k:,}' if k else f'{n:,}' for n, k in zip(seen, known, strict=True)]
    line(size, task, name, *counts, 'same' if same else 'DIFFERENT')
    return not same or any(k not in (None, n) for n, k in zip(seen, known, strict=True))


def parlais(opt: dict, name: str, task: int, fold: str, oov: bool) -> list[tuple]:
    """The same split through ParlAI's own task; it has none for the OOV files, so these go to its reader."""
    if oov:
        plain = setup_args().parse_kwargs(task='integration_tests', datatype=fold, loglevel='error')
        return shown(FbDeprecatedDialogTeacher({**plain, 'datafile': str(split_path(opt, fold))}))
    return shown(teacher(**{'task': f'{name}:{task}', **{k: opt[k] for k in ('datapath', 'datatype', 'loglevel')}}))


def tables(folder: Path) -> int:
    wrong = 0
    for personalized in (True, False):
        opt = teacher(**options(folder, 'small' if personalized else 'plain', 1, 'train')).opt
        for path, seen, known in (
            (candidates_path(opt), len(read_candidates(candidates_path(opt))), CANDIDATES[personalized]),
            (kb_path(opt), len(read_kb(kb_path(opt))), RESTAURANTS[personalized]),
        ):
            print(f'{path.name}: {seen:,} of {known:,}')
            wrong += seen != known
    return wrong


# ------------------------------------------------------------------------------------------ the vocabulary


@cache
def words(text: str) -> frozenset[str]:
    """Lower-cased words without articles; runs of punctuation are words."""
    return frozenset(re.findall(r'<silence>|\w+|[^\w\s]+', text.lower())) - ARTICLES


def vocabulary(dialogues: Iterable[Dialogue]) -> set[str]:
    found: set[str] = set()
    for dialogue in dialogues:
        for text in (*dialogue.partner_persona, *(s for turn in dialogue.turns for s in (turn.text, turn.reply))):
            for part in text.split('\n'):
                found |= words(part)
    return found


def lines_of(dialogue: Dialogue) -> int:
    return len(dialogue.partner_persona) + sum(turn.text.count('\n') + 1 for turn in dialogue.turns)


def tokens(*splits: list[Dialogue]) -> int:
    """$u, $r, and a token for each line number."""
    return 2 + max(lines_of(dialogue) for split in splits for dialogue in split)


def vocabularies(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """For each idea of what was counted and each number of dialogues, the size in each of the draws."""
    related = list(teacher(**options(folder, 'plain', 5, 'train')).dialogues('train'))
    primary = teacher(**options(folder, 'small', 3, 'test'))
    whole_train, whole_valid, test = (list(primary.dialogues(fold)) for fold in ('train', 'valid', 'test'))
    fixed, tested = vocabulary(related), vocabulary(test)
    listed = set().union(*map(words, read_candidates(candidates_path(primary.opt))))
    for count in PAPER:
        sizes: dict[str, list[int]] = {}
        for seed in range(DRAWS):
            train, valid = (choose(whole, count, seed, 'task 3') for whole in (whole_train, whole_valid))
            known = fixed | vocabulary(train) | vocabulary(valid)
            used = tokens(train, valid, related)
            for idea, size in (
                ('with the test set', len(known | tested) + tokens(train, valid, related, test)),
                ('without it', len(known) + used),
                ('without it, with the released candidates', len(known | listed) + used),
            ):
                sizes.setdefault(idea, []).append(size)
        for idea, found in sizes.items():
            yield f'{count:3} dialogues (paper: {PAPER[count]:,}), {idea}', found


def line(*cells) -> None:
    print('{:6} {:4} {:10} {:>14} {:>17}  {}'.format(*cells))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--datapath', required=True, type=Path, help='ParlAI datapath')
    folder = parser.parse_args().datapath
    logging.set_log_level(logging.ERROR)
    wrong = files(folder) + tables(folder)
    print(f'\nWords of task 3 (K dialogues of train, K of valid) and bAbI task 5, {DRAWS} draws')
    for name, sizes in vocabularies(folder):
        print(f'{name:72} {mean(sizes):7,.0f} ± {stdev(sizes):.0f}')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
