"""The server of the browser chat: addresses, what they take and what they answer. All answers but the page are JSON."""

import asyncio
import contextlib
import functools
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from parlai_persona.data.personas import Persona, sentences
from parlai_persona.errors import UserError
from parlai_persona.files import parse_json
from parlai_persona.web import openai_api
from parlai_persona.web.guard import OPENAI, Guard, GuardMiddleware, refused
from parlai_persona.web.judge import SIDES, Judge
from parlai_persona.web.models import Model, Pane, Tell, without_folders
from parlai_persona.web.options import Limits
from parlai_persona.web.sessions import Session, Sessions

PAGE = Path(__file__).with_name('page')
VIEWS = {'chat': 1, 'compare': 2, 'watch': 2, 'judge': 0}  # number of models
CONVERSATION = 'x-conversation'  # the header with the id of a conversation
EVENTS = 'text/event-stream'
Endpoint = Callable[[Request], Awaitable[Response]]


class Server:
    """Answers requests: `app` is the ASGI application."""

    def __init__(self, models: list[Model], limits: Limits, guard: Guard, judge: Judge | None = None):
        self.models, self.limits, self.judge = models, limits, judge
        self.sessions = Sessions(limits)
        self.running: set[asyncio.Task] = set()
        self.app = Starlette(
            routes=self.routes(),
            middleware=[Middleware(GuardMiddleware, guard=guard)],
            exception_handlers={HTTPException: refusal, UserError: wrong},
            lifespan=self.lifespan,
        )

    def routes(self) -> list[Route]:
        asked: dict[str, Endpoint] = {'state': self.state, 'conversation': self.shown, 'download': self.download}
        sent: dict[str, Endpoint] = {
            'open': self.open,
            'say': self.say,
            'exchange': self.exchange,
            'persona': self.persona,
            'reset': self.reset,
            'dialogues': self.dialogues,
            'map': self.map,
            'ballot': self.ballot,
            'vote': self.vote,
        }
        return [
            *(Route(f'/{name if name != "index.html" else ""}', page(name)) for name in FILES),
            Route(f'{OPENAI}models', self.openai_models, methods=['GET']),
            Route(f'{OPENAI}chat/completions', self.openai_completion, methods=['POST']),
            *(Route(f'/api/{name}', endpoint, methods=['GET']) for name, endpoint in asked.items()),
            *(Route(f'/api/{name}', endpoint, methods=['POST']) for name, endpoint in sent.items()),
        ]

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Load the models one after the other. The page shows how far this is."""
        loading = asyncio.create_task(self.load())
        yield
        loading.cancel()

    async def load(self) -> None:
        for model in self.models:
            if model.state == 'waiting':
                await model.run(model.load)

    # ------------------------------------------------------------------------------------------ sessions

    async def state(self, request: Request) -> Response:
        models = [model.shown() for model in self.models]
        limits = {'longest': self.limits.message, 'rate': self.limits.rate}
        return JSONResponse({'models': models, **limits, 'judge': self.judge is not None})

    async def open(self, request: Request) -> Response:
        """Begin a conversation in place of the last: `view` is one of `VIEWS`, `models` are numbers of models."""
        asked = await self.content(request)
        view, numbers = asked.get('view'), asked.get('models')
        if not isinstance(numbers, list) or len(numbers) != VIEWS.get(str(view)):
            raise HTTPException(400, f'expected a view ({", ".join(VIEWS)}) and its models, saw {view!r}')
        if not all(type(number) is int and 0 <= number < len(self.models) for number in numbers):
            raise HTTPException(400, f'models are numbers from 0 to {len(self.models) - 1}')
        models = [self.models[number] for number in numbers]
        for model in models:
            if model.state != 'ready':
                raise HTTPException(503, f'{model.name} is not ready: {model.error or model.state}')
        panes = [Pane(models)] if view == 'watch' else [Pane([model]) for model in models]
        session = self.sessions.open(panes, address(request), left=request.headers.get(CONVERSATION, ''))
        try:
            with session.turn():
                for pane in panes:
                    await pane.start()
                for pane in session.readers[1:]:  # two models answer as the same person
                    for speaker, persona in enumerate(session.readers[0].talk.personas):
                        await pane.give(speaker, persona)
        except BaseException:
            self.sessions.end(session)
            raise
        return shown(session)

    def session(self, request: Request) -> Session:
        return self.sessions.find(request.headers.get(CONVERSATION, ''))

    async def shown(self, request: Request) -> Response:
        return shown(self.session(request))

    # --------------------------------------------------------------------------------- what a visitor does

    async def say(self, request: Request) -> Response:
        """Send a message to the agent, or to both; answer with events while they reply."""
        session = self.session(request)
        text = self.short((await self.content(request)).get('text'))
        return self.streamed(session, [functools.partial(pane.say, text) for pane in session.panes])

    async def exchange(self, request: Request) -> Response:
        session = self.session(request)
        return self.streamed(session, [pane.exchange for pane in session.panes])

    async def persona(self, request: Request) -> Response:
        """Give a speaker these sentences as persona in all panes; without sentences, a random persona of the data."""
        session, asked = self.session(request), await self.content(request)
        speaker, persona = asked.get('speaker'), self.sentences(asked.get('sentences'))
        if type(speaker) is not int or speaker not in (0, 1):
            raise HTTPException(400, f'the speaker is 0 or 1, saw {speaker!r}')
        if not session.panes:
            raise HTTPException(400, 'there is nobody to give a persona: this conversation is for votes')
        with session.turn():
            first, *others = session.readers or session.panes
            await first.give(speaker, persona)
            for pane in others:
                await pane.give(speaker, first.talk.personas[speaker])
        return shown(session)

    async def reset(self, request: Request) -> Response:
        session = self.session(request)
        with session.turn():
            for pane in session.panes:
                await pane.reset()
        return shown(session)

    async def dialogues(self, request: Request) -> Response:
        """Let the agent become the person of these dialogues, a text file (tasks/few_shot/README.md)."""
        session = self.session(request)
        uploaded = await self.body(request)
        with session.turn(), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'dialogues.txt'
            path.write_bytes(uploaded)
            for pane in session.learners or session.panes:
                await pane.become(path)
        return shown(session)

    async def map(self, request: Request) -> Response:
        """Return what a receiver perceives in the agents' messages."""
        session = self.session(request)
        with session.turn():
            return JSONResponse([await pane.heat_map() for pane in session.readers or session.panes])

    async def download(self, request: Request) -> Response:
        """Return the conversations in the form of ParlAI's `Conversations`: JSON, a line for each."""
        lines = [json.dumps(pane.dialogue()) for pane in self.session(request).panes]
        named = {'Content-Disposition': 'attachment; filename="conversation.jsonl"'}
        return PlainTextResponse('\n'.join(lines) + '\n', media_type='application/jsonl', headers=named)

    async def ballot(self, request: Request) -> Response:
        """Return two conversations to compare, and a question about them."""
        session, judge = self.session(request), self.judging()
        with session.turn():
            session.ballot = judge.ballot()
        return JSONResponse(judge.shown(session.ballot))

    async def vote(self, request: Request) -> Response:
        """Take the vote about the last ballot; return all votes."""
        session, judge, choice = self.session(request), self.judging(), (await self.content(request)).get('choice')
        if choice not in SIDES or session.ballot is None:
            raise HTTPException(400, f'expected {" or ".join(SIDES)} for a new ballot, saw {choice!r}')
        with session.turn():
            ballot, session.ballot = session.ballot, None
            judge.vote(ballot, choice)
        return JSONResponse({'logs': [path.name for path in judge.logs], 'results': judge.results()})

    def judging(self) -> Judge:
        if self.judge is None:
            raise HTTPException(404, 'there is nothing to judge: start the command with --judge-logs')
        return self.judge

    async def openai_models(self, request: Request) -> Response:
        return openai_api.model_list(self.models)

    async def openai_completion(self, request: Request) -> Response:
        self.sessions.count(address(request))
        return await openai_api.completion(self.models, await self.content(request), self.short, self.sentences)

    def streamed(self, session: Session, works: list[Callable[[Tell], Awaitable[None]]]) -> Response:
        """Do work for each pane, even if the page goes away meanwhile; answer with the events, as they come."""
        turn = contextlib.ExitStack()
        turn.enter_context(session.turn())
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

        def tell(place: int) -> Tell:
            return lambda event: queue.put_nowait({**event, 'pane': place})

        async def run() -> None:
            try:
                with turn:
                    await asyncio.gather(*(work(tell(place)) for place, work in enumerate(works)))
            finally:
                queue.put_nowait(None)

        async def lines() -> AsyncIterator[str]:
            while (event := await queue.get()) is not None:
                yield f'data: {json.dumps(event)}\n\n'

        task = asyncio.create_task(run())
        self.running.add(task)  # asyncio itself does not keep tasks
        task.add_done_callback(self.running.discard)
        return StreamingResponse(lines(), media_type=EVENTS)

    # ------------------------------------------------------------------------------------- what is allowed

    async def body(self, request: Request) -> bytes:
        """Return what was sent, unless it is too long."""
        read = bytearray()
        async for part in request.stream():
            read += part
            if len(read) > self.limits.upload:
                raise HTTPException(413, f'the request has more than {self.limits.upload} bytes')
        return bytes(read)

    async def content(self, request: Request) -> dict[str, Any]:
        """Return the JSON object that was sent."""
        try:
            asked = parse_json(await self.body(request))
        except ValueError:
            raise HTTPException(400, 'expected JSON') from None
        if not isinstance(asked, dict):
            raise HTTPException(400, f'expected a JSON object, saw {type(asked).__name__}')
        return asked

    def short(self, text: Any) -> str:
        if not isinstance(text, str):
            raise HTTPException(400, f'expected a text, saw {type(text).__name__}')
        if len(text) > self.limits.message:
            raise HTTPException(413, f'a text has {len(text)} characters; {self.limits.message} are allowed')
        return text

    def sentences(self, asked: Any) -> Persona | None:
        if asked is None:
            return None
        if not isinstance(asked, list) or len(asked) > self.limits.sentences:
            raise HTTPException(400, f'expected a list of at most {self.limits.sentences} sentences')
        lines = [line for line in map(self.short, asked) if line.strip()]
        return sentences(lines, 'the list') if lines else ()


SCRIPTS = dict.fromkeys(['page.js', 'ask.js', 'show.js'], 'text/javascript')
FILES = {'index.html': 'text/html', 'page.css': 'text/css', **SCRIPTS}


def page(name: str) -> Endpoint:
    async def answer(request: Request) -> Response:
        return FileResponse(PAGE / name, media_type=FILES[name])

    return answer


def address(request: Request) -> str:
    return request.client.host if request.client else ''


def shown(session: Session) -> Response:
    panes = [pane.shown() for pane in session.panes]
    return JSONResponse({'id': session.id, 'busy': session.busy, 'panes': panes})


async def refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refused(request.url.path, error.status_code, error.detail)


async def wrong(request: Request, error: Exception) -> Response:
    """Answer with what the visitor can correct."""
    return refused(request.url.path, 400, without_folders(str(error)))
