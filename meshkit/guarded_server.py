"""A gRPC server whose handlers are guarded when they are registered."""

# The published types of grpc are generic where the classes are not.
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import grpc

from meshkit import foreign_guard
from meshkit.call_guard import Handler

OURS = "/shoal."
"""Health, reflection and Envoy's questions are not ours and carry no identity."""


class Guard(Protocol):
    """What stands around the handlers of our own services."""

    def guarded(self, method: str, handler: Handler) -> Handler:
        """The handler to serve in place of this one; `method` is its full name."""


class GuardedServer(grpc.aio.Server):
    """The server that it is given, with every handler guarded.

    An interceptor would do the same at every call, for the price of two coroutines each time; see docs/adr/0011.
    """

    def __init__(self, server: grpc.aio.Server, guard: Guard | None, *, most_bytes: int) -> None:
        """`most_bytes` is what a message that is received may have."""
        self.most_bytes = most_bytes
        self._server = server
        self._guard = guard
        self._services: list[_GuardedHandlers] = []

    def find(self, method: str) -> Handler | None:
        """The guarded handler of a method by its full name, for other transports than the server's own."""
        called = _Called(method)
        return next((found for each in self._services if (found := each.service(called))), None)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Raises ValueError for services of ours where there is no guard: they would take calls from anybody."""
        handlers = list(generic_rpc_handlers)
        if self._guard is None and any(map(_is_ours, handlers)):
            raise ValueError("this server has no guard, and must not serve the mesh's own services")
        guarded = [_GuardedHandlers(each, self._guard) for each in handlers]
        self._services.extend(guarded)
        self._server.add_generic_rpc_handlers(guarded)

    def add_insecure_port(self, address: str) -> int:
        return self._server.add_insecure_port(address)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        return self._server.add_secure_port(address, server_credentials)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace: float | None) -> None:
        await self._server.stop(grace)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        return await self._server.wait_for_termination(timeout)


def _is_ours(handlers: grpc.GenericRpcHandler) -> bool:
    return isinstance(handlers, grpc.ServiceRpcHandler) and f"/{handlers.service_name()}".startswith(OURS)


@dataclass(frozen=True, slots=True)
class _Called(grpc.HandlerCallDetails):
    """A call of which no more than the method is known."""

    method: str
    invocation_metadata: tuple[()] = ()


class _GuardedHandlers(grpc.GenericRpcHandler):
    """Finds each handler once and guards it then."""

    def __init__(self, handlers: grpc.GenericRpcHandler, guard: Guard | None) -> None:
        self._handlers = handlers
        self._guard = guard
        self._guarded: dict[str, Handler] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        method = handler_call_details.method
        if method not in self._guarded:
            handler = self._handlers.service(handler_call_details)
            if handler is None:
                return None
            self._guarded[method] = self._around(method, handler)
        return self._guarded[method]

    def _around(self, method: str, handler: Handler) -> Handler:
        if self._guard and method.startswith(OURS):
            return self._guard.guarded(method, handler)
        return foreign_guard.guarded(handler)
