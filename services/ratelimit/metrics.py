"""What the limiter counts."""

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.ratelimit.limits import Kind
from services.ratelimit.watched_files import REFUSED


class LimiterMetrics:
    """Counters in the registry of the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._decisions = Counter(
            "shoal_ratelimit_decisions",
            "Requests that Envoy asked about, by tier and outcome.",
            ("tier", "outcome"),
            registry=registry,
        )
        self._domain_decisions = Counter(
            "shoal_ratelimit_domain_decisions",
            "Questions about descriptors, by domain and outcome; shadowed if only rules in shadow would have refused.",
            ("domain", "outcome"),
            registry=registry,
        )
        self._look_ups = Counter(
            "shoal_ratelimit_key_look_ups",
            "Look-ups of API keys: remembered, known, unknown, failed, or outlasted (remembered for longer, since the "
            "database fails).",
            ("outcome",),
            registry=registry,
        )
        self._shadow_refusals = Counter(
            "shoal_ratelimit_shadow_refusals",
            "What limits in shadow mode would have refused, by kind and name of the limit.",
            ("kind", "limit"),
            registry=registry,
        )
        self._file_versions = Counter(
            "shoal_ratelimit_file_versions",
            "New versions of the files with limits, by outcome: read, or refused since it is faulty.",
            ("file", "outcome"),
            registry=registry,
        )
        self._file_faulty = Gauge(
            "shoal_ratelimit_file_faulty",
            "1 while a file with limits cannot be used and what it said before holds, else 0.",
            ("file",),
            registry=registry,
        )
        self._batch_size = Histogram(
            "shoal_ratelimit_batch_size",
            "Decisions that shared a round trip to Redis.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        self._is_degraded = Gauge(
            "shoal_ratelimit_degraded",
            "1 while Redis for limits cannot be used and each limiter decides from its share, else 0.",
            registry=registry,
        )
        self._degraded_decisions = Counter(
            "shoal_ratelimit_degraded_decisions",
            "Decisions that were made from this limiter's share, since Redis could not be used.",
            registry=registry,
        )
        self._limiters = Gauge(
            "shoal_ratelimit_limiters", "Limiters that are alive, as last counted.", registry=registry
        )
        # Finding a counter by its labels costs more than counting, and these are counted for every request.
        self._decision = cache(self._decisions.labels)
        self._look_up = cache(self._look_ups.labels)

    def count_decision(self, tier: str, outcome: str) -> None:
        self._decision(tier, outcome).inc()

    def count_domain_decision(self, domain: str, outcome: str) -> None:
        self._domain_decisions.labels(domain, outcome).inc()

    def count_look_up(self, outcome: str) -> None:
        self._look_up(outcome).inc()

    def count_shadow(self, kind: Kind, name: str) -> None:
        self._shadow_refusals.labels(kind, name).inc()

    def count_file(self, file: str, outcome: str) -> None:
        self._file_versions.labels(file, outcome).inc()
        self.set_file_faulty(file, is_faulty=outcome == REFUSED)

    def set_file_faulty(self, file: str, *, is_faulty: bool) -> None:
        self._file_faulty.labels(file).set(is_faulty)

    def observe_batch(self, decisions: int) -> None:
        self._batch_size.observe(decisions)

    def set_degraded(self, *, is_degraded: bool) -> None:
        self._is_degraded.set(is_degraded)

    def count_degraded_decision(self) -> None:
        self._degraded_decisions.inc()

    def set_limiters(self, alive: int) -> None:
        self._limiters.set(alive)
