"""Options of `parlai persona_web`. Nothing here needs the extra `web`."""

from dataclasses import dataclass
from pathlib import Path

from parlai_persona.flags import flag


@dataclass(frozen=True)
class Address:
    host: str = flag('127.0.0.1', 'address to listen on; any but a loopback address needs a token, which is printed')
    port: int = flag(8080, 'port to listen on; 0: any that is free', least=0, most=65535)
    public_name: str | None = flag(
        None, 'host name of a server with TLS that passes requests on to this one, their Host too; needs a token'
    )


@dataclass(frozen=True)
class Judging:
    logs: tuple[str, ...] = flag((), 'two files of conversations, with a comma between them, that people compare blind')
    votes: Path = flag(Path('votes.jsonl'), 'file that their votes are appended to')


@dataclass(frozen=True)
class Limits:
    sessions: int = flag(100, 'number of conversations at a time', least=1)
    idle: float = flag(3600.0, 'seconds without use after which a conversation ends', least=1)
    message: int = flag(1000, 'characters of a message or of a persona sentence', least=1)
    sentences: int = flag(50, 'sentences of a persona', least=1)
    upload: int = flag(1_000_000, 'bytes of an upload, and of any other request', least=1000)
    rate: int = flag(60, 'requests a minute of one visitor that make a model work, and new conversations', least=1)
