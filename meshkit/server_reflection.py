"""Reflection of a server's services, so that grpcurl and ghz need no proto files."""

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection

SERVICE_NAME: str = reflection.SERVICE_NAME


def enable(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Adds reflection for the services of these full names, before the server starts."""
    reflection.enable_server_reflection((*services, SERVICE_NAME), server, pool=_PoolWithMethods())


class _PoolWithMethods:
    """The default pool, which finds methods by their names as well: ghz looks for the one that it is to call."""

    def __init__(self) -> None:
        self._pool: Any = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - the pool's name for it
        """Raises KeyError if there is no such symbol."""
        try:
            found: FileDescriptor = self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            parent, _, name = symbol.rpartition(".")
            service = self._pool.FindServiceByName(parent)
            found = service.methods_by_name[name].containing_service.file
        return found
