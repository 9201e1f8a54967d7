"""The parsers of models that others publish, and of files that the suite prepares."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Hashable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.suite.mutated_inputs import Parser, frozen, whole_file
from parlai_persona.compat.errors import explanation
from parlai_persona.errors import UserError

QUIET = {'loglevel': 'error', 'no_cuda': True}
SAID, REPLIES = 'do you have any pets ?', ('i have a dog .', 'no , and you ?')
SIZES = {'hiddensize': 4, 'embeddingsize': 4, 'numlayers': 1}
AGENTS: dict[str, dict[str, Any]] = {
    'persona:memnet': {'memnet_encoder': 'bow', 'memnet_embedding_size': 4, 'eval_candidates': 'inline'},
    'persona:paml/seq2seq': SIZES,
    'persona:pednet': {'pednet_hidden': 4, 'pednet_embedding': 4, 'pednet_layers': 1, 'pednet_gamma': 0.0},
}


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Let errors of the system and of torch pass that a command explains in one line, such as a lack of memory."""
    try:
        yield
    except UserError:
        raise
    except (OSError, RuntimeError, MemoryError) as error:
        said = explanation(error)
        if said is None:
            raise
        raise UserError(said) from None


# ------------------------------------------------------------------------------------------------------ the zoo


def registry() -> Parser:
    from parlai_persona.zoo import registry

    file = {'bytes': 3, 'sha256': '0' * 64}
    about = {'title': 'A model.', 'agent': 'persona:memnet', 'license': 'mit', 'seed': 1}
    models = [{'name': 'one', 'version': version, 'about': about, 'files': {'a.json': file}} for version in (1, 2)]

    def read(path: Path) -> Iterator[Hashable]:
        for entry in registry.entries(path):
            yield str(entry), entry.bytes

    return whole_file('models.json', {'models.json': json.dumps(models, indent=1).encode()}, read)


@cache
def published(agent: str) -> dict[str, bytes]:
    """Return the files of a small model as `parlai persona_zoo push` writes them."""
    from parlai.core.agents import create_agent
    from parlai.core.dict import DictionaryAgent
    from parlai.scripts.train_model import TrainModel

    from parlai_persona.zoo.form import publish

    with tempfile.TemporaryDirectory() as folder:
        words = DictionaryAgent(TrainModel.setup_args().parse_kwargs(task='persona:sample', dict_tokenizer='re'))
        words.add_to_dict(words.tokenize(' '.join((SAID, *REPLIES))))
        words.save(f'{folder}/words')
        torch.manual_seed(0)
        given = {'model': agent, 'task': 'persona:sample', 'dict_tokenizer': 're', **QUIET, **AGENTS[agent]}
        data = {'persona_sample_dialogues': 4}
        made = create_agent(TrainModel.setup_args().parse_kwargs(dict_file=f'{folder}/words', **given, **data))
        made.save(f'{folder}/model')
        replies = Path(folder, 'replies')
        replies.write_text('\n'.join(REPLIES))
        publish(Path(folder, 'model'), Path(folder, 'published'), 'card\n', replies=replies)
        return {path.name: path.read_bytes() for path in Path(folder, 'published').iterdir()}


def unpacked(path: Path) -> Path:
    """Unpack the published files beside a path; return the model file."""
    from parlai_persona.zoo.form import files_of, unpack

    target = path.parent / 'unpacked'
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    unpack(files_of(path.parent), target / 'model')
    return target / 'model'


def answer(path: Path) -> list[str]:
    """Get a published model, load it, and say something to it."""
    from parlai.core.agents import create_agent_from_model_file
    from parlai.core.message import Message

    with explained():
        agent = create_agent_from_model_file(str(unpacked(path)), {'datatype': 'valid', **QUIET})
        agent.observe(Message(text=SAID, label_candidates=[*REPLIES], episode_done=True))
        return [agent.act()['text']]


def packaged(agent: str, name: str) -> Parser:
    """A model that comes with the package."""
    from parlai_persona.zoo.registry import FOLDER

    files = {path.name: path.read_bytes() for path in (FOLDER / agent / '1').iterdir()}
    return whole_file(name, files, answer, cost=10)


def published_agent(agent: str, name: str) -> Parser:
    return whole_file(name, published(agent), answer, cost=3)


# -------------------------------------------------------------------------------------- models of transformers


