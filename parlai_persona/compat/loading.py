"""Defects of loading: ParlAI unpickles model files and options, and a pickle can run code."""

import functools
from typing import Any

from parlai_persona.compat.hooks import fixes, replace_everywhere


@fixes('parlai.utils.pickle')
def model_files_run_no_code(module: Any) -> bool:
    """A model file can run code when it is loaded.

    ParlAI 1.7.2 does this on every stack: it passes its own unpickler to `torch.load`, which then does not restrict
    itself to weights. Detected by that unpickler, in every call: only these calls change. They now read tensors, plain
    values, numpy's arrays and numbers, and ParlAI's options. Anything else is refused, unless
    `PARLAI_PERSONA_TRUST_PICKLES=1`. Damaged files are refused as well.
    """
    import torch

    from parlai_persona.models.saved import read_open, trusted

    load = torch.load

    @functools.wraps(load)
    def safe_load(f, *args, **options):
        if options.get('pickle_module') is not module or trusted():
            return load(f, *args, **options)
        del options['pickle_module']
        return read_open(f, *args, **options)

    replace_everywhere(load, safe_load)
    return True


@fixes('parlai.core.opt')
def options_run_no_code(module: Any) -> bool:
    """A file of options (`.opt`, or a preset after `-o`) can run code: ParlAI unpickles one that is not UTF-8.

    ParlAI 1.7.2 does this on every stack. Detected by reading the file as text. A file that is not text is now refused,
    unless `PARLAI_PERSONA_TRUST_PICKLES=1`.
    """
    load = module.Opt.load.__func__

    @functools.wraps(load)
    def safe_load(cls, optfile):
        from parlai_persona.models.saved import TRUST, NotLoaded, trusted

        if not trusted():
            try:
                with module.PathManager.open(optfile, 'r', encoding='utf-8') as file:
                    file.read()
            except UnicodeDecodeError:
                raise NotLoaded(
                    f'{optfile} is not loaded: it is not UTF-8 text, so ParlAI would unpickle it, and this could run '
                    f'code. Expected options as JSON. If you trust whoever made the file: {TRUST}=1'
                ) from None
        return load(cls, optfile)

    module.Opt.load = classmethod(safe_load)
    return True


@fixes('parlai.agents.tfidf_retriever.utils')
def tfidf_files_run_no_code(module: Any) -> bool:
    """A model file of `tfidf_retriever` can run code when it is loaded: it is a numpy archive with a pickle in it.

    ParlAI 1.7.2 does this on every stack. Detected by the argument that allows it. The pickle may now hold only plain
    values and numpy's arrays and numbers, unless `PARLAI_PERSONA_TRUST_PICKLES=1`.
    """
    from parlai_persona.models.saved import check_archive, trusted

    load = module.load_sparse_csr

    @functools.wraps(load)
    def safe_load(filename):
        if not trusted():
            check_archive(f'{filename}.npz')
        return load(filename)

    replace_everywhere(load, safe_load)
    return True
