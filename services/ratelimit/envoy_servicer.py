"""Envoy's rate limit service over gRPC, for whoever asks."""

from typing import Any

import grpc

from meshkit import status, tracing
from meshkit.errors import ShoalError
from services.ratelimit.envoy_questions import EnvoyQuestions
from shoal.external import rls_pb2_grpc
from shoal.external.rls_pb2 import RateLimitRequest, RateLimitResponse

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"

Context = grpc.aio.ServicerContext[Any, Any]


class EnvoyServicer(rls_pb2_grpc.RateLimitServiceServicer):
    """A failure is a gRPC error, on which Envoy refuses. The method bears the name of its RPC."""

    def __init__(self, questions: EnvoyQuestions, *, exports_spans: bool) -> None:
        """Without `exports_spans` no trace is continued: Envoy passes it on by itself."""
        self._questions = questions
        self._exports_spans = exports_spans

    async def ShouldRateLimit(self, request: RateLimitRequest, context: Context) -> RateLimitResponse:
        if not self._exports_spans:
            return await self._answer(request, context)
        headers = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        with tracing.server_span("ShouldRateLimit", headers):
            return await self._answer(request, context)

    async def _answer(self, request: RateLimitRequest, context: Context) -> RateLimitResponse:
        try:
            return await self._questions.answer(request)
        except ShoalError as error:
            await context.abort(status.status_code(error.code), error.message)
