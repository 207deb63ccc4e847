"""The least that a server of the limiter's kind can do: an RPC that reads nothing and answers with an empty message.

Usage: python -m load.limits.echo PORT
"""

import asyncio
import sys
from typing import Any

import grpc

from load.limits.questions import METHOD
from meshkit import serve


class Echo(grpc.GenericRpcHandler):
    """Serves the limiter's method, so that the same questions can be sent."""

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        return grpc.unary_unary_rpc_method_handler(_empty) if details.method == METHOD else None


async def _empty(_: bytes, __: "grpc.aio.ServicerContext[Any, Any]") -> bytes:
    return b""


async def main(port: int) -> None:
    """Serves until SIGTERM or SIGINT."""
    stopped = serve.stop_signal()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers([Echo()])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await stopped.wait()
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
