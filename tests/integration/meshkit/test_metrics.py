"""The small server for Prometheus and readiness."""

import asyncio
import json
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from load.measuring.ports import free_port
from meshkit.metrics import Metrics, Status, exposed

READY = Status(ready=True, draining=False, running=3, waiting=1, slots=2)
DRAINING = Status(ready=False, draining=True, running=1)


def fetched(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url) as response:  # noqa: S310 - our own http address
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def get(url: str) -> tuple[int, str]:
    return await asyncio.to_thread(fetched, url)


async def test_metrics_are_shown_in_prometheus_form() -> None:
    metrics, port = Metrics(), free_port()
    metrics.rpc_seconds.labels("/shoal.Test/Call", "OK").observe(0.2)
    with exposed(metrics, port=port, status=lambda: READY):
        status, text = await get(f"http://127.0.0.1:{port}/metrics")
    assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(text)}
    counts = [sample for sample in families["shoal_rpc_seconds"].samples if sample.name.endswith("_count")]
    assert [(sample.labels, sample.value) for sample in counts] == [({"method": "/shoal.Test/Call", "code": "OK"}, 1.0)]
    assert "process_resident_memory_bytes" in families


async def test_readiness_follows_the_process() -> None:
    port, states = free_port(), iter([DRAINING, READY, DRAINING])
    with exposed(Metrics(), port=port, status=lambda: next(states)):
        answers = [await get(f"http://127.0.0.1:{port}/ready") for _ in range(3)]
    assert answers == [(503, "not ready\n"), (200, "ready\n"), (503, "not ready\n")]


async def test_the_status_is_told_as_json() -> None:
    port, states = free_port(), iter([READY, DRAINING])
    with exposed(Metrics(), port=port, status=lambda: next(states)):
        told = [await get(f"http://127.0.0.1:{port}/status") for _ in range(2)]
    assert [(status, json.loads(text)) for status, text in told] == [
        (200, {"ready": True, "draining": False, "running": 3, "waiting": 1, "slots": 2}),
        (200, {"ready": False, "draining": True, "running": 1, "waiting": 0, "slots": None}),
    ]


async def test_the_port_is_free_again_at_the_end() -> None:
    port = free_port()
    for _ in range(2):
        with exposed(Metrics(), port=port, status=lambda: READY):
            assert (await get(f"http://127.0.0.1:{port}/ready"))[0] == 200


async def test_a_busy_port_is_named() -> None:
    port = free_port()
    with (
        exposed(Metrics(), port=port, status=lambda: READY),
        pytest.raises(OSError, match=f"port {port} on 127.0.0.1 is busy"),
        exposed(Metrics(), port=port, status=lambda: READY),
    ):
        raise AssertionError("two servers on one port")
