"""Every parser of files that come from elsewhere, with a small sound file."""

import gzip
import json
import tempfile
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any

import parlai_persona  # noqa: F401  arms the fixes of ParlAI
from benchmarks.suite.mutated_inputs import Parser, frozen, json_lines, of
from benchmarks.suite.parsers_models import MODELS
from benchmarks.suite.parsers_reddit import REDDIT
from benchmarks.suite.parsers_web import WEB
from parlai_persona.compat.place import NoPlace
from parlai_persona.compat.saving import read_place
from parlai_persona.data import dialogue_file, personas
from parlai_persona.errors import UserError
from parlai_persona.tasks.few_shot import groups
from parlai_persona.tasks.nli import parse as nli
from parlai_persona.tasks.personachat import parse as personachat
from parlai_persona.tasks.personalized_babi import parse as babi

Make = Callable[[], Parser]
AFTER_EPISODE = rb'(?=\s*(?:\Z|1 ))'  # only then a dialogue of the text format ends here
FACT = {'utterance': 'i own a dog', 'triple': ['i', 'have_pet', 'dog']}


class Every:
    """Contains every word."""

    def __contains__(self, _: object) -> bool:
        return True


# ------------------------------------------------------------------------------------------------- texts


def persona_chat() -> Parser:
    one = b'1 your persona: i sing.\n2 hi\thello\t\tbye|hello\n3 and you ?\tfine .\t\tfine .|hello\n'
    two = b'1 your persona: i own two cats.\n2 your persona: i am 30.\n3 hello\thi , i am jo\t\thi , i am jo|no\n'
    return Parser(
        'train_self_original.txt', (one, two), lambda p: of(personachat.read_dialogues(p)), after=AFTER_EPISODE
    )


def convai2() -> Parser:
    one = b"1 your persona: i sing.\n2 partner's persona: i cook.\n3 hi\thello\n4 you ?\tfine .\n"
    two = b"1 your persona: i dance.\n2 partner's persona: i read.\n3 hey\tgood day\n"
    return Parser(
        'valid_both_original_no_cands.txt', (one, two), lambda p: of(personachat.read_dialogues(p)), after=AFTER_EPISODE
    )


def babi_dialogues(personalized: bool) -> Parser:
    profile = b'1 male elderly\n' if personalized else b''
    lines = [b'hi\thello', b'resto_a R_phone resto_a_phone', b'the phone ?\tresto_a_phone', b'<SILENCE>\tapi_call a b']
    one = profile + b''.join(b'%d %s\n' % numbered for numbered in enumerate(lines, 1 + personalized))
    two = profile.replace(b'male', b'female') + b'%d bye\tsee you\n' % (1 + personalized)
    return Parser(
        'x-task5-full-dialogs-trn.txt',
        (one, two),
        lambda p: of(babi.read_dialogues(p, personalized)),
        after=AFTER_EPISODE,
    )


def babi_kb() -> Parser:
    units = (b'1 resto_a R_phone resto_a_phone\n', b'1 resto_a R_price cheap\n', b'1 resto_b R_price moderate\n')
    return Parser('kb.txt', units, lambda p: ((name, of) for name, facts in babi.read_kb(p).items() for of in facts))


def babi_candidates() -> Parser:
    return Parser('candidates.txt', (b'1 hello\n', b'1 here it is resto_a\n', b'1 bye\n'), babi.read_candidates)


def own_dialogues() -> Parser:
    one = b"your persona: i sing.\npartner's persona: i cook.\nthem: hi\nme: hello\nme: you ?\n"
    return Parser(
        'own.txt',
        (one + b'\n', b'them: why ?\nme: because\n\n', b'me: bye\n\n'),
        lambda p: of(dialogue_file.read_dialogues(p)),
        before=rb'(?:\A|(?<=\n\n))',
    )


def persona_file() -> Parser:
    return Parser('me.txt', (b'i sing.\n', b'your persona: i own two cats.\n', b'i am 30.\n'), personas.read_file)


def persona_map() -> Parser:
    content = json.dumps({'0': [['i sing.', 'i own a cat.'], ['i sing.']], '1': [['i cook.']]}).encode()
    return Parser('map.json', (content,), lambda p: frozen(groups.read_map(p)))


# --------------------------------------------------------------------------------------------------- NLI


def nli_sentences() -> Parser:
    units = (
        b'0,i,have_pet,dog,"i own a dog, a big one"\n',
        b'1,i,like_food,pizza,i eat pizza\n',
        b'2,i,gender,male,"""he"""\n',
    )
    return Parser('s.csv', units, nli.read_sentences, b',ground_head,ground_reln,ground_tail,ground_sentence\n')


