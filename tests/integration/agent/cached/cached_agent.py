"""An agent with the real cache service behind it, and what is asked of it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from shoal.agent.v1 import agent_pb2 as pb
from tests import backends
from tests.integration.agent.agent_process import AgentProcess, Caller, agent_process
from tests.integration.cache.cache_process import CacheProcess, cache_process

SECONDS = 20.0
"""Longer than anything takes that is waited for."""


@contextmanager
def cached_agent(
    folder: Path, *, redis_url: str, model_url: str, near_cache_seconds: float = 0, **cache_settings: str
) -> Iterator[tuple[AgentProcess, CacheProcess]]:
    """A replica and a cache of its own, in which nothing is kept yet but what is in Redis."""
    homes = [folder / name for name in ("state", "cache", "agent")]
    for home in homes:
        home.mkdir()
    with ExitStack() as stack:
        state_url = stack.enter_context(backends.valkey(homes[0]))
        cache = stack.enter_context(cache_process(homes[1], redis_url=redis_url, state_url=state_url, **cache_settings))
        agent = stack.enter_context(
            agent_process(
                homes[2],
                redis_url=state_url,
                model_url=model_url,
                SHOAL_MESH_ADDRESS=cache.http1_address,
                SHOAL_NEAR_CACHE_SECONDS=str(near_cache_seconds),
            )
        )
        yield agent, cache


def asking(task: str, mode: pb.CacheMode.ValueType = pb.CACHE_MODE_DEFAULT, **control: object) -> pb.ExecuteRequest:
    return pb.ExecuteRequest(task=task, cache=pb.CacheControl(mode=mode, **control))  # type: ignore[arg-type]


async def header_of(caller: Caller, request: pb.ExecuteRequest) -> str:
    stream = caller.stream(request)
    async for _ in stream:
        pass
    return {str(key): str(value) for key, value in (await stream.initial_metadata()) or ()}["x-shoal-cache"]
