"""Routes that know all methods of their path."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

Endpoint = Callable[[Request], Awaitable[Response]]


class _Endpoints:
    """The endpoints of one path, as an ASGI application: Starlette's own way from a function to one handles exceptions
    of its kind on the way, which the middleware does here."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        response = await self._endpoints[method](Request(scope, receive, send))
        await response(scope, receive, send)


def route(path: str, endpoints: Mapping[str, Endpoint]) -> Route:
    """One path with an endpoint for each of its methods, so that a 405 can allow them all. GET answers HEAD too."""
    return Route(path, _Endpoints(endpoints), methods=list(endpoints))
