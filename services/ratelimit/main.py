"""The limiter's process: everything is built here, and closed in reverse."""

import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from redis.asyncio import Redis

from meshkit import background, process, serve
from meshkit.database import database_url, open_engine
from meshkit.process import Listening
from meshkit.redis import open_redis
from services.ratelimit import envoy_request, envoy_servicer, servicer
from services.ratelimit.buckets.bucket_store import BucketStore
from services.ratelimit.buckets.degrading_bucket_store import DegradingBucketStore
from services.ratelimit.buckets.redis_bucket_store import RedisBucketStore
from services.ratelimit.buckets.redis_fleet import RedisFleet
from services.ratelimit.buckets.shared_limits_observer import SharedLimitsObserver
from services.ratelimit.callers import Callers
from services.ratelimit.domains.descriptor_limiter import DescriptorLimiter
from services.ratelimit.domains.domain_questions import DomainQuestions
from services.ratelimit.envoy_questions import EnvoyQuestions
from services.ratelimit.envoy_servicer import EnvoyServicer
from services.ratelimit.key_directory import KeyDirectory
from services.ratelimit.keys import KeyStore
from services.ratelimit.limiter import Limiter
from services.ratelimit.metrics import LimiterMetrics
from services.ratelimit.reservations.redis_reservation_store import RedisReservationStore
from services.ratelimit.reservations.reservations import Reservations
from services.ratelimit.servicer import RateLimitServicer
from services.ratelimit.settings import OWNER, RatelimitSettings
from services.ratelimit.sql_key_store import SqlKeyStore
from services.ratelimit.tiers import Tiers
from services.ratelimit.unknown_tiers import UnknownTiers
from services.ratelimit.watched_files import WatchedFiles
from shoal.external import rls_pb2_grpc
from shoal.ratelimit.v1 import ratelimit_pb2_grpc

REDIS_TIMEOUT_SECONDS = 0.15
"""Less than the 0.2 s that Envoy waits for us, so that it gets our answer."""

T = TypeVar("T")


async def run(settings: RatelimitSettings) -> None:
    """Serves until the process is told to stop. The tables must be there. Raises OSError if a port is busy."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        mine = await enter(process.start("ratelimit", settings))
        metrics = LimiterMetrics(mine.metrics.registry)
        tiers = settings.parsed_tiers()

        redis = await enter(open_redis(settings.limits_redis_url, timeout_seconds=REDIS_TIMEOUT_SECONDS))
        buckets = await enter(_buckets(settings, redis, metrics))
        database = database_url(settings.database_url, home=settings.home, owner=OWNER)
        key_store = SqlKeyStore(await enter(open_engine(database)))
        directory = await enter(_directory(key_store, tiers, metrics))
        limits = await enter(_followed("limits", settings.limits_file, settings.parsed_limits, metrics))
        domains = await enter(_followed("domains", settings.domains_path, settings.parsed_domains, metrics))

        callers = _callers(settings, directory, buckets)
        limiter = Limiter(callers=callers, buckets=buckets, limits=limits, count_shadow=metrics.count_shadow)
        others = DomainQuestions(limiter=DescriptorLimiter(buckets=buckets, domains=domains), metrics=metrics)
        reservations = Reservations(
            store=RedisReservationStore(redis, timeout_seconds=REDIS_TIMEOUT_SECONDS),
            limits=limits,
            is_reachable=lambda: not buckets.is_degraded,
            count_shadow=metrics.count_shadow,
        )

        questions = EnvoyQuestions(limiter=limiter, others=others, signer=mine.signer, metrics=metrics)
        for_envoys = EnvoyServicer(questions, exports_spans=bool(settings.otlp_endpoint))
        for_mesh = RateLimitServicer(
            limiter=limiter, reservations=reservations, key_store=key_store, directory=directory, tiers=tiers
        )
        server = mine.new_server()
        ratelimit_pb2_grpc.add_RateLimitServiceServicer_to_server(for_mesh, server)
        await mine.serve(
            server,
            [servicer.SERVICE],
            beside=[_listening_for_envoys(for_envoys, settings.envoy_port)],
            http1_port=settings.envoys_port,
        )


@asynccontextmanager
async def _buckets(
    settings: RatelimitSettings, redis: Redis, metrics: LimiterMetrics
) -> AsyncIterator[DegradingBucketStore]:
    """The buckets that all limiters share. This one is counted among them until the end."""
    fleet = RedisFleet(redis, name=f"{settings.replica}-{secrets.token_hex(8)}")
    buckets = DegradingBucketStore(
        shared=RedisBucketStore(redis),
        fleet=fleet,
        at_least=settings.limiters,
        observer=SharedLimitsObserver(metrics),
        clock=time.monotonic,
    )
    try:
        await buckets.recovery.beat()
        async with background.running(buckets.recovery.watch()):
            yield buckets
    finally:
        await fleet.leave()


@asynccontextmanager
async def _directory(key_store: KeyStore, tiers: Tiers, metrics: LimiterMetrics) -> AsyncIterator[KeyDirectory]:
    """The keys that are in memory, kept fresh."""
    directory = KeyDirectory(key_store, count=metrics.count_look_up, learned=UnknownTiers(tiers).learned)
    await directory.load(time.monotonic())
    async with background.running(directory.run(time.monotonic)):
        yield directory


@asynccontextmanager
async def _followed(
    name: str, path: str, read: Callable[[], T], metrics: LimiterMetrics
) -> AsyncIterator[Callable[[], T]]:
    """What tells what `read` says of the files at the path, anew whenever they change. Without a path they never do."""
    if not path:
        fixed = read()
        yield lambda: fixed
        return
    watched = WatchedFiles(Path(path), read=read, count=partial(metrics.count_file, name))
    metrics.set_file_faulty(name, is_faulty=False)
    async with background.running(watched.run()):
        yield lambda: watched.current


def _callers(settings: RatelimitSettings, directory: KeyDirectory, buckets: BucketStore) -> Callers:
    return Callers(
        known_keys=directory,
        buckets=buckets,
        failures=settings.parsed_look_ups(),
        require_api_key=settings.require_api_key,
    )


def _listening_for_envoys(for_envoy: EnvoyServicer, port: int) -> Listening:
    """A server without the guard: Envoy has no identity to show."""
    server = serve.new_server(max_request_bytes=envoy_request.MAX_BYTES)
    rls_pb2_grpc.add_RateLimitServiceServicer_to_server(for_envoy, server)
    return Listening(server, port, [envoy_servicer.SERVICE])
