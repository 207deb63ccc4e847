"""Two limiters on one database: what one changes, the other follows; and what they do while it is paused."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import grpc
import psutil
import pytest
from sqlalchemy import text

from meshkit.database import database_url, open_engine
from meshkit.identity import Authentication, Identity
from services.ratelimit import keys
from services.ratelimit.key_directory import STALE_SECONDS
from services.ratelimit.settings import OWNER
from shoal.external.rls_pb2 import RateLimitResponse
from tests.backends import wait_until
from tests.integration.ratelimit.ratelimit_process import (
    TIMEOUT_SECONDS,
    RatelimitProcess,
    ask,
    create_key,
    environ,
    identity_in,
    make_tables,
    revoke_key,
    started,
    update_key,
)

TIERS = "anonymous=0.001/3,basic=10000/10000,premium=10000/10000"
AT_ONCE_SECONDS = 0.9
"""Less than the limiter waits for a database that hangs; far more than an answer from memory takes."""
TIER_IS_GONE = (
    "API keys have a tier that SHOAL_TIERS lacks, and so the limits of callers without a key: "
    "add the tier, or give the keys another one with `shoal keys update`"
)
OUTLASTED = 'shoal_ratelimit_key_look_ups_total{outcome="outlasted"}'

Pair = tuple[RatelimitProcess, RatelimitProcess]


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def database(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
def limiters(database: str, valkey_url: str, tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        pair = []
        for name in ("one", "other"):
            folder = tmp_path / name
            folder.mkdir()
            settings = environ(folder, redis_url=valkey_url)
            settings |= {"SHOAL_DATABASE_URL": database, "SHOAL_TIERS": TIERS, "SHOAL_REPLICA": name}
            settings["SHOAL_LOOK_UPS"] = "1000/1000"
            make_tables(settings)
            pair.append(stack.enter_context(started(settings)))
        one, other = pair
        yield one, other


async def becomes(
    limiter: RatelimitProcess, address: str, secret: str, is_so: Callable[[Identity], bool], *, before: Identity
) -> None:
    """Uses the key until its answer is as it should be, which it must be in time. Until then it is as before."""
    async with asyncio.timeout(STALE_SECONDS):
        while not is_so(identity := identity_in(await ask(limiter, address, x_api_key=secret))):
            assert (identity.tier, identity.authentication) == (before.tier, before.authentication)


async def test_a_key_moved_to_another_tier_or_revoked_through_one_limiter_is_so_in_the_other(
    limiters: Pair, address: str
) -> None:
    one, other = limiters
    created = await create_key(one, tier="basic")
    key_id, secret = created.api_key.id, created.secret
    before = identity_in(await ask(other, address, x_api_key=secret))
    assert (before.tier, before.key_id) == ("basic", key_id)

    assert (await update_key(one, key_id, "premium")).tier == "premium"
    assert identity_in(await ask(one, address, x_api_key=secret)).tier == "premium"
    await becomes(other, address, secret, lambda identity: identity.tier == "premium", before=before)

    before = identity_in(await ask(other, address, x_api_key=secret))
    await revoke_key(one, key_id)
    unknown = Authentication.UNKNOWN_KEY
    await becomes(other, address, secret, lambda identity: identity.authentication is unknown, before=before)


@asynccontextmanager
async def paused(postgres_url: str) -> AsyncIterator[None]:
    """Stops every process of the server in the middle of what it does, and lets them go on in the end.

    The server is the first to stop and the last to go on: in between no process of its comes or goes for good.
    """
    async with open_engine(database_url(postgres_url, home="", owner=OWNER)) as engine, engine.connect() as connection:
        backend = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        server = psutil.Process(backend).parent()
    assert server
    children: list[psutil.Process] = []
    server.suspend()
    try:
        wait_until(lambda: server.status() == psutil.STATUS_STOPPED, "the server's stop")
        children += server.children()
        for child in children:
            os.kill(child.pid, signal.SIGSTOP)
        yield
    finally:
        for child in children:
            os.kill(child.pid, signal.SIGCONT)
        server.resume()


@pytest.mark.parametrize("database", ["postgres_url"], indirect=True)
async def test_no_request_with_a_known_key_waits_for_a_paused_database(
    limiters: Pair, database: str, address: str
) -> None:
    limiter, _ = limiters
    known, unseen = await create_key(limiter, tier="basic"), await create_key(limiter, tier="basic")
    await ask(limiter, address, x_api_key=known.secret)
    async with paused(database):
        while OUTLASTED not in limiter.metrics():
            async with asyncio.timeout(AT_ONCE_SECONDS):
                answer = await ask(limiter, address, x_api_key=known.secret)
            assert answer.overall_code == RateLimitResponse.OK
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await ask(limiter, address, x_api_key=unseen.secret)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert identity_in(await first_answer(limiter, address, unseen.secret)).key_id == unseen.api_key.id


async def first_answer(limiter: RatelimitProcess, address: str, secret: str) -> RateLimitResponse:
    """Asks about a key until the database, which goes on again, answers in time."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            try:
                return await ask(limiter, address, x_api_key=secret)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise


async def test_a_limiter_that_starts_knows_the_keys_that_there_are(
    valkey_url: str, tmp_path: Path, address: str
) -> None:
    settings = environ(tmp_path, redis_url=valkey_url) | {"SHOAL_TIERS": TIERS, "SHOAL_LOOK_UPS": "0.001/1"}
    await asyncio.to_thread(make_tables, settings)
    with started(settings) as limiter:
        created = [await create_key(limiter, tier="basic") for _ in range(5)]
    with started(settings) as limiter:
        await ask(limiter, address, x_api_key=keys.new_secret(b"g" * 32))
        for key in created:
            assert identity_in(await ask(limiter, address, x_api_key=key.secret)).key_id == key.api_key.id


async def test_a_limiter_tells_at_its_start_of_keys_whose_tier_is_gone(valkey_url: str, tmp_path: Path) -> None:
    settings = environ(tmp_path, redis_url=valkey_url)
    await asyncio.to_thread(make_tables, settings)
    with started(settings) as limiter:
        for tier in ("free", "premium", "premium"):
            await create_key(limiter, tier=tier)
    with started(settings | {"SHOAL_TIERS": "anonymous=1/1,free=1/1"}) as limiter:
        (line,) = limiter.log_lines(TIER_IS_GONE)
    assert (line["level"], line["tiers"]) == ("warning", ["premium"])
