"""What `parlai persona_web` does: opens the port, says where the page is, and serves it until Ctrl-C."""

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parlai.utils.logging as logging
import uvicorn
from parlai.core.agents import create_agent
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


def serve(opt: Opt, parser: Callable[[], ParlaiParser]) -> None:
    """Serve the models of a command line; `parser` makes its parser."""
    address = from_opt(Address, opt, '')
    given = {name: value for name, value in opt['override'].items() if name not in ('model_file', 'model_files')}
    judge = judge_of(from_opt(Judging, opt, 'judge'))
    files = (opt.get('model_files') or '').splitlines()
    if files:
        models = [model(options_of(file, given, parser), file) for file in files]
    elif judge and not opt.get('model'):
        models = []  # only votes
    else:
        models = [model(opt, opt.get('model'))]
    guard = Guard.of(address.host, address.public_name)
    server = Server(models, from_opt(Limits, opt, 'web'), guard, judge)
    with listen(address) as port:
        print(f'Talk to {" and ".join(one.name for one in models)} at' if models else 'Vote at', flush=True)
        print(f'  {url(address, port.getsockname()[1], guard.token)}', flush=True)
        print('Ctrl-C ends it.', flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            # Only a server in front says truly who asks: others can write that header themselves.
            config = uvicorn.Config(
                server.app, log_level='warning', access_log=False, proxy_headers=bool(address.public_name)
            )
            uvicorn.Server(config).run(sockets=[port])


def url(address: Address, port: int, token: str) -> str:
    """Return the address to open; a server that listens on all addresses is named by its machine."""
    query = f'?token={token}' if token else ''
    if address.public_name:
        return f'https://{address.public_name}/{query}'
    name = socket.gethostname() if address.host in ('0.0.0.0', '::') else address.host
    return f'http://{f"[{name}]" if ":" in name else name}:{port}/{query}'


def options_of(file: str, given: dict[str, Any], parser: Callable[[], ParlaiParser]) -> Opt:
    """Return the options of one of several models. What is given for another model's agent or task is left out."""
    own = parser()
    own.parse_kwargs(model_file=file, **({'task': given['task']} if 'task' in given else {}))
    known = {action.dest for action in own._actions}
    for name in given.keys() - known:
        logging.info(f'{file} has no option --{name.replace("_", "-")}; it is left out there')
    return parser().parse_kwargs(**{name: given[name] for name in given.keys() & known}, model_file=file)


def model(opt: Opt, name: str | None) -> Model:
    if not name:
        raise UserError('nobody to talk to: name a model with -mf FILE, or an agent with -m NAME')
    return Model(short_name(name), lambda: create_agent(opt, requireModelExists=True))


def judge_of(judging: Judging) -> Judge | None:
    logs = [typed_path(name) for name in judging.logs if name]
    if not logs:
        return None
    if len(logs) != 2:
        raise UserError(f'--judge-logs names {len(logs)} files; expected two, with a comma between them')
    judge = Judge((logs[0], logs[1]), judging.votes)
    with judging.votes.open('a'):
        judge.results()  # a file of something else, or one that cannot be written, is refused before anybody votes
    return judge


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
