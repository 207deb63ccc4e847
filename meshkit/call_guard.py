"""What happens around every RPC of the mesh: identity, request id, trace, deadline, errors, metrics, one log line."""

# The published types of grpc are generic where the classes are not.
from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import cache, partial
from typing import Any, cast

import grpc
import structlog
from google.protobuf.message import DecodeError

from meshkit import call as current_call
from meshkit import deadline, status, tracing
from meshkit.call import Call
from meshkit.errors import Reason, ShoalError, internal
from meshkit.identity import HEADER as IDENTITY_HEADER
from meshkit.identity import IdentitySigner, require_known
from meshkit.metrics import Metrics
from meshkit.slow_reader import SlowReader

Handler = Any
"""A grpc.RpcMethodHandler whose behaviour is asynchronous; the published types know only synchronous ones."""
Context = grpc.aio.ServicerContext[Any, Any]
Work = Callable[[Any, Context], Awaitable[Any]]

CLEAN_UP_SECONDS = 2.0
"""How long a cancelled call may take to stop what it has begun."""

log = structlog.get_logger()


class CallGuard:
    """Guards every RPC of the mesh's own services; handlers raise ShoalError and read `call.current()`."""

    def __init__(
        self,
        *,
        signer: IdentitySigner,
        metrics: Metrics,
        replica: str,
        longest_seconds: float,
        slow_client_seconds: float,
    ) -> None:
        """`replica` is the name of this process, which goes with every refusal. No call lasts longer than
        `longest_seconds`, and none waits longer than `slow_client_seconds` for its caller to read a message."""
        self._signer = signer
        self._replica = replica
        self._longest_seconds = longest_seconds
        self._slow_client_seconds = slow_client_seconds
        self._running: set[asyncio.Task[Any] | None] = set()
        # Not the proxy, which finds its logger anew for each line.
        self._log = log.bind()
        self._observe = cache(lambda method, code: metrics.rpc_seconds.labels(method, code.name).observe)

    @property
    def running(self) -> int:
        """Calls in progress."""
        return len(self._running)

    async def end_running(self) -> None:
        """Cancels the calls that still run when their server has stopped, and waits until they have cleaned up.

        grpc itself may leave them to the end of the event loop, when what they need is gone.
        """
        running = {task for task in self._running if task}
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=CLEAN_UP_SECONDS)

    def guarded(self, method: str, handler: Handler) -> grpc.RpcMethodHandler[Any, Any]:
        """The same handler with the guard around it. Requests are parsed inside, so that bad bytes are the caller's
        error and not ours; responses are written inside, so that a call cancelled while it writes ends inside too."""

        async def answer(request: bytes, context: Context) -> Any:
            return await handler.unary_unary(_parsed(handler, request), context)

        async def stream(request: bytes, context: Context) -> None:
            responses = handler.unary_stream(_parsed(handler, request), context)
            with SlowReader(self._slow_client_seconds) as reader:
                async with aclosing(responses):
                    async for response in responses:
                        reader.is_given()
                        await context.write(response)
                        reader.has_taken()

        async def read(requests: AsyncIterator[bytes], context: Context) -> Any:
            return await handler.stream_unary((_parsed(handler, request) async for request in requests), context)

        def around(work: Work) -> Work:
            async def serve(request: Any, context: Context) -> Any:
                return await self._serve(method, work, request, context)

            return serve

        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(around(answer), None, handler.response_serializer)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(around(stream), None, handler.response_serializer)
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(around(read), None, handler.response_serializer)
        raise NotImplementedError(f"{method}: no service of ours streams both ways yet")

    async def _serve(self, method: str, work: Work, request: Any, context: Context) -> Any:
        # It stands around every call of the mesh, and costs most of a look-up in memory: no context manager more than
        # need be. grpc runs each call as a task of its own, with which what is current ends.
        started = time.perf_counter()
        task = asyncio.current_task()
        self._running.add(task)
        # Bytes are what names that end in -bin have, and nobody looks at one of those here.
        metadata = cast("tuple[tuple[str, str], ...]", context.invocation_metadata() or ())
        headers = dict(metadata)
        request_id = current_call.request_id(headers.get(current_call.REQUEST_ID_HEADER))
        current_call.identify(request_id)
        outcome, reason = grpc.StatusCode.OK, ""
        with tracing.server_span(method, headers):
            try:
                signed = [value for key, value in metadata if key == IDENTITY_HEADER]
                remaining = context.time_remaining()
                current_call.begin(self._accept(signed, remaining, request_id))
                if self._is_too_long(remaining):
                    return await self._within_the_longest(partial(work, request, context))
                return await work(request, context)
            except ShoalError as error:
                outcome, reason = status.status_code(error.code), str(error.reason)
                await self._abort(context, error)
            except asyncio.CancelledError:
                outcome = grpc.StatusCode.CANCELLED
                raise
            except grpc.aio.InternalError as error:
                # What grpc raises when we write to a caller who has just left.
                outcome = grpc.StatusCode.CANCELLED
                raise asyncio.CancelledError from error
            except Exception:
                outcome = grpc.StatusCode.INTERNAL
                log.exception("rpc failed", method=method)
                await self._abort(context, internal())
            finally:
                self._running.discard(task)
                seconds = time.perf_counter() - started
                self._observe(method, outcome)(seconds)
                self._log.info("rpc", method=method, code=outcome.name, reason=reason, seconds=round(seconds, 6))

    def _is_too_long(self, remaining_seconds: float | None) -> bool:
        """Whether a caller lets its call take longer than any may. Shorter deadlines are kept by grpc itself."""
        return remaining_seconds is None or remaining_seconds > self._longest_seconds

    async def _within_the_longest(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Cancels work that its caller would let go on for longer. Raises ShoalError DEADLINE_EXCEEDED then."""
        try:
            async with asyncio.timeout(self._longest_seconds) as bound:
                return await work()
        except TimeoutError:
            if not bound.expired():
                raise
            text = f"The call was ended after {self._longest_seconds:g} seconds: none may take longer."
            raise ShoalError(Reason.DEADLINE_EXCEEDED, text) from None

    async def _abort(self, context: Context, error: ShoalError) -> None:
        """Sends the error behind what the caller has not read yet; if that takes too long, the call is just reset."""
        trailers = (*status.trailers(error), (current_call.REPLICA_HEADER, self._replica))
        try:
            async with asyncio.timeout(self._slow_client_seconds):
                await context.abort(status.status_code(error.code), error.message, trailers)
        except (TimeoutError, grpc.aio.InternalError) as nobody:
            raise asyncio.CancelledError from nobody

    def _accept(self, signed: list[str], remaining_seconds: float | None, request_id: str) -> Call:
        identity = self._signer.verify(signed, time.time())
        require_known(identity)
        return Call(
            request_id=request_id,
            identity=identity,
            signed_identity=signed[0],
            deadline=deadline.accept(remaining_seconds, time.monotonic(), longest_seconds=self._longest_seconds),
        )


def _parsed(handler: Handler, request: bytes) -> Any:
    try:
        return handler.request_deserializer(request)
    except DecodeError:
        raise ShoalError(
            Reason.MALFORMED_REQUEST,
            "The request is no valid protobuf message, or holds invalid UTF-8.",
            field="request",
        ) from None
