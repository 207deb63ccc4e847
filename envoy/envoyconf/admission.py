"""Admission control: when nearly all calls to a pool fail, a part of them is refused before they cost anything."""

from envoyconf.extension import EnvoyObject, extension

FAILURES = frozenset({14, 15})
"""UNAVAILABLE and DATA_LOSS. The others are an answer, or what a stranger can provoke at will; INTERNAL too, with a
header that gRPC's own core does not understand."""
LAST_STATUS = 16
WINDOW_SECONDS = 5
SUCCESSES_WANTED_PERCENT = 5
"""Nearly nothing succeeds any more. One caller who fills all slots, or whose model is down, must not be able to have
others refused, whose answers may be in the cache."""
MOST_REFUSED_PERCENT = 60
"""The others always pass, and so find out when the pool has recovered."""
CALLS_PER_SECOND = 20
"""With fewer calls, failures cost little, and a few from one caller would be most of all."""


def admission_control(pool: str) -> EnvoyObject:
    """Counts what replicas answer, each attempt by itself; a lost connection is no answer and does not count.

    Neither does a caller who hangs up: the calls that he broke off say nothing about the pool.
    """
    return extension(
        "envoy.filters.http.admission_control",
        "extensions.filters.http.admission_control.v3.AdmissionControl",
        enabled={"default_value": True, "runtime_key": f"admission.{pool}.enabled"},
        sampling_window=f"{WINDOW_SECONDS}s",
        sr_threshold=_percent(SUCCESSES_WANTED_PERCENT, f"admission.{pool}.wanted"),
        max_rejection_probability=_percent(MOST_REFUSED_PERCENT, f"admission.{pool}.most_refused"),
        rps_threshold={"default_value": CALLS_PER_SECOND, "runtime_key": f"admission.{pool}.calls_per_second"},
        success_criteria={"grpc_criteria": {"grpc_success_status": successes()}},
    )


def upstream_codec() -> EnvoyObject:
    """Sends the call to the replica; always the last filter of a cluster."""
    return extension("envoy.filters.http.upstream_codec", "extensions.filters.http.upstream_codec.v3.UpstreamCodec")


def successes() -> list[int]:
    """The gRPC statuses that are no failure of the pool."""
    return [status for status in range(LAST_STATUS + 1) if status not in FAILURES]


def _percent(value: int, runtime_key: str) -> EnvoyObject:
    return {"default_value": {"value": value}, "runtime_key": runtime_key}
