"""The parsers of requests to the browser chat, of its logs and votes, and of what an endpoint answers."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import requests
from parlai.agents.repeat_query.repeat_query import RepeatQueryAgent
from parlai.core.agents import create_agent
from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.scripts.interactive import Interactive
from starlette.testclient import TestClient

from benchmarks.suite.mutated_inputs import Parser, json_lines, whole_file
from parlai_persona import fields
from parlai_persona.errors import UserError
from parlai_persona.web.guard import Guard
from parlai_persona.web.judge import Judge, read_log
from parlai_persona.web.models import Model
from parlai_persona.web.options import Limits
from parlai_persona.web.server import Server

HOST, TOKEN, PLENTY = 'localhost:8080', 'sesame', 1_000_000
LOG = json_lines(
    {'dialog': [[{'id': 'person', 'text': 'hi'}, {'id': 'model', 'text': 'hello'}]], 'context': []},
    {'dialog': [[{'id': 'person', 'text': 'why ?'}, {'id': 'model', 'text': 'é'}]], 'context': []},
)
REQUESTS: dict[str, dict[str, Any]] = {  # address -> what is sent, beside the name of the model
    '/api/open': {'view': 'compare', 'models': [0, 0]},
    '/api/say': {'text': 'hi, é'},
    '/api/persona': {'speaker': 1, 'sentences': ['i sing.', 'i own a cat.']},
    '/v1/chat/completions': {
        'model': 'x',
        'stream': False,
        'messages': [
            {'role': 'system', 'content': 'i sing.'},
            {'role': 'user', 'content': [{'type': 'text', 'text': 'hi'}]},
        ],
    },
}


class Adapting(RepeatQueryAgent):
    """Says what it heard; becomes a person without learning anything."""

    def act(self) -> Message:
        if fields.DIALOGUES in self.observation:
            return Message({'id': self.id, 'text': 'adapted', fields.REPLIES: []})
        return super().act()


@cache
def client(task: str, token: str = '', **options: Any) -> TestClient:
    """Return a client of a server with one model, which has loaded it."""
    opt = Interactive.setup_args().parse_kwargs(task=task, model='repeat_query', loglevel='error', **options)
    model = Model('x', lambda: Adapting(opt))
    served = Server([model], Limits(sessions=PLENTY, rate=PLENTY, upload=PLENTY), Guard(token=token))
    made = TestClient(served.app, base_url=f'http://{HOST}').__enter__()
    while model.state in ('waiting', 'loading'):
        time.sleep(0.01)
    assert model.state == 'ready', model.error
    return made


def sent(to: TestClient, address: str, content: bytes) -> list[str]:
    """Send a request in a new conversation; return the status. A refusal has to be JSON, and says why."""
    opened = to.post('/api/open', json={'view': 'chat', 'models': [0]}).json()
    answer = to.post(address, content=content, headers={'X-Conversation': opened['id']})
    if answer.status_code >= 500:
        raise AssertionError(f'{answer.status_code}: {answer.text}')
    if answer.status_code != 200:
        raise UserError(answer.json()['error'])
    last = answer.json()['id'] if address == '/api/open' else opened['id']  # a new one takes the place of the first
    shown = to.get('/api/conversation', headers={'X-Conversation': last})
    assert shown.status_code == 200 and 'did not answer' not in answer.text + shown.text, answer.text
    return [str(answer.status_code)]


def request(address: str, content: bytes, task: str = 'persona:sample', **options: Any) -> Parser:
    def read(path: Path) -> list[str]:
        return sent(client(task, **options), address, path.read_bytes())

    return whole_file('request.json', {'request.json': content}, read)


def upload() -> Parser:
    content = b'your persona: i sing.\nthem: hi\nme: hello\n\nthem: why ?\nme: because\n'
    return request('/api/dialogues', content, 'persona:few_shot', few_shot_of='persona:sample')


def headers() -> Parser:
    """The lines before a request, which say who asks."""
    lines = (b'host: 192.0.2.1:80\n', b'origin: http://192.0.2.1:80\n', b'authorization: Bearer sesame\n')

    def read(path: Path) -> list[str]:
        parts = [line.partition(b': ') for line in path.read_bytes().split(b'\n')]
        sent = [(name.lower(), text) for name, _, text in parts]
        status = asyncio.run(status_of(client('persona:sample', TOKEN).app, sent))
        if status >= 500:
            raise AssertionError(str(status))
        return [str(status)]

    return whole_file('headers', {'headers': b''.join(lines)}, read)


async def status_of(app: Any, headers: list[tuple[bytes, bytes]]) -> int:
    """Return what a server answers to `GET /api/state` with these headers, which it gets as they are."""
    query = b'&'.join(text for name, text in headers if name == b'query')
    scope = {'type': 'http', 'method': 'GET', 'path': '/api/state', 'raw_path': b'/api/state', 'query_string': query}
    answers: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {'type': 'http.request', 'body': b''}

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    await app({**scope, 'headers': headers, 'http_version': '1.1', 'scheme': 'http', 'root_path': ''}, receive, send)
    return answers[0]['status']


# -------------------------------------------------------------------------------------------- logs and votes


def log() -> Parser:
    return Parser('log.jsonl', LOG, lambda path: map(tuple, read_log(path)))


def votes() -> Parser:
    vote = {'question': 'human', 'pair': 0, 'chosen': '', 'other': '', 'side': 'left', 'time': 1}

    def read(path: Path) -> Iterator[tuple[str, int]]:
        logs = path.with_name('a'), path.with_name('b')
        judge = Judge(logs, path)
        path.write_bytes(path.read_bytes().replace(b'FOLDER', str(path.parent).encode()))
        judge.results()
        return iter(list(judge.read_votes()))

    units = json_lines(
        {**vote, 'chosen': 'FOLDER/a', 'other': 'FOLDER/b'},
        {**vote, 'chosen': 'FOLDER/b', 'other': 'FOLDER/a', 'question': 'engaging'},
    )
    return Parser('votes.jsonl', units, read, beside={'a': LOG[0], 'b': LOG[1]})


# ------------------------------------------------------------------------------------------------ endpoints


class Answering:
    """Stands for the session of an agent, and for what its server answers."""

    def __init__(self, content: bytes):
        self.content = content

    def request(self, *_: Any, **__: Any) -> requests.Response:
        import io

        answer = requests.Response()
        answer.status_code, answer.raw = 200, io.BytesIO(self.content)
        return answer


@cache
def endpoint() -> Any:
    opt = Interactive.setup_args().parse_kwargs(
        task='persona:sample', model='persona:endpoint', endpoint_model='x', loglevel='error'
    )
    return create_agent(Opt(opt))


def completion() -> Parser:
    choice = {'index': 0, 'message': {'role': 'assistant', 'content': 'hi, é'}, 'finish_reason': 'stop'}

    def read(path: Path) -> list[str]:
        agent = endpoint().clone()
        agent.session = Answering(path.read_bytes())
        agent.observe(Message(text='hello', episode_done=True))
        return [agent.act()['text']]

    return Parser('answer.json', json_lines({'id': 'x', 'choices': [choice]}), read)


def listed_models() -> Parser:
    def read(path: Path) -> list[str]:
        agent = endpoint().clone()
        agent.session = Answering(path.read_bytes())
        return [agent.first_model()]

    return Parser('models.json', json_lines({'object': 'list', 'data': [{'id': 'one'}, {'id': 'two'}]}), read)


WEB: dict[str, Callable[[], Parser]] = {
    **{f'web: {address}': partial(request, address, json.dumps(sent).encode()) for address, sent in REQUESTS.items()},
    'web: /v1/chat/completions, streamed': partial(
        request, '/v1/chat/completions', json.dumps({**REQUESTS['/v1/chat/completions'], 'stream': True}).encode()
    ),
    'web: uploaded dialogues': upload,
    'web: headers': headers,
    'web: logs to judge': log,
    'web: votes': votes,
    'endpoint: completion': completion,
    'endpoint: list of models': listed_models,
}
