"""What can be chosen of a build. Imports nothing heavy: every `parlai` command reads these flags."""

from dataclasses import dataclass

from parlai_persona.flags import flag

SELECTIONS = ('rules', 'rules+classifier', 'random-user', 'random-dataset')  # sec. 3.2
TAGGERS = ('auto', 'spacy', 'lexicon')
ENGINES = ('duckdb', 'spark')


@dataclass(frozen=True)
class Options:
    """What to build; the paper's values (sec. 3)."""

    selection: str = flag('rules', 'which sentences make a persona (sec. 3.2)', choices=SELECTIONS)
    persona_size: int = flag(100, 'sentences of a persona, at most (N of sec. 3.2)', least=1)
    valid: float = flag(50_000.0, 'examples of the valid split; below 1: a share of all', least=0)
    test: float = flag(50_000.0, 'examples of the test split; below 1: a share of all', least=0)
    seed: int = flag(0, 'of the choice of splits and sentences')
    tagger: str = flag(
        'auto',
        "what finds verbs: spaCy's tagger, a lexicon, or auto: spaCy where its model is installed",
        choices=TAGGERS,
    )
    spacy_model: str = flag('en_core_web_sm', 'name or folder')
    classifier: str | None = flag(
        None,
        'classifier of an earlier build; without it, one learns from Persona-Chat (rules+classifier)',
        metavar='FILE',
    )
    threshold: float = flag(0.0, "score that a sentence needs with rules+classifier: log odds, 0 is 'as likely as not'")
    bot_rule: bool = flag(True, 'drop authors whose name says that they are bots')
    bot_list: str | None = flag(None, 'more authors to drop, one a line', metavar='FILE')
    drop_urls: bool = flag(True, 'write URL where one stands')
    drop_emails: bool = flag(True, 'write EMAIL where an address stands')
    drop_quotes: bool = flag(True, 'leave out lines that quote another comment')


@dataclass(frozen=True)
class Machine:
    """Where and how; changes nothing in what comes out but the number of files."""

    engine: str = flag('duckdb', 'duckdb: this machine; spark: a cluster', choices=ENGINES)
    workers: int = flag(2, 'processes', least=1)
    memory: str = flag('2GB', 'of the duckdb engine; the rest goes to disk')
    master: str = flag('local[*]', 'of the spark engine')
    parts: int = flag(0, 'in how many pieces to compute and to write; 0: by the size of the dumps', least=0)
