"""How a real Envoy spreads calls over three replicas, by each strategy that the setting can name."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest

from envoyconf.load_balancing import LoadBalancing
from tests.integration.front_door import FrontDoor, front_door, held_streams, on_free_ports, replica_of

EXECUTE = "/shoal.agent.v1.AgentService/Execute"
SESSION, ADDRESS, FORWARDED = "x-session-id", "x-shoal-client-address", "x-forwarded-for"
AT_ONCE = 10
ALL = {"agent-1", "agent-2", "agent-3"}


def balanced(folder: Path, setting: str) -> AbstractAsyncContextManager[FrontDoor]:
    return front_door(replace(on_free_ports(folder), load_balancing=LoadBalancing.parse(setting)))


async def spread(on: grpc.aio.Channel, calls: int) -> Counter[str]:
    """How many of so many calls each replica answered."""
    answered: Counter[str] = Counter()
    for _ in range(calls // AT_ONCE):
        answered.update(await asyncio.gather(*[replica_of(on, EXECUTE) for _ in range(AT_ONCE)]))
    return answered


async def homes(on: grpc.aio.Channel, *sent: Sequence[tuple[str, str]]) -> list[str]:
    """The replica that answered three calls with the same metadata, for each of those given. They must agree."""
    found = []
    for metadata in sent:
        (home,) = {await replica_of(on, EXECUTE, *metadata) for _ in range(3)}
        found.append(home)
    return found


async def test_round_robin_gives_each_replica_the_same(tmp_path: Path) -> None:
    async with balanced(tmp_path, "round_robin") as door:
        answered = await spread(door.inner, 300)
    assert answered == {"agent-1": 100, "agent-2": 100, "agent-3": 100}


async def test_weights_give_each_replica_its_share(tmp_path: Path) -> None:
    async with balanced(tmp_path, "weights:3:1:1") as door:
        answered = await spread(door.inner, 2000)
    shares = {name: answered[name] / 20 for name in ALL}
    assert shares == pytest.approx({"agent-1": 60, "agent-2": 20, "agent-3": 20}, abs=3)


async def test_least_request_prefers_replicas_that_are_idle(tmp_path: Path) -> None:
    async with balanced(tmp_path, "least_request") as door, held_streams(door.inner, EXECUTE, 90) as streams:
        for name, stream in streams:
            if name != "agent-1":
                stream.cancel()
        assert Counter(name for name, _ in streams)["agent-1"] > AT_ONCE
        answered = await spread(door.inner, 300)
    # Both of the two that are looked at are the busy one in a ninth of the cases.
    assert answered["agent-1"] < 60


@pytest.mark.parametrize("strategy", ["ring_hash", "maglev"])
async def test_a_session_stays_with_its_replica_and_sessions_are_spread(strategy: str, tmp_path: Path) -> None:
    sessions = [[(SESSION, f"s-{number}")] for number in range(60)]
    async with balanced(tmp_path, f"{strategy}:session") as door:
        inside = await homes(door.inner, *sessions)
        assert await homes(door.front, *sessions[:20]) == inside[:20]
    counts = Counter(inside)
    assert counts.keys() == ALL
    assert min(counts.values()) >= 6


@pytest.mark.parametrize("strategy", ["ring_hash", "maglev"])
async def test_an_address_stays_with_its_replica_whatever_its_sessions(strategy: str, tmp_path: Path) -> None:
    addresses = [f"203.0.113.{number}" for number in range(60)]
    async with balanced(tmp_path, f"{strategy}:address") as door:
        at_front = await homes(door.front, *[[(FORWARDED, address)] for address in addresses])
        assert at_front == await homes(door.front, *[[(FORWARDED, it), (SESSION, "s-1")] for it in addresses])
        assert at_front == await homes(door.inner, *[[(ADDRESS, it), (SESSION, "s-2")] for it in addresses])
    counts = Counter(at_front)
    assert counts.keys() == ALL
    assert min(counts.values()) >= 6


async def test_a_call_without_a_session_stays_with_the_replica_of_its_address(tmp_path: Path) -> None:
    addresses = [f"203.0.113.{number}" for number in range(20)]
    async with balanced(tmp_path, "ring_hash:session") as door:
        at_front = await homes(door.front, *[[(FORWARDED, address)] for address in addresses])
        assert at_front == await homes(door.inner, *[[(ADDRESS, address)] for address in addresses])
    assert len(set(at_front)) > 1


@pytest.mark.parametrize("strategy", ["ring_hash", "maglev"])
async def test_one_session_cannot_overload_its_replica(strategy: str, tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    async with balanced(tmp_path, f"{strategy}:session") as door, AsyncExitStack() as held:
        for _ in range(60):
            # One after the other: Envoy counts a call from when it has a connection to the replica.
            one = held_streams(door.inner, EXECUTE, 1, (SESSION, "s-1"))
            counts.update(name for name, _ in await held.enter_async_context(one))
    # Twice the mean of three replicas is 40; one more gets in before it counts as too much.
    assert 30 <= max(counts.values()) <= 42
