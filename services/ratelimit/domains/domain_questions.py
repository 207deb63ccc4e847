"""Answers the questions of other Envoys about descriptors, in Envoy's protocol."""

from collections.abc import Mapping
from types import MappingProxyType

from meshkit.errors import ShoalError, field_invalid
from services.ratelimit.domains.descriptor_limiter import Answer, Descriptor, DescriptorLimiter, Status
from services.ratelimit.domains.domain import Entry, Rate, Unit
from services.ratelimit.durations import as_duration
from services.ratelimit.envoy_reply import retry_after
from services.ratelimit.envoy_request import check_size
from services.ratelimit.metrics import LimiterMetrics
from shoal.external.rls_pb2 import HeaderValue, RateLimitDescriptor, RateLimitRequest, RateLimitResponse

MOST_UINT32 = 2**32 - 1

_OK, _OVER_LIMIT = RateLimitResponse.OK, RateLimitResponse.OVER_LIMIT
_UNITS: Mapping[Unit, RateLimitResponse.RateLimit.Unit.ValueType] = MappingProxyType(
    {unit: RateLimitResponse.RateLimit.Unit.Value(unit.name) for unit in Unit}
)


class DomainQuestions:
    """Answers for every domain that is configured."""

    def __init__(self, *, limiter: DescriptorLimiter, metrics: LimiterMetrics) -> None:
        self._limiter = limiter
        self._metrics = metrics

    async def answer(self, request: RateLimitRequest) -> RateLimitResponse:
        """Raises ShoalError INVALID_ARGUMENT for what cannot be answered."""
        try:
            check_size(request)
            descriptors = (_descriptor(each, request) for each in request.descriptors)
            answer = await self._limiter.ask(request.domain, descriptors)
        except ShoalError as error:
            # The domain may be one that nobody configured: no label of ours.
            self._metrics.count_domain_decision("", error.reason.lower())
            raise
        self._metrics.count_domain_decision(request.domain, outcome(answer))
        return reply(answer)


def outcome(answer: Answer) -> str:
    """One word for metrics; shadowed for what a rule in shadow would have refused."""
    if answer.over_limit:
        return "over_limit"
    return "shadowed" if any(status.refused for status in answer.statuses) else "allowed"


def _descriptor(descriptor: RateLimitDescriptor, request: RateLimitRequest) -> Descriptor:
    """Hits of its own count before those of the request, of which 0 stands for 1."""
    hits = descriptor.hits_addend.value if descriptor.HasField("hits_addend") else request.hits_addend or 1
    return Descriptor(
        entries=tuple(Entry(entry.key, entry.value) for entry in descriptor.entries),
        hits=-hits if descriptor.is_negative_hits else hits,
        override=_override(descriptor.limit) if descriptor.HasField("limit") else None,
    )


def _override(limit: RateLimitDescriptor.RateLimitOverride) -> Rate:
    unit = next((unit for unit, number in _UNITS.items() if number == limit.unit), None)
    if unit is None:
        raise field_invalid("descriptors", "have limits with one of Envoy's units")
    return Rate.of(limit.requests_per_unit, unit)


def reply(answer: Answer) -> RateLimitResponse:
    """The answer, with when to try again if that helps."""
    return RateLimitResponse(
        overall_code=_OVER_LIMIT if answer.over_limit else _OK,
        statuses=[_status(status) for status in answer.statuses],
        response_headers_to_add=_retry_headers(answer.retry_after_micros),
    )


def _status(status: Status) -> RateLimitResponse.DescriptorStatus:
    code = _OVER_LIMIT if status.over_limit else _OK
    if status.rule is None:
        return RateLimitResponse.DescriptorStatus(code=code)
    if status.rule.rate is None:
        return RateLimitResponse.DescriptorStatus(code=code, limit_remaining=MOST_UINT32)
    return RateLimitResponse.DescriptorStatus(
        code=code,
        current_limit=RateLimitResponse.RateLimit(
            requests_per_unit=status.rule.rate.requests_per_unit,
            unit=_UNITS[status.rule.rate.unit],
            name=status.rule.name,
        ),
        limit_remaining=status.holding.remaining if status.holding else 0,
        duration_until_reset=as_duration(status.holding.full_in_micros) if status.holding else None,
    )


def _retry_headers(retry_after_micros: int | None) -> list[HeaderValue]:
    """None for what passes, and for what never will."""
    if not retry_after_micros:
        return []
    return [HeaderValue(key="retry-after", value=retry_after(retry_after_micros))]
