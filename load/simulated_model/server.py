"""The HTTP side: plays the script of each call and counts the calls."""

import asyncio
import itertools
import sys
import time
from random import Random

import msgspec
from aiohttp import web

from load.simulated_model.calls import Calls
from load.simulated_model.completion import Head, model_list
from load.simulated_model.directives import DirectiveError
from load.simulated_model.plan import Profile, plan_call
from load.simulated_model.request import parse_request
from load.simulated_model.script import Ending, Script, refusal, write_script

MAX_BODY_BYTES = 64 * 1024 * 1024
CLIENT_CLOSED_REQUEST = 499


class SimulatedModel:
    """The endpoints. `slots` bounds the calls that run at once (None: no bound); the others queue in order."""

    def __init__(self, *, profile: Profile, models: tuple[str, ...], slots: int | None, random: Random) -> None:
        self._profile = profile
        self._models = models
        self._slots = asyncio.Semaphore(slots or sys.maxsize)
        self._random = random
        self._calls = Calls()
        self._ids = itertools.count(1)

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.add_routes(
            [
                web.post("/v1/chat/completions", self._chat),
                web.get("/v1/models", self._list_models),
                web.get("/health", self._health),
                web.get("/calls", self._get_calls),
                web.delete("/calls", self._delete_calls),
            ]
        )
        return application

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        body = await http.read()
        self._calls.begun += 1
        script = self._script(body)
        try:
            async with self._slots:
                with self._calls.running():
                    response = await _play(script, http)
        except ConnectionError:
            self._calls.cancelled += 1
            return web.Response(status=CLIENT_CLOSED_REQUEST)  # reaches nobody
        except asyncio.CancelledError:
            self._calls.cancelled += 1
            raise
        self._calls.completed += 1
        return response

    def _script(self, body: bytes) -> Script:
        try:
            request = parse_request(body)
            plan = plan_call(request, self._profile, self._random)
        except (msgspec.DecodeError, DirectiveError) as error:
            return refusal(400, str(error))
        self._calls.last_request = body
        return write_script(request, plan, Head(f"chatcmpl-{next(self._ids)}", int(time.time()), request.model))

    async def _list_models(self, http: web.Request) -> web.Response:
        return _json(model_list(self._models, int(time.time())))

    async def _health(self, http: web.Request) -> web.Response:
        return _json(b'{"status":"ok"}')

    async def _get_calls(self, http: web.Request) -> web.Response:
        last_request = msgspec.Raw(self._calls.last_request or b"null")
        return _json(msgspec.json.encode({**self._calls.counts(), "last_request": last_request}))

    async def _delete_calls(self, http: web.Request) -> web.Response:
        self._calls.reset()
        return web.Response(status=204)


async def _play(script: Script, http: web.Request) -> web.StreamResponse:
    """Send what the script says, when it says so. Raises ConnectionError if the client has left."""
    if script.first > 0:
        await asyncio.sleep(script.first)
    if script.streamed:
        return await _stream(script, http)
    if script.ending is Ending.FINISH:
        return _json(script.events[0], script.status, script.retry_after)
    await _stop_short(script.ending, http)
    return web.Response()


async def _stream(script: Script, http: web.Request) -> web.StreamResponse:
    """Send the events; those that are due at the same time go out in one write."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(http)
    now = asyncio.get_running_loop().time
    start, due = now(), bytearray()
    for index, event in enumerate(script.events):
        ahead = start + index * script.interval - now()
        if ahead > 0:
            await response.write(bytes(due))
            due.clear()
            await asyncio.sleep(ahead)
        due += event
    if script.ending is Ending.FINISH:
        await response.write_eof(bytes(due))
    else:
        await response.write(bytes(due))
        await _stop_short(script.ending, http)
    return response


async def _stop_short(ending: Ending, http: web.Request) -> None:
    """Close the connection, or wait until the client leaves or the server stops: both cancel this task."""
    if ending is Ending.STALL:
        await asyncio.Event().wait()
    elif http.transport is not None:
        http.transport.close()


def _json(body: bytes, status: int = 200, retry_after: int | None = None) -> web.Response:
    headers = {"Content-Type": "application/json"}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return web.Response(body=body, status=status, headers=headers)
