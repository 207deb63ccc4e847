"""Envoy's rate limit service over HTTP/1.1, for our own Envoy."""

from google.protobuf.message import DecodeError
from google.rpc import code_pb2

from meshkit import tracing
from meshkit.errors import ShoalError
from services.ratelimit.envoy_questions import EnvoyQuestions
from services.ratelimit.questions.connection import Headers
from services.ratelimit.questions.framing import CallError
from shoal.external.rls_pb2 import RateLimitRequest

PATH = b"/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"


class EnvoyMethod:
    """`ShouldRateLimit`, of serialised messages."""

    def __init__(self, questions: EnvoyQuestions, *, exports_spans: bool) -> None:
        """Without `exports_spans` no trace is continued: Envoy passes it on by itself."""
        self._questions = questions
        self._exports_spans = exports_spans

    async def answer(self, message: bytes, headers: Headers) -> bytes:
        """Raises CallError if there is no answer; Envoy refuses the request then."""
        if not self._exports_spans:
            return await self._answer(message)
        told = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
        with tracing.server_span("ShouldRateLimit", told):
            return await self._answer(message)

    async def _answer(self, message: bytes) -> bytes:
        try:
            request = RateLimitRequest.FromString(message)
        except DecodeError:
            raise CallError(code_pb2.INVALID_ARGUMENT, "The request is no valid protobuf message.") from None
        try:
            return (await self._questions.answer(request)).SerializeToString()
        except ShoalError as error:
            raise CallError(code_pb2.Code.Value(error.code), error.message) from None
