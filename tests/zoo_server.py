"""A web server on this machine that serves the files of a zoo, well or badly."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Answer = Callable[['Handler', bytes], None]


class Handler(BaseHTTPRequestHandler):
    """Serves files below a folder. The next answers for `model.safetensors` can be planned; then it serves well."""

    def __init__(self, folder: Path, plan: list[Answer], asked: list[str | None], *args):
        self.folder, self.plan, self.asked = folder, plan, asked
        super().__init__(*args)

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = self.folder / self.path.lstrip('/')
        if not path.is_file():
            self.send_error(404)
            return
        answer = well
        if path.name == 'model.safetensors':
            self.asked.append(self.headers.get('Range'))
            answer = self.plan.pop(0) if self.plan else well
        with suppress(ConnectionError):  # the client has gone
            answer(self, path.read_bytes())

    def start(self, body: bytes, length: int | None = None) -> bytes:
        """Send the head; return the part of the body that was asked for."""
        begin = int((self.headers.get('Range') or 'bytes=0-')[6:-1])
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header('Content-Range', f'bytes {begin}-{len(body) - 1}/{len(body)}')
        self.send_header('Content-Length', str(len(body) - begin if length is None else length))
        self.end_headers()
        return body[begin:]


def well(handler: Handler, body: bytes) -> None:
    handler.wfile.write(handler.start(body))


def cut(handler: Handler, body: bytes) -> None:
    """Break the connection after half of what is left."""
    left = handler.start(body)
    handler.wfile.write(left[: len(left) // 2])


def stall(handler: Handler, body: bytes) -> None:
    """Send half of what is left, and then nothing until the client has gone."""
    left = handler.start(body)
    handler.wfile.write(left[: len(left) // 2])
    handler.wfile.flush()
    handler.connection.settimeout(60)
    handler.connection.recv(1)


def says_less(handler: Handler, body: bytes) -> None:
    handler.wfile.write(handler.start(body, length=100))


def says_more(handler: Handler, body: bytes) -> None:
    handler.wfile.write(handler.start(body, length=2 * len(body)))


def sends_more(handler: Handler, body: bytes) -> None:
    handler.wfile.write(handler.start(body * 2))


def swaps(handler: Handler, body: bytes) -> None:
    """Send as many bytes, two of them exchanged."""
    half = len(body) // 2
    handler.wfile.write(handler.start(body[:half] + bytes([body[half] ^ 1]) + body[half + 1 :]))


def ignores_range(handler: Handler, body: bytes) -> None:
    del handler.headers['Range']
    well(handler, body)


def other_part(handler: Handler, body: bytes) -> None:
    handler.send_response(206)
    handler.send_header('Content-Range', f'bytes 1-{len(body) - 1}/{len(body)}')
    handler.send_header('Content-Length', str(len(body) - 1))
    handler.end_headers()
    handler.wfile.write(body[1:])


def has_fewer(handler: Handler, _: bytes) -> None:
    handler.send_error(416)


def fails(handler: Handler, _: bytes) -> None:
    handler.send_error(503)


def refuses(handler: Handler, _: bytes) -> None:
    handler.send_error(403)


def redirects(to: str) -> Answer:
    def answer(handler: Handler, _: bytes) -> None:
        handler.send_response(302)
        handler.send_header('Location', to)
        handler.send_header('Content-Length', '0')
        handler.end_headers()

    return answer


@contextmanager
def serving(folder: Path, plan: list[Answer]) -> Iterator[tuple[str, list[str | None]]]:
    """Serve a folder; yield the address, and the ranges that were asked for of `model.safetensors`."""
    asked: list[str | None] = []
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, folder, plan, asked))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    try:
        yield f'http://127.0.0.1:{server.server_address[1]}', asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
