"""A collector of spans, in a process of its own so that it takes no time of the client's.

Usage: python -m load.hops.collector PORT

POST /v1/traces takes them (OTLP over HTTP), GET /spans gives those that have come, as JSON.
"""

import sys

import msgspec
from aiohttp import web

from load.hops.spans import parsed

_MOST_BYTES = 64 * 1024 * 1024


class Collector:
    """Keeps what comes as it is: to read it takes time, of which there is more when all is measured."""

    def __init__(self) -> None:
        self._exported: list[bytes] = []

    def application(self) -> web.Application:
        application = web.Application(client_max_size=_MOST_BYTES)
        application.add_routes([web.post("/v1/traces", self._take), web.get("/spans", self._give)])
        return application

    async def _take(self, request: web.Request) -> web.Response:
        self._exported.append(await request.read())
        return web.Response()

    async def _give(self, _: web.Request) -> web.Response:
        spans = [span for exported in self._exported for span in parsed(exported)]
        return web.Response(body=msgspec.json.encode(spans), content_type="application/json")


if __name__ == "__main__":
    web.run_app(Collector().application(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
