"""Do the released personalised bAbI files keep to our rules, and are generated ones like them?

    python -m benchmarks.counts.babi_generator --datapath data

Checks every dialogue of the five tasks against every rule (`tasks/personalized_babi/rules.py`); generates the same
files anew, from the plain ones and freshly, in a temporary folder; compares. Ends with status 1 if a rule has an
exception that is not listed here, if the lists differ, or if a figure is off by more than chance allows.
"""

import argparse
import math
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import chi2_contingency, chisquare

import parlai_persona  # noqa: F401  makes ParlAI usable on this stack
from parlai_persona.data.dialogue import Dialogue
from parlai_persona.tasks.personalized_babi.build import RELEASES, TASKS
from parlai_persona.tasks.personalized_babi.generate import Request, candidate_lines, generate
from parlai_persona.tasks.personalized_babi.parse import (
    API_CALL,
    SPLITS,
    fact,
    read_candidates,
    read_dialogues,
    read_kb,
)
from parlai_persona.tasks.personalized_babi.personalize import ACCEPTANCE, NEGOTIATION
from parlai_persona.tasks.personalized_babi.restaurants import (
    DIET_BONUS,
    FAVOURITE_BONUS,
    IN_DIALOGUES,
    IN_KB,
    Knowledge,
)
from parlai_persona.tasks.personalized_babi.rules import RULES, violations
from parlai_persona.tasks.personalized_babi.styles import Profile, read_profile, split_reply

# The authors' test-OOV files were made with another R_number for the restaurants than their knowledge base has.
EXCEPTIONS = {('party', task, 'test-OOV') for task in (3, 5)}
LIMIT = 1e-4  # a difference less likely than this is not chance: some fifty figures are compared

Corpus = dict[tuple[int, str], list[Dialogue]]  # task and split -> dialogues


@dataclass(frozen=True)
class Exchange:
    """A dialogue with what the bot does in each turn."""

    profile: Profile
    shown: list[str]
    turns: list[tuple[str, str, str]]  # user, act, restaurant

    @classmethod
    def of(cls, dialogue: Dialogue) -> 'Exchange':
        profile = read_profile(dialogue.partner_persona[0])
        assert profile is not None, dialogue.partner_persona
        shown: dict[str, None] = {}
        turns = []
        for turn in dialogue.turns:
            *before, user = turn.text.split('\n')
            shown |= dict.fromkeys(known[0] for known in map(fact, before) if known)
            wording, slot = split_reply(turn.reply)
            act = API_CALL if turn.reply.startswith(f'{API_CALL} ') else profile.wordings.get(wording, '?')
            turns.append((user, act, slot))
        return cls(profile, list(shown), turns)

    def suggested(self) -> list[str]:
        return [slot for _, act, slot in self.turns if act == 'suggest']

    def count(self, act: str) -> int:
        return sum(act == other for _, other, _ in self.turns)


# ------------------------------------------------------------------------------------------------------ the rules


def check_rules(corpora: dict[str, Corpus], knowledge: Knowledge) -> bool:
    """Prints a line a rule; whether all exceptions are known ones."""
    print('\nDialogues that break a rule')
    broken: dict[str, Counter] = {name: Counter() for name in corpora}
    examples: dict[tuple, str] = {}
    for name, corpus in corpora.items():
        for job, dialogues in corpus.items():
            for dialogue in dialogues:
                for wrong in violations(dialogue, knowledge):
                    examples.setdefault((wrong.split(':')[0], *job), f'{dialogue.id}: {wrong}')
                broken[name].update({(wrong.split(':')[0], *job) for wrong in violations(dialogue, knowledge)})
    sizes = [sum(map(len, corpus.values())) for corpus in corpora.values()]
    line('rule', *(f'{name} ({size:,})' for name, size in zip(corpora, sizes, strict=True)))
    for rule in RULES:
        line(rule, *(f'{sum(n for key, n in counter.items() if key[0] == rule):,}' for counter in broken.values()))
    found = {key for counter in broken.values() for key in counter}
    for key in sorted(found, key=str):
        rule, task, split = key
        count = ', '.join(f'{name} {counter[key]:,}' for name, counter in broken.items() if counter[key])
        known = 'known' if key in EXCEPTIONS else 'UNKNOWN'
        print(f'  {known}: {rule}, task {task}, {split}: {count}; {examples[key]}')
    return found <= EXCEPTIONS


