"""`-m persona:endpoint`: a model behind an OpenAI-compatible server, as an agent on any task.

The persona is the system message, and the dialogue so far are the other messages. The agent trains nothing.
"""

import os
import time
from dataclasses import dataclass
from typing import Any

import requests
from parlai.core.agents import Agent
from parlai.core.message import Message
from parlai.core.opt import Opt
from parlai.core.params import ParlaiParser
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from parlai_persona import fields
from parlai_persona.errors import UserError, printable
from parlai_persona.files import parse_json
from parlai_persona.flags import add_flags, flag, from_opt
from parlai_persona.models.history import SpokenHistory
from parlai_persona.models.layout import SELF

PREFIX = 'endpoint'
KEY = 'PERSONA_ENDPOINT_KEY'  # the environment variable with the key: an option would be saved and logged
PERSONA = '{persona}'
LARGEST, BLOCK = 10_000_000, 1 << 14  # bytes of an answer, and of what is read at a time
LONGEST = 60.0  # seconds that a busy server may ask for before the next try


class Busy(Retry):
    """Asks a busy server again. What may have been answered, and so paid for, is not asked twice."""

    def get_retry_after(self, response: Any) -> float | None:
        seconds = super().get_retry_after(response)
        return None if seconds is None else min(seconds, LONGEST)


RETRIED = Busy(
    total=5,
    connect=1,
    read=0,
    other=0,
    backoff_factor=1.0,
    status_forcelist=(429, 502, 503, 504),
    allowed_methods=None,
    raise_on_status=False,
)


@dataclass(frozen=True)
class Asking:
    url: str = flag('http://127.0.0.1:8080/v1', f'base address of the server; a key comes from the environment: {KEY}')
    model: str | None = flag(None, 'name of the model on the server; default: the first that it lists')
    system: str = flag(PERSONA, f'the system message; {PERSONA} stands for the sentences, a line each')
    temperature: float | None = flag(None, "sampling temperature; default: the server's", least=0)
    tokens: int = flag(64, 'most tokens of a reply', least=1)
    timeout: float = flag(120.0, 'seconds to wait for a reply', least=1)


class EndpointAgent(Agent):
    """Sends the dialogue to a server and replies with its answer."""

    @classmethod
    def add_cmdline_args(cls, parser: ParlaiParser, partial_opt: Opt | None = None) -> ParlaiParser:
        add_flags(parser.add_argument_group('Endpoint'), PREFIX, Asking)
        return parser

    def __init__(self, opt: Opt, shared=None):
        super().__init__(opt, shared)
        self.id = 'Endpoint'
        self.asking = from_opt(Asking, opt, PREFIX)
        if PERSONA not in self.asking.system:
            raise UserError(f'--endpoint-system is {self.asking.system!r}; expected {PERSONA} in it')
        self.session: requests.Session = shared['session'] if shared else new_session()
        self.model: str = shared['model'] if shared else self.asking.model or self.first_model()
        self.history = SpokenHistory(opt, size=-1)
        self.reset()

    def share(self) -> dict[str, Any]:
        return {**super().share(), 'session': self.session, 'model': self.model}

    def reset(self) -> None:
        self.history.reset()
        self.observation = Message({'episode_done': True})

    def observe(self, observation: Message) -> Message:
        if self.observation.get('episode_done'):
            self.history.reset()
        self.observation = Message(observation)
        self.history.update_history(self.observation)
        return self.observation

    def act(self) -> Message:
        """Reply. As ParlAI's agents do in an evaluation, remember the label as the reply if there is one."""
        reply = Message({'id': self.id, 'text': self.ask(), 'episode_done': False})
        labels = fields.labels_of(self.observation)
        self.history.add_reply(labels[0] if labels else reply['text'])
        return reply

    def self_observe(self, message: Message) -> None:
        """Remember a reply that the agent was made to say."""
        if self.history.speakers[-1:] != [SELF]:
            self.history.add_reply(message['text'])

    def messages(self) -> list[dict[str, str]]:
        system = self.asking.system.replace(PERSONA, '\n'.join(self.history.persona))
        roles = [('assistant' if who == SELF else 'user', text) for who, text in self.history.turns()]
        said = [{'role': role, 'content': '' if text == fields.SILENCE else text} for role, text in roles]
        return [{'role': 'system', 'content': system}, *said] if system.strip() else said

    def ask(self) -> str:
        asked: dict[str, Any] = {'model': self.model, 'messages': self.messages(), 'max_tokens': self.asking.tokens}
        if self.asking.temperature is not None:
            asked['temperature'] = self.asking.temperature
        answer = self.send('POST', 'chat/completions', json=asked)
        try:
            return text_of(answer['choices'][0]['message']['content'] or '').strip()
        except (LookupError, TypeError):
            raise UserError(f'{self.asking.url}: expected a chat completion, saw {str(answer)[:200]!r}') from None

    def first_model(self) -> str:
        listed = self.send('GET', 'models')
        try:
            return text_of(listed['data'][0]['id'])
        except (LookupError, TypeError):
            raise UserError(f'{self.asking.url} lists no model; name one with --endpoint-model') from None

    def send(self, method: str, path: str, **content: Any) -> Any:
        """Return the JSON that the server answers. An error names the server, never the key."""
        address = f'{self.asking.url.rstrip("/")}/{path}'
        asked = {'timeout': self.asking.timeout, 'headers': key_header(), 'allow_redirects': False, **content}
        try:
            with self.session.request(method, address, stream=True, **asked) as answer:
                said = body(answer, self.asking.timeout)
        except requests.RequestException as error:
            raise UserError(f'{address} does not answer ({type(error).__name__}); check --endpoint-url') from None
        if len(said) > LARGEST:
            raise UserError(f'{address} answers more than {LARGEST:,} bytes; expected a reply of a few words')
        if answer.status_code != 200:
            raise UserError(f'{address} answered {answer.status_code}: {shown(said[:300])}')
        try:
            return parse_json(said)
        except ValueError:
            raise UserError(f'{address}: expected JSON, saw {shown(said[:100])!r}') from None


def body(answer: requests.Response, seconds: float) -> bytes:
    """Return what a server sends, until it is too much or takes too long."""
    read, end = bytearray(), time.monotonic() + seconds
    for block in answer.iter_content(BLOCK):
        read += block
        if len(read) > LARGEST:
            break
        if time.monotonic() > end:
            raise requests.Timeout
    return bytes(read)


def shown(said: bytes) -> str:
    return printable(said.decode(errors='replace'))


def text_of(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def new_session() -> requests.Session:
    session = requests.Session()
    for scheme in ('http://', 'https://'):
        session.mount(scheme, HTTPAdapter(max_retries=RETRIED))
    return session


def key_header() -> dict[str, str]:
    key = os.environ.get(KEY)
    return {'Authorization': f'Bearer {key}'} if key else {}
