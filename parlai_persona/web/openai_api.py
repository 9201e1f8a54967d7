"""The models behind OpenAI's chat completions, for clients that know only these. The system message is the persona.

A request carries the whole conversation. The agent hears it anew each time, and nothing of it is kept.
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from parlai.core.message import Message
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse

from parlai_persona import fields
from parlai_persona.chat.conversation import MODEL, PERSON, Conversation, Said
from parlai_persona.chat.typed import words_of
from parlai_persona.data.personas import Persona
from parlai_persona.web.models import Model, told

ROLES = {'user': PERSON, 'assistant': MODEL}
SYSTEM = ('system', 'developer')
Spoken = list[tuple[int, str]]  # speaker and text; the speakers alternate, and a person speaks first and last


def model_list(models: list[Model]) -> Response:
    """Answer `/v1/models`."""
    ready = [model.name for model in models if model.state == 'ready']
    described = [{'id': name, 'object': 'model', 'created': 0, 'owned_by': 'parlai-persona'} for name in ready]
    return JSONResponse({'object': 'list', 'data': described})


async def completion(
    models: list[Model], asked: dict[str, Any], short: Callable[[Any], str], few: Callable[[Any], Persona | None]
) -> Response:
    """Answer `/v1/chat/completions`; `short` refuses texts that are too long, `few` too many sentences."""
    name = asked.get('model')
    model = next((one for one in models if one.name == name and one.state == 'ready'), None)
    if model is None:
        raise HTTPException(404, f'there is no model {str(name)[:80]!r}; /v1/models lists them')
    if asked.get('n') not in (None, 1) or asked.get('tools'):
        raise HTTPException(400, 'expected one choice (n: 1) and no tools')
    persona, spoken = read(asked.get('messages'), short, few)
    about = {'id': f'chatcmpl-{secrets.token_hex(12)}', 'created': int(time.time()), 'model': model.name}
    if asked.get('stream'):
        return StreamingResponse(chunks(model, persona, spoken, about), media_type='text/event-stream')
    try:
        text = await model.run(partial(reply, model, persona, spoken))
    except Exception as error:  # noqa: BLE001  an agent may fail in any way, and the client is told
        return JSONResponse({'error': failure(model, error)}, 500)
    choice = {'index': 0, 'message': {'role': 'assistant', 'content': text}, 'finish_reason': 'stop'}
    return JSONResponse({**about, 'object': 'chat.completion', 'choices': [choice]})


def read(messages: Any, short: Callable[[Any], str], few: Callable[[Any], Persona | None]) -> tuple[Persona, Spoken]:
    """Return the persona and what was said. Several messages of one speaker in a row are one message."""
    persona: list[str] = []
    spoken: Spoken = []
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise HTTPException(400, 'expected a list of messages')
    for message in messages:
        role, text = str(message.get('role')), short(content(message.get('content')))
        if role in SYSTEM:
            persona += [line for line in text.splitlines() if line.strip()]
        elif role not in ROLES:
            raise HTTPException(400, f'a role is system, user or assistant, saw {role[:80]!r}')
        elif spoken and spoken[-1][0] == ROLES[role]:
            spoken[-1] = (ROLES[role], short(f'{spoken[-1][1]} {text}'))
        else:
            spoken.append((ROLES[role], text))
    if not spoken or spoken[-1][0] != PERSON or not words_of(spoken[-1][1]):
        raise HTTPException(400, 'expected a message of the user at the end, with words in it')
    if spoken[0][0] == MODEL:
        spoken.insert(0, (PERSON, ''))
    return few(persona) or (), spoken


def content(given: Any) -> Any:
    """Return the text of a message, which may come in parts."""
    if not isinstance(given, list):
        return given
    if not all(isinstance(part, dict) and part.get('type') == 'text' for part in given):
        raise HTTPException(400, 'expected parts of the type text')
    return ' '.join(str(part.get('text')) for part in given)


def reply(model: Model, persona: Persona, spoken: Spoken, heard: Callable[[str], None] | None = None) -> str:
    """Let a new conversation hear what was said; return the answer to the last message."""
    talk: Conversation = model.conversation()
    talk.begin()
    talk.personas[MODEL] = persona
    if heard and hasattr(talk.agent, 'listener') and getattr(talk.agent, 'beam_size', 1) == 1:  # words sent stay sent
        talk.agent.listener = heard
    talk.replay([as_said(speaker, text) for speaker, text in spoken[:-1]])
    talk.answer(spoken[-1][1])
    return talk.said(MODEL)[-1]


def as_said(speaker: int, text: str) -> Said:
    words = (words_of(text) or fields.SILENCE) if speaker == PERSON else text
    act = {'id': ('person', 'model')[speaker], 'text': words, 'episode_done': False}
    return Said(speaker, words, Message(act))


async def chunks(model: Model, persona: Persona, spoken: Spoken, about: dict[str, Any]) -> AsyncIterator[str]:
    """Yield the answer as server-sent events, in pieces if the agent writes word by word."""
    queue: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def heard(text: str) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, text)

    def event(delta: dict[str, str], finish: str | None = None) -> str:
        choice = {'index': 0, 'delta': delta, 'finish_reason': finish}
        return f'data: {json.dumps({**about, "object": "chat.completion.chunk", "choices": [choice]})}\n\n'

    task = asyncio.create_task(model.run(partial(reply, model, persona, spoken, heard)))
    task.add_done_callback(lambda done: queue.put_nowait(None))
    yield event({'role': 'assistant', 'content': ''})
    sent = ''
    while (text := await queue.get()) is not None:
        whole = text.rpartition(' ')[0]  # the last word may still change
        if len(whole) > len(sent) and whole.startswith(sent):
            yield event({'content': whole[len(sent) :]})
            sent = whole
    error = task.exception()
    if isinstance(error, Exception):
        yield f'data: {json.dumps({"error": failure(model, error)})}\n\n'
        return
    final = task.result()
    yield event({'content': final[len(sent) :] if final.startswith(sent) else f'\n{final}'})
    yield event({}, 'stop')
    yield 'data: [DONE]\n\n'


def failure(model: Model, error: Exception) -> dict[str, str]:
    """Return an error in OpenAI's form."""
    return {'message': f'{model.name} did not answer: {told(error)}', 'type': 'server_error'}