def check_lists(folder: Path, knowledge: Knowledge) -> bool:
    """Whether our rules make the released candidates and knowledge base."""
    prefix = RELEASES[True][2]
    released = read_candidates(folder / f'{prefix}-candidates.txt')
    ours = {text.strip().partition(' ')[2] for text in candidate_lines(knowledge)}
    orders = {tuple(known) for known in read_kb(folder / f'{prefix}-kb-all.txt').values()}
    print(f'\nCandidates: {len(released):,} released, {len(ours):,} ours, {len(ours & set(released)):,} in both')
    print(f'Knowledge base: {len(knowledge.facts):,} restaurants, facts in our order: {orders == {IN_KB}}')
    return ours == set(released) and orders == {IN_KB}


def check_wishes(real: Corpus, generated: Corpus) -> bool:
    """Whether a released dialogue is a plain one, personalised, and each plain one is used once in its split."""
    same = sum(sum((Counter(map(wishes, real[job])) & Counter(map(wishes, generated[job]))).values()) for job in real)
    total = sum(map(len, real.values()))
    print(f'Dialogues that pair off with the plain ones of their split by what the user wishes: {same:,} of {total:,}')
    return same == total


def wishes(dialogue: Dialogue) -> tuple:
    """What is not drawn: the user's messages outside of suggestions and questions, and the restaurants."""
    exchange = Exchange.of(dialogue)
    kept = [
        (' '.join(word.rpartition('_')[0] if word.startswith('resto_') else word for word in user.split()), act)
        for user, act, _ in exchange.turns
        if act not in ('inform', *(NEGOTIATION if exchange.suggested() else ()))
    ]
    return tuple(kept), tuple(sorted({name.rpartition('_')[0] for name in exchange.shown})), exchange.count('inform')


def print_bonuses(real: Corpus, knowledge: Knowledge) -> None:
    """Which bonuses the order of suggestions allows: of what is suggested each goes before all that come later."""
    constraints = set()
    for dialogue in (dialogue for task in (3, 5) for split in SPLITS.values() for dialogue in real[task, split]):
        exchange = Exchange.of(dialogue)
        traits = {name: trait(name, exchange.profile, knowledge) for name in exchange.shown}
        rest = set(exchange.shown)
        for name in exchange.suggested():
            rest.discard(name)
            constraints |= {tuple(a - b for a, b in zip(traits[name], traits[other], strict=True)) for other in rest}
    print(f'\nBonuses that put all suggestions of tasks 3 and 5 in their order ({len(constraints)} comparisons)')
    diet = bounds((rating + FAVOURITE_BONUS * favourite, diet) for rating, diet, favourite in constraints)
    favourite = bounds((rating + DIET_BONUS * diet, favourite) for rating, diet, favourite in constraints)
    print(f'  diet: between {diet[0]:g} and {diet[1]:g}, if the favourite food has {FAVOURITE_BONUS:g}')
    print(f'  favourite food: between {favourite[0]:g} and {favourite[1]:g}, if the diet has {DIET_BONUS:g}')


def trait(name: str, profile: Profile, knowledge: Knowledge) -> tuple[int, int, int]:
    known = knowledge.facts[name]
    return (
        int(known['R_rating']),
        int(known['R_type'] == profile.diet),
        int(known['R_speciality'] == profile.favourite),
    )


def bounds(inequalities: Iterable[tuple[float, int]]) -> tuple[float, float]:
    """Smallest and greatest x with `constant + factor * x > 0` for all; factors are -1, 0 and 1."""
    low, high = -math.inf, math.inf
    for constant, factor in inequalities:
        if factor > 0:
            low = max(low, -constant)
        elif factor < 0:
            high = min(high, constant)
    return low, high


