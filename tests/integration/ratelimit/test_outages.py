"""A limiter whose neighbours fail, and one that cannot start."""

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest

from meshkit.redis import open_redis
from services.ratelimit import keys
from shoal.external.rls_pb2 import RateLimitResponse
from tests import backends
from tests.backends import wait_until
from tests.integration.ratelimit.ratelimit_process import (
    TIMEOUT_SECONDS,
    RatelimitProcess,
    ask,
    begun,
    create_key,
    environ,
    make_tables,
    started,
)

ADDRESS = "203.0.113.1/32"
UNKNOWN = keys.new_secret(b"u" * 32)


async def assert_unavailable(limiter: RatelimitProcess, **entries: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await ask(limiter, ADDRESS, **entries)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


def changes(limiter: RatelimitProcess) -> list[dict[str, Any]]:
    """What the limiter's log says of Redis."""
    lines = limiter.log_lines("cannot be used: check that it runs, and its setting", "can be used again")
    return [line for line in lines if line["needed"] == "Redis for limits"]


async def until_degraded_is(limiter: RatelimitProcess, value: int) -> None:
    shows = f"shoal_ratelimit_degraded is {value}"
    await asyncio.to_thread(wait_until, lambda: limiter.metrics()["shoal_ratelimit_degraded"] == value, shows)


async def test_redis_that_fails_is_reported_once_and_works_again_by_itself(tmp_path: Path) -> None:
    with backends.valkey(tmp_path) as redis_url, started(environ(tmp_path, redis_url=redis_url)) as limiter:
        await until_degraded_is(limiter, 0)
        changes_before = len(changes(limiter))
        async with open_redis(redis_url, timeout_seconds=TIMEOUT_SECONDS) as operator:
            await operator.config_set("maxmemory", 1)
            answers = [(await ask(limiter, ADDRESS)).overall_code for _ in range(4)]
            assert answers == [RateLimitResponse.OK] * 3 + [RateLimitResponse.OVER_LIMIT]
            await until_degraded_is(limiter, 1)
            await operator.config_set("maxmemory", 0)
        await until_degraded_is(limiter, 0)
        assert (await ask(limiter, ADDRESS)).overall_code == RateLimitResponse.OVER_LIMIT
        assert limiter.metrics()["shoal_ratelimit_degraded_decisions_total"] == 4
        gone, _back = changes(limiter)[changes_before:]
        assert gone["setting"] == "SHOAL_LIMITS_REDIS_URL"


async def test_a_limiter_that_starts_without_redis_decides_from_its_share(tmp_path: Path) -> None:
    with backends.valkey(tmp_path) as redis_url:
        settings = environ(tmp_path, redis_url=redis_url) | {"SHOAL_LIMITERS": "3"}
    await asyncio.to_thread(make_tables, settings)
    with started(settings) as limiter:
        answers = [(await ask(limiter, ADDRESS)).overall_code for _ in range(3)]
        assert answers == [RateLimitResponse.OK] + [RateLimitResponse.OVER_LIMIT] * 2
        secret = (await create_key(limiter)).secret
        assert (await ask(limiter, ADDRESS, x_api_key=secret)).overall_code == RateLimitResponse.OK


async def test_without_a_database_only_requests_with_keys_fail(valkey_url: str, tmp_path: Path, address: str) -> None:
    with started(environ(tmp_path, redis_url=valkey_url)) as limiter:
        for _ in range(3):
            await assert_unavailable(limiter, x_api_key=UNKNOWN)
        assert (await ask(limiter, address)).overall_code == RateLimitResponse.OK
        assert len(limiter.log_lines("cannot be used: check that it runs, and its setting")) == 1


def test_a_busy_port_ends_the_process_with_its_number(valkey_url: str, tmp_path: Path) -> None:
    settings = environ(tmp_path, redis_url=valkey_url)
    settings["SHOAL_PORT"] = settings["SHOAL_ENVOY_PORT"]
    with begun(settings, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 1
    assert f"port {settings['SHOAL_PORT']} on 127.0.0.1 is busy" in errors.decode()
