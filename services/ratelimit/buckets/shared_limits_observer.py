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
        self._metrics.set_degraded(is_degraded=True)
        self._outage.gone(cause)

    def recovered(self) -> None:
        self._metrics.set_degraded(is_degraded=False)
        self._outage.back()

    def decided_alone(self) -> None:
        self._metrics.count_degraded_decision()

    def counted(self, limiters: int) -> None:
        self._metrics.set_limiters(limiters)

    def took_together(self, groups: int) -> None:
        self._metrics.observe_batch(groups)
