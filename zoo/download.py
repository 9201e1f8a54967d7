"""Fetch one file over HTTP: a connection that breaks is resumed where it stopped."""

import logging
import time
from pathlib import Path

import requests
from tqdm import tqdm

from parlai_persona.errors import UserError
from parlai_persona.zoo.registry import File

TIMEOUT = 20.0  # seconds without a byte
ATTEMPTS, PAUSE = 5, 1.0  # attempts in a row that bring nothing new; seconds to the next, twice as long each time
BAR_AFTER = 2  # seconds
BLOCK = 1 << 16


class NotThere(UserError):
    """A source that does not have a file, or cannot deliver it."""


class Broken(Exception):
    """A connection that brought less than it should have: worth another attempt."""


def download(url: str, file: File, part: Path) -> None:
    """Write a file to `part`, from where an earlier download stopped; its length is that of the registry."""
    most, failures = size(part), 0
    with tqdm(
        total=file.bytes, desc=url.rpartition('/')[2], unit='B', unit_scale=True, delay=BAR_AFTER, disable=None
    ) as bar:
        while size(part) < file.bytes:
            try:
                append(url, file, part, bar)
                reason = 'the connection ended early'
            except (Broken, requests.RequestException) as error:
                reason = str(error) if isinstance(error, Broken) else plain(error)
            failures = 0 if size(part) > most else failures + 1
            most = max(most, size(part))
            if failures >= ATTEMPTS:
                raise NotThere(
                    f'{reason}; {most:,} of {file.bytes:,} bytes arrived. The next attempt goes on from there'
                )
            if failures:
                logging.getLogger(__name__).debug('%s: %s', url, reason)
                time.sleep(PAUSE * 2 ** (failures - 1))


def append(url: str, file: File, part: Path, bar: tqdm) -> None:
    """Ask for what is missing, and write what arrives."""
    start = size(part)
    headers = {'Accept-Encoding': 'identity', **({'Range': f'bytes={start}-'} if start else {})}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:  # the server has fewer bytes
            part.unlink()
            raise Broken('the server has fewer bytes than the registry says')
        if response.status_code >= 500 or response.status_code == 429:
            raise Broken(f'the server answered {response.status_code}')
        if response.status_code not in (200, 206):
            raise NotThere(f'the server answered {response.status_code}')
        resumes = response.status_code == 206
        if resumes and not response.headers.get('Content-Range', '').startswith(f'bytes {start}-'):
            part.unlink(missing_ok=True)
            raise Broken('the server sent another part of the file than asked for')
        written = start if resumes else 0
        with part.open('ab' if resumes else 'wb') as out:
            for block in response.iter_content(BLOCK):
                written += len(block)
                if written > file.bytes:
                    out.truncate(0)
                    raise NotThere(f'the server sent more than the {file.bytes:,} bytes that the registry says')
                out.write(block)
                out.flush()
                bar.update(written - bar.n)


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def plain(error: requests.RequestException) -> str:
    """Say in a few words what went wrong with a connection."""
    kinds = {
        requests.exceptions.Timeout: f'no byte came within {TIMEOUT:g} seconds',
        requests.exceptions.SSLError: 'the certificate of the server is not valid',
        requests.exceptions.ChunkedEncodingError: 'the connection broke',
        requests.exceptions.ConnectionError: 'no connection',
        requests.exceptions.TooManyRedirects: 'the server redirects without end',
        requests.exceptions.InvalidSchema: 'the server redirects to something that is not HTTP',
        requests.exceptions.InvalidURL: 'not an address of the web',
    }
    return next((text for kind, text in kinds.items() if isinstance(error, kind)), type(error).__name__)
