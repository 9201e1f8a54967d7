"""How often the lexicon of `persona:reddit` finds a verb where a part-of-speech tagger does.

    pip install HanTa
    python -m benchmarks.reddit.verbs --datapath data       # ten seconds; rows go to results/reddit_verbs.csv

Of real sentences that pass rules (i) and (ii), 4 to 20 tokens with I or my among them, a sample is drawn. The lexicon
decides about rule (iii), in the compiled loops that a build uses; the tagger about (iii) and (iv), by the parts of
speech that tasks/reddit/tagger.py asks for. The tagger is HanTa (Wartena 2019), whose English model, learned from the
British National Corpus, comes in its package. It knows contractions as "I 'm" and "do n't", not as our tokens "I ' m"
and "don ' t": sentences are given to it in its form.

A tagger errs, too: look at the examples before you believe the figures.
"""

import argparse
import random
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.record import RESULTS, Row, append, hardware
from parlai_persona.tasks.reddit import classifier, dump, kernels, stage
from parlai_persona.tasks.reddit.tagger import accepted
from parlai_persona.tasks.reddit.verbs import verbs

DUMP = 'reddit/rc_2005-12_to_2006-03.jsonl.gz'  # below the datapath
EXAMPLES = 10  # shown of each disagreement
PARTS = (  # the tagger's classes (CLAWS C5), by their beginnings -> universal parts of speech
    ('V', 'VERB'),
    ('NP0', 'PROPN'),
    ('N', 'NOUN'),
    ('PN', 'PRON'),
    ('DPS', 'PRON'),
    ('AJ', 'ADJ'),
)
ITS_FORM = [  # our tokens -> the tagger's; Persona-Chat has lost apostrophes: "i m", "doesn t"
    (re.compile(r"(?<=\w)n(?: ['’])? t(?!\S)", re.IGNORECASE), " n't"),
    (re.compile(r" ['’] (m|s|re|ve|ll|d)(?!\S)", re.IGNORECASE), r" '\1"),
    (re.compile(r'(?<!\S)(i|you|we|they) (m|re|ve|ll|d)(?!\S)', re.IGNORECASE), r"\1 '\2"),
    (re.compile(r'(?<!\S)i(?!\S)'), 'I'),
]

CASES = {  # has it a verb, by lexicon and tagger?
    'verb by both': (True, True),
    'verb by the lexicon alone': (True, False),
    'verb by the tagger alone': (False, True),
    'verb by neither': (False, False),
}

Texts = tuple[np.ndarray, np.ndarray, np.ndarray]  # bytes, starts, ends


def comments(path: Path) -> Texts:
    """The bodies of a dump as a build reads them: cleaned, without bots."""
    reader = stage.Stage(stage.Job(key=b'', parts=1))
    block = b'\n'.join(dump.blocks(dump.Source(path), 1 << 30))
    return reader.cleaned(reader.kept(reader.raw(np.frombuffer(block, np.uint8))))


def personas(datapath: Path) -> Texts:
    """What people wrote as their personas in Persona-Chat."""
    data, offsets = stage.packed(classifier.persona_sentences({'datapath': str(datapath)}))
    return data, offsets[:-1], offsets[1:]


def by_lexicon(texts: Texts) -> dict[str, bool]:
    """The sentences that pass rules (i) and (ii), each once -> whether they have a verb."""
    words = kernels.Words(dict.fromkeys(verbs(), 1.0))
    all_of_them, with_verb = (kernels.Reader(words, rule)(*texts) for rule in (kernels.ABOUT_ME, kernels.RULES))
    kept = set(zip(with_verb.row.tolist(), with_verb.place.tolist(), strict=True))
    places = zip(all_of_them.row.tolist(), all_of_them.place.tolist(), strict=True)
    sentences = stage.slices(all_of_them.out, all_of_them.start, all_of_them.end).to_pylist()
    return dict(zip(sentences, (place in kept for place in places), strict=True))


class Tagger:
    def __init__(self) -> None:
        try:
            from HanTa.HanoverTagger import HanoverTagger
        except ImportError:
            sys.exit('reddit_verbs.py needs the tagger HanTa, no requirement of parlai-persona: pip install HanTa')
        self.name = f'HanTa {version("HanTa")}'
        self.model: Any = HanoverTagger('morphmodel_en.pgz')

    def tags(self, sentence: str) -> list[tuple[str, str]]:
        """Its words and their classes."""
        return [(word, tag) for word, _, tag in self.model.tag_sent(in_its_form(sentence).split())]

    def __call__(self, sentence: str) -> bool:
        return accepted({universal(tag) for _, tag in self.tags(sentence)})


def in_its_form(sentence: str) -> str:
    for pattern, form in ITS_FORM:
        sentence = pattern.sub(form, sentence)
    return sentence


def universal(tag: str) -> str:
    return next((part for beginning, part in PARTS if tag.startswith(beginning)), 'X')


def shown(case: str, sentences: list[str], tagger: Tagger, rng: random.Random) -> None:
    print(f'{case}, {min(EXAMPLES, len(sentences))} of {len(sentences):,}:')
    for sentence in rng.sample(sentences, min(EXAMPLES, len(sentences))):
        print(f'    {sentence}\n        {" ".join(f"{word}/{tag}" for word, tag in tagger.tags(sentence))}')


def compare(name: str, found: dict[str, bool], tagger: Tagger, size: int, seed: int, command: str) -> list[Row]:
    rng = random.Random(seed)
    sample = rng.sample(sorted(found), min(size, len(found)))
    decided = {sentence: (found[sentence], tagger(sentence)) for sentence in sample}
    cases = {case: [text for text, pair in decided.items() if pair == both] for case, both in CASES.items()}
    shares = {case: len(sentences) / len(sample) for case, sentences in cases.items()}
    shares = {'agreement': shares['verb by both'] + shares['verb by neither'], **shares}
    split = f'{len(sample):,} of {len(found):,} distinct sentences of 4 to 20 tokens with I or my'
    print(f'\n{name}: {split}')
    for case, share in shares.items():
        print(f'{case:28}{round(share * len(sample)):>7,}{share:>8.2%}')
    for case in ('verb by the lexicon alone', 'verb by the tagger alone'):
        shown(case, cases[case], tagger, rng)
    figures = {'sentences': float(len(sample)), **shares}
    return [
        Row(
            f'lexicon against {tagger.name}',
            'does a sentence have a verb?',
            name,
            split,
            seed,
            metric,
            value,
            command,
            hardware=hardware(1),
        )
        for metric, value in figures.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--datapath', type=Path, default=Path('data'), help='ParlAI datapath')
    parser.add_argument('--dump', type=Path, default=None, help=f'of comments (default: {DUMP} in the datapath)')
    parser.add_argument('--sentences', type=int, default=5000, help='of each corpus (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the sample')
    parser.add_argument('--results', type=Path, default=RESULTS / 'reddit_verbs.csv', help='CSV file to write rows to')
    args = parser.parse_args()
    tagger = Tagger()
    source = args.dump or args.datapath / DUMP
    command = f'python {" ".join([Path("benchmarks", Path(sys.argv[0]).name).as_posix(), *sys.argv[1:]])}'
    corpora = {
        f'Reddit, {source.name}': comments(source),
        'Persona-Chat, personas of the train split': personas(args.datapath),
    }
    for name, texts in corpora.items():
        rows = compare(name, by_lexicon(texts), tagger, args.sentences, args.seed, command)
        append(rows, args.results, replace=True)


if __name__ == '__main__':
    main()
