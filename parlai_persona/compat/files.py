"""Files that ParlAI cannot get or read: which file, why, and what to do."""

import functools
import os
import pickle
import re
from typing import Any
from urllib.parse import urlsplit

from parlai_persona.compat.errors import first_line
from parlai_persona.compat.hooks import fixes, replace_everywhere
from parlai_persona.errors import UserError

DAMAGED = re.compile(r'PytorchStreamReader|zip archive|unexpected EOF|corrupted|storage has wrong byte size')
OTHER_SHAPES = re.compile(r'size mismatch|loading state_dict|_resize_token_embeddings')


@fixes('parlai.core.build_data')
def downloads_fail_fast(module: Any) -> bool:
    """Without a network, a download is tried for 16 seconds, and the error does not say which file is missing.

    ParlAI 1.7.2 does this on every stack. A download now ends at once if its server cannot be reached. A connection
    that breaks later is tried again as before.
    """
    download = module.download

    @functools.wraps(download)
    def download_if_reachable(url, path, fname, redownload=False, num_retries=5):
        file = os.path.join(path, fname)
        if redownload or not os.path.exists(file):
            _check_connection(module, url, file)
        return download(url, path, fname, redownload, num_retries)

    replace_everywhere(download, download_if_reachable)
    return True


def _check_connection(module: Any, url: str, file: str) -> None:
    try:
        with module.get_http_session() as session:
            session.get(url, stream=True, timeout=5).close()
    except module.requests.exceptions.ReadTimeout:
        return  # a slow server is asked again
    except module.requests.exceptions.RequestException as error:
        raise UserError(
            f'saw no file {file}, and no connection to {urlsplit(url).hostname} to fetch it ({type(error).__name__}): '
            'connect to the network, or name a folder that has the data with --datapath'
        ) from None


@fixes('parlai.core.opt')
def damaged_options(module: Any) -> bool:
    """A damaged file of options (`.opt`) ends in an error of the JSON reader that does not name the file.

    ParlAI 1.7.2 does this on every stack. The error now names it.
    """
    load = module.Opt.load.__func__

    def load_or_explain(cls, optfile):
        try:
            return load(cls, optfile)
        except UserError:
            raise
        except (ValueError, TypeError, RecursionError, EOFError, pickle.UnpicklingError) as error:
            raise UserError(
                f'{optfile}: expected options as JSON ({error}): the file is damaged, or something else'
            ) from error

    module.Opt.load = classmethod(load_or_explain)
    return True


@fixes('parlai.core.agents')
def damaged_model_files(module: Any) -> bool:
    """A damaged model file, or a missing dictionary, ends in an error of torch that does not name the file.

    ParlAI 1.7.2 does this on every stack. The error now says which file it is and what to do.
    """
    create = module.create_agent_from_opt_file

    @functools.wraps(create)
    def create_or_explain(opt):
        file = opt['model_file']
        try:
            return create(opt)
        except UserError:
            raise
        except (EOFError, pickle.UnpicklingError, RuntimeError) as error:
            raise _about_agent(opt, error) or _about_model(file, error) from error
        except OSError as error:
            if error.filename is not None:
                raise
            raise _about_model(file, error) from error  # torch's, for half a file

    replace_everywhere(create, create_or_explain)
    return True


@fixes('parlai.core.agents')
def missing_second_models(module: Any) -> bool:
    """A model beside the first, such as `--partner-model-file`, is None if its `.opt` is missing: an AttributeError.

    ParlAI 1.7.2 does this on every stack. The error now names the file.
    """
    create = module.create_agent_from_model_file

    @functools.wraps(create)
    def create_or_explain(model_file, opt_overrides=None):
        agent = create(model_file, opt_overrides)
        if agent is None:
            raise UserError(
                f'{model_file}.opt: no such file; expected the model file of a trained agent, and its options'
            )
        return agent

    replace_everywhere(create, create_or_explain)
    return True


@fixes('parlai.scripts.build_candidates')
def candidates_in_a_self_chat(module: Any) -> bool:
    """`parlai self_chat` with a ranker that has no list of candidates ends in "must be exactly two agents".

    ParlAI 1.7.2 does this on every stack: it looks for the labels of the task in a world of the self-chat. They now
    come from the task itself.
    """
    build = module.build_cands

    @functools.wraps(build)
    def build_from_task(opt):
        return build(type(opt)({**opt, 'selfchat_task': False}))

    replace_everywhere(build, build_from_task)
    return True


@fixes('parlai.core.agents')
def missing_options(module: Any) -> bool:
    """If a model's `.opt` is missing, or `--init-model` is another agent's, the error shows a hundred weights.

    ParlAI 1.7.2 does this on every stack. The error now names the file.
    """
    create = module.create_agent

    @functools.wraps(create)
    def create_or_explain(opt, requireModelExists=False):
        try:
            return create(opt, requireModelExists)
        except (RuntimeError, UserError, KeyError) as error:
            file, first = opt.get('model_file'), opt.get('init_model')
            if first and isinstance(error, RuntimeError) and OTHER_SHAPES.search(str(error)):
                raise _about_model(first, error) from error
            if not file or not os.path.exists(file) or os.path.exists(f'{file}.opt'):
                raise
            raise UserError(
                f'{file}.opt: no such file; expected the options that were saved with the model: copy it there, or '
                f'give the agent (-m) and all options that the model was trained with ({first_line(error)})'
            ) from error

    replace_everywhere(create, create_or_explain)
    return True


@fixes('parlai.core.agents')
def no_advice_to_undo_options(module: Any) -> bool:
    """A training that goes on advises to undo the options of its preset, because its own checkpoint lacks some.

    ParlAI 1.7.2 does this on every stack, when it loads the checkpoint like a model to start from. The warnings are
    now left out for the training's own checkpoint.
    """
    compare = module.compare_init_model_opts

    @functools.wraps(compare)
    def compare_with_others(opt, curr_opt):
        if opt.get('init_model') != f'{opt.get("model_file")}.checkpoint':
            compare(opt, curr_opt)

    module.compare_init_model_opts = compare_with_others
    return True


def _about_agent(opt: dict, error: Exception) -> Exception | None:
    """Return the error that says so if the weights do not fit because the options ask for another agent."""
    from parlai.core.opt import Opt

    file, asked = opt['model_file'], (opt.get('override') or {}).get('model')
    saved = Opt.load(f'{file}.opt').get('model')
    if not asked or asked == saved or not OTHER_SHAPES.search(str(error)):
        return None
    return UserError(f'{file}: a model of {saved}, whose weights do not fit {asked}: leave -m out')


def _about_model(file: str, error: Exception) -> Exception:
    """Return the error that says what is wrong with a model file; the error itself if that is not known."""
    reason = first_line(error)[:120]
    if not isinstance(error, RuntimeError) or DAMAGED.search(str(error)):
        return UserError(f'{file}: damaged, or not a model ({reason}): copy the file again, or train the model again')
    if not OTHER_SHAPES.search(str(error)):
        return error
    if not os.path.exists(f'{file}.dict'):
        return UserError(
            f'{file}.dict: no such file; expected the dictionary that was saved with the model: copy it there'
        )
    mismatch = re.search(r'size mismatch.*', str(error))
    return UserError(
        f'{file}: its weights do not fit the options and the dictionary ({mismatch[0][:120] if mismatch else reason}): '
        'give the options that it was trained with, and the dictionary that was saved with it'
    )
