"""The least that a server of the limiter's kind can do: it reads the question and answers with an empty message.

Usage: python -m load.limits.echo PORT
"""

import asyncio
import sys
from typing import Any

import grpc

from meshkit import serve
from shoal.external import rls_pb2_grpc
from shoal.external.rls_pb2 import RateLimitRequest, RateLimitResponse


class Echo(rls_pb2_grpc.RateLimitServiceServicer):
    """Serves the limiter's method, so that the same questions can be sent."""

    async def ShouldRateLimit(  # noqa: N802 - the name of the RPC
        self, request: RateLimitRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> RateLimitResponse:
        return RateLimitResponse()


async def main(port: int) -> None:
    """Serves until SIGTERM or SIGINT."""
    stopped = serve.stop_signal()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    rls_pb2_grpc.add_RateLimitServiceServicer_to_server(Echo(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await stopped.wait()
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