# ------------------------------------------------------------------------------------------------ the statistics


def features(exchange: Exchange) -> Iterator[tuple[str, object]]:
    """What is drawn once in a dialogue, or counted."""
    profile, acts = exchange.profile, [act for _, act, _ in exchange.turns]
    yield 'gender and age', f'{profile.gender} {profile.age}'
    yield 'turns', len(exchange.turns)
    yield 'questions of the bot', sum(act.startswith('ask') for act in acts)
    yield 'changes of mind', exchange.count('update')
    yield 'pieces of information', exchange.count('inform')
    if profile.diet:
        yield 'diet', profile.diet
        yield 'restaurants', len(exchange.shown)
        yield 'suggestions', exchange.count('suggest')
    elif exchange.shown:
        yield 'variant', exchange.shown[0][-1]
    for user, act, _ in exchange.turns:
        if act in ('inform', 'another', *(['book'] if profile.diet else [])):
            yield f'user before {act!r}', user


def gather(exchanges: Iterable[Exchange]) -> dict[str, Counter]:
    found: dict[str, Counter] = {}
    for exchange in exchanges:
        for name, value in features(exchange):
            found.setdefault(name, Counter())[value] += 1
    return found


def compare(real: list[Exchange], others: dict[str, list[Exchange]]) -> bool:
    """Prints the figures of a task; whether the differences can be chance."""
    gathered = {name: gather(exchanges) for name, exchanges in {'real': real, **others}.items()}
    fine = True
    for feature, counts in gathered['real'].items():
        columns = [gathered[name].get(feature, Counter()) for name in gathered]
        if set().union(*columns) == {0}:
            continue  # not a matter of this task
        chances = [chance(counts, other) for other in columns[1:]]
        fine = fine and min(chances) > LIMIT
        line(feature, *map(summary, columns), *(f'{p:.3f}' for p in chances))
    if 'suggestions' in gathered['real']:
        rates = [acceptance(exchanges) for exchanges in (real, *others.values())]
        chances = [binomial(*rate) for rate in rates]
        fine = fine and min(chances) > LIMIT
        line(
            f'accepted, not last (p of {ACCEPTANCE})',
            *(f'{a / n:.4f} (p {p:.2f})' for (a, n), p in zip(rates, chances, strict=True)),
        )
        line('  of suggestions', *(f'{total:,}' for _, total in rates))
    print_variation(real, others)
    return fine


def chance(one: Counter, other: Counter) -> float:
    """The probability of a difference as great as this one between draws from the same distribution (chi-square)."""
    if len(one | other) == 1:
        return 1.0
    rare = {value for value in one | other if one[value] + other[value] < 20}
    values = [[value] for value in (one | other) if value not in rare] + ([list(rare)] if rare else [])
    table = [[sum(counter[value] for value in each) for each in values] for counter in (one, other)]
    return float(chi2_contingency(table).pvalue) if len(values) > 1 else 1.0


def summary(counts: Counter) -> str:
    """The mean of numbers, the greatest and the smallest share of other things."""
    total = sum(counts.values())
    if not total:
        return '-'
    if all(isinstance(value, int) for value in counts):
        return f'{sum(value * n for value, n in counts.items()) / total:.3f}'
    return f'{min(counts.values()) / total:.3f} to {max(counts.values()) / total:.3f}'


def acceptance(exchanges: list[Exchange]) -> tuple[int, int]:
    """How many suggestions other than a dialogue's last possible one were accepted, of how many."""
    refused = sum(exchange.count('another') for exchange in exchanges)
    accepted = sum(0 < exchange.count('suggest') < len(exchange.shown) for exchange in exchanges)
    return accepted, accepted + refused


def binomial(accepted: int, total: int) -> float:
    return float(chisquare([accepted, total - accepted], [ACCEPTANCE * total, (1 - ACCEPTANCE) * total]).pvalue)


