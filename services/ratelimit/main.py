"""The limiter's process: everything is built here, and closed in reverse."""

import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from meshkit import background, process, serve
from meshkit.database import open_engine
from meshkit.process import Listening
from meshkit.redis import open_redis
from services.ratelimit import envoy_servicer, servicer
from services.ratelimit.buckets.degrading_bucket_store import DegradingBucketStore
from services.ratelimit.buckets.redis_bucket_store import RedisBucketStore
from services.ratelimit.buckets.redis_fleet import RedisFleet
from services.ratelimit.buckets.shared_limits_observer import SharedLimitsObserver
from services.ratelimit.callers import Callers
from services.ratelimit.domains.descriptor_limiter import DescriptorLimiter
from services.ratelimit.domains.descriptor_servicer import DescriptorServicer
from services.ratelimit.domains.domain_file import Domains, parse_files
from services.ratelimit.envoy_servicer import EnvoyServicer
from services.ratelimit.key_directory import KeyDirectory
from services.ratelimit.limiter import Limiter
from services.ratelimit.limits import Limits
from services.ratelimit.limits_file import limits_in
from services.ratelimit.metrics import LimiterMetrics
from services.ratelimit.reservations.redis_reservation_store import RedisReservationStore
from services.ratelimit.reservations.reservations import Reservations
from services.ratelimit.servicer import RateLimitServicer
from services.ratelimit.settings import RatelimitSettings
from services.ratelimit.sql_key_store import SqlKeyStore
from services.ratelimit.watched_file import WatchedFiles
from shoal.external import rls_pb2_grpc
from shoal.ratelimit.v1 import ratelimit_pb2_grpc

REDIS_TIMEOUT_SECONDS = 0.15
"""Less than the 0.2 s that Envoy waits for us, so that it gets our answer."""


async def run(settings: RatelimitSettings) -> None:
    """Serves until the process is told to stop. The tables must be there. Raises OSError if a port is busy."""
    async with AsyncExitStack() as stack:
        mine = await stack.enter_async_context(process.start("ratelimit", settings))
        redis = await stack.enter_async_context(
            open_redis(settings.limits_redis_url, timeout_seconds=REDIS_TIMEOUT_SECONDS, sends_again=True)
        )
        engine = await stack.enter_async_context(open_engine(settings.database()))
        tiers = settings.parsed_tiers()
        metrics = LimiterMetrics(mine.metrics.registry)
        key_store = SqlKeyStore(engine)
        directory = KeyDirectory(key_store, count=metrics.count_look_up)
        observer = SharedLimitsObserver(metrics)
        fleet = RedisFleet(redis, name=f"{settings.replica}-{secrets.token_hex(8)}")
        buckets = DegradingBucketStore(
            shared=RedisBucketStore(redis),
            fleet=fleet,
            at_least=settings.limiters,
            observer=observer,
            clock=time.monotonic,
        )
        stack.push_async_callback(fleet.leave)
        await buckets.look()
        await directory.load(time.monotonic())
        await stack.enter_async_context(background.running(buckets.watch(), directory.run(time.monotonic)))
        callers = Callers(
            known_keys=directory,
            buckets=buckets,
            failures=settings.parsed_look_ups(),
            require_api_key=settings.require_api_key,
        )
        limits = await stack.enter_async_context(_limits(settings, metrics))
        limiter = Limiter(callers=callers, buckets=buckets, limits=limits, count_shadow=metrics.count_shadow)
        domains = await stack.enter_async_context(_domains(settings, metrics))
        for_envoy = EnvoyServicer(
            limiter=limiter,
            descriptors=DescriptorServicer(
                limiter=DescriptorLimiter(buckets=buckets, domains=domains), metrics=metrics
            ),
            signer=mine.signer,
            metrics=metrics,
            exports_spans=bool(settings.otlp_endpoint),
        )
        # A server without the guard: Envoy has no identity to show.
        envoy_server = serve.new_server()
        rls_pb2_grpc.add_RateLimitServiceServicer_to_server(for_envoy, envoy_server)
        reservations = Reservations(
            store=RedisReservationStore(redis, timeout_seconds=REDIS_TIMEOUT_SECONDS),
            limits=limits,
            is_reachable=lambda: not buckets.is_degraded,
            count_shadow=metrics.count_shadow,
        )
        for_mesh = RateLimitServicer(
            limiter=limiter, reservations=reservations, key_store=key_store, directory=directory, tiers=tiers
        )
        server = mine.new_server()
        ratelimit_pb2_grpc.add_RateLimitServiceServicer_to_server(for_mesh, server)
        envoy_listening = Listening(envoy_server, settings.envoy_port, [envoy_servicer.SERVICE])
        await mine.serve(server, [servicer.SERVICE], beside=[envoy_listening])


@asynccontextmanager
async def _limits(settings: RatelimitSettings, metrics: LimiterMetrics) -> AsyncIterator[Callable[[], Limits]]:
    """What tells the limits that hold now."""
    if not settings.limits_file:
        fixed = settings.parsed_limits()
        yield lambda: fixed
        return
    tiers = settings.parsed_tiers()
    watched = WatchedFiles(
        Path(settings.limits_file),
        parse=lambda files: limits_in(files, tiers),
        count=lambda outcome: metrics.count_file("limits", outcome),
    )
    async with background.running(watched.run()):
        yield lambda: watched.current


@asynccontextmanager
async def _domains(settings: RatelimitSettings, metrics: LimiterMetrics) -> AsyncIterator[Callable[[], Domains]]:
    """What tells the domains that are configured now."""
    if not settings.domains_path:
        yield dict
        return
    watched = WatchedFiles(
        Path(settings.domains_path), parse=parse_files, count=lambda outcome: metrics.count_file("domains", outcome)
    )
    async with background.running(watched.run()):
        yield lambda: watched.current
