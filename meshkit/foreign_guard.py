"""What happens around RPCs that are not ours (health, reflection, Envoy's rate limits): faults are told as ours are."""

# The published types of grpc are generic where the classes are not.
from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf.message import DecodeError

from meshkit.call_guard import Context, Handler

log = structlog.get_logger()


def guarded(handler: Handler) -> grpc.RpcMethodHandler[Any, Any]:
    """Asks for no identity. Without it, grpc would answer a fault with the names of Python classes."""
    # It stands before every question of Envoy's, so each kind of call is guarded by itself: what the three have in
    # common would be one more coroutine or context for each call.
    parse = handler.request_deserializer

    async def unary_unary(request: bytes, context: Context) -> Any:
        try:
            return await handler.unary_unary(parse(request), context)
        except Exception as error:
            await _tell(error, context)

    async def unary_stream(request: bytes, context: Context) -> None:
        try:
            await handler.unary_stream(parse(request), context)
        except Exception as error:
            await _tell(error, context)

    async def stream_stream(requests: AsyncIterator[bytes], context: Context) -> None:
        try:
            async for response in handler.stream_stream((parse(request) async for request in requests), context):
                await context.write(response)
        except Exception as error:
            await _tell(error, context)

    if handler.unary_unary:
        return grpc.unary_unary_rpc_method_handler(unary_unary, None, handler.response_serializer)
    if handler.unary_stream:
        return grpc.unary_stream_rpc_method_handler(unary_stream, None, handler.response_serializer)
    return grpc.stream_stream_rpc_method_handler(stream_stream, None, handler.response_serializer)


async def _tell(error: Exception, context: Context) -> NoReturn:
    """Ends the call with the status that belongs to what its handler raised."""
    match error:
        case grpc.aio.BaseError():
            # The handler's own abort, or a caller who has left.
            raise error
        case DecodeError():
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The request is no valid protobuf message.")
        case NotImplementedError():
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "This method is not served.")
        case _:
            log.error("foreign rpc failed", exc_info=error)
            await context.abort(grpc.StatusCode.INTERNAL, "Something went wrong on our side.")
