"""How many people the rule of `persona:few_shot` finds, where that is known.

    python -m benchmarks.counts.few_shot --datapath data

Reads the persona maps of the PAML authors (`paml/<split>_persona_map.json`) and, if it is there, the list of the
personas of all training dialogues (`Persona-Chat/train_personas_all.jsonl`). Exit status 1 if the maps' descriptions do
not make 1154 and 100 people; Madotto et al. 2019 have 1155/100/100.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from parlai_persona.tasks.few_shot.groups import join, persona, read_map

EXPECTED = {'train': 1154, 'valid': 100}


def shown(name: str, groups: list[int]) -> None:
    sizes = Counter(groups)
    several = [size for size in sizes.values() if size > 1]
    print(
        f'{name}: {len(groups):,} -> {len(sizes):,} people, {len(groups) / len(sizes):.1f} each; {len(several):,} have '
        f'two or more, {sum(several):,} in all'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--datapath', type=Path, default=Path('data'))
    args = parser.parse_args()
    good = True
    for split, expected in EXPECTED.items():
        groups = join(list(read_map(args.datapath / f'paml/{split}_persona_map.json')))
        shown(f"descriptions of the authors' {split} map", groups)
        good = good and len(set(groups)) == expected
    listed = args.datapath / 'Persona-Chat/train_personas_all.jsonl'
    if listed.exists():
        lines = [json.loads(line) for line in listed.read_text(encoding='utf-8').splitlines()]
        here = [line for line in lines if line['text_present']]
        shown('training dialogues, replying side', join([persona(line['persona_B']) for line in lines]))
        shown('those at hand, replying side', join([persona(line['persona_B']) for line in here]))
        both = [persona(line[side]) for line in here for side in ('persona_B', 'persona_A')]
        shown('those at hand, both sides', join(both))
    sys.exit(not good)


if __name__ == '__main__':
    main()
