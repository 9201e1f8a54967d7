"""Load pretrained transformers models with their tokenizers: by hub name, from a folder, or from a GGUF file.

Nothing that is loaded can run code. Weights come from safetensors, from GGUF, or from PyTorch's `.bin` files through
`torch.load(weights_only=True)`, which refuses any object but tensors and plain values (a transformers too old to be
told so reads safetensors only). A model that brings Python code (`trust_remote_code`) is refused. Weights always
arrive in single precision.
"""

import inspect
import math
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from parlai_persona.models.saved import NotLoaded

KINDS = {
    'causal': ('AutoModelForCausalLM', 'causal language model'),
    'seq2seq': ('AutoModelForSeq2SeqLM', 'sequence-to-sequence model'),
    'encoder': ('AutoModel', 'encoder'),
    'classifier': ('AutoModelForSequenceClassification', 'sequence classifier'),
}
HUB_NAME = re.compile(r'[\w-][\w.-]*(/[\w-][\w.-]*)?')
MAY_LACK = {'encoder': ('pooler.',)}  # a masked language model has no pooler; encoders are loaded for their states


class Pretrained(NamedTuple):
    """A model ready for evaluation, its tokenizer, and where both came from."""

    model: Any  # transformers.PreTrainedModel
    tokenizer: Any  # transformers.PreTrainedTokenizerBase
    source: str  # path, or hub name with the commit that was loaded


def load(kind: str, where: str | Path, revision: str | None = None, flag: str = 'model') -> Pretrained:
    """Load a model of one of the `KINDS` and its tokenizer.

    `where` is a folder in the format of `save_pretrained`, a `.gguf` file, or a name on the hub, there with an optional
    `revision` (branch, tag or commit). `flag` names the option in error messages. Weights that the files lack are an
    error. A name on the hub is looked up in the local cache alone when the machine is offline (`HF_HUB_OFFLINE=1` says
    that it is).
    """
    path, label = Path(where), f'{flag} {where}'
    with explained(kind, where, revision, label) as files:
        model, missing = read_model(kind, files)
        tokenizer = read_tokenizer(files)
    if missing:
        raise NotLoaded(
            f'{label}: {len(missing)} weights of {KINDS[kind][0]} are not in its files and would be random '
            f'({", ".join(missing[:3])}{", …" * (len(missing) > 3)}). Expected a model that was trained as such'
        )
    last, size = max(tokenizer.all_special_ids, default=0), model.get_input_embeddings().num_embeddings
    if last >= size:
        raise NotLoaded(
            f'{label}: the tokenizer has the token {tokenizer.convert_ids_to_tokens(last)!r} with the number {last}, '
            f'and the model has vectors of {size} tokens. They do not belong together; get both anew'
        )
    if path.is_file():
        model = savable(model)
    return Pretrained(model.eval(), tokenizer, str(where) if path.exists() else f'{where}@{commit(where, revision)}')


def load_tokenizer(
    where: str | Path, revision: str | None = None, flag: str = 'model', kind: str = 'causal'
) -> tuple[Any, Any]:
    """Return the tokenizer and the config of a model of one of the `KINDS`, without its weights."""
    import transformers

    with explained(kind, where, revision, f'{flag} {where}') as files:
        return read_tokenizer(files), transformers.AutoConfig.from_pretrained(**files)