def nli_utterances() -> Parser:
    units = json_lines(FACT, {**FACT, 'utterance': 'i sing . é'}, {**FACT, 'more': 1})
    return Parser('u.jsonl', units, nli.read_utterances)


def nli_cases() -> Parser:
    candidates = {'label': ['yes'], 'neg': ['no'], 'similar': [], 'rand': ['a', 'b']}
    cases: tuple[dict[str, Any], ...] = ({'persona': ['i sing.'], 'prefix': ['hi', 'you ?']}, {'persona': []})
    units = json_lines(*({**case, 'candidates': candidates} for case in cases))
    return Parser('c.jsonl', units, lambda p: map(frozen, nli.read_cases(p)))


# ----------------------------------------------------------------------------------------------- vectors


def vector_words(path: Path) -> Iterable[str]:
    from parlai_persona.models.vectors import read_vectors

    return read_vectors(path, Every())


VECTORS = (b'the 1 2 -3e-1\n', b'dog 4 5 6\n', 'é 0 0.5 1\n'.encode())


def vectors(header: bytes) -> Parser:
    return Parser('v.txt', VECTORS, vector_words, header)


def word_ranks(path: Path) -> Iterable[str]:
    from parlai_persona.metrics.formulas import read_ranks

    with path.open('rb') as file:
        return read_ranks(file, str(path))


def zipped_vectors() -> Parser:
    return Parser('v.txt.gz', (gzip.compress(b''.join(VECTORS)),), vector_words, exact=True)


# ---------------------------------------------------------------------------------------- options, models


def options() -> Parser:
    from parlai.core.opt import Opt

    content = json.dumps({'model': 'persona:memnet', 'batchsize': 2, 'learningrate': 0.1, 'topk': None}, indent=4)
    return Parser('m.opt', (content.encode(),), lambda p: [len(Opt.load(str(p)))])


def preset() -> Parser:
    from parlai.core.opt import Opt

    from parlai_persona.agents.memnet.encoders import Shape
    from parlai_persona.flags import from_opt
    from parlai_persona.tasks.reddit.pipeline.options import Options

    def read(path: Path) -> Iterator[Hashable]:
        opt = Opt.load_init(str(path))
        yield astuple(from_opt(Shape, opt, 'memnet'))
        yield astuple(from_opt(Options, opt, ''))

    content = {'memnet_encoder': 'bow', 'memnet_layers': 2, 'memnet_dropout': 0.1, 'memnet_persona': True, 'valid': 0.1}
    return Parser('p.opt', (json.dumps(content, indent=1).encode(),), read)


def place() -> Parser:
    content = b'{"workers": [{"a": 1}, {"a": 2}], "seed": 0.5}\n'

    def read(path: Path) -> Any:
        try:
            return [len(read_place(str(path.with_suffix('')), 2))]
        except NoPlace as error:  # the training goes on with a warning
            raise UserError(str(error)) from None

    return Parser('model.place', (content,), read)


def delta() -> Parser:
    import torch

    from parlai_persona.agents.paml.people import read_delta, write_delta

    theta = {'w': torch.arange(6.0).view(2, 3), 'b': torch.ones(2)}

    def read(path: Path) -> list[Hashable]:
        return [(name, tuple(value.flatten().tolist())) for name, value in read_delta(path, theta).items()]

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'jo.delta'
        write_delta(file, theta, {**theta, 'w': theta['w'] + 1})
        return Parser(file.name, (file.read_bytes(),), read, exact=True)


PARSERS: dict[str, Make] = {
    'Persona-Chat': persona_chat,
    'ConvAI2': convai2,
    'bAbI dialogues': partial(babi_dialogues, False),
    'personalised bAbI dialogues': partial(babi_dialogues, True),
    'bAbI knowledge base': babi_kb,
    'bAbI candidates': babi_candidates,
    'own dialogues': own_dialogues,
    'persona files': persona_file,
    'persona maps': persona_map,
    'NLI sentences': nli_sentences,
    'NLI utterances': nli_utterances,
    'NLI cases': nli_cases,
    'word vectors': partial(vectors, b''),
    'word vectors with a header': partial(vectors, b'3 3\n'),
    'word vectors, gzipped': zipped_vectors,
    'word ranks': lambda: Parser('ranks.txt', (b'the\n', b'dog\n', b'cat\n'), word_ranks),
    'options': options,
    'presets': preset,
    'places of a training': place,
    'changes of a person': delta,
    **REDDIT,
    **MODELS,
    **WEB,
}