@cache
def classifier_files() -> dict[str, bytes]:
    """Return the files of a tiny classifier of entailment, as transformers saves it."""
    import transformers as hf

    words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'i', 'have', 'a', 'dog', 'cat', '.']
    names = {0: 'contradiction', 1: 'entailment', 2: 'neutral'}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, 'vocab.txt').write_text('\n'.join(words))
        hf.BertTokenizerFast(f'{folder}/vocab.txt').save_pretrained(folder)  # type: ignore[attr-defined]
        torch.manual_seed(0)
        sizes: dict[str, Any] = {
            'hidden_size': 4,
            'num_hidden_layers': 1,
            'num_attention_heads': 1,
            'intermediate_size': 4,
        }
        config = hf.BertConfig(vocab_size=len(words), max_position_embeddings=32, id2label=names, **sizes)
        hf.BertForSequenceClassification(config).save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def classified(path: Path) -> list[str]:
    from parlai_persona.metrics.nli import TransformersNli

    with explained():
        return TransformersNli(str(path.parent)).classify([('i have a dog .', 'i have a cat .')])


def classifier(name: str) -> Parser:
    return whole_file(name, classifier_files(), classified, cost=3)


def published_classifier() -> Parser:
    """The config of a folder that is pushed to the zoo and got again."""
    from parlai_persona.zoo.form import publish

    def read(path: Path) -> list[str]:
        target = path.parent / 'published'
        shutil.rmtree(target, ignore_errors=True)
        publish(path.parent, target, 'card\n')
        return sorted(file.name for file in unpacked(target / path.name).iterdir())

    return whole_file('config.json', classifier_files(), read)


# ---------------------------------------------------------------------------------------------- prepared files


def prepared_files(damaged: str) -> Parser:
    """A folder of `parlai_persona.prepared`: lines, rows of numbers, and the stamp. What is damaged is made again."""
    import numpy as np

    from parlai_persona import prepared

    lines, names = ('one', 'two é', ''), ('a.txt', 'a.npy', 'b.rows')
    made_from: dict[str, str | int] = {'of': 'x', 'size': 3}

    def make(folder: Path) -> None:
        prepared.write_stamp(folder, made_from)
        prepared.write_lines(folder / 'a.txt', folder / 'a.npy', lines)
        prepared.ChunkedRows(folder / 'b.rows', 4, 2).write(
            3, lambda first, end: np.arange(first, end, dtype=np.int32), ''
        )
        prepared.add_checksums(folder, names)

    def read(path: Path) -> list[Hashable]:
        folder = path.parent
        if prepared.fault(folder, made_from, names):
            make(folder)
        rows = np.fromfile(folder / 'b.rows', np.int32).tolist()
        return [*prepared.Lines(folder / 'a.txt', folder / 'a.npy'), tuple(rows)]

    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        return whole_file(damaged, {path.name: path.read_bytes() for path in Path(folder).iterdir()}, read, exact=True)


def pednet_files(damaged: str) -> Parser:
    from parlai_persona.tasks.congeneric.parse import read_released

    first = b'i have a <KEY> .\ta dog ?\ti own a dog .\nhello\thi\tNone\n'
    second = b'i have a cat .\ta dog ?\tNone**i sing .**i own a dog .\t2\t3\nhello\thi\tNone**i cook .\t0\t0\n'

    def read(path: Path) -> Iterator[Hashable]:
        return (frozen(record) for record in read_released(path.with_name('demo.dev1'), path.with_name('demo.dev2')))

    return whole_file(damaged, {'demo.dev1': first, 'demo.dev2': second}, read)


def published_replies() -> Parser:
    from benchmarks.suite.peers import table

    units = (b'"[\'i sing\', ""i\'m 30""]"\t hi ?\t"hello , you"\n', 'x\té\tso\n'.encode())

    def read(path: Path) -> Iterator[Hashable]:
        return (frozen(row) for row in table(path, ('query', 'response'), '\t'))

    return Parser('replies.tsv', units, read, b'persona\tquery\tresponse\n')


MODELS: dict[str, Callable[[], Parser]] = {
    'zoo: list of models': registry,
    **{
        f'zoo: {name} of {agent.removeprefix("persona:")}': partial(published_agent, agent, name)
        for agent in AGENTS
        for name in ('config.json', 'state.json', 'model.safetensors')
    },
    'zoo: state.json of meta_memnn': partial(packaged, 'meta_memnn', 'state.json'),
    'zoo: replies.txt': partial(published_agent, 'persona:memnet', 'replies.txt'),
    'zoo: config.json of a classifier': published_classifier,
    **{
        f'transformers: {name}': partial(classifier, name)
        for name in ('config.json', 'tokenizer.json', 'tokenizer_config.json', 'model.safetensors')
    },
    **{f'prepared files: {name}': partial(prepared_files, name) for name in ('stamp.json', 'a.txt', 'a.npy', 'b.rows')},
    'published replies': published_replies,
    **{f"PEDNet's {name}": partial(pednet_files, name) for name in ('demo.dev1', 'demo.dev2')},
}
