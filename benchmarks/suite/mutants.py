"""Change one operator, number or decorator of a module at a time, and see whether its tests notice.

    pip install --target /tmp/cosmic_ray cosmic-ray
    PYTHONPATH=/tmp/cosmic_ray python -m benchmarks.suite.mutants         # 24 changes of each module
    PYTHONPATH=/tmp/cosmic_ray python -m benchmarks.suite.mutants --only parlai_persona/flags.py --sample 100

The changes are those of cosmic-ray, one at each place of a module, and a seeded sample of the places. cosmic-ray itself
changes files and starts Python for each change, and our tests take 5 seconds to import torch and ParlAI. So
`mutant_runner.py` forks a process that has imported both for each change. Rows of
results/robustness.csv count the changes (tried), and those that no test noticed (lost).
"""

import ast
import difflib
import json
import random
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from benchmarks.common import record
from benchmarks.common.arms import Report
from benchmarks.common.record import RESULTS, ROOT

# module -> its tests, as arguments of pytest
MODULES = {
    'parlai_persona/errors.py': 'test_errors.py -k "text_is_shown or nearest_name"',
    'parlai_persona/files.py': 'test_files.py',
    'parlai_persona/flags.py': 'test_flags.py',
    'parlai_persona/data/candidates.py': 'test_personachat.py -k "candidates or distractors or label_tells"',
    'parlai_persona/data/dialogue_file.py': 'test_own.py -k "golden or wrong"',
    'parlai_persona/data/personas.py': 'test_personas.py',
    'parlai_persona/data/text_format.py': 'test_personachat.py -k "golden or candidates_come or waits or malformed"',
    'parlai_persona/metrics/formulas.py': 'test_metrics.py',
    'parlai_persona/models/checksums.py': 'test_models.py -k checksum',
    'parlai_persona/models/vectors.py': 'test_memnet_model.py -k vectors',
    'agents/memnet/batches.py': 'test_memnet_model.py -k "not processes"',
    'agents/memnet/encoders.py': 'test_memnet_model.py -k "not processes"',
    'agents/memnet/losses.py': 'test_memnet_model.py -k "not processes"',
    'agents/memnet/lexical.py': 'test_memnet_lexical.py',
    'agents/memnet/model.py': 'test_memnet_model.py -k "not processes"',
    'agents/meta_memnn/meta.py': 'test_meta_memnn_meta.py',
    'agents/meta_memnn/model.py': 'test_meta_memnn_model.py',
    'agents/paml/meta.py': 'test_paml_meta.py',
    'tasks/few_shot/groups.py': 'test_few_shot.py -k "by_hand or contractions or map or group"',
    'tasks/nli/pairs.py': 'test_nli.py -k "labels or pairs or never_changes or says_nothing or nouns or contradict_is"',
    'tasks/nli/parse.py': 'test_nli.py -k "sound_files or is_named or broken"',
    'tasks/own/parse.py': 'test_own.py -k "not page"',
    'tasks/personachat/parse.py': 'test_personachat.py -k "golden or malformed or files or several or half"',
    'tasks/personalized_babi/parse.py': 'test_personalized_babi.py',
    'tasks/reddit/parse.py': 'test_reddit_task.py -k "json_lines or damaged or personas or no_data"',
}
NEEDS_ARGUMENTS = ('VariableReplacer', 'VariableInserter')
SAME = ('_Is', '_IsNot', '_Is_Eq', '_IsNot_NotEq')  # endings of changes that often change nothing


class Mutant(NamedTuple):
    operator: str
    occurrence: int
    line: int


def mutants(source: str, rng: random.Random) -> list[Mutant]:
    """Return a change for each place that has any, in a random order; types and assertions have none."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    skipped = untested(source)
    nodes = list(ast_nodes(get_ast(source)))
    places: dict[tuple, list[Mutant]] = {}
    for name in operator_names():
        if name.endswith((*NEEDS_ARGUMENTS, *SAME)):
            continue
        positions = (position for node in nodes for position in get_operator(name)().mutation_positions(node))
        for occurrence, (start, end) in enumerate(positions):
            if not any(first <= start < last for first, last in skipped):
                places.setdefault((start, end), []).append(Mutant(name, occurrence, start[0]))
    chosen = [rng.choice(places[place]) for place in sorted(places)]
    rng.shuffle(chosen)
    return chosen


def untested(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return where annotations, assertions and `strict=True` begin and end: (line, column)."""
    found = []
    for node in ast.walk(ast.parse(source)):
        strict = node.value if isinstance(node, ast.keyword) and node.arg == 'strict' else None
        check = node.test if isinstance(node, ast.Assert) else None
        for part in (getattr(node, 'annotation', None), getattr(node, 'returns', None), strict, check):
            if isinstance(part, ast.expr):
                assert part.end_lineno is not None and part.end_col_offset is not None
                found.append(((part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)))
    return found


def changed(source: str, mutant: Mutant) -> str | None:
    """Return the changed source; None where cosmic-ray fails, which expects exceptions to have names without dots."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    try:
        return mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)
    except AttributeError:
        return None


def difference(old: str, new: str) -> str:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm='')
    return '\n'.join(line for line in lines if not line.startswith(('---', '+++')))


def run(path: Path, tests: str, sources: list[str]) -> list[str]:
    """Return whether the tests `noticed` each source, `passed` or took `too long`; the first source is the true one."""
    work = json.dumps({'path': str(path), 'tests': tests, 'sources': sources})
    command = [sys.executable, '-m', 'benchmarks.suite.mutant_runner']
    done = subprocess.run(command, input=work, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    return done.stdout.splitlines()


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('--only', nargs='+', choices=MODULES, default=[*MODULES])
    parser.add_argument('--sample', type=int, default=24, help='changes of each module')
    parser.add_argument('--seed', type=int, default=0)
    args = record.parse_arguments(parser)
    command = f'python -m benchmarks.suite.mutants --sample {args.sample}'
    report = Report(RESULTS / 'robustness.csv', command, args.allow_dirty, args.seed)
    for name in args.only:
        source = (ROOT / name).read_text(encoding='utf-8')
        places = mutants(source, random.Random(args.seed))
        pairs = ((mutant, changed(source, mutant)) for mutant in places)
        chosen = list(islice(((mutant, new) for mutant, new in pairs if new), args.sample))
        start = time.monotonic()
        before, *ended = run(ROOT / name, MODULES[name], [source, *(new for _, new in chosen)])
        if before != 'passed':
            sys.exit(f'{name}: its tests fail without a change: {MODULES[name]}')
        lost = [number for number, result in enumerate(ended) if result == 'passed']
        for mutant, new in (chosen[number] for number in lost):
            print(f'{name}: {mutant.operator} survives\n{difference(source, new)}', flush=True)
        record.remove(report.csv, method=name, task='mutants')  # the number of places is in the key, and may be another
        report.add(name, 'mutants', f'of {len(places)} places', 'all', {'tried': len(chosen), 'lost': len(lost)})
        print(f'{time.monotonic() - start:.0f} s', flush=True)
        report.expect(len(lost) <= 0.1 * len(chosen), f'{name}: tests notice 90 % of the changes')
    report.exit()


if __name__ == '__main__':
    main()
