"""What `parlai persona_web` does: opens the port, says where the page is, and serves it until Ctrl-C."""

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from parlai.core.agents import create_agent
from parlai.core.build_data import modelzoo_path
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser

from parlai_persona.errors import UserError
from parlai_persona.files import typed_path
from parlai_persona.flags import from_opt
from parlai_persona.web.guard import Guard
from parlai_persona.web.judge import Judge
from parlai_persona.web.models import Model
from parlai_persona.web.options import Address, Judging, Limits
from parlai_persona.web.server import Server

NO_DATA = 'persona:sample'  # for models that name no task, such as those of the zoo: it needs no data


def serve(opt: Opt, parser: Callable[[], ParlaiParser]) -> None:
    """Serve the models of a command line; `parser` makes its parser."""
    address = from_opt(Address, opt, '')
    given = {name: value for name, value in opt['override'].items() if name not in ('model_file', 'other_models')}
    judge = judge_of(from_opt(Judging, opt, 'judge'))
    files = [opt.get('model_file'), *(opt.get('other_models') or '').splitlines()]
    if judge and not opt.get('model_file') and not opt.get('model'):
        files = []  # only votes
    models = [model(options(parser, given, file), file) for file in files]
    guard = Guard.of(address.host)
    server = Server(models, from_opt(Limits, opt, 'web'), guard, judge)
    with listen(address) as port:
        print(f'Talk to {" and ".join(one.name for one in models)} at' if models else 'Vote at', flush=True)
        print(f'  {url(address.host, port.getsockname()[1], guard.token)}', flush=True)
        print('Ctrl-C ends it.', flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(uvicorn.Config(server.app, log_level='warning', access_log=False)).run(sockets=[port])


def url(host: str, port: int, token: str) -> str:
    """Return the address to open; a server that listens on all addresses is named by its machine."""
    name = socket.gethostname() if host in ('0.0.0.0', '::') else host
    return f'http://{f"[{name}]" if ":" in name else name}:{port}/{f"?token={token}" if token else ""}'


def options(parser: Callable[[], ParlaiParser], given: dict[str, Any], file: str | None) -> Opt:
    """Return the options for one of the models. Without -t, its task is that of its training."""
    named = given if file is None else {**given, 'model_file': file}
    opt = parser().parse_kwargs(**named)
    if opt.get('task') or file is None:
        return opt
    path = Path(f'{modelzoo_path(opt["datapath"], file)}.opt')
    if not path.is_file():
        raise UserError(f'-mf {file}: saw no file {path}; expected the model file of a trained agent')
    return parser().parse_kwargs(**named, task=Opt.load(str(path)).get('task') or NO_DATA)


def model(opt: Opt, file: str | None) -> Model:
    name = file or opt.get('model')
    if not name:
        raise UserError('nobody to talk to: name a model with -mf FILE, or an agent with -m NAME')
    return Model(short_name(name), lambda: create_agent(opt, requireModelExists=True))


def judge_of(judging: Judging) -> Judge | None:
    logs = [typed_path(name) for name in judging.logs if name]
    if not logs:
        return None
    if len(logs) != 2:
        raise UserError(f'--judge-logs names {len(logs)} files; expected two, with a comma between them')
    return Judge((logs[0], logs[1]), judging.votes)


def short_name(name: str) -> str:
    """Return the last two parts of a path: `runs/first/model` is `first/model`."""
    return '/'.join(Path(name).parts[-2:]) if not name.startswith('zoo:') else name


def listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ':' in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        raise UserError(
            f'cannot listen on {address.host}, port {address.port}: {error.strerror}. Choose another --port or --host'
        ) from None
