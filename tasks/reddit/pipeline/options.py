"""The options of a build. Imports nothing heavy: every `parlai` command reads these flags."""

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
    seed: int = flag(0, 'seed of splits and of drawn sentences')
    tagger: str = flag(
        'auto', "what finds verbs: spaCy's tagger, a lexicon, or auto: spaCy if its model is installed", choices=TAGGERS
    )
    spacy_model: str = flag('en_core_web_sm', 'name or folder of the model')
    classifier: str | None = flag(
        None, 'classifier of an earlier build; without it, rules+classifier trains one on Persona-Chat', metavar='FILE'
    )
    threshold: float = flag(0.0, 'log odds that a sentence needs with rules+classifier; 0 means as likely as not')
    bot_rule: bool = flag(True, 'drop authors with the name of a bot, and comments that say that a bot wrote them')
    bot_list: str | None = flag(None, 'more authors to drop, one a line', metavar='FILE')
    drop_urls: bool = flag(True, 'write URL instead of each')
    drop_emails: bool = flag(True, 'write EMAIL instead of each address')
    drop_quotes: bool = flag(True, 'leave out lines that quote another comment')


@dataclass(frozen=True)
class Machine:
    """Where and how to build. The result depends on it in the number of files alone, and in what `random-dataset`
    draws."""

    engine: str = flag('duckdb', 'duckdb: this machine; spark: a cluster', choices=ENGINES)
    workers: int = flag(2, 'processes', least=1)
    memory: str = flag('2GB', 'memory of the duckdb engine; the rest goes to disk')
    master: str = flag('local[*]', 'master of the spark engine')
    parts: int = flag(0, 'number of pieces to compute and to write; 0: by the size of the dumps', least=0)
