"""How a service refuses a call."""

from collections.abc import Awaitable
from typing import Any

import grpc
import pytest

from meshkit import status
from meshkit.errors import ShoalError

StreamCall = grpc.aio.UnaryStreamCall[Any, Any]


async def refusal(call: Awaitable[object] | StreamCall) -> ShoalError:
    """How a call fails, read as another service reads it; a stream is read to its end."""
    answer = _to_its_end(call) if isinstance(call, grpc.aio.UnaryStreamCall) else call
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await answer
    return status.from_rpc_error(raised.value)


async def _to_its_end(stream: StreamCall) -> None:
    async for _ in stream:
        pass
