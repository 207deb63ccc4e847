"""A replica with the real cache service behind it."""

from pathlib import Path

import pytest

from shoal.agent.v1 import agent_pb2 as pb
from tests.integration.agent.agent_process import SECRET, Caller, agent_process, signed
from tests.integration.cache import cache_process
from tests.simulated_model import Server


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    cache, agent = tmp_path / "cache", tmp_path / "agent"
    cache.mkdir()
    agent.mkdir()
    return cache, agent


async def test_the_second_time_an_answer_comes_from_the_cache_whole_and_streamed(
    valkey_url: str, model: Server, tenant: str, folders: tuple[Path, Path]
) -> None:
    assert cache_process.SECRET == SECRET
    with (
        cache_process.cache_process(folders[0], redis_url=valkey_url) as cache,
        agent_process(folders[1], redis_url=valkey_url, model_url=model.url, SHOAL_MESH_ADDRESS=cache.address) as agent,
    ):
        async with Caller(agent.address, signed(tenant)) as acme, Caller(agent.address, signed(f"{tenant}2")) as rival:
            for task, output in (
                ("hello [[tokens=2]]", "hello hello"),
                ("hello [[tokens=2500]]", " ".join(["hello"] * 2500)),
                ('[[tool=add {"a": 1}]]', ""),
            ):
                request = pb.ExecuteRequest(task=task)
                first, second = await acme.execute(request), await acme.execute(request)
                assert (first.cache.status, second.cache.status) == (pb.CACHE_STATUS_MISS, pb.CACHE_STATUS_HIT)
                assert second.cache.level == "l1"
                assert first.output == second.output == output
                assert (first.tool_calls, first.usage) == (second.tool_calls, second.usage)
                stream = acme.stream(request)
                events = [event async for event in stream]
                assert "".join(event.delta.text for event in events) == output
                headers = dict((await stream.initial_metadata()) or ())
                assert headers["x-shoal-cache"] == "hit; level=l1"
            assert (await rival.execute(request)).cache.status == pb.CACHE_STATUS_MISS
        await model.calls_reach(begun=4, completed=4)
