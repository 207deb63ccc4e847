"""A limits file under a real limiter: at the start, changed while it runs, and faulty."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from load.measuring.ports import free_port
from shoal.external.rls_pb2 import RateLimitResponse
from tests.integration.ratelimit.ratelimit_process import (
    TIMEOUT_SECONDS,
    RatelimitProcess,
    ask,
    begun,
    create_key,
    environ,
    identity_in,
    make_tables,
    started,
)

OK, OVER_LIMIT = RateLimitResponse.OK, RateLimitResponse.OVER_LIMIT

LIMITS = """
tiers:
  free: {concurrent: {calls: 2}}
tenants:
  acme: {requests: {per_second: 0.001, burst: 2}}
routes:
  chat: {requests: {per_second: 0.001, burst: 1}}
  models: {requests: {per_second: 0.001, burst: 1, shadow: true}}
  sessions: {fail_closed: true}
"""


@dataclass
class World:
    """A limiter and its limits file."""

    limiter: RatelimitProcess
    file: Path

    def change(self, text: str, outcome: str) -> None:
        """Replaces the file, and waits until the limiter has noticed."""
        self.limiter.change_file(self.file, text, file="limits", outcome=outcome)

    async def budget(self, address: str, route: str) -> str:
        response = await ask(self.limiter, address, route=route)
        return next(header.value for header in response.response_headers_to_add if header.key == "ratelimit")


@pytest.fixture(scope="module")
def world(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("limits_file")
    file = folder / "limits.yaml"
    file.write_text(LIMITS)
    settings = environ(folder, redis_url=valkey_url)
    settings |= {"SHOAL_LIMITS_FILE": str(file), "SHOAL_FAIL_OPEN_ROUTES": "task,chat"}
    make_tables(settings)
    with started(settings) as limiter:
        yield World(limiter, file)


async def codes(limiter: RatelimitProcess, address: str, times: int, **entries: str) -> list[int]:
    return [(await ask(limiter, address, **entries)).overall_code for _ in range(times)]


async def test_a_tenant_has_the_limits_of_the_file(world: World, address: str) -> None:
    secret = (await create_key(world.limiter)).secret
    first = await ask(world.limiter, address, x_api_key=secret)
    assert identity_in(first).metered
    assert await codes(world.limiter, address, 2, x_api_key=secret) == [OK, OVER_LIMIT]


async def test_a_route_has_a_bucket_of_its_own(world: World, address: str) -> None:
    assert await codes(world.limiter, address, 2, route="chat") == [OK, OVER_LIMIT]
    assert (await world.budget(address, "task")).startswith('"anonymous";r=2')


async def test_a_shadow_is_counted_and_refuses_nothing(world: World, address: str) -> None:
    sample = 'shoal_ratelimit_shadow_refusals_total{kind="requests",limit="models"}'
    before = world.limiter.metrics().get(sample, 0.0)
    assert await codes(world.limiter, address, 3, route="models") == [OK] * 3
    assert world.limiter.metrics()[sample] == before + 2


async def test_a_changed_file_holds_without_a_restart_and_a_faulty_one_does_not(world: World, address: str) -> None:
    world.change("routes:\n  task: {requests: {per_second: 0.001, burst: 7}}\n", "read")
    assert (await world.budget(address, "task")).startswith('"task";r=6')
    world.change("routes:\n  task: {}\n  tsk: {}\n", "refused")
    assert (await world.budget(address, "task")).startswith('"task";r=5')
    *_, line = world.limiter.log_lines("a changed file cannot be used; what it said before holds")
    assert line["fault"].startswith(f"{world.file}: line 3: ")
    world.change(LIMITS, "read")
    assert (await world.budget(address, "task")).startswith('"anonymous";r=2')


async def test_a_change_that_closes_a_route_that_fails_open_is_refused(world: World) -> None:
    faulty = 'shoal_ratelimit_file_faulty{file="limits"}'
    assert world.limiter.metrics()[faulty] == 0
    world.change("tenants:\n  acme:\n    routes:\n      task: {fail_closed: true}\n", "refused")
    assert world.limiter.metrics()[faulty] == 1
    *_, line = world.limiter.log_lines("a changed file cannot be used; what it said before holds")
    assert line["fault"].startswith(f"{world.file}: line 4: the route 'task' fails open")
    world.change(LIMITS, "read")
    assert world.limiter.metrics()[faulty] == 0


async def test_a_shadow_of_a_tenant_leaves_its_keys_the_limit_of_their_tier(world: World, address: str) -> None:
    world.change("tenants:\n  acme: {requests: {per_second: 0.001, burst: 1, shadow: true}}\n", "read")
    secret = (await create_key(world.limiter)).secret
    sample = 'shoal_ratelimit_shadow_refusals_total{kind="requests",limit="acme"}'
    before = world.limiter.metrics().get(sample, 0.0)
    assert await codes(world.limiter, address, 11, x_api_key=secret) == [OK] * 10 + [OVER_LIMIT]
    assert world.limiter.metrics()[sample] == before + 9
    world.change(LIMITS, "read")


async def test_the_limits_outlast_their_file_and_follow_it_again_when_it_is_back(world: World, address: str) -> None:
    with world.limiter.noticing("limits", "refused"):
        world.file.unlink()
    assert (await world.budget(address, "task")).startswith('"anonymous";r=2')
    with world.limiter.noticing("limits", "refused"):
        world.file.mkdir()
    assert (await world.budget(address, "task")).startswith('"anonymous";r=1')
    world.file.rmdir()
    world.change("routes:\n  task: {requests: {per_second: 0.001, burst: 7}}\n", "read")
    assert (await world.budget(address, "task")).startswith('"task";r=6')
    world.change(LIMITS, "read")


@pytest.fixture
def without_redis(tmp_path: Path) -> Iterator[RatelimitProcess]:
    file = tmp_path / "limits.yaml"
    file.write_text(LIMITS)
    settings = environ(tmp_path, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    make_tables(settings)
    with started(settings | {"SHOAL_LIMITS_FILE": str(file)}) as limiter:
        yield limiter


async def test_a_route_that_fails_closed_is_refused_without_redis_and_others_are_not(
    without_redis: RatelimitProcess, address: str
) -> None:
    assert await codes(without_redis, address, 1, route="task") == [OK]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ask(without_redis, address, route="sessions")
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("tiers:\n  fre: {}\n", "line 2: there is no tier 'fre'"),
        ("routes:\n  task: {fail_closed: true}\n", "line 2: the route 'task' fails open"),
    ],
)
def test_with_a_faulty_file_the_limiter_does_not_start(valkey_url: str, tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text(text)
    settings = environ(tmp_path, redis_url=valkey_url)
    settings |= {"SHOAL_LIMITS_FILE": str(file), "SHOAL_FAIL_OPEN_ROUTES": "task"}
    with begun(settings, stderr=subprocess.PIPE) as process:
        _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode != 0
    assert f"SHOAL_LIMITS_FILE: {file}: {fault}" in errors.decode()
