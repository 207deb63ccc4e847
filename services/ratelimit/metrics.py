"""What the limiter counts."""

from prometheus_client import CollectorRegistry, Counter


class LimiterMetrics:
    """Counters in the registry of the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.decisions = Counter(
            "shoal_ratelimit_decisions",
            "Requests that Envoy asked about, by tier and outcome.",
            ("tier", "outcome"),
            registry=registry,
        )
        self._look_ups = Counter(
            "shoal_ratelimit_key_look_ups",
            "Look-ups of API keys: remembered, known, unknown, or failed.",
            ("outcome",),
            registry=registry,
        )

    def count_look_up(self, outcome: str) -> None:
        self._look_ups.labels(outcome).inc()