@contextmanager
def explained(kind: str, where: str | Path, revision: str | None, label: str) -> Iterator[dict[str, Any]]:
    """Yield the arguments that name a model for transformers; say what to do if it cannot be read."""
    path = Path(where)
    if revision is not None and path.exists():
        raise NotLoaded(f'{label}: a revision ({revision}) belongs to a name on the hub, and this is a local path')
    if not path.exists() and not HUB_NAME.fullmatch(str(where)):
        raise NotLoaded(f'{label}: no such folder or file, and not a name on the hub, which has the form owner/model')
    files = {'pretrained_model_name_or_path': str(where), 'revision': revision or 'main', 'trust_remote_code': False}
    if path.is_file():
        check_gguf(path, label)
        files |= {'pretrained_model_name_or_path': str(path.parent), 'gguf_file': path.name}
    try:
        yield files
    except pickle.UnpicklingError as error:
        raise NotLoaded(
            f'{label}: its weights are a pickle with more than tensors in it, which could run code and is not loaded '
            f'({first_line(error)}). Ask for the model as safetensors'
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  files that are damaged or hostile make transformers fail in any way
        raise NotLoaded(f'{label}: {explanation(kind, path, revision, error)}') from None


def read_tokenizer(files: dict[str, Any]) -> Any:
    import transformers

    return transformers.AutoTokenizer.from_pretrained(**files)


def read_model(kind: str, files: dict[str, Any]) -> tuple[Any, list[str]]:
    """Read a model by the classes of transformers; also return the names of weights that are missing."""
    import transformers

    model, report = getattr(transformers, KINDS[kind][0]).from_pretrained(
        **files, **safe_and_precise(), output_loading_info=True
    )
    odd = [name for name, value in model.config.to_dict().items() if isinstance(value, float) and math.isnan(value)]
    if odd:
        raise ValueError(f'config.json has NaN for {", ".join(odd)}')
    missing = [name for name in report['missing_keys'] if not name.startswith(MAY_LACK.get(kind, ()))]
    return model, sorted(missing)


def safe_and_precise() -> dict[str, Any]:
    """Return the arguments for single precision and for weights that cannot run code, in this transformers' words."""
    import transformers

    single = {'dtype' if int(transformers.__version__.split('.')[0]) >= 5 else 'torch_dtype': torch.float32}
    if 'weights_only' in inspect.signature(transformers.PreTrainedModel.from_pretrained).parameters:
        return {**single, 'weights_only': True}
    return {**single, 'use_safetensors': True}  # an older one might unpickle a .bin file


def commit(name: str | Path, revision: str | None) -> str:
    """Return the commit of a model from the hub, which is the name of its folder in the cache."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(str(name), 'config.json', revision=revision)
    return Path(config).parent.name if isinstance(config, str) else revision or 'main'


def check_gguf(path: Path, label: str) -> None:
    if path.suffix != '.gguf':
        raise NotLoaded(f'{label}: a file that is not .gguf. Give the folder with config.json instead')
    missing = [name for name in ('gguf', 'accelerate') if find_spec(name) is None]
    if missing:
        raise NotLoaded(f"{label}: GGUF needs {', '.join(missing)}: pip install 'parlai-persona[pretrained]'")


def savable(model: Any) -> nn.Module:
    """Return the same model without its mark of quantisation, which `save_pretrained` cannot write.

    The weights were dequantised on loading: they are those of the GGUF file, not those of the original model.
    """
    entries = {name: value for name, value in model.config.to_dict().items() if name != 'quantization_config'}
    with torch.device('meta'):
        plain = type(model)(type(model.config)(**entries))
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    for name, buffer in model.named_buffers():  # those that a state dict leaves out, such as rotary frequencies
        owner, _, last = name.rpartition('.')
        setattr(plain.get_submodule(owner), last, buffer)
    return plain


def explanation(kind: str, path: Path, revision: str | None, error: Exception) -> str:
    """Say what was looked for, what went wrong, and what to do."""
    wanted, reason = KINDS[kind][1], first_line(error)
    if 'custom code' in reason:
        reason += ' A model with code of its own is never loaded here; choose one that transformers itself knows.'
    if path.is_file():
        return f'no {wanted} that transformers can read from GGUF. It says: {reason}'
    if path.is_dir():
        return (
            f'no {wanted} with a tokenizer can be loaded from this folder. Expected config.json, model.safetensors (or '
            f'pytorch_model.bin) and the files of the tokenizer. transformers says: {reason}'
        )
    return (
        f'no such folder, and no {wanted} of that name{f" at revision {revision}" if revision else ""} in the local '
        f'cache or on the hub. transformers says: {reason} To get it on a machine with a network: `hf download {path}'
        f'{f" --revision {revision}" if revision else ""} --local-dir FOLDER`; then give the folder'
    )


def first_line(error: Exception) -> str:
    return str(error).strip().split('\n')[0]
