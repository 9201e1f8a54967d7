"""Who may ask: the names of this server, pages of its own, and those who know the token."""

import ipaddress
import secrets
import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Nothing in these is secret, and a page cannot add a token to their addresses.
FREE = {'/page.js', '/ask.js', '/show.js', '/page.css'}
OPENAI = '/v1/'
HEADERS = {
    'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',  # an address may hold the token
    'Cache-Control': 'no-store',
    'Cross-Origin-Resource-Policy': 'same-origin',
}


def refused(path: str, status: int, text: str) -> JSONResponse:
    """Return a refusal, in OpenAI's form to clients of its interface."""
    openai = {'message': text, 'type': 'invalid_request_error'}
    return JSONResponse({'error': openai if path.startswith(OPENAI) else text}, status)


def is_loopback(host: str) -> bool:
    return host == 'localhost' or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def host_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ''
    except ValueError:
        return ''


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Guard:
    """What a request needs. Without a token, only loopback addresses are answered."""

    host: str = '127.0.0.1'  # that the server is bound to
    token: str = ''
    names: frozenset[str] = field(default_factory=frozenset)  # further host names

    @classmethod
    def of(cls, host: str, public_name: str | None = None) -> 'Guard':
        """Return the guard of a server at this host: a token is needed unless only this machine reaches it."""
        token = '' if is_loopback(host) and not public_name else secrets.token_urlsafe(16)
        names = host, public_name or host, socket.gethostname(), socket.getfqdn()
        return cls(host, token, frozenset(map(str.lower, names)))

    def refusal(self, request: HTTPConnection) -> tuple[int, str] | None:
        """Return the status and the reason if the request is refused."""
        asked = request.headers.get('host', '').lower()
        name = host_of(f'//{asked}')
        # Another name may be that of a page of someone else, whose address was made to lead here (DNS rebinding).
        if not (is_loopback(name) or (self.token and (name in self.names or is_address(name)))):
            return 421, f'the host {asked[:80]!r} is not a name of this server'
        origin = request.headers.get('origin')
        if origin is not None and origin.lower().partition('://')[2] != asked:
            return 403, f'requests of pages of {origin[:80]!r} are refused'
        if self.token and request.scope['path'] not in FREE and not self.knows_token(request):
            return 401, 'the token is missing or wrong. Open the whole address that the command printed'
        return None

    def knows_token(self, request: HTTPConnection) -> bool:
        bearer = request.headers.get('authorization', '').removeprefix('Bearer ')
        return any(
            secrets.compare_digest(given.encode(), self.token.encode())
            for given in (request.query_params.get('token', ''), bearer)
        )


class GuardMiddleware:
    """Refuses requests that the guard does not let in, and adds headers to every answer."""

    def __init__(self, app: ASGIApp, guard: Guard):
        self.app, self.guard = app, guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
            return
        if scope['type'] != 'http':  # there are no web sockets
            return

        async def send_with_headers(message: Message) -> None:
            if message['type'] == 'http.response.start':
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self.guard.refusal(HTTPConnection(scope))
        app = self.app if refusal is None else refused(scope['path'], *refusal)
        await app(scope, receive, send_with_headers)
