"""Do the Persona-Chat files at hand hold what was published, and do we read them as ParlAI does?

    python -m benchmarks.counts.personachat --datapath data

Counts dialogues and examples of every source, split, form and side that the folder has, beside the published
numbers, and compares every text, label and set of candidates with ParlAI's own reading of the same file.
"""

import argparse
import sys
from pathlib import Path

from parlai.core.teachers import FbDeprecatedDialogTeacher, create_task_agent_from_taskname
from parlai.scripts.display_data import setup_args

import parlai_persona  # noqa: F401  registers persona:
from benchmarks.common.record import PUBLISHED
from parlai_persona.data.dialogue import NoSplit
from parlai_persona.tasks.personachat.build import SOURCES

CORPUS = {'personachat': 'Persona-Chat', 'convai2': 'ConvAI2'}  # as `record.PUBLISHED` names them


def messages(options: dict) -> tuple[list, tuple[int, int]]:
    opt = setup_args().parse_kwargs(task='persona:personachat', loglevel='error', **options)
    teacher = create_task_agent_from_taskname(opt)[0]
    return [shown(m) for m in teacher], (teacher.num_episodes(), teacher.num_examples())


def shown(message) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    return message['text'], tuple(message['eval_labels']), tuple(sorted(message.get('label_candidates') or ()))


def parlais_reading(path: Path) -> list:
    opt = setup_args().parse_kwargs(task='integration_tests', datatype='train:evalmode', loglevel='error')
    return [shown(m) for m in FbDeprecatedDialogTeacher({**opt, 'datafile': str(path)})]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--datapath', required=True, type=Path, help='ParlAI datapath')
    folder = parser.parse_args().datapath
    wrong = 0
    line('source', 'split', 'form', 'side', 'candidates', 'dialogues', 'examples', 'as ParlAI reads')
    for source, split in ((source, split) for source, (_, _, splits) in SOURCES.items() for split in splits):
        for form in ('original', 'revised'):
            for side in ('self', 'other', 'both', 'none'):
                for candidates in ('inline', 'none'):
                    name = f'{split}_{side}_{form}{"" if candidates == "inline" else "_no_cands"}.txt'
                    path = folder / SOURCES[source][1] / name
                    if path.is_file():
                        wrong += row(source, split, form, side, candidates, path, folder)
    return 1 if wrong else 0


def row(source: str, split: str, form: str, side: str, candidates: str, path: Path, folder: Path) -> bool:
    """One line of the table; whether our reading differs from ParlAI's."""
    try:
        ours, sizes = messages(
            {
                'datatype': 'train:evalmode' if split == 'train' else split,
                'datapath': str(folder),
                'persona_source': source,
                'persona_form': form,
                'persona_side': side,
                'persona_candidates': candidates,
            }
        )
    except NoSplit as error:
        line(source, split, form, side, candidates, '', '', str(error))
        return False
    same = ours == parlais_reading(path)
    counts = [f'{seen:,} of {known:,}' for seen, known in zip(sizes, PUBLISHED[CORPUS[source]][split], strict=True)]
    line(source, split, form, side, candidates, *counts, 'same' if same else 'DIFFERENT')
    return not same


def line(*cells: str) -> None:
    print('{:12} {:6} {:9} {:6} {:10} {:>16} {:>18}  {}'.format(*cells))


if __name__ == '__main__':
    sys.exit(main())
