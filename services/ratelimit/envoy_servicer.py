"""Envoy's rate limit service: one question for each request at the front door."""

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import grpc
import structlog

from meshkit import status, tracing
from meshkit.errors import ShoalError
from meshkit.identity import LIFETIME_SECONDS, Identity, IdentitySigner
from services.ratelimit import envoy_reply, envoy_request
from services.ratelimit.callers import Caller
from services.ratelimit.domains.domain import OUR_DOMAIN
from services.ratelimit.domains.domain_questions import DomainQuestions
from services.ratelimit.envoy_request import Question
from services.ratelimit.limiter import Limiter, Verdict
from services.ratelimit.metrics import LimiterMetrics
from shoal.external import rls_pb2_grpc
from shoal.external.rls_pb2 import RateLimitRequest, RateLimitResponse

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"

Context = grpc.aio.ServicerContext[Any, Any]

log = structlog.get_logger()


class EnvoyServicer(rls_pb2_grpc.RateLimitServiceServicer):
    """Answers OK with a signed identity, or OVER_LIMIT. A failure is a gRPC error, on which Envoy refuses.

    The method bears the name of its RPC.
    """

    def __init__(
        self,
        *,
        limiter: Limiter,
        others: DomainQuestions,
        signer: IdentitySigner,
        metrics: LimiterMetrics,
        exports_spans: bool,
    ) -> None:
        """`others` answers for all domains but our own Envoy's.

        Without `exports_spans` no trace is continued: Envoy passes it on by itself.
        """
        self._limiter = limiter
        self._others = others
        self._exports_spans = exports_spans
        self._signer = signer
        self._metrics = metrics

    async def ShouldRateLimit(self, request: RateLimitRequest, context: Context) -> RateLimitResponse:
        with self._span(context):
            if request.domain != OUR_DOMAIN:
                return await self._answer_foreign(request, context)
            return await self._answer(request, context)

    async def _answer_foreign(self, request: RateLimitRequest, context: Context) -> RateLimitResponse:
        try:
            return await self._others.answer(request)
        except ShoalError as error:
            await context.abort(status.status_code(error.code), error.message)

    def _span(self, context: Context) -> AbstractContextManager[None]:
        if not self._exports_spans:
            return nullcontext()
        headers = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        return tracing.server_span("ShouldRateLimit", headers)

    async def _answer(self, request: RateLimitRequest, context: Context) -> RateLimitResponse:
        try:
            question = envoy_request.parse(request)
            verdict = await self._limiter.admit(question.asker, question.route, time.monotonic())
        except ShoalError as error:
            self._metrics.count_decision("", error.reason.lower())
            await context.abort(status.status_code(error.code), error.message)
        self._record(question, verdict)
        if not verdict.decision.allowed:
            return envoy_reply.refusal(question, verdict)
        return envoy_reply.allowance(question, verdict, self._signed(verdict.caller, metered=verdict.metered))

    def _signed(self, caller: Caller, *, metered: bool) -> str:
        return self._signer.sign(
            Identity(
                tenant=caller.tenant,
                tier=caller.tier,
                key_id=caller.key_id,
                authentication=caller.authentication,
                expires=time.time() + LIFETIME_SECONDS,
                metered=metered,
            )
        )

    def _record(self, question: Question, verdict: Verdict) -> None:
        tier, result = verdict.caller.tier, outcome(verdict)
        self._metrics.count_decision(tier, result)
        log.info("decision", request_id=question.request_id, outcome=result, tier=tier, tenant=verdict.caller.tenant)


def outcome(verdict: Verdict) -> str:
    """One word for logs and metrics: over_limit, allowed, or what is wrong with the key."""
    if not verdict.decision.allowed:
        return "over_limit"
    authentication = verdict.caller.authentication
    return "allowed" if authentication in envoy_reply.SERVED else authentication.value
