"""How often the lexicon of `persona:reddit` finds a verb where a part-of-speech tagger does.

    pip install HanTa
    python -m benchmarks.reddit.verbs --datapath data       # ten seconds; rows go to results/reddit_verbs.csv

A sample is drawn from real sentences that pass rules (i) and (ii): 4 to 20 tokens, I or my among them. The lexicon
decides about rule (iii); the tagger about (iii) and (iv), by the parts of speech that tagger.py asks for. The tagger is
HanTa (Wartena 2019). Its English model, learned from the British National Corpus, comes in its package. It knows
contractions as "I 'm" and "do n't", our tokens are "I ' m" and "don ' t": sentences are given to it in its form.

A tagger errs, too: look at the examples before you believe the figures.
"""

import random
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.common.record import RESULTS, Row, append, hardware, parse_arguments, parser
from parlai_persona.tasks.reddit.pipeline import classifier, dump
from parlai_persona.tasks.reddit.pipeline.comments import cleaned
from parlai_persona.tasks.reddit.pipeline.lexicon import verbs
from parlai_persona.tasks.reddit.pipeline.options import Options
from parlai_persona.tasks.reddit.pipeline.sentences import ABOUT_ME, has_length, has_word
from parlai_persona.tasks.reddit.pipeline.stage import Job, Stage
from parlai_persona.tasks.reddit.pipeline.tagger import accepted
from parlai_persona.tasks.reddit.pipeline.tokens import tokenize

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


def comments(path: Path) -> pa.Array:
    """Return the bodies of a dump as a build reads them: cleaned, without bots; no author is masked by name."""
    job = Job(Options(), key=b'')
    kept, _ = Stage(job).kept(b''.join(dump.blocks(dump.Source(path), 1 << 30)))
    return cleaned(kept.column('body'), job.options, job.names.among)


def personas(datapath: Path) -> pa.Array:
    """Return what people wrote as their personas in Persona-Chat."""
    return pa.array(classifier.persona_sentences({'datapath': str(datapath)}))


def by_lexicon(texts: pa.Array) -> dict[str, bool]:
    """Return the sentences that pass rules (i) and (ii), each once, with whether they have a verb."""
    tokens = tokenize(texts)
    which = np.flatnonzero(has_length(tokens) & has_word(tokens, ABOUT_ME))
    has_verb = has_word(tokens, verbs())[which].tolist()
    return dict(zip(tokens.sentences(which).to_pylist(), has_verb, strict=True))


class Tagger:
    def __init__(self) -> None:
        try:
            from HanTa.HanoverTagger import HanoverTagger
        except ImportError:
            sys.exit('this benchmark needs the tagger HanTa, no requirement of parlai-persona: pip install HanTa')
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
    options = parser(__doc__)
    options.add_argument('--datapath', type=Path, default=Path('data'), help='ParlAI datapath')
    options.add_argument('--dump', type=Path, default=None, help=f'of comments (default: {DUMP} in the datapath)')
    options.add_argument('--sentences', type=int, default=5000, help='of each corpus (default: %(default)s)')
    options.add_argument('--seed', type=int, default=0, help='of the sample')
    options.add_argument('--results', type=Path, default=RESULTS / 'reddit_verbs.csv', help='CSV file to write rows to')
    args = parse_arguments(options)
    tagger = Tagger()
    source = args.dump or args.datapath / DUMP
    command = ' '.join(['python -m benchmarks.reddit.verbs', *sys.argv[1:]])
    corpora = {
        f'Reddit, {source.name}': comments(source),
        'Persona-Chat, personas of the train split': personas(args.datapath),
    }
    for name, texts in corpora.items():
        rows = compare(name, by_lexicon(texts), tagger, args.sentences, args.seed, command)
        append(rows, args.results, replace=True, allow_dirty=args.allow_dirty)


if __name__ == '__main__':
    main()
