"""Pretrained models: the four kinds from folders, the hub and its cache, without ever running code that came along."""

import json
import pickle
import re
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from os import environ
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
import torch

from parlai_persona.models import pretrained
from parlai_persona.models.pretrained import NotLoaded, load

WORDS = ['[PAD]', '[UNK]', '</s>', 'i', 'am', 'a', 'man', 'dog', 'my', '.']
BERT = {'hidden_size': 16, 'num_hidden_layers': 1, 'num_attention_heads': 2, 'intermediate_size': 16}


def tiny(kind: str):
    """A model of a kind with random weights."""
    import transformers as hf

    torch.manual_seed(0)
    size = {'vocab_size': len(WORDS)}
    if kind == 'causal':
        return hf.LlamaForCausalLM(hf.LlamaConfig(**size, **BERT, tie_word_embeddings=True))
    if kind == 'seq2seq':
        config = hf.T5Config(**size, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
        return hf.T5ForConditionalGeneration(config)
    if kind == 'encoder':
        return hf.BertModel(hf.BertConfig(**size, **BERT))
    return hf.BertForSequenceClassification(hf.BertConfig(**size, **BERT, num_labels=3))


def save(model, folder: Path, binary: bool = False) -> Path:
    """Write a model and a tokenizer of whole words, with safetensors or as PyTorch's `.bin`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, '[UNK]'))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token='[UNK]', pad_token='[PAD]').save_pretrained(folder)
    model.save_pretrained(folder)
    if binary:
        (folder / 'model.safetensors').unlink()
        torch.save(model.state_dict(), folder / 'pytorch_model.bin')
    return folder


def outputs(model) -> torch.Tensor:
    inputs = {'input_ids': torch.tensor([[3, 4, 5, 6, 2]])}
    if model.config.is_encoder_decoder:
        inputs['decoder_input_ids'] = inputs['input_ids']
    with torch.inference_mode():
        result = model.eval()(**inputs)
    return result.logits if 'logits' in result else result.last_hidden_state


@pytest.mark.parametrize('binary', [False, True], ids=['safetensors', 'bin'])
@pytest.mark.parametrize('kind', pretrained.KINDS)
def test_each_kind_computes_what_was_saved(kind, binary, tmp_path):
    model = tiny(kind)
    loaded = load(kind, save(model, tmp_path / 'model', binary))
    assert type(loaded.model) is type(model) and not loaded.model.training
    torch.testing.assert_close(outputs(loaded.model), outputs(model), rtol=1e-6, atol=1e-7)
    assert loaded.tokenizer('i am a man').input_ids == [3, 4, 5, 6]
    assert loaded.source == str(tmp_path / 'model')


def test_half_precision_is_read_in_single_precision(tmp_path):
    loaded = load('causal', save(tiny('causal').half(), tmp_path))
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}


class Payload:
    """Writes a file when unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize('old_format', [False, True], ids=['zip', 'plain pickle'])
def test_a_pickle_with_code_in_it_does_not_run(old_format, tmp_path):
    model, proof = tiny('causal'), tmp_path / 'the_code_ran'
    folder = save(model, tmp_path / 'model', binary=True)
    states = {**model.state_dict(), 'payload': Payload(proof)}
    torch.save(states, folder / 'pytorch_model.bin', _use_new_zipfile_serialization=not old_format)
    with pytest.raises(NotLoaded, match='its weights are a pickle with more than tensors in it'):
        load('causal', folder)
    assert not proof.exists()
    pickle.loads(pickle.dumps(Payload(proof)))  # the payload is a real one
    assert proof.exists()


def test_code_of_a_model_is_refused(tmp_path):
    folder = save(tiny('causal'), tmp_path / 'model')
    (folder / 'own.py').write_text(f'open({str(tmp_path / "the_code_ran")!r}, "w")\n')
    config = json.loads((folder / 'config.json').read_text())
    config |= {'model_type': 'own', 'auto_map': {'AutoConfig': 'own.Config', 'AutoModelForCausalLM': 'own.Model'}}
    (folder / 'config.json').write_text(json.dumps(config))
    with pytest.raises(
        NotLoaded, match='no causal language model with a tokenizer can be loaded .* code of its own is never loaded'
    ):
        load('causal', folder)
    assert not (tmp_path / 'the_code_ran').exists()


def test_missing_weights_are_an_error(tmp_path):
    folder = save(tiny('encoder'), tmp_path)
    with pytest.raises(NotLoaded, match=r'2 weights of AutoModelForSequenceClassification are not in its files'):
        load('classifier', folder)


def test_an_encoder_may_come_without_a_pooler(tmp_path):
    from transformers import BertConfig, BertForMaskedLM

    model = BertForMaskedLM(BertConfig(vocab_size=len(WORDS), **BERT))
    loaded = load('encoder', save(model, tmp_path)).model
    torch.testing.assert_close(outputs(loaded), outputs(model.bert), rtol=1e-6, atol=1e-7)


def test_errors_say_what_was_looked_for_and_how_to_get_it(tmp_path):
    empty = tmp_path / 'empty'
    empty.mkdir()
    (tmp_path / 'weights.bin').touch()
    broken = save(tiny('encoder'), tmp_path / 'broken')
    (broken / 'model.safetensors').write_bytes(b'half a file')
    for where, options, message in [
        ('someone/something', {'revision': 'v2'}, '--x someone/something: no such folder, and no encoder of that name'),
        ('someone/something', {'revision': 'v2'}, 'hf download someone/something --revision v2 --local-dir FOLDER'),
        ('a/b/c', {}, '--x a/b/c: no such folder or file, and not a name on the hub'),
        (empty, {}, 'no encoder with a tokenizer can be loaded from this folder. Expected config.json'),
        (broken, {}, 'Expected config.json, model.safetensors .* transformers says: .*header'),
        (empty, {'revision': 'v2'}, r'a revision \(v2\) belongs to a name on the hub'),
        (tmp_path / 'weights.bin', {}, 'a file that is not .gguf'),
    ]:
        with pytest.raises(NotLoaded, match=message):
            load('encoder', where, flag='--x', **options)


# ----------------------------------------------------------------------------------------------------- GGUF


def test_a_missing_gguf_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gguf', None)
    (tmp_path / 'model.gguf').touch()
    with pytest.raises(NotLoaded, match=r"GGUF needs gguf.*: pip install 'parlai-persona\[pretrained\]'"):
        load('causal', tmp_path / 'model.gguf')


def test_a_model_without_its_mark_of_quantisation_computes_the_same_and_can_be_saved(tmp_path):
    """`load` does this with a model from a GGUF file, because its config says that it is quantised."""
    model = tiny('causal')
    unwritable = SimpleNamespace(to_dict=lambda: {'modules': object()})  # as JSON, like that of a GGUF file
    model.config.quantization_config = unwritable
    with pytest.raises(TypeError, match='not JSON serializable'):
        model.save_pretrained(tmp_path / 'as it is')
    plain = pretrained.savable(model)
    assert torch.equal(outputs(plain), outputs(model))
    assert plain.lm_head.weight is plain.model.embed_tokens.weight
    save(plain, tmp_path / 'plain')
    assert torch.equal(outputs(load('causal', tmp_path / 'plain').model), outputs(model))


# ------------------------------------------------------------------------------------------------------ hub


class Hub(SimpleHTTPRequestHandler):
    """Serves the files of models as the hub does, and tells the commit of a revision."""

    commits = {'main': 'a' * 40, 'a' * 40: 'a' * 40, 'v2': 'b' * 40, 'b' * 40: 'b' * 40}

    def send_head(self):
        address = self.path.split('?')[0]
        asked = re.fullmatch('/(?:api/models/)?([^/]+/[^/]+)/(resolve|revision|tree)/([^/]+)/?(.*)', address)
        commit = self.commits.get(asked[3]) if asked else None
        if not asked or not commit or not (Path(self.directory) / asked[1]).is_dir():
            return self.answer(404, b'', {'X-Error-Code': 'RevisionNotFound' if asked else 'RepoNotFound'})
        if asked[2] == 'revision':
            return self.answer(200, json.dumps({'id': asked[1], 'sha': commit}).encode(), {})
        path = Path(self.directory) / asked[1] / commit / asked[4]
        if not path.is_file():
            return self.answer(404, b'', {'X-Error-Code': 'EntryNotFound'})
        return self.answer(200, path.read_bytes(), {'X-Repo-Commit': commit, 'ETag': f'"{commit[0]}-{asked[4]}"'})

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> BytesIO:
        self.send_response(status)
        for name, value in {**headers, 'Content-Length': str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        return BytesIO(body)

    def log_message(self, *_):
        pass


@contextmanager
def hub(folder: Path):
    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Hub, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


PROGRAM = """
import sys, torch
from parlai_persona.models.pretrained import NotLoaded, load
for revision in (None, 'v2'):
    loaded = load('encoder', 'someone/tiny', revision)
    print(loaded.source, round(float(loaded.model.embeddings.word_embeddings.weight[5, 0]), 4))
for name, revision in (('someone/tiny', 'v3'), ('someone/other', None)):
    try:
        load('encoder', name, revision)
    except NotLoaded as error:
        print(error)
"""


def test_names_on_the_hub_are_loaded_at_a_revision_and_then_offline_from_the_cache(tmp_path):
    first, second = tiny('encoder'), tiny('encoder')
    second.embeddings.word_embeddings.weight.data += 1
    for commit, model in (('a' * 40, first), ('b' * 40, second)):
        save(model, tmp_path / 'hub' / 'someone' / 'tiny' / commit)
    value = first.embeddings.word_embeddings.weight[5, 0].item()
    wanted = [f'someone/tiny@{"a" * 40} {value:.4f}', f'someone/tiny@{"b" * 40} {value + 1:.4f}']
    with hub(tmp_path / 'hub') as address:
        online = run_program(tmp_path, HF_ENDPOINT=address, HF_HUB_OFFLINE='0', TRANSFORMERS_OFFLINE='0')
    offline = run_program(tmp_path, HF_ENDPOINT=address)
    for lines in (online, offline):
        assert [line.split()[0] for line in lines[:2]] == [line.split()[0] for line in wanted]
        values = [float(line.split()[1]) for line in lines[:2]]
        assert values == pytest.approx([value, value + 1], abs=1e-4)
        assert 'no encoder of that name at revision v3 in the local cache or on the hub' in lines[2]
        assert lines[3].startswith('model someone/other: no such folder, and no encoder of that name in the local')


def run_program(folder: Path, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM],
        env={**environ, 'HF_HOME': str(folder / 'cache'), 'HF_HUB_DISABLE_XET': '1', **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()
