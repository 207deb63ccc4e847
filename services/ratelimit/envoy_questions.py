"""Envoy's questions: may this request go on? Answered alike, however they are asked."""

import time

import structlog

from meshkit.errors import ShoalError
from meshkit.identity import IdentitySigner
from services.ratelimit import envoy_reply, envoy_request
from services.ratelimit.domains.domain import OUR_DOMAIN
from services.ratelimit.domains.domain_questions import DomainQuestions
from services.ratelimit.envoy_request import Question
from services.ratelimit.limiter import Limiter, Verdict
from services.ratelimit.metrics import LimiterMetrics
from services.ratelimit.signed_identities import SignedIdentities
from shoal.external.rls_pb2 import RateLimitRequest, RateLimitResponse


class EnvoyQuestions:
    """Answers OK with a signed identity, or OVER_LIMIT."""

    def __init__(
        self, *, limiter: Limiter, others: DomainQuestions, signer: IdentitySigner, metrics: LimiterMetrics
    ) -> None:
        """`others` answers for all domains but our own Envoy's."""
        self._limiter = limiter
        self._others = others
        self._identities = SignedIdentities(signer)
        self._metrics = metrics
        # Not the proxy, which finds its logger anew for each line.
        self._log = structlog.get_logger().bind()

    async def answer(self, request: RateLimitRequest) -> RateLimitResponse:
        """Raises ShoalError if there is no answer; Envoy refuses the request then."""
        if request.domain != OUR_DOMAIN:
            return await self._others.answer(request)
        try:
            question = envoy_request.parse(request)
            verdict = await self._limiter.admit(question.asker, question.route, time.monotonic())
        except ShoalError as error:
            self._metrics.count_decision("", error.reason.lower())
            raise
        self._record(question, verdict)
        if not verdict.decision.allowed:
            return envoy_reply.refusal(question, verdict)
        signed = self._identities.of(verdict.caller, metered=verdict.metered, now=time.time())
        return envoy_reply.allowance(question, verdict, signed)

    def _record(self, question: Question, verdict: Verdict) -> None:
        tier, result = verdict.caller.tier, outcome(verdict)
        self._metrics.count_decision(tier, result)
        self._log.info(
            "decision", request_id=question.request_id, outcome=result, tier=tier, tenant=verdict.caller.tenant
        )


def outcome(verdict: Verdict) -> str:
    """One word for logs and metrics: over_limit, allowed, or what is wrong with the key."""
    if not verdict.decision.allowed:
        return "over_limit"
    authentication = verdict.caller.authentication
    return "allowed" if authentication in envoy_reply.SERVED else authentication.value
