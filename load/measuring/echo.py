"""The least that a server can do: it reads the request of one RPC and answers with an empty message, unguarded.

Usage: python -m load.measuring.echo PORT STUBS SERVICE METHOD
"""

import asyncio
import sys
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from load.measuring.rpc import Rpc
from meshkit import serve


async def main(port: int, rpc: Rpc) -> None:
    """Serves until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    serve.on_stop_signals(stopped.set)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_handler(rpc),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await stopped.wait()
    await server.stop(None)


def _handler(rpc: Rpc) -> grpc.GenericRpcHandler:
    """What a generated stub would register."""
    response = GetMessageClass(rpc.descriptor.output_type)

    async def answer(request: Message, context: "grpc.aio.ServicerContext[Any, Any]") -> Message:
        return response()

    method = grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=GetMessageClass(rpc.descriptor.input_type).FromString,
        response_serializer=response.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(rpc.full_service, {rpc.name: method})


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Rpc(*sys.argv[2:])))
