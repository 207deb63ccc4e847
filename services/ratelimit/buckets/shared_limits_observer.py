"""What the log and the metrics are told about the shared buckets."""

from services.ratelimit.metrics import LimiterMetrics
from services.ratelimit.outage import OutageLog


class SharedLimitsObserver:
    """One line in the log for each change, and numbers for the rest."""

    def __init__(self, metrics: LimiterMetrics) -> None:
        self._metrics = metrics
        self._outage = OutageLog(
            "Redis for limits",
            setting="SHOAL_LIMITS_REDIS_URL",
            meanwhile="each limiter decides from its share of every limit, and refuses reservations",
        )

    def degraded(self, cause: BaseException | None) -> None:
        self._metrics.is_degraded.set(1)
        self._outage.gone(cause)

    def recovered(self) -> None:
        self._metrics.is_degraded.set(0)
        self._outage.back()

    def decided_alone(self) -> None:
        self._metrics.decided_alone.inc()

    def counted(self, limiters: int) -> None:
        self._metrics.limiters.set(limiters)

    def took_together(self, wishes: int) -> None:
        self._metrics.taken_together.observe(wishes)
