"""Fetch one file over HTTP: a connection that breaks is resumed where it stopped."""

import time
from pathlib import Path

import parlai.utils.logging as logging
import requests
from tqdm import tqdm
from urllib3.exceptions import ReadTimeoutError

from parlai_persona.errors import UserError
from parlai_persona.zoo.registry import File

TIMEOUT = 20.0  # seconds without a byte
ATTEMPTS, PAUSE = 5, 1.0  # attempts in a row that bring nothing new; seconds to the next, twice as long each time
BAR_AFTER = 2  # seconds
BLOCK = 1 << 13  # bytes; when a connection breaks, a part of one is lost
REASONS = {  # of requests, in words
    requests.exceptions.Timeout: 'the server did not answer in time',
    requests.exceptions.SSLError: 'the certificate of the server is not valid',
    requests.exceptions.ConnectionError: 'no connection',
    requests.exceptions.ChunkedEncodingError: 'the connection broke',
    requests.exceptions.TooManyRedirects: 'the server redirects without end',
    requests.exceptions.InvalidSchema: 'the server redirects to something that is not HTTP',
    ValueError: 'the server redirects to something that is not an address',
}


class NotThere(UserError):
    """A source that does not have a file, or cannot deliver it."""


class Broken(Exception):
    """A connection that brought less than it should have: worth another attempt."""


def download(url: str, file: File, part: Path) -> None:
    """Write a file to `part`, from where an earlier download stopped. Its length is that of the registry."""
    most, failures = size(part), 0
    bar = tqdm(desc=part.name[:8], total=file.bytes, unit='B', unit_scale=True, delay=BAR_AFTER, disable=None)
    with bar:
        while size(part) < file.bytes:
            try:
                append(url, file, part, bar)
                reason = 'the connection ended early'
            except Broken as error:
                reason = str(error)
            failures = 0 if size(part) > most else failures + 1
            most = max(most, size(part))
            if failures >= ATTEMPTS:
                raise NotThere(
                    f'{reason}; {most:,} of {file.bytes:,} bytes are here, the same command goes on from there'
                )
            if failures:
                logging.debug(f'{url}: {reason}')
                time.sleep(PAUSE * 2 ** (failures - 1))


def append(url: str, file: File, part: Path, bar: tqdm) -> None:
    """Ask for what is missing, and write what arrives."""
    start = size(part)
    headers = {'Accept-Encoding': 'identity', **({'Range': f'bytes={start}-'} if start else {})}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            resumes = is_continued(response, start, part)
            write(response, file.bytes, part, start if resumes else 0, bar)
    except requests.exceptions.ConnectionError as error:
        if error.args and isinstance(error.args[0], ReadTimeoutError):
            raise Broken(f'no byte came within {TIMEOUT:g} seconds') from None
        if not size(part):  # nobody there: waiting helps nobody
            raise NotThere(reason_of(error)) from None
        raise Broken(reason_of(error)) from None
    except (requests.RequestException, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise Broken(reason_of(error)) from None


def is_continued(response: requests.Response, start: int, part: Path) -> bool:
    """Tell whether a server sends what follows on the first `start` bytes, and not the whole file."""
    status = response.status_code
    if status == 416:
        part.unlink(missing_ok=True)
        raise Broken('the server has fewer bytes than the registry says')
    if status >= 500 or status == 429:
        raise Broken(f'the server answered {status}')
    if status not in (200, 206):
        raise NotThere(f'the server answered {status}')
    if status == 206 and not response.headers.get('Content-Range', '').startswith(f'bytes {start}-'):
        part.unlink(missing_ok=True)
        raise Broken('the server sent another part of the file than asked for')
    return status == 206


def write(response: requests.Response, most: int, part: Path, written: int, bar: tqdm) -> None:
    """Write what a server sends, behind the bytes that are there already, but no more than the file has."""
    with part.open('ab' if written else 'wb') as out:
        for block in response.iter_content(BLOCK):
            written += len(block)
            if written > most:
                out.truncate(0)
                raise NotThere(f'the server sent more than the {most:,} bytes that the registry says')
            out.write(block)
            bar.update(written - bar.n)


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def reason_of(error: Exception) -> str:
    return next((text for kind, text in REASONS.items() if isinstance(error, kind)), type(error).__name__)
