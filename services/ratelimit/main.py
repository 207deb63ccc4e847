"""The limiter's process: everything is built here, and closed in reverse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from meshkit import process, serve
from meshkit.database import open_engine
from meshkit.process import Process
from meshkit.redis import open_redis
from services.ratelimit import envoy_servicer, servicer
from services.ratelimit.envoy_servicer import EnvoyServicer
from services.ratelimit.key_directory import KeyDirectory
from services.ratelimit.limiter import Limiter
from services.ratelimit.metrics import LimiterMetrics
from services.ratelimit.redis_bucket_store import RedisBucketStore
from services.ratelimit.servicer import RateLimitServicer
from services.ratelimit.settings import RatelimitSettings
from services.ratelimit.sql_key_store import SqlKeyStore
from shoal.external import rls_pb2_grpc
from shoal.ratelimit.v1 import ratelimit_pb2_grpc

REDIS_TIMEOUT_SECONDS = 0.15
"""Less than the 0.2 s that Envoy waits for us, so that it gets our answer."""


async def run(settings: RatelimitSettings) -> None:
    """Serves until the process is told to stop. The tables must be there. Raises OSError if a port is busy."""
    async with AsyncExitStack() as stack:
        mine = await stack.enter_async_context(process.start("ratelimit", settings))
        redis = await stack.enter_async_context(
            open_redis(settings.limits_redis_url, timeout_seconds=REDIS_TIMEOUT_SECONDS)
        )
        engine = await stack.enter_async_context(open_engine(settings.database()))
        tiers = settings.parsed_tiers()
        metrics = LimiterMetrics(mine.metrics.registry)
        key_store = SqlKeyStore(engine)
        directory = KeyDirectory(key_store, count=metrics.count_look_up)
        limiter = Limiter(
            known_keys=directory,
            buckets=RedisBucketStore(redis),
            tiers=tiers,
            require_api_key=settings.require_api_key,
        )
        for_envoy = EnvoyServicer(
            limiter=limiter, signer=mine.signer, metrics=metrics, exports_spans=bool(settings.otlp_endpoint)
        )
        await stack.enter_async_context(serving_envoy(mine, for_envoy, port=settings.envoy_port))
        server = mine.new_server()
        for_mesh = RateLimitServicer(limiter=limiter, key_store=key_store, directory=directory, tiers=tiers)
        ratelimit_pb2_grpc.add_RateLimitServiceServicer_to_server(for_mesh, server)
        await mine.serve(server, [servicer.SERVICE])


@asynccontextmanager
async def serving_envoy(mine: Process, for_envoy: EnvoyServicer, *, port: int) -> AsyncIterator[None]:
    """A second server, which asks for no identity since Envoy has none. It drains when the process is told to stop,
    at the same time as the first."""
    server = serve.new_server()
    rls_pb2_grpc.add_RateLimitServiceServicer_to_server(for_envoy, server)
    health = await serve.start(server, port=port, services=[envoy_servicer.SERVICE])

    async def drain_when_stopped() -> None:
        await mine.stopped.wait()
        await serve.drain(
            server,
            health,
            notice_seconds=mine.settings.drain_notice_seconds,
            grace_seconds=mine.settings.drain_seconds,
        )

    drained = asyncio.create_task(drain_when_stopped())
    try:
        yield
        await drained
    finally:
        drained.cancel()
        await server.stop(None)