def print_variation(real: list[Exchange], others: dict[str, list[Exchange]]) -> None:
    """Total variation between halves: of the real dialogues among themselves, of real and other ones."""
    for name, view in (('acts, worst of six users', acts_by_profile), ('restaurants', restaurants)):
        halves = [real[1::2], *(exchanges[::2] for exchanges in others.values())]
        if any(view(real[::2]).values()):
            line(f'TV of {name}', *(f'{distance(view(real[::2]), view(half)):.4f}' for half in halves))


def acts_by_profile(exchanges: list[Exchange]) -> dict[str, Counter]:
    found: dict[str, Counter] = {}
    for exchange in exchanges:
        key = f'{exchange.profile.gender} {exchange.profile.age}'
        found.setdefault(key, Counter()).update(act for _, act, _ in exchange.turns)
    return found


def restaurants(exchanges: list[Exchange]) -> dict[str, Counter]:
    return {'': Counter(name for exchange in exchanges for name in exchange.shown)}


def distance(one: dict[str, Counter], other: dict[str, Counter]) -> float:
    return max(
        sum(abs(a[value] / a.total() - b[value] / b.total()) for value in a | b) / 2
        for a, b in ((one[key], other[key]) for key in one)
    )


def line(first: str, *cells: str) -> None:
    print(f'  {first:36}', *(f'{cell:>18}' for cell in cells))


# ------------------------------------------------------------------------------------------------------- the data


def read(folder: Path) -> Corpus:
    names = {split: suffix for suffix, split in SPLITS.items()}
    return {
        (task, split): list(read_dialogues(folder / f'{RELEASES[True][2]}-task{task}-{name}-{names[split]}.txt', True))
        for task, name in TASKS.items()
        for split in names
    }


def made(plain: Path, kb: Path, seed: int, fresh: bool) -> Corpus:
    with tempfile.TemporaryDirectory() as folder:
        generate(Request(plain, Path(folder), kb=kb, seed=seed, fresh=fresh, lists=False))
        return read(Path(folder))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--datapath', required=True, type=Path, help='ParlAI datapath')
    parser.add_argument('--seed', type=int, default=0, help='seed of the generated dialogues')
    arguments = parser.parse_args()
    released, plain = (arguments.datapath / RELEASES[personalized][1] for personalized in (True, False))
    for folder in (released / 'small', plain):
        if not folder.is_dir():
            parser.error(f'{folder} is not there: ParlAI downloads it for -t personalized_dialog and -t dialog_babi')
    kb = released / f'{RELEASES[True][2]}-kb-all.txt'
    knowledge = Knowledge(
        {name: {relation: known[relation] for relation in IN_DIALOGUES} for name, known in read_kb(kb).items()}
    )
    corpora = {
        'real': read(released / 'small'),
        'generated': made(plain, kb, arguments.seed, fresh=False),
        'fresh': made(plain, kb, arguments.seed, fresh=True),
    }
    fine = check_rules(corpora, knowledge)
    fine &= check_lists(released, knowledge)
    fine &= check_wishes(corpora['real'], corpora['generated'])
    print_bonuses(corpora['real'], knowledge)
    for task in TASKS:
        for splits in (tuple(SPLITS.values())[:3], ('test-OOV',)):
            others = [name for name in corpora if name != 'fresh' or (('party', task, splits[0]) not in EXCEPTIONS)]
            print(f'\nTask {task}, {", ".join(splits)}: means, or smallest and greatest share; p of the difference')
            line('', *others, *(f'p {name}' for name in others[1:]))
            exchanges = {
                name: [Exchange.of(dialogue) for split in splits for dialogue in corpora[name][task, split]]
                for name in others
            }
            for each in exchanges.values():
                random.Random(0).shuffle(each)
            fine &= compare(exchanges.pop('real'), exchanges)
    print('\nAll as it should be.' if fine else '\nSOMETHING IS OFF: see above.')
    return 0 if fine else 1


if __name__ == '__main__':
    sys.exit(main())
