"""The limiter's process: everything is built here, and closed in reverse."""

from contextlib import AsyncExitStack

from meshkit import process, serve
from meshkit.database import open_engine
from meshkit.process import Listening
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
            open_redis(settings.limits_redis_url, timeout_seconds=REDIS_TIMEOUT_SECONDS, sends_again=True)
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
        # A server without the guard: Envoy has no identity to show.
        envoy_server = serve.new_server()
        rls_pb2_grpc.add_RateLimitServiceServicer_to_server(for_envoy, envoy_server)
        for_mesh = RateLimitServicer(limiter=limiter, key_store=key_store, directory=directory, tiers=tiers)
        server = mine.new_server()
        ratelimit_pb2_grpc.add_RateLimitServiceServicer_to_server(for_mesh, server)
        envoy_listening = Listening(envoy_server, settings.envoy_port, [envoy_servicer.SERVICE])
        await mine.serve(server, [servicer.SERVICE], beside=[envoy_listening])
